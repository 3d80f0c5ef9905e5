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
    # The extension of RabbitMQ's that it needs, as a broker's `features` have it; and the label of the same without it,
    # in the same group: the table says how much of that is left.
    feature: str = ""
    plain: str = ""


RATE, DISK, EXTENSIONS, ENCRYPTED, LATENCY, SCALE, CHURN, START = (
    "Throughput", "Durable", "Extensions", "Over TLS", "Latency", "Memory and many clients", "Coming and going", "Start"
)
# What a broker has that speaks it, as one of its `features`: its scenarios go there.
TLS = "TLS"


def automatic(size, label):
    arguments = f"throughput --size {size}"
    return Scenario(RATE, f"{label}, automatic acknowledgement", arguments, nats=f"nats-throughput --size {size}",
                    bare=f"relay --size {size}")


def persistent(label, arguments, **more):
    return Scenario(DISK, label, arguments + " --durable --persistent", DURABLE, durable=True, **more)


AUTOMATIC, ACKED, FILLED, CONFIRMED, SPREAD, DURABLY = (
    "plain, automatic acknowledgement", "plain, acknowledged every 100, prefetch 1000", "plain, nobody consumes",
    "plain, confirmed (1000), nobody consumes", "direct exchange, 4 publishers to 10 queues in turn",
    "durable classic queue, confirmed (1000), acknowledged every 100",
)


def extension(feature, label, arguments, plain="", **more):
    return Scenario(EXTENSIONS, label, arguments, feature=feature, plain=plain, **more)


def dead(label, arguments, **more):
    """Few messages: a broker that takes tens of thousands a second has to fill its queue first."""
    return extension("dead letters", f"{label}, to the dead-letter queue", f"dead-letters --size 16 --limit 30 {arguments}", **more)


# Of 16 bytes, if nothing else is said; each after the plain one that it is compared with.
OF_EXTENSIONS = [
    Scenario(EXTENSIONS, AUTOMATIC, "throughput", nats="nats-throughput --size 16"),
    extension("time to live", "queue with a time to live, automatic acknowledgement", "throughput --message-ttl 60000", AUTOMATIC),
    extension("time to live", "messages with an expiration, automatic acknowledgement", "throughput --expiration 60000", AUTOMATIC),
    extension("priorities", "ten priorities, automatic acknowledgement", "throughput --priorities 10", AUTOMATIC),
    extension("deduplication", "no value twice, told by the queue", "throughput --deduplication queue", AUTOMATIC),
    extension("deduplication", "no value twice, told by the exchange (100,000 values)", "throughput --deduplication exchange",
              AUTOMATIC),
    extension("delayed messages", "delayed by 100 ms", "delayed", AUTOMATIC),
    Scenario(EXTENSIONS, ACKED, "acked"),
    extension("time to live", "queue with a time to live, acknowledged every 100", "acked --message-ttl 60000", ACKED),
    extension("priorities", "ten priorities, acknowledged every 100", "acked --priorities 10", ACKED),
    extension("single active consumer", "single active consumer, and another that waits, acknowledged every 100",
              "acked --single-active-consumer --consumers 2", ACKED),
    Scenario(EXTENSIONS, FILLED, "throughput --consumers 0"),
    extension("length limits", "at its limit of 10,000: the oldest is dropped", "throughput --consumers 0 --max-length 10000",
              FILLED),
    Scenario(EXTENSIONS, CONFIRMED, "confirmed --consumers 0"),
    extension("length limits", "at its limit of 10,000: refused with a nack, window 1000",
              "confirmed --consumers 0 --max-length 10000 --overflow reject-publish", CONFIRMED),
    Scenario(EXTENSIONS, SPREAD, "throughput --exchange-type direct --producers 4 --queues 10 --consumers 10 --spread"),
    extension("consistent hash", "consistent hash, 4 publishers with 10,000 keys to 10 queues", "consistent-hash --keys 10000",
              SPREAD),
    dead("200,000 rejected at once", "--messages 200000"),
    dead("200,000 expired at once", "--messages 200000 --expired"),
    dead("200,000 rejected at once, durable", "--messages 200000 --durable --persistent"),
    dead("a million rejected at once", "", brokers=("leveret",)),
    dead("a million expired at once", "--expired", brokers=("leveret",)),
    Scenario(EXTENSIONS, DURABLY, "confirmed --ack-every 100 --prefetch 1000 --durable --persistent", durable=True),
    extension("quorum queues", "queue of type quorum, confirmed (1000), acknowledged every 100",
              "confirmed --ack-every 100 --prefetch 1000 --queue-type quorum --persistent", DURABLY, durable=True),
]


def encrypted(label, arguments):
    """The same without TLS and with it."""
    plain = f"{label}, without"
    return [Scenario(ENCRYPTED, plain, arguments), Scenario(ENCRYPTED, label, arguments, feature=TLS, plain=plain)]


OF_TLS = [
    *encrypted("16 B, automatic acknowledgement", "throughput"),
    *encrypted("1 KiB, automatic acknowledgement", "throughput --size 1024"),
    *encrypted("64 KiB, automatic acknowledgement", "throughput --size 65536"),
    *encrypted("16 B, confirmed (1000), acknowledged every 100", "confirmed --ack-every 100 --prefetch 1000"),
    *encrypted("requests, one at a time", "rpc"),
    *encrypted("connections, one after the other", "connection-churn"),
]

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
    Scenario(RATE, "16 B, fan-out to 10", "fanout"),
    Scenario(RATE, "16 B, topic exchange, 4 to 4", "topic"),
    Scenario(RATE, "16 B, topic exchange, 10,000 keys in turn", "topic --keys 10000"),
    Scenario(RATE, "16 B, fan-in, 64 to 1", "fan-in"),
    Scenario(RATE, "100 B, fill a queue with a million", "fill --messages 1000000 --limit 30"),
    Scenario(RATE, "100 B, then drain it", "drain --messages 1000000 --limit 30"),
    persistent("16 B, no confirms", "throughput"),
    persistent("16 B, confirmed (1000), acknowledged every 100", "confirmed --ack-every 100 --prefetch 1000"),
    persistent("16 B, confirmed (1000), nobody consumes", "confirmed --consumers 0"),
    persistent("1 KiB, confirmed (100), acknowledged each",
               "confirmed --size 1024 --confirm-window 100 --ack-every 1 --prefetch 100"),
    persistent("16 B, 100 publishers to 100 queues, confirmed (100)",
               "confirmed --producers 100 --queues 100 --confirm-window 100 --ack-every 10 --prefetch 100"),
    persistent("16 B, confirmed one by one, nobody consumes", "confirmed --confirm-window 1 --consumers 0",
               bare="fsync --size 128"),
    *OF_EXTENSIONS,
    *OF_TLS,
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
