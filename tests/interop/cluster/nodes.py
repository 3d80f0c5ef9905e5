"""Three Leverets that are one cluster, the network between them and their disks, and all that can be done to them.

As root each node has a network namespace and a disk in memory of its own, so that it can be cut off and its disk be full;
else they share loopback. All of it goes with the program.
"""

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from ports import free_ports

NAMES = ["n1", "n2", "n3"]
USER, PASSWORD = "chaos", "chaos-password"  # guest may only come from the same machine
AGREE_DEADLINE_S = 60
STOP_DEADLINE_S = 30
POLL_S = 0.05
DISK_BYTES = 2 << 30
FULL_ROOM_BYTES = 64 << 10
RELAY_DEADLINE_S = 10
# Of all devices that lead to the relay: there is nothing to tell apart on such a line.
LINE_ADDRESS = "02:00:00:00:00:01"


def ip(*arguments):
    ran = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    if ran.returncode != 0:
        raise OSError(f"ip {' '.join(arguments)}: {ran.stderr.strip()}")


class Network:
    """A bridge, and a namespace for each node on it. Beside it each node has a line that leads to a relay, when there is one."""

    def __init__(self):
        self.tag = f"lv{os.getpid() % 100_000}"
        # Of the process, so that runs side by side don't meet.
        pid = os.getpid()
        self.subnet = f"10.{200 + pid // 256 % 50}.{pid % 256}"
        # Routes that are there for a while: whose, and to whom by which way.
        self.routes = []
        self.relay = None

    def make(self):
        ip("link", "add", self.tag, "type", "bridge")
        ip("addr", "add", f"{self.subnet}.254/24", "dev", self.tag)
        ip("link", "set", self.tag, "up")
        for number, name in enumerate(NAMES, 1):
            space, outside, inside = self.space(name), f"{self.tag}{name}", f"{self.tag}i{number}"
            ip("netns", "add", space)
            ip("link", "add", outside, "type", "veth", "peer", "name", inside)
            ip("link", "set", inside, "netns", space)
            ip("link", "set", outside, "master", self.tag, "up")
            ip("-n", space, "link", "set", "lo", "up")
            ip("-n", space, "addr", "add", f"{self.host(name)}/24", "dev", inside)
            ip("-n", space, "link", "set", inside, "up")
            line, end = self.line(name), f"{self.tag}e{number}"
            ip("link", "add", line, "type", "veth", "peer", "name", end)
            ip("link", "set", end, "netns", space)
            ip("link", "set", line, "up")
            ip("-n", space, "link", "set", end, "address", LINE_ADDRESS, "arp", "off", "up")

    def line(self, name):
        """The relay's end of it."""
        return f"{self.tag}l{NAMES.index(name) + 1}"

    def space(self, name):
        return f"{self.tag}-{name}"

    def host(self, name):
        return f"{self.subnet}.{NAMES.index(name) + 1}"

    def cut(self, sender, receiver):
        """What one node sends to another is lost; the other direction is another cut."""
        self.route(sender, ["blackhole", f"{self.host(receiver)}/32"])

    def route(self, sender, route):
        if (sender, route) not in self.routes:
            ip("-n", self.space(sender), "route", "add", *route)
            self.routes.append((sender, route))

    def worsen(self, pairs, chance, delay_ms, lost_percent):
        """What these nodes send to each other takes some time between two, each way, and some of it is lost."""
        program = Path(__file__).with_name("relay.py")
        lines = [f"{self.host(name)}={self.line(name)}" for name in NAMES]
        command = [sys.executable, program, str(chance.randrange(1 << 32)), *map(str, delay_ms), str(lost_percent), *lines]
        self.relay = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        if self.relay.stdout.readline().strip() != "ready":
            raise OSError("the relay does not start")
        for one, other in pairs:
            for sender, receiver in ((one, other), (other, one)):
                number = NAMES.index(sender) + 1
                way = ["dev", f"{self.tag}e{number}", "src", self.host(sender)]
                self.route(sender, [f"{self.host(receiver)}/32", *way])

    def mend(self):
        """All is as it was. Gives how many packets a relay has carried, and how many it has lost; None if there was none."""
        while self.routes:
            sender, route = self.routes.pop()
            ip("-n", self.space(sender), "route", "del", *route)
        if self.relay is None:
            return None
        relay, self.relay = self.relay, None
        relay.terminate()
        said, _ = relay.communicate(timeout=RELAY_DEADLINE_S)
        carried, lost = map(int, said.split())
        return carried, lost

    def remove(self):
        if self.relay is not None:
            self.relay.kill()
            self.relay.wait()
        for name in NAMES:
            subprocess.run(["ip", "netns", "del", self.space(name)], capture_output=True)
            subprocess.run(["ip", "link", "del", f"{self.tag}{name}"], capture_output=True)
            subprocess.run(["ip", "link", "del", self.line(name)], capture_output=True)
        subprocess.run(["ip", "link", "del", self.tag], capture_output=True)


class Node:
    def __init__(self, name, folder, host, ports, network):
        self.name, self.folder, self.host, self.network = name, folder, host, network
        self.amqp, self.http, self.peers = ports
        self.process = None
        self.is_paused = False
        self.deaths = []  # how it ended by itself
        self.data = folder / "disk"
        self.log = folder / "log"
        self.data.mkdir(parents=True)
        if network:
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "leveret-chaos", self.data], check=True)

    def configure(self, nodes, secret):
        listed = ", ".join(f'{node.name} = "{node.host}:{node.peers}"' for node in nodes)
        (self.folder / "leveret.toml").write_text(
            f'listen = ["{self.host}:{self.amqp}"]\nmanagement_listen = "{self.host}:{self.http}"\n'
            f'data_dir = "{self.data}/data"\ndefault_user = "{USER}"\ndefault_pass = "{PASSWORD}"\n'
            f'[prometheus]\nlisten = "off"\n'
            f'[cluster]\nname = "chaos"\nnode = "{self.name}"\nlisten = "{self.host}:{self.peers}"\n'
            f'nodes = {{ {listed} }}\nsecret_file = "{secret}"\n'
            # So that a disk is full when it is, rather than when an alarm says so.
            f"[limits]\ndisk_free_limit_bytes = {1 << 20}\nauthentication_failure_delay_ms = 10\n"
        )

    def start(self):
        within = ["ip", "netns", "exec", self.network.space(self.name)] if self.network else []
        with open(self.log, "ab") as log:
            command = [*within, os.environ["LEVERET_BIN"], "--config", str(self.folder / "leveret.toml")]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        if self.process is None:
            return
        if not self.is_running():
            self.deaths.append(self.process.returncode)
        else:
            self.process.kill()
            self.process.wait()
        self.process, self.is_paused = None, False

    def stop(self):
        """As an operator stops it. Anything but a clean end in time is told."""
        self.process.terminate()
        return self.ended()

    def ended(self):
        try:
            status = self.process.wait(STOP_DEADLINE_S)
            said = [] if status == 0 else [f"stop: {self.name} ended with status {status}"]
        except subprocess.TimeoutExpired:
            said = [f"stop: {self.name} was still there {STOP_DEADLINE_S} s after SIGTERM"]
            self.process.kill()
            self.process.wait()
        self.process = None
        return said

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)
        self.is_paused = True

    def resume(self):
        if self.is_paused and self.is_running():
            self.process.send_signal(signal.SIGCONT)
        self.is_paused = False

    def wipe(self):
        shutil.rmtree(self.data / "data")

    def fill_disk(self):
        # It can't be smaller than what it holds, and that may have become more meanwhile.
        while not self.resize(shutil.disk_usage(self.data).used + FULL_ROOM_BYTES):
            pass

    def resize(self, size):
        return subprocess.run(["mount", "-o", f"remount,size={size}", self.data], capture_output=True).returncode == 0

    def ask(self, method, path, body=None, timeout=3):
        request = urllib.request.Request(f"http://{self.host}:{self.http}/api/{path}", method=method)
        request.add_header("authorization", "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode())
        if body is not None:
            request.add_header("content-type", "application/json")
            request.data = json.dumps(body).encode()
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            said = answer.read()
        return json.loads(said) if said else None

    def view(self):
        """What it says of the cluster; None when it says nothing."""
        try:
            return self.ask("GET", "cluster")
        except (OSError, ValueError):
            return None

    def status_by_ctl(self):
        tool = Path(os.environ["LEVERET_BIN"]).with_name("leveretctl")
        uri = f"http://{USER}:{PASSWORD}@{self.host}:{self.http}"
        command = [str(tool), "--uri", uri, "cluster_status", "--formatter", "json"]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL)
        return json.loads(ran.stdout) if ran.returncode == 0 else {"leader": ran.stderr}


class Cluster:
    def __init__(self, folder, with_network):
        self.network = Network() if with_network else None
        if self.network:
            self.network.make()
        secret = folder / "secret"
        secret.touch(0o600)
        secret.write_text("a secret that nobody guesses, of three nodes\n")
        ports = [5672, 15672, 25672] * 3 if with_network else free_ports(9)
        self.nodes = []
        for number, name in enumerate(NAMES):
            host = self.network.host(name) if self.network else "127.0.0.1"
            self.nodes.append(Node(name, folder / name, host, ports[3 * number : 3 * number + 3], self.network))
        for node in self.nodes:
            node.configure(self.nodes, secret)
            node.start()

    def node(self, name):
        return self.nodes[NAMES.index(name)]

    def leader(self):
        """The node that leads, as the others see it, once they agree."""
        return self.node(self.agree()["leader"])

    def disagreement(self, is_quiet):
        """Why the nodes are not one cluster yet, of which all are members; None when they are. When it is quiet they have all."""
        views = [node.view() for node in self.nodes]
        for node, view in zip(self.nodes, views):
            if view is None:
                return f"{node.name} does not answer"
            if view["leader"] is None or view["leader"] != views[0]["leader"] or view["term"] != views[0]["term"]:
                return f"leaders: {[(each or {}).get('leader') for each in views]} in {[(each or {}).get('term') for each in views]}"
            if not all(each["running"] for each in view["nodes"]):
                return f"{node.name} sees {view['nodes']}"
            if sorted(each["role"] for each in view["nodes"]) != ["leader", "voter", "voter"]:
                return f"{node.name} sees {view['nodes']}"
        commits = {view["commit_index"] for view in views}
        if is_quiet and (len(commits) > 1 or any(view["applied_index"] not in commits for view in views)):
            return f"commit {[view['commit_index'] for view in views]}, applied {[view['applied_index'] for view in views]}"
        return None

    def agree(self, is_quiet=False):
        """Waits until all nodes say the same; gives what they say."""
        deadline = time.monotonic() + AGREE_DEADLINE_S
        while (why := self.disagreement(is_quiet)) is not None:
            dead = [node for node in self.nodes if not node.is_running()]
            if dead or time.monotonic() > deadline:
                ends = [f"{node.name} has ended: {node.log.read_text()[-300:]!r}" for node in dead]
                raise AssertionError("; ".join(["no agreement", why, *ends]))
            time.sleep(POLL_S)
        return self.nodes[0].view()

    def heal(self):
        """Undoes what was done. Gives what the network says of a relay that it had."""
        relayed = self.network.mend() if self.network else None
        for node in self.nodes:
            if self.network:
                node.resize(DISK_BYTES)
            node.resume()
            if not node.is_running():
                if node.process is not None:
                    node.deaths.append(node.process.returncode)
                node.start()
        return relayed

    def remove(self):
        for node in self.nodes:
            node.resume()
            node.kill()
            if self.network:
                subprocess.run(["umount", "-l", node.data], check=False)
        if self.network:
            self.network.remove()


def why_no_network():
    """Why nodes can't have networks of their own here; None when they can."""
    if os.geteuid() != 0:
        return "not root"
    if shutil.which("ip") is None or shutil.which("mount") is None:
        return "no ip, or no mount"
    probe = f"lv{os.getpid()}p"
    try:
        ip("netns", "add", probe)
        ip("netns", "del", probe)
        ip("link", "add", probe, "type", "bridge")
        ip("link", "del", probe)
    except OSError as error:
        return str(error)
    return None


# Whoever ends this program ends the nodes as well.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
