"""The checklist through kombu (and py-amqp beneath it)."""

import contextlib
import datetime
import socket
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import amqp  # noqa: E402
import kombu  # noqa: E402
from kombu.pools import connections, producers  # noqa: E402

from harness import HOST, PORT, URL, checks_of, equal, poll_until, raises, run, unique  # noqa: E402

QUIET_S = 0.1
IDLE_S = 4.5
HEARTBEAT_S = 1


@contextlib.contextmanager
def channel(**options):
    with kombu.Connection(URL, **options) as connection:
        yield connection.default_channel


def exclusive_queue(ch):
    """By hand, because kombu makes every exclusive queue auto-delete too."""
    name = unique("kombu")
    ch.queue_declare(name, exclusive=True, auto_delete=False)
    return kombu.Queue(name, channel=ch, no_declare=True)


def publish_numbered(ch, queue, count):
    producer = kombu.Producer(ch)
    for number in range(count):
        producer.publish(b"m%d" % number, routing_key=queue.name)


def get_all(queue):
    messages = []
    while (message := queue.get(no_ack=True)) is not None:
        messages.append((message.delivery_info["redelivered"], bytes(message.body)))
    return messages


def drain(connection, timeout=QUIET_S):
    """One event, if one comes in time."""
    with contextlib.suppress(socket.timeout):
        connection.drain_events(timeout=timeout)


def wait_for(connection, messages, count):
    poll_until(lambda: len(messages) >= count, f"{count} messages", step=lambda: drain(connection))
    drain(connection)
    equal(len(messages), count)


def check_serializers_and_compression():
    value = {"list": [1, 2.5, None, True], "text": "grüße" * 1000}
    with channel() as ch:
        queue = exclusive_queue(ch)
        producer = kombu.Producer(ch)
        for serializer, compression in (("json", None), ("json", "zlib"), ("pickle", None)):
            producer.publish(value, routing_key=queue.name, serializer=serializer, compression=compression)
            message = queue.get(accept=["json", "pickle"])
            equal(message.payload, value, f"{serializer} {compression}")
            message.ack()


def check_every_property_comes_back():
    headers = {
        "text": "grüße",
        "true": True,
        "int": -5,
        "long": 9_000_000_000_000,
        "double": 2.25,
        "time": datetime.datetime(2024, 2, 29, 12, 30, 15),
        "nothing": None,
        "array": [1, "two", [3]],
        "table": {"a": {"b": 1}},
    }
    properties = {
        "priority": 7,
        "correlation_id": "correlation",
        "reply_to": "reply",
        "expiration": 60,
        "message_id": "message",
        "timestamp": 1709164800,
        "type": "kind",
        "user_id": "guest",
        "app_id": "app",
        "cluster_id": "cluster",
    }
    with channel() as ch:
        queue = exclusive_queue(ch)
        kombu.Producer(ch).publish(
            "body", routing_key=queue.name, headers=headers, content_type="a/b", content_encoding="utf-8", **properties
        )
        message = queue.get(no_ack=True)
        equal((message.content_type, message.content_encoding), ("a/b", "utf-8"))
        equal(message.headers, headers)
        got = message.properties
        equal(got["delivery_mode"], 2)
        equal({name: got[name] for name in properties}, properties | {"expiration": "60000"})


def check_bodies_of_many_sizes():
    with channel() as ch:
        queue = exclusive_queue(ch)
        producer = kombu.Producer(ch)
        for size in (0, 1, 131064, 131065, 1024 * 1024):
            producer.publish(b"x" * size, routing_key=queue.name, content_encoding="binary")
            equal(len(queue.get(no_ack=True).body), size)


def check_consumer_acknowledging_and_putting_back():
    with kombu.Connection(URL) as connection:
        ch = connection.default_channel
        queue, messages = exclusive_queue(ch), []
        consumer = kombu.Consumer(ch, [queue], on_message=messages.append, prefetch_count=4)
        publish_numbered(ch, queue, 6)
        with consumer:
            wait_for(connection, messages, 4)
        messages[0].ack()
        messages[1].reject()
        messages[3].requeue()
        messages[2].requeue()
        equal(get_all(queue), [(True, b"m2"), (True, b"m3"), (False, b"m4"), (False, b"m5")])


def check_prefetch_global():
    with kombu.Connection(URL) as connection:
        ch = connection.default_channel
        queue, messages = exclusive_queue(ch), []
        ch.basic_qos(0, 3, True)
        consumers = [kombu.Consumer(ch, [queue], on_message=messages.append) for _ in range(2)]
        with consumers[0], consumers[1]:
            publish_numbered(ch, queue, 8)
            wait_for(connection, messages, 3)
            messages[0].ack()
            wait_for(connection, messages, 4)


def check_recover():
    with kombu.Connection(URL) as connection:
        ch = connection.default_channel
        queue, messages = exclusive_queue(ch), []
        with kombu.Consumer(ch, [queue], on_message=messages.append) as consumer:
            publish_numbered(ch, queue, 1)
            wait_for(connection, messages, 1)
            consumer.recover(requeue=True)
            wait_for(connection, messages, 2)
            equal(messages[1].delivery_info["redelivered"], True)


def check_confirms_and_returns():
    with channel(transport_options={"confirm_publish": True}) as ch:
        queue = exclusive_queue(ch)
        publish_numbered(ch, queue, 50)
        equal(queue.queue_declare(passive=True).message_count, 50)
        returned = []
        producer = kombu.Producer(ch, on_return=lambda *arguments: returned.append(arguments))
        nowhere = unique("nowhere")
        producer.publish(b"back", routing_key=nowhere, mandatory=True)
        # The confirm has been waited for, and the return came before it.
        ((_error, exchange, routing_key, message),) = returned
        equal((exchange, routing_key, bytes(message.body)), ("", nowhere, b"back"))


def check_transactions():
    with channel() as ch:
        queue = exclusive_queue(ch)
        ch.tx_select()
        publish_numbered(ch, queue, 2)
        ch.tx_rollback()
        equal(queue.queue_declare(passive=True).message_count, 0)
        publish_numbered(ch, queue, 2)
        ch.tx_commit()
        equal(get_all(queue), [(False, b"m0"), (False, b"m1")])


def check_errors_close_the_channel_only():
    with kombu.Connection(URL) as connection, kombu.Connection(URL) as stranger:
        bystander = connection.channel()
        queue = exclusive_queue(bystander)
        cases = (
            (amqp.NotFound, 404, lambda ch: ch.queue_declare(unique("missing"), passive=True)),
            (amqp.NotFound, 404, lambda ch: ch.queue_bind(queue.name, unique("missing"))),
            (amqp.PreconditionFailed, 406, lambda ch: ch.queue_declare(queue.name, exclusive=True, auto_delete=True)),
            (amqp.AccessRefused, 403, lambda ch: ch.queue_declare("amq.mine")),
        )
        for kind, reply_code, action in cases:
            with raises(kind) as caught:
                action(connection.channel())
            equal(caught.error.reply_code, reply_code)
        with raises(amqp.ResourceLocked, "cannot obtain exclusive access to locked queue"):
            stranger.channel().queue_declare(queue.name)
        publish_numbered(bystander, queue, 1)
        equal(get_all(queue), [(False, b"m0")])


def check_exchanges_and_bindings():
    with channel() as ch:
        topic = kombu.Exchange(unique("topic"), "topic", channel=ch, durable=False, auto_delete=True)
        headers = kombu.Exchange(unique("headers"), "headers", channel=ch, durable=False, auto_delete=True)
        topic.declare()
        headers.declare()
        headers.bind_to(topic, "log.#")
        queue = exclusive_queue(ch)
        queue.bind_to(headers, arguments={"x-match": "all", "a": 1})
        producer = kombu.Producer(ch)
        for key, values in (("log.x", {"a": 1, "b": 2}), ("log.x", {"b": 2}), ("other", {"a": 1})):
            producer.publish(key.encode(), exchange=topic, routing_key=key, headers=values)
        equal(get_all(queue), [(False, b"log.x")])
        headers.unbind_from(topic, "log.#")


def check_purge_and_delete():
    with channel() as ch:
        queue = kombu.Queue(unique("purge"), channel=ch, durable=False)
        queue.declare()
        publish_numbered(ch, queue, 3)
        equal(queue.purge(), 3)
        publish_numbered(ch, queue, 1)
        with raises(amqp.PreconditionFailed, "not empty"):
            queue.delete(if_empty=True)
        with channel() as other:
            equal(queue(other).delete(), 1)


def check_simple_queue():
    with kombu.Connection(URL) as connection:
        name = unique("simple")
        with contextlib.closing(connection.SimpleQueue(name)) as simple:
            simple.put({"n": 1})
            message = simple.get(timeout=10)
            equal(message.payload, {"n": 1})
            message.ack()
            with raises(simple.Empty):
                simple.get(block=False)
        connection.default_channel.queue_delete(name)
        connection.default_channel.exchange_delete(name)


def check_pools():
    connection = kombu.Connection(URL)
    with connections[connection].acquire(block=True) as pooled:
        queue = exclusive_queue(pooled.default_channel)
        with producers[connection].acquire(block=True) as producer:
            producer.publish({"x": 1}, routing_key=queue.name, retry=True)
        equal(poll_until(lambda: queue.get(no_ack=True), "the message").payload, {"x": 1})
    kombu.pools.reset()


def check_heartbeats_keep_an_idle_connection():
    with kombu.Connection(URL, heartbeat=HEARTBEAT_S) as connection:
        ch = connection.default_channel
        queue = exclusive_queue(ch)
        equal(connection.get_heartbeat_interval(), HEARTBEAT_S)
        started = time.monotonic()
        while time.monotonic() - started < IDLE_S:
            # Raises when the broker's heartbeats stay away.
            connection.heartbeat_check(rate=2)
            drain(connection, timeout=HEARTBEAT_S / 4)
        publish_numbered(ch, queue, 1)
        equal(get_all(queue), [(False, b"m0")])


def check_ensure_reconnects():
    with kombu.Connection(URL) as connection:
        name = unique("ensure")
        errors = []
        connection.ensure_connection()
        connection.connection.transport.sock.shutdown(socket.SHUT_RDWR)
        producer = connection.Producer()
        publish = connection.ensure(producer, producer.publish, errback=lambda error, _interval: errors.append(error))
        publish(b"after", routing_key=name, declare=[kombu.Queue(name, durable=False, auto_delete=True)])
        equal(len(errors) <= 1, True, f"one loss at most: {errors}")
        queue = kombu.Queue(name, channel=connection.default_channel, durable=False, auto_delete=True)
        equal(bytes(queue.get(no_ack=True).body), b"after")
        queue.delete()


def check_refused_connections():
    with raises(amqp.AccessRefused, "Login was refused using authentication mechanism") as caught:
        kombu.Connection(f"amqp://guest:wrong@{HOST}:{PORT}/%2f").connect()
    equal(caught.error.reply_code, 403)
    with raises(amqp.NotAllowed, "vhost nowhere not found") as caught:
        kombu.Connection(f"amqp://guest:guest@{HOST}:{PORT}/nowhere").connect()
    equal(caught.error.reply_code, 530)


def check_amqplain_login():
    with kombu.Connection(URL, login_method="AMQPLAIN") as connection:
        exclusive_queue(connection.default_channel)


if __name__ == "__main__":
    run("kombu", kombu.__version__, list(checks_of(sys.modules["__main__"])))
