"""Celery on queues that do more: priorities, quorum queues, and delays that wait in the broker and not in a worker."""

import datetime
import os
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from harness import checks_of, equal, poll_until, run, unique  # noqa: E402

os.environ["NAMESPACE"] = unique("celery") + "."

import celery  # noqa: E402
from kombu import Connection, Exchange, Queue  # noqa: E402
from kombu.transport.native_delayed_delivery import (  # noqa: E402
    bind_queue_to_native_delayed_delivery_exchange,
    calculate_routing_key,
    declare_native_delayed_delivery_exchanges_and_queues,
    level_name,
)

import delayed_tasks  # noqa: E402
from delayed_tasks import NAMESPACE, priorities, quorum  # noqa: E402
from worker import RESULT_DEADLINE_S, solo_worker  # noqa: E402

CLASSIC_PREFIX = NAMESPACE + "classic"
LEVELS = 28


def message_count(app, queue):
    with app.connection_for_read() as connection, connection.channel() as channel:
        return channel.queue_declare(queue, passive=True).message_count


def through_levels(delay_s, key):
    return ".".join(f"{delay_s:0{LEVELS}b}") + "." + key


def check_routing_key_of_a_delay():
    equal(calculate_routing_key(5, "key"), through_levels(5, "key"))


def check_priorities():
    levels = [1, 9, None, 5, 9, 0, 3, 10]
    results = [
        delayed_tasks.when.apply_async(**({} if level is None else {"priority": level})) for level in levels
    ]
    tried_again = delayed_tasks.when_at_third_try.apply_async(priority=4)
    poll_until(lambda: message_count(priorities, priorities.conf.task_default_queue) == 9, "all tasks wait")
    with solo_worker("delayed_tasks:priorities"):
        times = [result.get(timeout=RESULT_DEADLINE_S) for result in results]
        third = tried_again.get(timeout=RESULT_DEADLINE_S)
    order = [index for _time, index in sorted((at, index) for index, at in enumerate(times))]
    equal(order, [7, 1, 4, 3, 2, 6, 0, 5])
    equal(third > times[3], True, "not before what is above it")


def check_delays_wait_in_the_broker():
    app, key = quorum, quorum.conf.task_default_routing_key
    with solo_worker("delayed_tasks:quorum"):
        started = time.monotonic()
        in_three = delayed_tasks.when_and_how.apply_async(countdown=3)
        soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=2.9)
        delayed = [
            (3, in_three),
            (2, delayed_tasks.when_and_how.apply_async(eta=soon)),  # whole seconds wait in the broker
            (1, delayed_tasks.when_and_how.apply_async(countdown=1)),
        ]
        retried = delayed_tasks.succeed_after_delayed_retries.delay()
        at_once = delayed_tasks.when_and_how.delay()
        equal(at_once.get(timeout=RESULT_DEADLINE_S)[1], key)
        for delay_s, result in delayed:
            when, came_by = result.get(timeout=RESULT_DEADLINE_S)
            equal(came_by, through_levels(delay_s, key))
            equal(when - started >= delay_s - 0.05, True, f"{delay_s} s came after {when - started}")
        when, came_by = retried.get(timeout=RESULT_DEADLINE_S)
        equal(came_by, through_levels(1, key), "a retry's delay takes the place of the one before")
        equal(when - started >= 2 - 0.05, True, "two retries of a second each")

        equal(delayed_tasks.succeed_at_third_delivery.delay().get(timeout=RESULT_DEADLINE_S), 2)

    # And nobody needs to be there.
    result = delayed_tasks.when_and_how.apply_async(countdown=1)
    poll_until(lambda: message_count(app, app.conf.task_default_queue) == 1, "the task is due and waits for a worker")
    with solo_worker("delayed_tasks:quorum"):
        equal(result.get(timeout=RESULT_DEADLINE_S)[1], through_levels(1, key))


def check_delays_through_classic_queues():
    key = unique("key")
    with Connection(os.environ["AMQP_URL"]) as connection:
        exchange = Exchange(CLASSIC_PREFIX + ".topic", type="topic")
        queue = Queue(CLASSIC_PREFIX + ".work", exchange, routing_key=key)
        queue(connection.default_channel).declare()
        declare_native_delayed_delivery_exchanges_and_queues(connection, "classic", CLASSIC_PREFIX)
        bind_queue_to_native_delayed_delivery_exchange(connection, queue, CLASSIC_PREFIX)
        producer = connection.Producer()
        started = time.monotonic()
        arrived = []

        def remember(body, _message):
            arrived.append((body, time.monotonic()))

        for delay_s in (3, 1):
            first_level = level_name(LEVELS - 1, CLASSIC_PREFIX)
            producer.publish(delay_s, exchange=first_level, routing_key=calculate_routing_key(delay_s, key))
        with connection.Consumer(queue, callbacks=[remember], no_ack=True):
            poll_until(lambda: len(arrived) == 2, "both", 10, lambda: drain(connection))
        for (body, when), delay_s in zip(arrived, (1, 3)):
            equal((body, when - started >= delay_s - 0.05), (delay_s, True), f"{when - started}")


def drain(connection):
    try:
        connection.drain_events(timeout=0.1)
    except TimeoutError:
        pass


def clean_up():
    with quorum.connection_for_write() as connection, connection.channel() as channel:
        for prefix in (None, CLASSIC_PREFIX):
            for level in range(LEVELS):
                channel.queue_delete(level_name(level, prefix))
                channel.exchange_delete(level_name(level, prefix))
            channel.exchange_delete(f"{prefix}_celery_delayed_delivery" if prefix else "celery_delayed_delivery")
        for app in (priorities, quorum):
            channel.queue_delete(app.conf.task_default_queue)
            channel.exchange_delete(app.conf.task_default_exchange)
        channel.queue_delete(CLASSIC_PREFIX + ".work")
        channel.exchange_delete(CLASSIC_PREFIX + ".topic")
        for exchange in ("pidbox", "events"):
            channel.exchange_delete(NAMESPACE + exchange)
        for suffix in (".pidbox", ".reply.pidbox"):
            channel.exchange_delete(NAMESPACE + "pidbox" + suffix)
            channel.exchange_delete("reply." + NAMESPACE + "pidbox" + suffix)


if __name__ == "__main__":
    try:
        run("celery-delays", celery.__version__, list(checks_of(sys.modules["__main__"])))
    finally:
        clean_up()
