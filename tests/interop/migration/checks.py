"""Moves from RabbitMQ to Leveret, works there, and moves back. The checks build upon each other, in this order."""

import json
import os
import tempfile
from pathlib import Path

import pika

import estate
import harness
from brokers import Leveret, RabbitMQ
from harness import equal, poll_until, raises

harness.CHECK_DEADLINE_S = 120  # rabbitmqctl takes seconds for each command

EVENTS = "event_exchange = true\n"
FOLDER = Path(tempfile.mkdtemp(prefix="migration.", dir=os.environ["INTEROP_LOG"]))

# What every version of either says of each element.
KNOWN = {
    "users": ["name", "password_hash", "hashing_algorithm", "tags", "limits"],
    "vhosts": ["name", "description", "tags"],
    "permissions": ["user", "vhost", "configure", "write", "read"],
    "topic_permissions": ["user", "vhost", "exchange", "write", "read"],
    "parameters": ["vhost", "component", "name", "value"],
    "global_parameters": ["name", "value"],
    "policies": ["vhost", "name", "pattern", "definition", "priority", "apply-to"],
    "queues": ["vhost", "name", "durable", "auto_delete", "arguments"],
    "exchanges": ["vhost", "name", "type", "durable", "auto_delete", "internal", "arguments"],
    "bindings": ["vhost", "source", "destination", "destination_type", "routing_key", "arguments"],
}


def told(definitions):
    """The lists of a file, each with its elements as they are known, in an order."""
    return {name: sorted(known(name, element) for element in definitions[name] if not is_the_brokers(name, element)) for name in KNOWN}


def known(list_name, element):
    return json.dumps({key: plain(said(element, key)) for key in KNOWN[list_name]}, sort_keys=True)


def said(element, key):
    # What is said of a virtual host stands in its metadata with some; the API of 3.10 says nothing of it at all.
    value = element.get(key, element.get("metadata", {}).get(key))
    is_nothing = value in ([], "", False) and key in ("limits", "arguments", "definition", "description", "tags", "internal")
    return None if is_nothing else value


def plain(value):
    """rabbitmqctl of 3.10 writes the definitions of operators' policies as lists of pairs."""
    if isinstance(value, dict) and isinstance(value.get("definition"), list):
        return value | {"definition": dict(value["definition"])}
    return None if value == {} else value


def is_the_brokers(list_name, element):
    # Of its own parameters RabbitMQ's API exports the cluster's id, and its rabbitmqctl does not.
    own = {"exchanges": "amq.", "global_parameters": "internal_"}
    return list_name in own and element["name"].startswith(own[list_name])


def all_alike(expected, got):
    for name, elements in told(expected).items():
        equal(told(got)[name], elements, name)


def all_queues(broker):
    return {vhost: broker.queues(vhost) for vhost in ["/", *estate.VHOSTS]}


def settled(broker):
    """What list_queues says once it counts as many messages as were sent: RabbitMQ's looks at quorum queues every 5 s."""

    def counted():
        queues = all_queues(broker)
        messages = sum(int(line.split("\t")[1]) for lines in queues.values() for line in lines)
        return queues if messages == sum(estate.MESSAGES.values()) else None

    return poll_until(counted, "all messages are counted", deadline_s=90)


rabbitmq = RabbitMQ(FOLDER / "rabbitmq")
estate.build(rabbitmq)
estate.fill(rabbitmq)
BY_TOOL, BY_HTTP = FOLDER / "rabbitmqctl.json", FOLDER / "http.json"
rabbitmq.ctl("export_definitions", str(BY_TOOL))
BY_HTTP.write_text(json.dumps(rabbitmq.call("GET", "definitions")))
leveret = Leveret(FOLDER / "leveret", EVENTS)


def check_import_definitions_takes_what_rabbitmqctl_exports():
    leveret.ctl("import_definitions", str(BY_TOOL))
    all_alike(json.loads(BY_TOOL.read_text()), leveret.call("GET", "definitions"))


def check_load_definitions_takes_what_the_api_exports():
    born = Leveret(FOLDER / "born", f'load_definitions = "{BY_HTTP}"\n{EVENTS}')
    all_alike(json.loads(BY_HTTP.read_text()), born.call("GET", "definitions"))
    born.stop()
    equal(born.process.returncode, 0)


def check_queues_are_listed_alike_with_their_messages():
    expected = settled(rabbitmq)
    estate.move(rabbitmq, leveret)
    equal(settled(leveret), expected)


def check_the_application_goes_on():
    with raises(pika.exceptions.ProbableAuthenticationError, "ACCESS_REFUSED"):
        estate.connect(leveret, "shop", estate.APPLICATION, "guess")
    with raises(pika.exceptions.ProbableAccessDeniedError, "reports"):
        estate.connect(leveret, "reports", estate.APPLICATION, estate.PASSWORD)
    works_on(leveret)


def works_on(broker):
    connection = estate.connect(broker, "shop", estate.APPLICATION, estate.PASSWORD)
    channel = connection.channel()
    for queue in ("app.work", "app.safe", "app.lazy"):
        for number in range(estate.MESSAGES["shop", queue]):
            method, properties, body = channel.basic_get(queue)
            expected_body, expected = estate.message(queue, number)
            equal(body, expected_body)
            for name in ("content_type", "delivery_mode", "message_id", "timestamp"):
                equal(getattr(properties, name), getattr(expected, name), name)
            equal({key: properties.headers[key] for key in expected.headers}, expected.headers)
            channel.basic_nack(method.delivery_tag, requeue=False) if number == 0 else channel.basic_ack(method.delivery_tag)
    # The first one of app.work is dead now.
    poll_until(lambda: channel.basic_get("dead", auto_ack=True)[2] == b"app.work 0", "a dead letter")
    priorities = [channel.basic_get("app.urgent", auto_ack=True)[1].priority for _ in range(estate.MESSAGES["shop", "app.urgent"])]
    equal(priorities, sorted(priorities, reverse=True))

    channel.confirm_delivery()
    channel.basic_publish("orders", "eu.refund", b"both", mandatory=True)
    for queue in ("app.work", "app.safe"):
        poll_until(lambda: channel.basic_get(queue, auto_ack=True)[2] == b"both", queue)
    channel.basic_publish("orders", "eu.new", b"urgent", pika.BasicProperties(headers={"urgent": "yes"}), mandatory=True)
    equal(channel.basic_get("app.urgent", auto_ack=True)[2], b"urgent")
    equal(channel.basic_get("app.work", auto_ack=True)[2], b"urgent")
    with raises(pika.exceptions.NackError):
        channel.basic_publish("", "app.short", b"more than ten")
    refused(connection, lambda ch: ch.basic_publish("orders", "us.new", b"", mandatory=True), "topic 'us.new'")
    refused(connection, lambda ch: ch.queue_declare("mine"), "access to queue 'mine'")
    connection.close()


def refused(connection, call, reason):
    channel = connection.channel()
    channel.confirm_delivery()
    with raises(pika.exceptions.ChannelClosedByBroker, reason) as caught:
        call(channel)
    equal(caught.error.reply_code, 403)


def check_policies_and_limits_hold():
    connection = estate.connect(leveret, "shop")
    channel = connection.channel()
    channel.confirm_delivery()
    for number in range(8):
        channel.basic_publish("", "capped", b"%d" % number)
    equal(channel.queue_declare("capped", passive=True).method.message_count, 4)
    for number in range(100):
        try:
            channel.queue_declare(f"app.more.{number}")
        except pika.exceptions.ChannelClosedByBroker as error:
            equal(error.reply_code, 406)
            assert "queue limit in vhost 'shop' (10) is reached" in error.reply_text, error.reply_text
            break
        finally:
            queues = [queue["name"] for queue in leveret.call("GET", "queues/shop?columns=name")]
    equal(len(queues), 10)
    for name in [name for name in queues if name.startswith("app.more.")]:
        leveret.call("DELETE", f"queues/shop/{name}")
    app = leveret.call("GET", "queues/shop/app.lazy")
    equal((app["policy"], app["operator_policy"]), ("everything", "guard"))
    connection.close()


def check_a_user_and_a_queue_of_leverets_go_back_too():
    hashed = leveret.ctl("hash_password", "the latest", "--silent").strip()
    leveret.ctl("add_user", "late", hashed, "--pre-hashed-password")
    leveret.ctl("set_permissions", "-p", "shop", "late", "", "", ".*")
    leveret.ctl("add_user", "modern", "argon2id")
    leveret.call("DELETE", "queues/shop/dead")
    leveret.call("PUT", "queues/shop/newest", {"durable": True, "arguments": {"x-queue-type": "quorum"}})
    by_leveretctl = FOLDER / "leveretctl.json"
    leveret.ctl("export_definitions", str(by_leveretctl))
    rabbitmq.forget_everything()
    rabbitmq.ctl("import_definitions", str(by_leveretctl))
    by_rabbitmqctl = FOLDER / "back.json"
    rabbitmq.ctl("export_definitions", str(by_rabbitmqctl))
    all_alike(json.loads(by_leveretctl.read_text()), json.loads(by_rabbitmqctl.read_text()))


def check_messages_go_back_and_the_application_with_them():
    estate.empty(leveret)
    estate.fill(leveret)
    expected = settled(leveret)
    estate.move(leveret, rabbitmq)
    equal(settled(rabbitmq), expected)
    connection = estate.connect(rabbitmq, "shop", "late", "the latest")
    equal(connection.channel().basic_get("app.work")[2], b"app.work 0")
    connection.close()
    connection = estate.connect(rabbitmq, "shop", estate.APPLICATION, estate.PASSWORD)
    equal(connection.channel().basic_get("app.safe")[2], b"app.safe 0")
    connection.close()


if __name__ == "__main__":
    harness.run("migration", rabbitmq.call("GET", "overview")["rabbitmq_version"], list(harness.checks_of(__import__("__main__"))))
