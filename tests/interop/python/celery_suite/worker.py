"""A Celery worker in a process of its own, for as long as a check needs it."""

import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path

HERE = Path(__file__).resolve().parent

RESULT_DEADLINE_S = 20


def start_worker(application, *options):
    """A worker in a process of its own; it is ready when its log says so, and its log goes to ours."""
    process = subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", application, "worker", "-E", "--loglevel=INFO", *options],
        cwd=HERE,
        env=os.environ | {"PYTHONPATH": str(HERE)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    ready = threading.Event()

    def read():
        for line in process.stderr:
            sys.stderr.write(line)
            if " ready." in line:
                ready.set()

    threading.Thread(target=read, daemon=True).start()
    if not ready.wait(RESULT_DEADLINE_S):
        process.kill()
        raise AssertionError(f"the worker was not ready within {RESULT_DEADLINE_S} s")
    return process


@contextlib.contextmanager
def worker(*options, application="tasks:app"):
    process = start_worker(application, *options)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(RESULT_DEADLINE_S)


def solo_worker(application="tasks:app"):
    """One task at a time, so that order can be told."""
    options = ("--pool=solo", "--hostname=solo@interop", "--without-mingle", "--without-gossip")
    return worker(*options, application=application)
