"""RabbitMQ's rabbitmqadmin, the program that its management plugin hands out: `rabbitmqadmin_checks.py PROGRAM [PORT]`."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import harness
from harness import equal

PROGRAM, PORT = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "15672"


def admin(*arguments, said=None):
    command = [sys.executable, PROGRAM, f"--port={PORT}", *arguments]
    ran = subprocess.run(command, input=said, capture_output=True, text=True, timeout=30)
    assert ran.returncode == 0, f"{' '.join(arguments)}: {ran.stdout} {ran.stderr}"
    return ran.stdout


def refused(*arguments):
    try:
        admin(*arguments)
    except AssertionError as error:
        return str(error)
    raise AssertionError(f"{arguments} was not refused")


def rows(*arguments):
    """A list as tab-separated values; -q leaves its head out."""
    return [line.split("\t") for line in admin("-f", "tsv", "-q", *arguments).splitlines()]


def listed(*arguments):
    """A list as it came, with what is nested in it."""
    return json.loads(admin("-f", "raw_json", *arguments))


def eventually(condition):
    harness.poll_until(condition, "what a list tells", 10)


class vhost:
    """A virtual host for one check."""

    def __init__(self, name):
        self.name = name

    def __enter__(self):
        equal(admin("declare", "vhost", f"name={self.name}"), "vhost declared\n")
        admin("declare", "permission", f"vhost={self.name}", "user=guest", "configure=.*", "write=.*", "read=.*")
        return f"--vhost={self.name}"

    def __exit__(self, *_):
        equal(admin("delete", "vhost", f"name={self.name}"), "vhost deleted\n")


def topology_is_declared_listed_and_deleted():
    with vhost("ra-t") as at:
        equal(admin(at, "declare", "queue", "name=q", "durable=true", 'arguments={"x-max-length": 5}'), "queue declared\n")
        equal(admin(at, "declare", "exchange", "name=x", "type=topic"), "exchange declared\n")
        equal(admin(at, "declare", "binding", "source=x", "destination=q", "routing_key=a.#"), "binding declared\n")
        (queue,) = listed(at, "list", "queues", "name", "durable", "arguments")
        equal(queue, {"name": "q", "durable": True, "arguments": {"x-max-length": 5}})
        assert ["x", "topic"] in rows(at, "list", "exchanges", "name", "type")
        assert ["x", "q", "a.#"] in rows(at, "list", "bindings", "source", "destination", "routing_key")
        equal(admin(at, "delete", "binding", "source=x", "destination_type=queue", "destination=q", "properties_key=a.%23"), "binding deleted\n")
        equal(admin(at, "delete", "queue", "name=q"), "queue deleted\n")
        equal(admin(at, "delete", "exchange", "name=x"), "exchange deleted\n")
        equal(rows(at, "list", "queues", "name"), [])
        assert "Not found" in refused(at, "delete", "queue", "name=q")


def messages_are_published_got_and_purged():
    with vhost("ra-m") as at:
        admin(at, "declare", "queue", "name=q")
        equal(admin(at, "publish", "routing_key=q", "payload=one"), "Message published\n")
        equal(admin(at, "publish", "routing_key=q", said="from standard input"), "Message published\n")
        equal(admin(at, "publish", "routing_key=nowhere", "payload=lost"), "Message published but NOT routed\n")
        properties = 'properties={"delivery_mode": 2, "headers": {"a": 1}}'
        admin(at, "publish", "routing_key=q", "payload=three", properties)
        columns = ["routing_key", "exchange", "message_count", "payload"]
        got = json.loads(admin(at, "-f", "raw_json", "get", "queue=q", "count=2", "ackmode=ack_requeue_false"))
        equal([[message[column] for column in columns] for message in got], [["q", "", 2, "one"], ["q", "", 1, "from standard input"]])
        (third,) = json.loads(admin(at, "-f", "raw_json", "get", "queue=q"))
        equal(third["properties"], {"delivery_mode": 2, "headers": {"a": 1}})
        equal(admin(at, "purge", "queue", "name=q"), "queue purged\n")
        eventually(lambda: rows(at, "list", "queues", "name", "messages") == [["q", "0"]])


def users_permissions_and_limits():
    with vhost("ra-u") as at:
        equal(admin("declare", "user", "name=ra-user", "password=secret", "tags=monitoring,management"), "user declared\n")
        assert {"name": "ra-user", "tags": ["monitoring", "management"]} in listed("list", "users", "name", "tags")
        admin("declare", "permission", "vhost=ra-u", "user=ra-user", "configure=^a", "write=^b", "read=^c")
        assert ["^a", "ra-user", "ra-u"] in rows("list", "permissions", "configure", "user", "vhost")
        equal(rows("-u", "ra-user", "-p", "secret", at, "list", "queues", "name"), [])
        assert "Access refused" in refused("-u", "ra-user", "-p", "wrong", "list", "queues")
        admin("declare", "vhost_limit", "vhost=ra-u", "name=max-queues", "value=3")
        assert {"vhost": "ra-u", "value": {"max-queues": 3}} in listed("list", "vhost_limits")
        admin("delete", "vhost_limit", "vhost=ra-u", "name=max-queues")
        admin("delete", "permission", "vhost=ra-u", "user=ra-user")
        equal(admin("delete", "user", "name=ra-user"), "user deleted\n")


def policies_of_users_and_operators():
    with vhost("ra-p") as at:
        admin(at, "declare", "policy", "name=p", "pattern=^q", 'definition={"max-length": 7}', "priority=2", "apply-to=queues")
        admin(at, "declare", "operator_policy", "name=o", "pattern=^q", 'definition={"expires": 100000}', "apply-to=queues")
        policy = {"vhost": "ra-p", "pattern": "^q", "apply-to": "queues"}
        equal(listed(at, "list", "policies"), [policy | {"name": "p", "definition": {"max-length": 7}, "priority": 2}])
        equal(listed(at, "list", "operator_policies"), [policy | {"name": "o", "definition": {"expires": 100000}, "priority": 0}])
        assert "Validation failed" in refused(at, "declare", "policy", "name=w", "pattern=.*", 'definition={"max-leng": 7}')
        admin(at, "declare", "queue", "name=q")
        eventually(lambda: rows(at, "list", "queues", "name", "policy") == [["q", "p"]])
        equal(admin(at, "delete", "policy", "name=p"), "policy deleted\n")
        equal(admin(at, "delete", "operator_policy", "name=o"), "operator_policy deleted\n")


def definitions_go_out_and_come_in():
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "definitions.json"
        with vhost("ra-d") as at:
            admin(at, "declare", "queue", "name=kept", "durable=true")
            assert admin("export", str(file)).startswith("Exported definitions for ")
        definitions = json.loads(file.read_text())
        assert {"name": "kept", "vhost": "ra-d"}.items() <= definitions["queues"][-1].items(), definitions["queues"]
        assert admin("import", str(file)).startswith("Uploaded definitions from ")
        equal(rows("--vhost=ra-d", "list", "queues", "name"), [["kept"]])
        admin("delete", "vhost", "name=ra-d")


def what_there_is_is_shown_in_every_format():
    for listed in ["nodes", "connections", "channels", "consumers", "parameters", "vhosts", "users", "exchanges", "bindings"]:
        admin("list", listed)
    for format in ["table", "long", "kvp", "tsv", "raw_json", "pretty_json", "bash"]:
        assert "guest" in admin("-f", format, "list", "users") or format == "bash", format
        admin("-f", format, "show", "overview")
    assert admin("show", "overview").count("|") >= 8
    equal(json.loads(admin("-f", "raw_json", "list", "nodes", "name", "running"))[0]["running"], True)


CHECKS = [
    topology_is_declared_listed_and_deleted,
    messages_are_published_got_and_purged,
    users_permissions_and_limits,
    policies_of_users_and_operators,
    definitions_go_out_and_come_in,
    what_there_is_is_shown_in_every_format,
]


version = subprocess.run([sys.executable, PROGRAM, "--version"], capture_output=True, text=True).stdout.split()[-1]
harness.run("rabbitmqadmin", version, CHECKS)
