"""Stands in for the `docker_client` module of aiormq's and aio-pika's test suites.

Those suites start a RabbitMQ container for themselves. This module answers the same calls with the broker that is
already running, so that their tests run unchanged against it. There is no TLS listener: the port for it is one that
nothing listens on, and the TLS tests are deselected (see deselect.txt).
"""

import os
from dataclasses import dataclass

TLS_PORT_NOBODY_LISTENS_ON = 1


class DockerNotAvailableError(Exception):
    """Part of the module's interface; never raised here."""


@dataclass
class DockerHostInfo:
    host: str


@dataclass
class ContainerInfo:
    id: str
    ports: dict[str, int]
    host: str


def check_docker_available() -> DockerHostInfo:
    return DockerHostInfo(os.environ["AMQP_HOST"])


class DockerClient:
    def __init__(self, docker_host_info: DockerHostInfo | None = None):
        self.docker_host_info = docker_host_info or check_docker_available()

    def run(self, image: str, ports: list[str], environment: dict[str, str] | None = None) -> ContainerInfo:
        del image, ports, environment
        published = {"5672/tcp": int(os.environ["AMQP_PORT"]), "5671/tcp": TLS_PORT_NOBODY_LISTENS_ON}
        return ContainerInfo("broker-under-test", published, self.docker_host_info.host)

    def kill(self, container_id: str) -> None:
        """The broker under test is not the suites' to stop."""

    def remove(self, container_id: str) -> None:
        """See kill."""
