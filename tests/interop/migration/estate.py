"""What a RabbitMQ holds that somebody moves away from: something of everything that definitions know, and messages."""

from urllib.parse import quote

import pika

APPLICATION, PASSWORD = "app", "its own secret"

VHOSTS = {
    "shop": {"description": "orders and what comes of them", "tags": "production,europe"},
    "reports": {"description": "", "tags": ""},
}

USERS = {
    APPLICATION: {"password": PASSWORD, "tags": ""},
    "operator": {"password": "another secret", "tags": "administrator"},
    "dashboards": {"password": "a third", "tags": "monitoring,management"},
    # Nobody logs in as this one with a password.
    "certificate": {"password_hash": "", "tags": ""},
}

PERMISSIONS = [
    ("shop", APPLICATION, {"configure": "^app\\.", "write": "^(orders|app\\..*|amq\\.default)$", "read": ".*"}),
    ("shop", "operator", {"configure": ".*", "write": ".*", "read": ".*"}),
    ("reports", "dashboards", {"configure": "", "write": "", "read": "^monthly"}),
    ("shop", "guest", {"configure": ".*", "write": ".*", "read": ".*"}),
    ("reports", "guest", {"configure": ".*", "write": ".*", "read": ".*"}),
]

TOPIC_PERMISSIONS = [("shop", APPLICATION, {"exchange": "orders", "write": "^eu\\.", "read": ".*"})]

# vhost, name: arguments
QUEUES = {
    ("shop", "app.work"): {"x-dead-letter-exchange": "dead", "x-dead-letter-routing-key": "work", "x-message-ttl": 86_400_000},
    ("shop", "app.urgent"): {"x-max-priority": 5},
    ("shop", "app.short"): {"x-max-length": 10, "x-overflow": "reject-publish"},
    ("shop", "app.safe"): {"x-queue-type": "quorum", "x-delivery-limit": 3},
    ("shop", "app.lazy"): {"x-queue-mode": "lazy"},
    ("shop", "app.one.by.one"): {"x-single-active-consumer": True},
    ("shop", "capped"): {},
    ("shop", "dead"): {},
    ("shop", "unrouted"): {},
    ("reports", "monthly žluťoučký"): {"x-expires": 864_000_000},
    ("reports", "shard.1"): {},
    ("reports", "shard.2"): {},
    ("/", "audit"): {},
}

# vhost, name: type and what else there is to say
EXCHANGES = {
    ("shop", "orders"): {"type": "topic", "arguments": {"alternate-exchange": "unrouted"}},
    ("shop", "unrouted"): {"type": "fanout"},
    ("shop", "dead"): {"type": "direct"},
    ("shop", "by header"): {"type": "headers"},
    ("reports", "sharded"): {"type": "x-consistent-hash"},
}

# vhost, source, kind of destination, destination, routing key, arguments
BINDINGS = [
    ("shop", "orders", "q", "app.work", "eu.#", {}),
    ("shop", "orders", "q", "app.safe", "*.refund", {}),
    ("shop", "orders", "e", "by header", "#", {}),
    ("shop", "unrouted", "q", "unrouted", "", {}),
    ("shop", "dead", "q", "dead", "work", {}),
    ("shop", "by header", "q", "app.urgent", "", {"x-match": "any", "urgent": "yes", "level": 9}),
    ("reports", "sharded", "q", "shard.1", "1", {}),
    ("reports", "sharded", "q", "shard.2", "3", {}),
    # From an exchange that the broker makes itself; the key is of nothing that happens here.
    ("/", "amq.rabbitmq.event", "q", "audit", "alarm.set", {}),
]

POLICIES = [
    ("shop", "caps", {"pattern": "^capped$", "definition": {"max-length": 4}, "priority": 3, "apply-to": "queues"}),
    ("shop", "everything", {"pattern": ".*", "definition": {"expires": 864_000_000}, "priority": 0, "apply-to": "queues"}),
    ("reports", "alternate", {"pattern": "^sharded$", "definition": {"alternate-exchange": "amq.fanout"}, "apply-to": "exchanges"}),
]

OPERATOR_POLICIES = [("shop", "guard", {"pattern": "^app", "definition": {"max-length": 50_000}, "priority": 1, "apply-to": "queues"})]

LIMITS = [("shop", "max-queues", 10), ("shop", "max-connections", 100)]
USER_LIMITS = [(APPLICATION, "max-connections", 20), (APPLICATION, "max-channels", 200)]
GLOBAL_PARAMETERS = {"team": {"of": "shop", "on call": ["a", "b"]}, "cluster_name": "old warehouse"}

MESSAGES = {
    ("shop", "app.work"): 25,
    ("shop", "app.urgent"): 7,
    ("shop", "app.short"): 10,
    ("shop", "app.safe"): 12,
    ("shop", "app.lazy"): 30,
    ("shop", "capped"): 4,
    ("reports", "monthly žluťoučký"): 3,
}


def quoted(name):
    return quote(name, safe="")


def build(broker):
    """Declares all of it through the HTTP API, as people and their tools do."""
    for name, body in VHOSTS.items():
        broker.call("PUT", f"vhosts/{quoted(name)}", body)
    for name, body in USERS.items():
        broker.call("PUT", f"users/{quoted(name)}", body)
    for vhost, user, body in PERMISSIONS:
        broker.call("PUT", f"permissions/{quoted(vhost)}/{quoted(user)}", body)
    for vhost, user, body in TOPIC_PERMISSIONS:
        broker.call("PUT", f"topic-permissions/{quoted(vhost)}/{quoted(user)}", body)
    for vhost, name, body in POLICIES:
        broker.call("PUT", f"policies/{quoted(vhost)}/{quoted(name)}", body)
    for vhost, name, body in OPERATOR_POLICIES:
        broker.call("PUT", f"operator-policies/{quoted(vhost)}/{quoted(name)}", body)
    for vhost, name, value in LIMITS:
        broker.call("PUT", f"vhost-limits/{quoted(vhost)}/{name}", {"value": value})
    for user, name, value in USER_LIMITS:
        broker.call("PUT", f"user-limits/{quoted(user)}/{name}", {"value": value})
    for name, value in GLOBAL_PARAMETERS.items():
        broker.call("PUT", f"global-parameters/{quoted(name)}", {"value": value})
    for (vhost, name), body in EXCHANGES.items():
        broker.call("PUT", f"exchanges/{quoted(vhost)}/{quoted(name)}", {"durable": True} | body)
    for (vhost, name), arguments in QUEUES.items():
        broker.call("PUT", f"queues/{quoted(vhost)}/{quoted(name)}", {"durable": True, "arguments": arguments})
    for vhost, source, kind, destination, key, arguments in BINDINGS:
        path = f"bindings/{quoted(vhost)}/e/{quoted(source)}/{kind}/{quoted(destination)}"
        broker.call("POST", path, {"routing_key": key, "arguments": arguments})


def connect(broker, vhost, user="guest", password="guest"):
    credentials = pika.PlainCredentials(user, password)
    return pika.BlockingConnection(
        pika.ConnectionParameters("127.0.0.1", broker.port, vhost, credentials, connection_attempts=1, socket_timeout=10)
    )


def message(queue, number):
    properties = pika.BasicProperties(
        content_type="text/plain",
        delivery_mode=2,
        message_id=f"{queue} {number}",
        timestamp=1_700_000_000 + number,
        headers={"number": number, "nested": {"list": [1, "two", True]}},
        priority=number % 3 if queue == "app.urgent" else None,
    )
    return f"{queue} {number}".encode(), properties


def fill(broker):
    for (vhost, queue), count in MESSAGES.items():
        connection = connect(broker, vhost)
        channel = connection.channel()
        channel.confirm_delivery()
        for number in range(count):
            body, properties = message(queue, number)
            channel.basic_publish("", queue, body, properties, mandatory=True)
        connection.close()


def queues_of(broker):
    """The names of queues, by virtual host."""
    queues = {}
    for queue in broker.call("GET", "queues?columns=name,vhost"):
        queues.setdefault(queue["vhost"], []).append(queue["name"])
    return queues


def empty(broker):
    for vhost, names in queues_of(broker).items():
        for name in names:
            broker.call("DELETE", f"queues/{quoted(vhost)}/{quoted(name)}/contents")


def move(from_broker, to_broker):
    """Takes every message over, as a shovel does: it is acknowledged there once it is confirmed here."""
    for vhost, queues in queues_of(from_broker).items():
        source, target = connect(from_broker, vhost), connect(to_broker, vhost)
        taking, putting = source.channel(), target.channel()
        putting.confirm_delivery()
        for queue in queues:
            while True:
                method, properties, body = taking.basic_get(queue)
                if method is None:
                    break
                putting.basic_publish("", queue, body, properties, mandatory=True)
                taking.basic_ack(method.delivery_tag)
        source.close()
        target.close()
