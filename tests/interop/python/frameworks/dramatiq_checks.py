"""Dramatiq with its own RabbitMQ broker and worker: delays in `.DQ`, retries, and dead messages in `.XQ`."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

DEAD_MESSAGE_TTL_MS = 1500
os.environ["dramatiq_dead_message_ttl"] = str(DEAD_MESSAGE_TTL_MS)  # read when dramatiq is imported

import contextlib  # noqa: E402
import time  # noqa: E402

import dramatiq  # noqa: E402
import pika  # noqa: E402
from dramatiq.brokers.rabbitmq import RabbitmqBroker  # noqa: E402
from dramatiq.middleware import AgeLimit, Retries, TimeLimit  # noqa: E402

from checklist.pika_support import channel, parameters  # noqa: E402
from harness import HOST, PORT, checks_of, equal, poll_until, run, unique  # noqa: E402

PATIENCE_S = 10


class Application:
    """A broker with one queue of its own, and a worker of one thread, so that order can be told."""

    def __init__(self, **options):
        self.queue = unique("dramatiq")
        middleware = [AgeLimit(), TimeLimit(), Retries(min_backoff=50, max_backoff=100)]
        credentials = parameters().credentials
        self.broker = RabbitmqBroker(
            host=HOST, port=PORT, credentials=credentials, confirm_delivery=True, middleware=middleware, **options
        )

    def actor(self, function, **options):
        return dramatiq.actor(function, broker=self.broker, queue_name=self.queue, **options)

    def counts(self):
        """Ready messages of the queue, of the delayed one and of the dead one."""
        return self.broker.get_queue_message_counts(self.queue)

    @contextlib.contextmanager
    def worker(self):
        worker = dramatiq.Worker(self.broker, worker_timeout=20, worker_threads=1)
        worker.start()
        try:
            yield worker
        finally:
            worker.stop()


@contextlib.contextmanager
def application(**options):
    made = Application(**options)
    try:
        yield made
    finally:
        made.broker.close()
        with channel() as cleaner:
            for suffix in ("", ".DQ", ".XQ"):
                cleaner.queue_delete(made.queue + suffix)


def check_delayed_messages():
    with application() as app:
        done = []
        actor = app.actor(lambda name: done.append((name, time.monotonic())), actor_name="remember")
        started = time.monotonic()
        actor.send_with_options(args=("later",), delay=600)
        actor.send_with_options(args=("sooner",), delay=300)
        equal(app.counts(), (0, 2, 0))
        actor.send("now")
        with app.worker():
            poll_until(lambda: len(done) == 3, "all three are done", PATIENCE_S)
        equal([name for name, _when in done], ["now", "sooner", "later"])
        for (_name, when), delay_s in zip(done[1:], (0.3, 0.6)):
            equal(when - started >= delay_s - 0.01, True, "not before its time")
        equal(app.counts(), (0, 0, 0))


def check_retries_and_then_success():
    with application() as app:
        attempts = []

        def third_time_lucky():
            attempts.append(time.monotonic())
            if len(attempts) < 3:
                raise RuntimeError("not yet")

        actor = app.actor(third_time_lucky)
        actor.send()
        with app.worker():
            poll_until(lambda: len(attempts) == 3, "three attempts", PATIENCE_S)
        equal(app.counts(), (0, 0, 0))


def check_dead_messages_are_kept_for_a_while():
    with application() as app:
        attempts = []

        def hopeless():
            attempts.append(1)
            raise RuntimeError("never")

        actor = app.actor(hopeless, max_retries=2)
        message = actor.send()
        with app.worker():
            poll_until(lambda: app.counts()[2] == 1, "it is dead", PATIENCE_S)
        equal((len(attempts), app.counts()[:2]), (3, (0, 0)))
        with channel() as looking:
            method, properties, body = looking.basic_get(app.queue + ".XQ")
            equal(message.message_id in body.decode(), True, "the same message")
            (death,) = properties.headers["x-death"]
            seen = (death["reason"], death["queue"], death["exchange"], death["count"], death["routing-keys"])
            equal(seen, ("rejected", app.queue, "", 1, [app.queue]))
            equal((method.routing_key, properties.delivery_mode), (app.queue + ".XQ", 2))
            looking.basic_nack(method.delivery_tag, requeue=True)
        poll_until(lambda: app.counts()[2] == 0, "it is gone", DEAD_MESSAGE_TTL_MS / 1000 + PATIENCE_S)


def check_what_is_no_message_is_dead_at_once():
    with application() as app:
        actor = app.actor(lambda: None, actor_name="nothing")
        app.broker.declare_queue(app.queue, ensure=True)
        app.broker.channel.basic_publish("", app.queue, b"\x00not json", pika.BasicProperties(delivery_mode=2))
        actor.send()
        with app.worker():
            poll_until(lambda: app.counts() == (0, 0, 1), "it is dead, and the other one done", PATIENCE_S)


def check_priorities():
    with application(max_priority=10) as app:
        done = []
        actor = app.actor(done.append, actor_name="remember")
        for name, priority in (("a", 1), ("b", 10), ("c", 5), ("d", None), ("e", 10), ("f", 5)):
            options = {} if priority is None else {"broker_priority": priority}
            actor.send_with_options(args=(name,), **options)
        with app.worker():
            poll_until(lambda: len(done) == 6, "all are done", PATIENCE_S)
        # The worker takes two at a time and sorts by another priority of its own, which is the same for all here.
        equal("".join(done), "becfad")


def check_a_queue_that_vanished_is_declared_again():
    with application() as app:
        done = []
        actor = app.actor(done.append, actor_name="remember")
        actor.send("first")
        with channel() as other:
            equal(other.queue_delete(app.queue).method.message_count, 1)
        actor.send("second")
        with app.worker():
            poll_until(lambda: done, "it is done", PATIENCE_S)
        equal(done, ["second"])


if __name__ == "__main__":
    run("dramatiq", dramatiq.__version__, list(checks_of(sys.modules["__main__"])))
