"""NServiceBus's RabbitMQ transport, its declarations and sends replayed with pika.

After its DelayInfrastructure, ConventionalRoutingTopology, DirectRoutingTopology and MessagePump: 28 levels of delay,
each a topic exchange and a quorum queue whose expired messages go one level down at least once; endpoints that are a
queue and a fanout exchange; what becomes of messages that fail, and of those that cannot be understood.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import time  # noqa: E402

import pika  # noqa: E402
import pika.exceptions  # noqa: E402

from frameworks.topology import PERSISTENT, confirming, inbox, topology, wait_for_count  # noqa: E402
from harness import checks_of, equal, raises, run, unique  # noqa: E402

MAX_LEVEL = 27
DELAY_HEADER = "NServiceBus.Transport.RabbitMQ.DelayInSeconds"
QUORUM = {"x-queue-type": "quorum"}
LATE_S = 3.0  # how much later than asked for a message may come on a busy machine


class Endpoint:
    """The transport's names: `nsb.v2` is unique here, so that the broker may be a shared one."""

    def __init__(self, made):
        self.topology = made
        self.prefix = unique("nsb.v2")
        self.delivery = f"{self.prefix}.delay-delivery"

    def level(self, number):
        return f"{self.prefix}.delay-level-{number:02}"

    def build_delay_infrastructure(self):
        key = "1.#"
        for number in range(MAX_LEVEL, -1, -1):
            self.topology.exchange(self.level(number), "topic")
            arguments = QUORUM | {
                "x-dead-letter-strategy": "at-least-once",
                "x-overflow": "reject-publish",
                "x-message-ttl": 2**number * 1000,
                "x-dead-letter-exchange": self.level(number - 1) if number > 0 else self.delivery,
            }
            self.topology.queue(self.level(number), arguments=arguments)
            self.topology.bind_queue(self.level(number), self.level(number), key)
            key = "*." + key
        key = "0.#"
        for number in range(MAX_LEVEL, 0, -1):
            self.topology.bind_exchange(self.level(number - 1), self.level(number), key)
            key = "*." + key
        self.topology.exchange(self.delivery, "topic")
        self.topology.bind_exchange(self.delivery, self.level(0), key)

    def receiver(self, name, arguments=QUORUM):
        """ConventionalRoutingTopology.Initialize: a queue, and a fanout exchange of its name."""
        address = unique(name)
        self.topology.queue(address, arguments=arguments)
        self.topology.exchange(address)
        self.topology.bind_queue(address, address)
        return address

    def send_delayed(self, sender, address, delay_s, body):
        """ConfirmsAwareChannel.SendMessage: the delay in binary is the way through the levels."""
        digits = f"{delay_s:028b}"
        first_level = MAX_LEVEL - digits.index("1") if delay_s else 0
        self.topology.bind_exchange(address, self.delivery, f"#.{address}")
        properties = pika.BasicProperties(
            message_id=unique("id"), delivery_mode=PERSISTENT, headers={DELAY_HEADER: delay_s}
        )
        sender.basic_publish(self.level(first_level), ".".join(digits) + f".{address}", body, properties, mandatory=True)


def check_delays_through_28_levels():
    with topology() as made, confirming() as sender:
        endpoint = Endpoint(made)
        endpoint.build_delay_infrastructure()
        endpoint.build_delay_infrastructure()  # as every start of every endpoint does
        address = endpoint.receiver("sales")
        with inbox(address, prefetch=10) as received:
            started = time.monotonic()
            for delay_s in (3, 2, 1, 0):
                endpoint.send_delayed(sender, address, delay_s, b"%d" % delay_s)
            endpoint.send_delayed(sender, address, 2**28 - 1, b"in eight years")
            wait_for_count(made.channel, endpoint.level(MAX_LEVEL), 1)

            arrived = [received.next() for _ in range(4)]
            equal([body for *_rest, body in arrived], [b"0", b"1", b"2", b"3"], "in order of their times")
            for delay_s, (when, _method, _properties, _body) in enumerate(arrived):
                equal(delay_s - 0.05 <= when - started <= delay_s + LATE_S, True, f"{delay_s} s: {when - started}")
            three = arrived[3][2].headers
            equal(three[DELAY_HEADER], 3)
            deaths = [(death["queue"], death["reason"], death["count"]) for death in three["x-death"]]
            equal(deaths, [(endpoint.level(0), "expired", 1), (endpoint.level(1), "expired", 1)])
            equal(three["x-first-death-queue"], endpoint.level(1))
            equal(three["x-first-death-exchange"], endpoint.level(1))
            equal(three["x-first-death-reason"], "expired")
            equal("x-death" in arrived[0][2].headers, False, "a delay of none waits in no queue")
            equal(arrived[1][2].headers["x-first-death-queue"], endpoint.level(0))


def check_a_way_through_all_levels_to_nobody_is_returned():
    with topology() as made, confirming() as sender:
        endpoint = Endpoint(made)
        endpoint.build_delay_infrastructure()
        address = endpoint.receiver("unbound")
        at_once = "0." * 28 + address
        with raises(pika.exceptions.UnroutableError):
            sender.basic_publish(endpoint.level(MAX_LEVEL), at_once, b"", mandatory=True)
        made.bind_exchange(address, endpoint.delivery, f"#.{address}")
        sender.basic_publish(endpoint.level(MAX_LEVEL), at_once, b"through", mandatory=True)
        with inbox(address) as received:
            equal(received.take()[1], b"through")


def check_events_reach_subscribers_of_every_type_they_are():
    with topology() as made, confirming() as sender:
        endpoint = Endpoint(made)
        base, derived, contract = (unique(f"Messages:{name}") for name in ("Order", "RushOrder", "IOrder"))
        for name in (derived, base, contract):
            made.exchange(name)
        made.bind_exchange(base, derived)
        made.bind_exchange(contract, derived)
        made.bind_exchange(contract, base)
        subscribed = {name: endpoint.receiver(name.split(":")[1]) for name in (base, derived, contract)}
        everything = endpoint.receiver("Everything")
        for name, address in subscribed.items():
            made.bind_exchange(address, name)
            made.bind_exchange(everything, name)

        sender.basic_publish(derived, "", b"rush", pika.BasicProperties(message_id="1"))
        sender.basic_publish(base, "", b"calm", pika.BasicProperties(message_id="2"))
        for name, address in subscribed.items():
            wanted = [b"rush"] if name == derived else [b"rush", b"calm"]
            with inbox(address) as received:
                equal([received.take()[1] for _ in wanted], wanted, name)
        with inbox(everything) as received:
            equal([received.take()[1] for _ in range(2)], [b"rush", b"calm"], "once, by however many ways")
        for address in (everything, *subscribed.values()):
            wait_for_count(made.channel, address, 0)


def check_direct_routing_by_type_name():
    with topology() as made, confirming() as sender:
        namespace = unique("Orders").replace(".", "-")
        orders, everything = made.queue(unique("orders"), arguments=QUORUM), made.queue(unique("all"), arguments=QUORUM)
        made.bind_queue(orders, "amq.topic", f"{namespace}.Order.#")
        made.bind_queue(everything, "amq.topic", "#")
        for name in ("Order", "Order.RushOrder", "Invoice"):
            sender.basic_publish("amq.topic", f"{namespace}.{name}", name.encode(), pika.BasicProperties(message_id=name))
        with inbox(orders) as received:
            equal([received.take()[1] for _ in range(2)], [b"Order", b"Order.RushOrder"])
        wait_for_count(made.channel, everything, 3)


def check_immediate_retries_are_counted_by_the_queue():
    """The pump gives a failed message back, asks x-delivery-count how often, and sends it to `error` in the end."""
    with topology() as made, confirming() as sender:
        endpoint = Endpoint(made)
        address, error = endpoint.receiver("retried"), endpoint.receiver("error")
        properties = pika.BasicProperties(message_id="m", delivery_mode=PERSISTENT, headers={"NServiceBus.Retries": "0"})
        sender.basic_publish(address, "", b"fails", properties, mandatory=True)
        with inbox(address) as received:
            attempts = []
            for _ in range(6):
                _when, method, properties, body = received.next()
                # The header is what says how often, and it is not there at first.
                attempts.append((method.redelivered, properties.headers.get("x-delivery-count", 0) + 1))
                if len(attempts) < 6:
                    received.channel.basic_reject(method.delivery_tag, requeue=True)
            equal(attempts, [(number > 1, number) for number in range(1, 7)])
            del properties.headers["x-delivery-count"]
            sender.basic_publish(error, "", body, properties, mandatory=True)
            received.channel.basic_ack(method.delivery_tag)
        with inbox(error) as failed:
            properties, body = failed.take()
            equal((properties.message_id, properties.headers, body), ("m", {"NServiceBus.Retries": "0"}, b"fails"))
        wait_for_count(made.channel, address, 0)


def check_poison_messages_are_moved_or_kept():
    """A message without an id goes to `error` as it is; when that cannot be, it stays where it was."""
    with topology() as made, confirming() as sender:
        endpoint = Endpoint(made)
        address = endpoint.receiver("poisoned")
        sender.basic_publish(address, "", b"poison", pika.BasicProperties(type="unknown", headers={"a": [1, "b"]}))
        with inbox(address) as received:
            _when, method, properties, body = received.next()
            equal(properties.message_id, None)
            missing = made.exchange(unique("error"))
            with raises(pika.exceptions.UnroutableError):
                sender.basic_publish(missing, "", body, properties, mandatory=True)
            received.channel.basic_reject(method.delivery_tag, requeue=True)

            _when, method, properties, body = received.next()
            equal((method.redelivered, body), (True, b"poison"))
            error = endpoint.receiver("error")
            sender.basic_publish(error, "", body, properties, mandatory=True)
            received.channel.basic_ack(method.delivery_tag)
        with inbox(error) as failed:
            properties, body = failed.take()
            equal((properties.type, properties.headers["a"], body), ("unknown", [1, "b"], b"poison"))
        wait_for_count(made.channel, address, 0)


def check_time_to_be_received():
    with topology() as made, confirming() as sender:
        address = Endpoint(made).receiver("late")
        sender.basic_publish(address, "", b"dropped", pika.BasicProperties(message_id="1", expiration="100"))
        sender.basic_publish(address, "", b"kept", pika.BasicProperties(message_id="2"))
        wait_for_count(made.channel, address, 1)
        with inbox(address) as received:
            equal(received.take()[1], b"kept")


if __name__ == "__main__":
    run("nservicebus-topology", f"over pika {pika.__version__}", list(checks_of(sys.modules["__main__"])))
