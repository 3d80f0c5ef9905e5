"""MassTransit's RabbitMQ transport, its declarations and moves replayed with pika.

After its ReceiveEndpointBrokerTopologyBuilder, RabbitMqMessagePublishTopology, RabbitMqErrorSettings,
RabbitMqMoveTransport and RabbitMqSendTransportContext: message types are fanout exchanges bound along the hierarchy,
endpoints a fanout exchange and a queue of one name, and failures move to `_error` and `_skipped`.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import contextlib  # noqa: E402
import time  # noqa: E402

import pika  # noqa: E402

from frameworks.topology import PERSISTENT, confirming, exists, inbox, topology, wait_for_count  # noqa: E402
from harness import beyond_the_reference, checks_of, equal, poll_until, run, unique  # noqa: E402


def receive_endpoint(made, queue, arguments=None, **options):
    """Queues first, then exchanges, then what binds them: so does ConfigureRabbitMqTopologyFilter."""
    made.queue(queue, arguments=arguments, **options)
    made.exchange(queue, **options)
    made.bind_queue(queue, queue)
    return queue


def message_types(made, *names):
    """Each is a type that is also the next one: `OrderSubmitted`, `IOrderEvent`, …"""
    exchanges = [made.exchange(unique(f"Contracts:{name}")) for name in names]
    for derived, base in zip(exchanges, exchanges[1:]):
        made.bind_exchange(base, derived)
    return exchanges


def properties(**more):
    return pika.BasicProperties(
        message_id=unique("id"), content_type="application/vnd.masstransit+json", delivery_mode=PERSISTENT, **more
    )


def move(sender, made, received, suffix, arguments, headers):
    """RabbitMqMoveTransport: a copy with more headers and without its expiration, then the original's ack."""
    endpoint = receive_endpoint(made, received.queue + suffix, arguments)
    _when, method, moved, body = received.next()
    moved.headers = (moved.headers or {}) | headers
    moved.expiration = None
    sender.basic_publish(endpoint, method.routing_key, body, moved, mandatory=True)
    received.channel.basic_ack(method.delivery_tag)
    return endpoint


@contextlib.contextmanager
def endpoint_inbox(queue):
    with inbox(queue) as received:
        received.queue = queue
        yield received


def check_published_types_reach_consumers_of_what_they_are():
    with topology() as made, confirming() as sender:
        submitted, order_event, event = message_types(made, "OrderSubmitted", "IOrderEvent", "IEvent")
        billing = receive_endpoint(made, unique("billing"))
        audit = receive_endpoint(made, unique("audit"))
        made.bind_exchange(billing, submitted)
        for exchange in (submitted, order_event, event):
            made.bind_exchange(audit, exchange)

        sender.basic_publish(submitted, "", b"submitted", properties(), mandatory=True)
        sender.basic_publish(event, "", b"other", properties(), mandatory=True)
        with endpoint_inbox(billing) as received:
            equal(received.take()[1], b"submitted")
        with endpoint_inbox(audit) as received:
            equal([received.take()[1] for _ in range(2)], [b"submitted", b"other"], "once, by three ways")
        wait_for_count(made.channel, billing, 0)
        wait_for_count(made.channel, audit, 0)


def check_faults_move_to_the_error_queue():
    quorum = {"x-queue-type": "quorum", "x-quorum-initial-group-size": 1}
    with topology() as made, confirming() as sender:
        endpoint = receive_endpoint(made, unique("orders"), quorum)
        sender.basic_publish(endpoint, "", b"bad", properties(expiration="60000", headers={"MT-Host": "a"}))
        fault = {"MT-Reason": "fault", "MT-Fault-ExceptionType": "System.Exception", "MT-Fault-RetryCount": 3}
        with endpoint_inbox(endpoint) as received:
            error = move(sender, made, received, "_error", quorum, fault)
        with endpoint_inbox(error) as failed:
            kept, body = failed.take()
            equal((kept.headers, kept.expiration, body), ({"MT-Host": "a"} | fault, None, b"bad"))
        wait_for_count(made.channel, endpoint, 0)


def check_messages_that_nobody_knows_move_to_the_skipped_queue():
    with topology() as made, confirming() as sender:
        endpoint = receive_endpoint(made, unique("orders"))
        sender.basic_publish(endpoint, "", b"unknown", properties())
        with endpoint_inbox(endpoint) as received:
            skipped = move(sender, made, received, "_skipped", None, {"MT-Reason": "dead-letter"})
        with endpoint_inbox(skipped) as failed:
            kept, body = failed.take()
            equal((kept.headers["MT-Reason"], body), ("dead-letter", b"unknown"))
        wait_for_count(made.channel, endpoint, 0)


def check_temporary_endpoints_expire_with_their_exchange():
    """The bus's own endpoint: not durable, deleted with its last consumer, or when none has come for a while."""
    temporary = {"durable": False, "auto_delete": True}
    with topology() as made:
        idle = receive_endpoint(made, unique("bus"), {"x-expires": 300}, **temporary)
        used = receive_endpoint(made, unique("bus"), {"x-expires": 60_000}, **temporary)
        (contract,) = message_types(made, "Response")
        for endpoint in (idle, used):
            made.bind_exchange(endpoint, contract)
        poll_until(lambda: not exists("exchange", idle), "the idle endpoint's exchange is gone")
        equal(exists("queue", idle), False)

        with endpoint_inbox(used) as received:
            made.channel.basic_publish(used, "", b"response", properties())
            equal(received.take()[1], b"response")
            equal((exists("queue", used), exists("exchange", used)), (True, True))
        poll_until(lambda: not exists("exchange", used), "the used endpoint's exchange is gone")
        equal((exists("queue", used), exists("exchange", contract)), (False, True))


def check_bound_dead_letter_queue():
    with topology() as made, confirming() as sender:
        dead = receive_endpoint(made, unique("orders-dead"))
        arguments = {"x-queue-type": "quorum", "x-delivery-limit": 2, "x-dead-letter-exchange": dead}
        endpoint = receive_endpoint(made, unique("orders"), arguments)
        sender.basic_publish(endpoint, "key", b"rejected", properties())
        sender.basic_publish(endpoint, "key", b"returned", properties())
        with endpoint_inbox(endpoint) as received:
            _when, method, _properties, body = received.next()
            equal(body, b"rejected")
            received.channel.basic_nack(method.delivery_tag, requeue=False)
            counts = []
            for _ in range(3):
                _when, method, returned, _body = received.next()
                counts.append((returned.headers or {}).get("x-delivery-count"))
                received.channel.basic_nack(method.delivery_tag, requeue=True)
            equal(counts, [None, 1, 2])
        with endpoint_inbox(dead) as failed:
            for wanted in ("rejected", "delivery_limit"):
                kept, body = failed.take()
                death = kept.headers["x-death"][0]
                seen = (death["reason"], death["queue"], death["exchange"], death["routing-keys"], death["count"])
                equal(seen, (wanted, endpoint, endpoint, ["key"], 1))
                equal(body, b"rejected" if wanted == "rejected" else b"returned")


def check_endpoint_with_priorities():
    with topology() as made, confirming() as sender:
        endpoint = receive_endpoint(made, unique("orders"), {"x-max-priority": 9})
        for number, priority in enumerate((None, 5, 9, 0, 200, 5)):
            sender.basic_publish(endpoint, "", b"%d" % number, properties(priority=priority))
        with endpoint_inbox(endpoint) as received:
            equal([received.take()[1] for _ in range(6)], [b"2", b"4", b"1", b"5", b"0", b"3"])


def check_single_active_consumer_endpoint():
    arguments = {"x-queue-type": "quorum", "x-single-active-consumer": True}
    with topology() as made, confirming() as sender:
        endpoint = receive_endpoint(made, unique("orders"), arguments)
        with endpoint_inbox(endpoint) as first, endpoint_inbox(endpoint) as second:
            for body in (b"1", b"2", b"3"):
                sender.basic_publish(endpoint, "", body, properties())
            equal([first.take()[1], first.take()[1]], [b"1", b"2"])
            equal(first.next()[3], b"3")
            equal(second.deliveries, [])
            first.channel.basic_cancel(first.tag)
            sender.basic_publish(endpoint, "", b"4", properties())
            equal(second.take()[1], b"4")
            first.channel.close()  # gives the third one back
            equal(second.take()[1], b"3")


def check_alternate_exchange_of_a_message_type():
    with topology() as made, confirming() as sender:
        unrouted = receive_endpoint(made, unique("unrouted"))
        contract = made.exchange(unique("Contracts:Ignored"), arguments={"alternate-exchange": unrouted})
        sender.basic_publish(contract, "", b"nobody's", properties(), mandatory=True)
        endpoint = receive_endpoint(made, unique("orders"))
        made.bind_exchange(endpoint, contract)
        sender.basic_publish(contract, "", b"somebody's", properties(), mandatory=True)
        with endpoint_inbox(unrouted) as received:
            equal(received.take()[1], b"nobody's")
        with endpoint_inbox(endpoint) as received:
            equal(received.take()[1], b"somebody's")
        wait_for_count(made.channel, unrouted, 0)


def check_consumer_priority_and_exclusive_consumer():
    with topology() as made, confirming() as sender:
        endpoint = receive_endpoint(made, unique("orders"))
        with inbox(endpoint, arguments={"x-priority": -1}) as fallback, inbox(endpoint, arguments={"x-priority": 7}) as main:
            sender.basic_publish(endpoint, "", b"first", properties())
            _when, method, _properties, body = main.next()
            equal(body, b"first")
            sender.basic_publish(endpoint, "", b"second", properties())  # the first one is still busy
            equal(fallback.take()[1], b"second")
            main.channel.basic_ack(method.delivery_tag)


@beyond_the_reference("the delayed message plugin")
def check_scheduled_messages_through_a_delayed_exchange():
    with topology() as made, confirming() as sender:
        endpoint = receive_endpoint(made, unique("orders"))
        delay = unique("orders_delay")
        made.exchange(delay, "x-delayed-message", arguments={"x-delayed-type": "fanout"})
        made.bind_exchange(endpoint, delay)
        started = time.monotonic()
        for delay_ms in (600, 300, 0):
            sender.basic_publish(delay, "", b"%d" % delay_ms, properties(headers={"x-delay": delay_ms}))
        with inbox(endpoint, prefetch=3) as received:
            for wanted_ms in (0, 300, 600):
                when, _method, _properties, body = received.next()
                equal(body, b"%d" % wanted_ms)
                equal(when - started >= wanted_ms / 1000 - 0.02, True, f"{wanted_ms} ms came early: {when - started}")


if __name__ == "__main__":
    run("masstransit-topology", f"over pika {pika.__version__}", list(checks_of(sys.modules["__main__"])))
