"""Runs the Python suites side by side, each in a process of its own with a time limit, and prints their lines.

A suite prints its result lines on stdout and whatever explains them on stderr, which goes to its log.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
SIDE_BY_SIDE = 3  # the suites mostly wait for timers and for the broker
LIMIT_S = 240

# The longest first, so that nothing long is left at the end.
SUITES = {
    "aio-pika-tests": ["own_tests/run_own_tests.py", "aio-pika"],
    "aiormq-tests": ["own_tests/run_own_tests.py", "aiormq"],
    "celery": ["celery_suite/driver.py"],
    "celery-delays": ["celery_suite/delayed_driver.py"],
    "kombu-tests": ["own_tests/run_own_tests.py", "kombu"],
    "py-amqp-tests": ["own_tests/run_own_tests.py", "amqp"],
    "tutorials": ["tutorials/driver.py"],
    "pika": ["checklist/pika_blocking.py"],
    "pika-select": ["checklist/pika_select.py"],
    "aio-pika": ["checklist/aio_pika_checks.py"],
    "kombu": ["checklist/kombu_checks.py"],
    "nservicebus": ["frameworks/nservicebus.py"],
    "dramatiq": ["frameworks/dramatiq_checks.py"],
    "masstransit": ["frameworks/masstransit.py"],
    "pika-tls": ["checklist/tls.py", "pika"],
    "aio-pika-tls": ["checklist/tls.py", "aio-pika"],
    "kombu-tls": ["checklist/tls.py", "kombu"],
}

printing = threading.Lock()


def run_suite(name):
    log_path = Path(os.environ["INTEROP_LOG"]) / f"python-{name}.log"
    started = time.monotonic()
    with open(log_path, "wb") as log:
        program, *arguments = SUITES[name]
        # A group of its own, so that the workers it starts end with it.
        process = subprocess.Popen(
            [sys.executable, str(HERE / program), *arguments],
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=HERE,
            start_new_session=True,
        )
        try:
            lines, _ = process.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            lines, _ = process.communicate()
            lines += f"FAIL {name}: not finished within {LIMIT_S} s\n".encode()
    if process.returncode != 0 and b"FAIL" not in lines:
        lines += f"FAIL {name}: exit status {process.returncode} after {time.monotonic() - started:.1f} s\n".encode()
    with printing:
        sys.stdout.write(lines.decode(errors="replace"))
        sys.stdout.flush()
    return process.returncode == 0


def main():
    wanted = sys.argv[1:] or list(SUITES)
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        passed = list(pool.map(run_suite, wanted))
    sys.exit(0 if all(passed) else 1)


if __name__ == "__main__":
    main()
