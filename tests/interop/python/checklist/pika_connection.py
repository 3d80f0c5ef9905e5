"""pika: connecting, being refused, heartbeats, reconnecting, what the two sides tell each other."""

import time

import pika
from pika.exceptions import ConnectionClosedByBroker, ProbableAccessDeniedError, ProbableAuthenticationError

from checklist.pika_support import Deliveries, channel, connection, cut, exclusive_queue, get_all, parameters, shared_queue
from harness import PASSWORD, URL, USER, equal, raises

HEARTBEAT_S = 1
IDLE_S = 4.5  # more than four intervals: a missed heartbeat on either side would have closed the connection

CAPABILITIES = (
    "publisher_confirms",
    "exchange_exchange_bindings",
    "basic.nack",
    "consumer_cancel_notify",
    "connection.blocked",
    "consumer_priorities",
    "authentication_failure_close",
    "per_consumer_qos",
    "direct_reply_to",
)


def check_connect_by_url():
    with pika.BlockingConnection(pika.URLParameters(URL)) as opened:
        equal(opened.is_open, True)
        exclusive_queue(opened.channel())


def check_server_properties():
    with connection() as opened:
        properties = opened._impl.server_properties
        for key in ("product", "version", "platform", "information", "copyright", "cluster_name"):
            equal(bool(properties[key]), True, key)
        capabilities = properties["capabilities"]
        equal({name: capabilities.get(name) for name in CAPABILITIES}, dict.fromkeys(CAPABILITIES, True))


def check_client_properties_and_name_are_taken():
    described = {"connection_name": "interop", "product": "test", "capabilities": {"connection.blocked": True}}
    with channel(client_properties=described) as ch:
        exclusive_queue(ch)


def check_negotiation():
    with connection() as opened:
        tuned = opened._impl.params
        equal((tuned.channel_max, tuned.frame_max, tuned.heartbeat), (2047, 131072, 60))
    with connection(channel_max=5, frame_max=8192, heartbeat=0) as opened:
        tuned = opened._impl.params
        equal((tuned.channel_max, tuned.frame_max, tuned.heartbeat), (5, 8192, 0))


def check_wrong_password():
    for user, password in ((USER, "wrong"), ("nobody", PASSWORD), (USER, "")):
        with raises(ProbableAuthenticationError, "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN"):
            pika.BlockingConnection(parameters(credentials=pika.PlainCredentials(user, password)))


def check_unknown_vhost():
    with raises((ProbableAccessDeniedError, ConnectionClosedByBroker), "NOT_ALLOWED - vhost nowhere not found"):
        pika.BlockingConnection(parameters(virtual_host="nowhere"))


def check_many_channels():
    with connection() as opened:
        channels = [opened.channel() for _ in range(200)]
        for ch in channels:
            queue = exclusive_queue(ch)
            ch.basic_publish("", queue, b"x")
            equal(get_all(ch, queue), [(False, b"x")])
        for ch in channels[::2]:
            ch.close()
        equal(opened.channel().is_open, True, "numbers are used again")


def check_heartbeats_keep_an_idle_connection():
    with channel(heartbeat=HEARTBEAT_S) as ch:
        queue = exclusive_queue(ch)
        frames_before = ch.connection._impl.frames_received
        started = time.monotonic()
        while time.monotonic() - started < IDLE_S:
            ch.connection.process_data_events(time_limit=0.25)
        beats = ch.connection._impl.frames_received - frames_before
        equal(beats >= 3, True, f"the broker's heartbeats in {IDLE_S} s ({beats})")
        ch.basic_publish("", queue, b"alive")
        equal(get_all(ch, queue), [(False, b"alive")])


def check_reconnect_after_the_socket_is_gone():
    with channel() as ch:
        queue, deliveries = exclusive_queue(ch), Deliveries(ch)
        ch.basic_publish("", queue, b"x")
        deliveries.consume(queue)
        deliveries.wait_for(1)
        cut(ch.connection)
        with raises(pika.exceptions.AMQPConnectionError):
            ch.queue_declare(queue, passive=True)
    with channel() as ch:
        exclusive_queue(ch)


def check_a_lost_connection_puts_its_messages_back():
    with shared_queue("lost") as name, channel() as observer:
        lost = pika.BlockingConnection(parameters())
        deliveries = Deliveries(lost.channel())
        deliveries.consume(name)
        observer.basic_publish("", name, b"m0")
        deliveries.wait_for(1)
        # A second connection waits for its turn; the first one's socket goes away without a word.
        successor = Deliveries(observer)
        successor.consume(name)
        cut(lost)
        method, _properties, body = successor.wait_for(1)[0]
        equal((method.redelivered, body), (True, b"m0"))


def check_immediate_is_not_implemented():
    with connection() as opened:
        ch = opened.channel()
        queue = exclusive_queue(ch)
        method = pika.spec.Basic.Publish(exchange="", routing_key=queue, immediate=True)
        ch._impl._send_method(method, (pika.BasicProperties(), b"x"))
        with raises(ConnectionClosedByBroker, "NOT_IMPLEMENTED - immediate=true") as caught:
            ch.basic_get(queue)
        equal(caught.error.reply_code, 540)


def check_update_secret():
    with connection() as opened:
        opened.update_secret("another", "interop")
        exclusive_queue(opened.channel())
