"""Runs checks and says which failed.

A check is a function `check_…(…)` of a module; it passes by returning. The harness gives each one a deadline, writes
tracebacks to stderr (the runner's log) and prints the client's one line. It knows nothing about AMQP.
"""

import asyncio
import inspect
import os
import signal
import sys
import time
import traceback
import uuid
from contextlib import contextmanager

CHECK_DEADLINE_S = 30
POLL_INTERVAL_S = 0.01

HOST = os.environ["AMQP_HOST"]
PORT = int(os.environ["AMQP_PORT"])
URL = os.environ["AMQP_URL"]
USER, PASSWORD = "guest", "guest"


def unique(prefix):
    """A name that no other run uses, so that the broker may be a shared one."""
    return f"interop.{prefix}.{uuid.uuid4().hex[:12]}"


def equal(actual, expected, what=""):
    if actual != expected:
        raise AssertionError(f"{what + ': ' if what else ''}expected {expected!r}, got {actual!r}")


@contextmanager
def raises(kind, text=""):
    """Holds the error in `.error` once the block has raised it."""

    class Caught:
        error = None

    caught = Caught()
    try:
        yield caught
    except kind as error:
        caught.error = error
        if text not in str(error):
            raise AssertionError(f"expected {text!r} in {error!r}") from error
    else:
        raise AssertionError(f"expected {kind}, but nothing was raised")


def poll_until(condition, what, deadline_s=10.0, step=None):
    """Waits for a condition that no event announces; `step` drives the client meanwhile, or we sleep briefly."""
    deadline = time.monotonic() + deadline_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {deadline_s} s: {what}")
        step() if step else time.sleep(POLL_INTERVAL_S)
    return value


@contextmanager
def deadline(seconds):
    def expired(_signal, _frame):
        raise TimeoutError(f"not finished within {seconds} s")

    previous = signal.signal(signal.SIGALRM, expired)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def not_yet(feature):
    """Marks a check that needs a feature which Leveret does not have yet; it runs against a broker from outside."""

    def mark(check):
        check.not_yet = feature
        return check

    return mark


def beyond_the_reference(feature):
    """Marks a check that needs what Leveret has and a plain RabbitMQ has not; a broker from outside is spared it."""

    def mark(check):
        check.beyond_the_reference = feature
        return check

    return mark


def checks_of(*modules):
    for module in modules:
        for name, value in vars(module).items():
            if name.startswith("check_") and inspect.isfunction(value):
                yield value


def run(client, version, checks):
    """Runs every check, prints the client's line (a line per failure otherwise) and exits."""
    started = time.monotonic()
    only = os.environ.get("INTEROP_ONLY", "")
    checks = [check for check in checks if only in check.__name__]
    reference = os.environ.get("INTEROP_REFERENCE") == "1"
    left_out, why = ("beyond_the_reference", "not there") if reference else ("not_yet", "not yet")
    for check in [check for check in checks if hasattr(check, left_out)]:
        checks.remove(check)
        print(f"SKIP {client}: {check.__name__.removeprefix('check_')}: {why}: {getattr(check, left_out)}", flush=True)
    failures = 0
    for check in checks:
        check_started = time.monotonic()
        try:
            with deadline(CHECK_DEADLINE_S):
                asyncio.run(check()) if inspect.iscoroutinefunction(check) else check()
            outcome = "ok"
        except Exception as error:  # a check may fail in any way, and the others still run
            traceback.print_exc()
            failures += 1
            reason = (str(error) or repr(error)).splitlines()[0]
            print(f"FAIL {client}: {check.__name__.removeprefix('check_')}: {type(error).__name__}: {reason}", flush=True)
            outcome = "FAIL"
        print(f"{outcome} {check.__name__} {time.monotonic() - check_started:.2f}s", file=sys.stderr, flush=True)
    if not failures:
        print(f"ok {client} {version} ({len(checks)} checks, {time.monotonic() - started:.1f}s)", flush=True)
    sys.exit(1 if failures else 0)
