"""Celery: a real worker process, results over rpc://, remote control and events."""

import contextlib
import datetime
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from harness import checks_of, equal, poll_until, raises, run, unique  # noqa: E402

os.environ["NAMESPACE"] = unique("celery") + "."

import celery  # noqa: E402
from celery import group  # noqa: E402

import tasks  # noqa: E402
from tasks import add, app, echo, fail, hang_until_redelivered, succeed_at_third_try  # noqa: E402
from worker import RESULT_DEADLINE_S, solo_worker, worker  # noqa: E402


def check_tasks_with_results():
    with solo_worker():
        equal(add.delay(2, 3).get(timeout=RESULT_DEADLINE_S), 5)
        results = [add.delay(n, n) for n in range(20)]
        equal([result.get(timeout=RESULT_DEADLINE_S) for result in results], [2 * n for n in range(20)])
        with raises(ValueError, "broken"):
            fail.delay("broken").get(timeout=RESULT_DEADLINE_S)
        large = "x" * 1_000_000
        equal(echo.delay(large).get(timeout=RESULT_DEADLINE_S) == large, True, "a large argument and result")
        equal(succeed_at_third_try.delay().get(timeout=RESULT_DEADLINE_S), 2)
        together = group(add.s(n, 1) for n in range(10)).apply_async()
        equal(together.get(timeout=RESULT_DEADLINE_S), list(range(1, 11)))
        chained = (add.s(1, 2) | add.s(10) | add.s(100)).apply_async()
        equal(chained.get(timeout=RESULT_DEADLINE_S), 113)


def check_countdown_and_eta():
    with solo_worker():
        started = time.monotonic()
        soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=0.5)
        results = [add.apply_async((1, 1), countdown=0.5), add.apply_async((2, 2), eta=soon)]
        equal([result.get(timeout=RESULT_DEADLINE_S) for result in results], [2, 4])
        equal(time.monotonic() - started >= 0.4, True, "not before its time")


def check_remote_control():
    with solo_worker():
        ping = app.control.ping(timeout=5, limit=1)
        equal(ping, [{"solo@interop": {"ok": "pong"}}])
        inspect = app.control.inspect(timeout=5, limit=1)
        registered = inspect.registered()["solo@interop"]
        equal("tasks.add" in registered, True, str(registered))
        queues = inspect.active_queues()["solo@interop"]
        equal([queue["name"] for queue in queues], [tasks.TASKS_QUEUE])

        distant = add.apply_async((1, 1), countdown=3600)
        poll_until(lambda: app.control.inspect(timeout=5, limit=1).scheduled()["solo@interop"], "the task is scheduled")
        distant.revoke()
        poll_until(
            lambda: distant.id in (app.control.inspect(timeout=5, limit=1).revoked()["solo@interop"] or []),
            "the revocation arrived",
        )
        # A consumer can be taken away and given back while the worker runs.
        app.control.cancel_consumer(tasks.TASKS_QUEUE, reply=True, timeout=5, limit=1)
        waiting = add.delay(20, 1)
        equal(waiting.ready(), False)
        app.control.add_consumer(tasks.TASKS_QUEUE, reply=True, timeout=5, limit=1)
        equal(waiting.get(timeout=RESULT_DEADLINE_S), 21)


def check_events():
    seen = []

    def remember(event):
        seen.append((event["type"], event.get("uuid")))

    with app.connection_for_read() as connection, solo_worker():
        receiver = app.events.Receiver(connection, handlers={"*": remember})
        with receiver.consumer_context() as (_connection, channel, _consumers):
            result = add.delay(1, 2)
            expected = [("task-sent", result.id), ("task-received", result.id)]
            expected += [("task-started", result.id), ("task-succeeded", result.id)]

            def drain():
                with contextlib.suppress(TimeoutError):
                    channel.connection.client.drain_events(timeout=0.1)

            poll_until(lambda: set(expected) <= set(seen), f"all events (seen: {seen})", RESULT_DEADLINE_S, drain)
        equal(result.get(timeout=RESULT_DEADLINE_S), 3)


def check_prefork_pool():
    with worker("--pool=prefork", "--concurrency=1", "--hostname=prefork@interop"):
        results = [add.delay(n, 1) for n in range(10)]
        equal([result.get(timeout=RESULT_DEADLINE_S) for result in results], list(range(1, 11)))


def check_acks_late_task_survives_its_workers_death():
    with tempfile.TemporaryDirectory() as folder:
        started_file = Path(folder) / "started"
        with solo_worker() as doomed:
            result = hang_until_redelivered.delay(str(started_file))
            poll_until(started_file.exists, "the task started", RESULT_DEADLINE_S)
            doomed.send_signal(signal.SIGKILL)
            doomed.wait()
        with solo_worker() as successor:
            equal(result.get(timeout=RESULT_DEADLINE_S), "redelivered")
            pids = started_file.read_text(encoding="utf-8").split()
            equal(pids, [str(doomed.pid), str(successor.pid)])


def clean_up():
    with app.connection_for_write() as connection, connection.channel() as channel:
        channel.queue_delete(tasks.TASKS_QUEUE)
        for exchange in (tasks.TASKS_QUEUE, tasks.NAMESPACE + "pidbox", tasks.NAMESPACE + "events"):
            channel.exchange_delete(exchange)
        for suffix in (".pidbox", ".reply.pidbox"):
            channel.exchange_delete(tasks.NAMESPACE + "pidbox" + suffix)
            channel.exchange_delete("reply." + tasks.NAMESPACE + "pidbox" + suffix)


if __name__ == "__main__":
    try:
        run("celery", celery.__version__, list(checks_of(sys.modules["__main__"])))
    finally:
        clean_up()
