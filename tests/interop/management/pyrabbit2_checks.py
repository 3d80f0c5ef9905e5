"""pyrabbit2: users, virtual hosts and permissions, and what they let one do. It brings no tests of its own along."""

import urllib.parse
from importlib.metadata import version

import harness
from pyrabbit2 import Client
from pyrabbit2.api import PermissionError as Refused
from pyrabbit2.http import HTTPError

ADDRESS = "127.0.0.1:15672"
# The hash of "test12".
HASH = "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR"


def client(user="guest", password="guest"):
    return Client(ADDRESS, user, password)


def refused(call, *arguments):
    """The status of a call that must fail."""
    try:
        call(*arguments)
    except HTTPError as error:
        return error.status
    except Refused:
        return 401
    raise AssertionError(f"{call} was not refused")


def eventually(condition):
    """A policy reaches what it is for a little later."""
    harness.poll_until(condition, "its policy", 5)


def users_come_and_go():
    admin = client()
    admin.create_user("py-a", password="secret", tags="management, custom")
    users = {user["name"]: user for user in admin.get_users()}
    assert users["py-a"]["tags"] == ["management", "custom"], users["py-a"]
    assert client("py-a", "secret").get_whoami()["name"] == "py-a"
    assert refused(client("py-a", "wrong").get_whoami) == 401
    admin.delete_user("py-a")
    assert "py-a" not in [user["name"] for user in admin.get_users()]
    assert refused(client("py-a", "secret").get_whoami) == 401
    assert refused(admin.delete_user, "py-a") == 404


def users_may_bring_a_hash():
    admin = client()
    admin.create_user("py-h", password_hash=HASH, tags="management")
    assert client("py-h", "test12").get_whoami()["tags"] == ["management"]
    admin.delete_user("py-h")


def vhosts_come_and_go():
    admin = client()
    admin.create_vhost("py-v")
    assert "py-v" in admin.get_vhost_names()
    assert admin.get_vhost("py-v")["name"] == "py-v"
    admin.create_queue("py-v", "q", durable=True)
    assert [queue["name"] for queue in admin.get_queues("py-v")] == ["q"]
    assert admin.is_alive("py-v")
    admin.delete_vhost("py-v")
    assert "py-v" not in admin.get_vhost_names()
    assert refused(admin.get_vhost, "py-v") == 404


def permissions_are_set_told_and_taken():
    admin = client()
    admin.create_vhost("py-p")
    admin.create_user("py-u", password="secret", tags="management")
    user = client("py-u", "secret")
    assert refused(user.get_queue, "py-p", "q") == 401
    admin.set_vhost_permissions("py-p", "py-u", config="^mine", rd=".*", wr="^mine")
    expected = {"user": "py-u", "vhost": "py-p", "configure": "^mine", "write": "^mine", "read": ".*"}
    assert admin.get_permission("py-p", "py-u") == expected
    assert admin.get_user_permissions("py-u") == [expected]
    assert expected in admin.get_vhost_permissions("py-p")
    assert expected in admin.get_permissions()
    user.create_queue("py-p", "mine")
    assert refused(user.create_queue, "py-p", "theirs") == 401
    user.create_exchange("py-p", "mine", "direct")
    user.create_binding("py-p", "mine", "mine", rt_key="k")
    user.publish("py-p", "mine", "k", "hello")
    messages = user.get_messages("py-p", "mine")
    assert [message["payload"] for message in messages] == ["hello"], messages
    assert [queue["name"] for queue in user.get_queues()] == ["mine"]
    assert user.get_vhost_names() == ["py-p"]
    admin.delete_permission("py-p", "py-u")
    assert user.get_vhost_names() == []
    assert refused(user.get_queue, "py-p", "mine") == 401
    admin.delete_user("py-u")
    admin.delete_vhost("py-p")


def whoever_is_no_administrator_is_refused():
    admin = client()
    admin.create_user("py-m", password="secret", tags="monitoring")
    monitor = client("py-m", "secret")
    assert "/" in monitor.get_vhost_names()
    monitor.get_nodes()
    for call, arguments in [
        (monitor.get_users, ()),
        (monitor.create_user, ("py-x", "x")),
        (monitor.delete_user, ("guest",)),
        (monitor.create_vhost, ("py-x",)),
        (monitor.set_vhost_permissions, (urllib.parse.quote("/", ""), "py-m", ".*", ".*", ".*")),
    ]:
        assert refused(call, *arguments) == 401, call
    assert "py-x" not in [user["name"] for user in admin.get_users()]
    admin.delete_user("py-m")


def policies_come_and_go():
    admin = client()
    admin.create_vhost("py-l")
    admin.create_queue("py-l", "q", durable=True)
    policy = {"pattern": "^q$", "definition": {"max-length": 2}, "priority": 1, "apply-to": "classic_queues"}
    admin.create_policy("py-l", "short", **policy)
    expected = {"vhost": "py-l", "name": "short", **policy}
    assert admin.get_policy("py-l", "short") == expected
    assert expected in admin.get_all_policies()
    eventually(lambda: admin.get_queue("py-l", "q")["policy"] == "short")
    assert admin.get_queue("py-l", "q")["effective_policy_definition"] == {"max-length": 2}
    admin.create_exchange("py-l", "x", "fanout")
    admin.create_binding("py-l", "x", "q")
    for payload in ("1", "2", "3"):
        admin.publish("py-l", "x", "", payload)
    messages = admin.get_messages("py-l", "q", count=5)
    assert [message["payload"] for message in messages] == ["2", "3"], messages
    admin.delete_policy("py-l", "short")
    eventually(lambda: not admin.get_queue("py-l", "q")["policy"])
    assert refused(admin.get_policy, "py-l", "short") == 404
    admin.delete_vhost("py-l")


def nservicebus_looks_before_it_starts():
    """What its BrokerVerifier asks for: a version, the flag of streams, and its queue's delivery limit, by policy."""
    admin = client()
    version_parts = [int(part) for part in admin.get_overview()["rabbitmq_version"].split(".")]
    assert version_parts >= [3, 10], version_parts
    flags = {flag["name"]: flag["state"] for flag in admin._call("feature-flags", "GET")}
    assert flags["stream_queue"] == "enabled", flags
    admin.create_vhost("py-n")
    admin.create_queue("py-n", "sales", durable=True, arguments={"x-queue-type": "quorum"})
    queue = admin.get_queue("py-n", "sales")
    assert (queue["type"], queue["effective_policy_definition"]) == ("quorum", {}), queue
    name, unlimited = "nsb.sales.delivery-limit", {"delivery-limit": 100_000}
    admin.create_policy("py-n", name, **{"apply-to": "quorum_queues"}, definition=unlimited, pattern="^sales$", priority=0)
    eventually(lambda: admin.get_queue("py-n", "sales")["policy"] == name)
    assert admin.get_queue("py-n", "sales")["effective_policy_definition"] == unlimited
    admin.delete_vhost("py-n")


CHECKS = [
    users_come_and_go,
    users_may_bring_a_hash,
    vhosts_come_and_go,
    permissions_are_set_told_and_taken,
    whoever_is_no_administrator_is_refused,
    policies_come_and_go,
    nservicebus_looks_before_it_starts,
]


harness.run("pyrabbit2", version("pyrabbit2"), CHECKS)
