"""What perf/compare plays: the groups of its table and charts, and the scenarios in them.

A scenario names the arguments of leveret-perf and the brokers it makes sense for. `prepare` is played first, against a
broker that was started afresh, and `start` then measures that broker's next start.
"""

import dataclasses

AMQP = ("leveret", "rabbitmq", "rabbitmq, tuned", "garagemq", "garagemq, tuned", "rabbitmq 4", "lavinmq")
DURABLE = ("leveret", "leveret, durability os", *AMQP[1:])


@dataclasses.dataclass
class Scenario:
    group: str
    label: str
    arguments: str
    brokers: tuple = AMQP
    # Confirms mean something here: the table says what.
    durable: bool = False
    # What the same is called over NATS, between bare sockets, or without a broker at all.
    nats: str = ""
    bare: str = ""
    # Memory counts: on a broker that has done nothing before.
    fresh: bool = False
    # None, or what is played before a start is measured.
    start: str | None = None


RATE, DISK, LATENCY, SCALE, CHURN, START = (
    "Throughput", "Durable", "Latency", "Memory and many clients", "Coming and going", "Start"
)


def automatic(size, label):
    arguments = f"throughput --size {size}"
    return Scenario(RATE, f"{label}, automatic acknowledgement", arguments, nats=f"nats-throughput --size {size}",
                    bare=f"relay --size {size}")


def persistent(label, arguments, **more):
    return Scenario(DISK, label, arguments + " --durable --persistent", DURABLE, durable=True, **more)


ALL = [
    automatic(16, "16 B"),
    automatic(100, "100 B"),
    automatic(1024, "1 KiB"),
    automatic(65536, "64 KiB"),
    Scenario(RATE, "16 B, acknowledged every 100, prefetch 1000", "acked"),
    Scenario(RATE, "16 B, acknowledged each, prefetch 100", "acked --ack-every 1 --prefetch 100"),
    Scenario(RATE, "16 B, acknowledged each, prefetch 1", "acked --ack-every 1 --prefetch 1"),
    Scenario(RATE, "16 B, confirmed, window 1000", "confirmed"),
    Scenario(RATE, "16 B, confirmed, window 100", "confirmed --confirm-window 100"),
    Scenario(RATE, "16 B, confirmed, window 1", "confirmed --confirm-window 1"),
    Scenario(RATE, "16 B, ten priorities, automatic acknowledgement",
             "throughput --queue-argument x-max-priority=9 --priorities 10"),
    Scenario(RATE, "16 B, ten priorities, acknowledged every 100, prefetch 1000",
             "acked --queue-argument x-max-priority=9 --priorities 10"),
    Scenario(RATE, "16 B, single active consumer, acknowledged every 100, prefetch 1000",
             "acked --queue-argument x-single-active-consumer=true"),
    Scenario(RATE, "16 B, fan-out to 10", "fanout"),
    Scenario(RATE, "16 B, topic exchange, 4 to 4", "topic"),
    Scenario(RATE, "16 B, topic exchange, 10,000 keys in turn", "topic --keys 10000"),
    Scenario(RATE, "16 B, consistent hash, 10 queues, 10,000 keys in turn", "consistent-hash --keys 10000",
             ("leveret", "rabbitmq", "rabbitmq 4", "lavinmq")),
    Scenario(RATE, "16 B, delayed by 100 ms", "delayed", ("leveret", "lavinmq")),
    Scenario(RATE, "16 B, fan-in, 64 to 1", "fan-in"),
    Scenario(RATE, "100 B, fill a queue with a million", "fill --messages 1000000 --limit 30"),
    Scenario(RATE, "100 B, then drain it", "drain --messages 1000000 --limit 30"),
    Scenario(RATE, "16 B, a million rejected at once, to the dead-letter queue", "dead-letters --size 16 --limit 30"),
    Scenario(RATE, "16 B, a million expired at once, to the dead-letter queue", "dead-letters --size 16 --expired --limit 30"),
    persistent("16 B, no confirms", "throughput"),
    persistent("16 B, confirmed (1000), acknowledged every 100", "confirmed --ack-every 100 --prefetch 1000"),
    persistent("16 B, confirmed (1000), nobody consumes", "confirmed --consumers 0"),
    persistent("1 KiB, confirmed (100), acknowledged each",
               "confirmed --size 1024 --confirm-window 100 --ack-every 1 --prefetch 100"),
    persistent("16 B, 100 publishers to 100 queues, confirmed (100)",
               "confirmed --producers 100 --queues 100 --confirm-window 100 --ack-every 10 --prefetch 100"),
    persistent("16 B, a million rejected at once, to the dead-letter queue", "dead-letters --size 16 --limit 30"),
    persistent("16 B, confirmed one by one, nobody consumes", "confirmed --confirm-window 1 --consumers 0",
               bare="fsync --size 128"),
    Scenario(LATENCY, "1,000/s", "latency --rate 1000", bare="latency --bare --rate 1000"),
    Scenario(LATENCY, "10,000/s", "latency --rate 10000", bare="latency --bare --rate 10000"),
    Scenario(LATENCY, "50,000/s", "latency --rate 50000", bare="latency --bare --rate 50000"),
    Scenario(LATENCY, "durable, confirmed, 1,000/s",
             "confirmed --durable --persistent --ack-every 1 --prefetch 100 --rate 1000 --latency", DURABLE, durable=True),
    Scenario(LATENCY, "direct reply-to, one at a time", "rpc", bare="rpc --bare"),
    Scenario(SCALE, "5,000 idle connections", "idle-connections --connections 5000", fresh=True),
    Scenario(SCALE, "10,000 idle queues", "idle-queues --queues 10000", fresh=True),
    Scenario(SCALE, "100,000 idle queues", "idle-queues --queues 100000", ("leveret",), fresh=True),
    Scenario(SCALE, "1,000 consumers, 10,000/s over all", "crowd --connections 1000 --rate 10000", fresh=True),
    # Both ends of the loop's connections are files of one process, and 20,000 is a common limit of these.
    Scenario(SCALE, "10,000 consumers, 100,000/s over all", "crowd --connections 10000 --rate 100000", ("leveret",),
             fresh=True, bare="crowd --bare --connections 9900 --rate 100000"),
    Scenario(CHURN, "connections, one after the other", "connection-churn"),
    Scenario(CHURN, "connections, 4 x 16 at once", "connection-churn --clients 4 --pipeline 16"),
    Scenario(CHURN, "queues, one after the other", "queue-churn"),
    Scenario(CHURN, "queues, 4 x 64 at once", "queue-churn --clients 4 --pipeline 64"),
    Scenario(CHURN, "bindings, one after the other", "bind-churn"),
    Scenario(CHURN, "bindings, 4 x 64 at once", "bind-churn --clients 4 --pipeline 64"),
    Scenario(START, "empty", "start", start=""),
    Scenario(START, "10,000 durable queues", "start", start="idle-queues --queues 10000 --durable --keep"),
    Scenario(START, "100,000 durable queues", "start", ("leveret",), start="idle-queues --queues 100000 --durable --keep"),
    Scenario(START, "100,000 durable messages", "start",
             start="fill --durable --persistent --keep --size 16 --messages 100000"),
    Scenario(START, "10,000,000 durable messages", "start", ("leveret",),
             start="fill --durable --persistent --keep --size 16 --messages 10000000 --limit 200"),
]
