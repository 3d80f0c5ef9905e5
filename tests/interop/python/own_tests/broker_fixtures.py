"""A pytest plugin: the fixtures that aiormq's tests expect from a file which its package does not ship."""

import pytest
from yarl import URL

from docker_client import ContainerInfo, DockerClient


@pytest.fixture(scope="session")
def rabbitmq_container() -> ContainerInfo:
    return DockerClient().run("broker under test", ["5672/tcp", "5671/tcp"])


@pytest.fixture(scope="session")
def amqp_direct_url(rabbitmq_container: ContainerInfo) -> URL:
    return URL.build(
        scheme="amqp",
        user="guest",
        password="guest",
        host=rabbitmq_container.host,
        port=rabbitmq_container.ports["5672/tcp"],
        path="//",
    )
