"""Runs the test suite which a client ships in its source package against the broker, unchanged.

`run_own_tests.py CLIENT` fetches the source of the installed version into the cache, once, and runs those of its tests
that need nothing but a broker. deselect.txt says which ones are left out and why.
"""

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
TEST_DEADLINE_S = 30
FAILURES_SHOWN = 10

CLIENTS = {
    "amqp": {"shown_as": "py-amqp", "tests": ["t/integration"]},
    "kombu": {"shown_as": "kombu", "tests": ["t/integration/test_py_amqp.py"]},
    "aiormq": {"shown_as": "aiormq", "tests": ["tests"], "workers": "3"},
    "aio-pika": {"shown_as": "aio-pika", "tests": ["tests"]},
}


def source_of(client, version):
    """The unpacked source package, from the cache if it is there."""
    folder = Path(os.environ["INTEROP_CACHE"]) / "python" / "sources"
    unpacked = folder / f"{client.replace('-', '_')}-{version}"
    if not unpacked.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            # Only the client itself comes as source: its build tools may be programs that take long to compile.
            pip = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--quiet", "--no-deps"]
            subprocess.run([*pip, "--no-binary", client, "-d", scratch, f"{client}=={version}"], check=True)
            (archive,) = Path(scratch).glob("*.tar.gz")
            with tarfile.open(archive) as package:
                package.extractall(scratch, filter="data")
            archive.with_suffix("").with_suffix("").rename(unpacked)
    return unpacked


def main():
    client = sys.argv[1]
    version = importlib.metadata.version(client)
    name = f"{CLIENTS[client]['shown_as']}'s own tests"
    source = source_of(client, version)
    if (source / "tests" / "docker_client.py").exists():
        shutil.copy(HERE / "docker_client.py", source / "tests" / "docker_client.py")
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        result_file, not_yet_file = Path(scratch) / "result.json", Path(scratch) / "not_yet.json"
        environment = os.environ | {
            "OWN_TESTS_CLIENT": client,
            "OWN_TESTS_RESULT": str(result_file),
            "OWN_TESTS_NOT_YET": str(not_yet_file),
            "PYTHONPATH": str(HERE),
            "RABBITMQ_HOST": os.environ["AMQP_HOST"],
            "RABBITMQ_5672_TCP": os.environ["AMQP_PORT"],
        }
        plugins = ["-p", "interop_plugin", "-p", "no:cacheprovider"]
        # Tests that wait for timers run side by side, where they do not share names.
        workers = ["-n", CLIENTS[client]["workers"]] if "workers" in CLIENTS[client] else ["-p", "no:xdist"]
        options = [*workers, "-q", "--timeout", str(TEST_DEADLINE_S), "-o", "log_cli=false", "--durations=10"]
        pytest = [sys.executable, "-m", "pytest", *plugins, *options, *CLIENTS[client]["tests"]]
        subprocess.run(pytest, cwd=source, env=environment, stdout=sys.stderr, check=False)
        if not result_file.exists():
            print(f"FAIL {name}: pytest did not finish")
            sys.exit(1)
        result = json.loads(result_file.read_text())
        not_yet = Counter(json.loads(not_yet_file.read_text()))
    for feature, count in not_yet.items():
        print(f"SKIP {name}: {count} tests: not yet: {feature}")
    for failure in result["failures"][:FAILURES_SHOWN]:
        print(f"FAIL {name}: {failure['test']}: {failure['reason']}")
    if len(result["failures"]) > FAILURES_SHOWN:
        print(f"FAIL {name}: and {len(result['failures']) - FAILURES_SHOWN} more, see the log")
    if result["passed"] == 0:
        print(f"FAIL {name}: no test passed")
        sys.exit(1)
    if result["failures"]:
        sys.exit(1)
    print(f"ok {name} {version} ({result['passed']} checks, {time.monotonic() - started:.1f}s)")


if __name__ == "__main__":
    main()
