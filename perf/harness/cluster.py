"""Three Leverets on loopback that are one cluster, as perf/cluster, perf/failover and perf/catching-up start them."""

import base64
import http.client
import json
import os
import signal
import time

from . import brokers, load

NODES = ("n1", "n2", "n3")
FORM_LIMIT_S = 60
GET_LIMIT_S = 60
# How often a node is asked while something is waited for.
LOOK_S = 0.02
AUTHORIZATION = {"Authorization": "Basic " + base64.b64encode(b"guest:guest").decode()}


class Node(brokers.Leveret):
    """One of three."""

    def __init__(self, scratch, node, ports):
        self.node, self.ports = node, ports
        self.name = node
        super().__init__(scratch)
        self.http_port = brokers.free_port()

    def command(self):
        secret = self.folder / "secret"
        secret.write_text("a secret of one measurement\n")
        secret.chmod(0o600)
        nodes = ", ".join(f'{name} = "127.0.0.1:{port}"' for name, port in self.ports.items())
        settings = self.folder / "leveret.toml"
        settings.write_text(
            f'[cluster]\nname = "perf"\nnode = "{self.node}"\nlisten = "127.0.0.1:{self.ports[self.node]}"\n'
            f'nodes = {{ {nodes} }}\nsecret_file = "{secret}"\n')
        arguments = [
            self.programs / "leveret", "--config", settings, "--listen", f"127.0.0.1:{self.port}", "--management-listen",
            f"127.0.0.1:{self.http_port}", "--prometheus-listen", "off", "--data-dir", self.folder / "data", "--log-level", "warn",
        ]
        return [str(argument) for argument in arguments], brokers.environment()

    def get(self, path):
        """What its HTTP API says; None when it says nothing, as while nobody leads."""
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=GET_LIMIT_S)
        try:
            connection.request("GET", path, headers=AUTHORIZATION)
            answer = connection.getresponse()
            said = answer.read()
            return json.loads(said) if answer.status == 200 else None
        except (OSError, ValueError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def view(self):
        """What it says of the cluster."""
        return self.get("/api/cluster")

    def leader(self):
        """Who leads, as this node knows; None when it knows nobody."""
        view = self.view()
        return view and view["leader"]

    def kill(self):
        """As when the power goes."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process, self.listening_pid = None, None


class Three:
    """What there is three of."""

    def __init__(self):
        self.nodes = []

    def stop(self):
        for node in self.nodes:
            node.stop()

    def pids(self):
        return [node.pid for node in self.nodes]


class Leverets(Three):
    name = "three Leverets"

    def __init__(self, scratch):
        super().__init__()
        ports = {name: brokers.free_port() for name in NODES}
        self.nodes = [Node(scratch, name, ports) for name in NODES]

    def start(self):
        for node in self.nodes:
            node.start()
        self.leading()

    def others(self, node):
        return [each for each in self.nodes if each is not node]

    def leading(self, among=None):
        """The node that leads, as soon as one does."""
        def found():
            for asked in among or self.nodes:
                leader = asked.leader()
                for node in among or self.nodes:
                    if node.node == leader:
                        return node
            return None
        return wait_for(found, FORM_LIMIT_S, "nobody leads")

    def whole(self, limit_s):
        """Waits until all three run, vote and have everything; gives the one that leads."""
        def found():
            leading = self.leading()
            view = leading.view()
            if view is None:
                return None
            def has_all(node):
                return node["running"] and (node["role"] == "leader" or node["index"] == view["commit_index"])
            roles = sorted(node["role"] for node in view["nodes"])
            return leading if roles == ["leader", "voter", "voter"] and all(map(has_all, view["nodes"])) else None
        return wait_for(found, limit_s, "the nodes are not all there with everything")


def wait_for(found, limit_s, otherwise):
    """What `found` gives, as soon as it gives something."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        result = found()
        if result is not None:
            return result
        time.sleep(LOOK_S)
    raise load.Failed(otherwise)
