"""The pytest plugin under which clients' own test suites run: selection, the fixtures that a package does not ship,
and a result file for the runner."""

import fnmatch
import json
import os
from pathlib import Path

import pytest
from yarl import URL

from docker_client import ContainerInfo, DockerClient

HERE = Path(__file__).resolve().parent


def patterns(list_name):
    """Lines `client | glob over test ids | reason`; `#` starts a comment."""
    for line in (HERE / list_name).read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            client, glob, reason = (part.strip() for part in line.split("|"))
            if client == os.environ["OWN_TESTS_CLIENT"]:
                # Only `*` is special: test ids are full of square brackets.
                yield glob.replace("[", "[[]"), reason


def first_match(item, left_out):
    return next((reason for glob, reason in left_out if fnmatch.fnmatchcase(item.nodeid, glob)), None)


def pytest_collection_modifyitems(config, items):
    left_out = list(patterns("deselect.txt"))
    not_yet = list(patterns("not_yet.txt")) if os.environ.get("INTEROP_REFERENCE") != "1" else []
    kept, deselected, missing_features = [], [], []
    for item in items:
        missing_feature = first_match(item, not_yet)
        if missing_feature:
            missing_features.append(missing_feature)
        matches = missing_feature or first_match(item, left_out)
        (deselected if matches else kept).append(item)
        # aiormq's and aio-pika's memory tracer looks for leaks of the client, and takes most of the time.
        if "memory_tracer" in getattr(item, "fixturenames", ()):
            item.fixturenames.remove("memory_tracer")
    config.hook.pytest_deselected(items=deselected)
    items[:] = kept
    # With several workers each of them writes the same.
    Path(os.environ["OWN_TESTS_NOT_YET"]).write_text(json.dumps(missing_features))


def pytest_terminal_summary(terminalreporter):
    stats = terminalreporter.stats
    failures = [
        {"test": report.nodeid, "reason": str(getattr(report.longrepr, "reprcrash", report.longrepr)).splitlines()[0]}
        for report in stats.get("failed", []) + stats.get("error", [])
    ]
    result = {"passed": len(stats.get("passed", [])), "failures": failures}
    Path(os.environ["OWN_TESTS_RESULT"]).write_text(json.dumps(result))


@pytest.fixture(scope="session")
def rabbitmq_container() -> ContainerInfo:
    return DockerClient().run("broker under test", ["5672/tcp", "5671/tcp"])


@pytest.fixture(scope="session")
def amqp_direct_url(rabbitmq_container: ContainerInfo) -> URL:
    port = rabbitmq_container.ports["5672/tcp"]
    return URL.build(scheme="amqp", user="guest", password="guest", host=rabbitmq_container.host, port=port, path="//")
