"""A private RabbitMQ and a Leveret, each with ports and a folder of its own, and what one asks them. Both end with the program."""

import atexit
import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from ports import free_ports

START_DEADLINE_S = 90
STOP_DEADLINE_S = 30
POLL_INTERVAL_S = 0.1
# Whoever ends this program ends the brokers as well.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))

PLUGINS = ["rabbitmq_management", "rabbitmq_event_exchange", "rabbitmq_consistent_hash_exchange"]


class Broker:
    """What both have: an HTTP API, a command-line tool, and a process in a group of its own."""

    def __init__(self, folder, ports):
        self.folder = folder
        self.port, self.management_port = ports
        folder.mkdir(parents=True)

    def start(self, command, environment):
        with open(self.folder / "output", "ab") as output:
            self.process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True)
        atexit.register(self.stop)
        deadline = time.monotonic() + START_DEADLINE_S
        while not (self.accepts(self.port) and self.accepts(self.management_port)):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{command[0]} does not serve: {(self.folder / 'output').read_text()[-2000:]}")
            time.sleep(POLL_INTERVAL_S)

    @staticmethod
    def accepts(port):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return True
        except OSError:
            return False

    def stop(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait(STOP_DEADLINE_S)

    def call(self, method, path, body=None, user="guest", password="guest"):
        request = urllib.request.Request(f"http://127.0.0.1:{self.management_port}/api/{path}", method=method)
        request.add_header("authorization", "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode())
        if body is not None:
            request.add_header("content-type", "application/json")
            request.data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                said = answer.read()
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path}: {error.code} {error.read().decode()}") from error
        return json.loads(said) if said else None

    def ctl(self, *arguments):
        """Runs the tool and gives what it prints."""
        command, environment = self.tool()
        ran = subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
        if ran.returncode != 0:
            raise AssertionError(f"{Path(command[0]).name} {' '.join(arguments)}: {ran.stdout} {ran.stderr}")
        return ran.stdout

    def queues(self, vhost):
        """The lines of list_queues, in an order."""
        columns = ["name", "messages", "arguments", "policy"]
        lines = self.ctl("list_queues", "-p", vhost, "--silent", "--no-table-headers", *columns).splitlines()
        return sorted(line for line in lines if line)


class RabbitMQ(Broker):
    def __init__(self, folder):
        port, distribution, management = free_ports(3)
        super().__init__(folder, (port, management))
        plugins, settings = folder / "enabled_plugins", folder / "rabbitmq.conf"
        plugins.write_text(f"[{','.join(PLUGINS)}].\n")
        settings.write_text(f"management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {management}\n")
        self.environment = os.environ | {
            "HOME": str(folder),
            "RABBITMQ_NODENAME": f"migration{os.getpid()}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(port),
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(plugins),
            "RABBITMQ_CONFIG_FILE": str(settings),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }
        self.programs = Path(os.environ["RABBITMQ_BIN"])
        self.start([str(self.programs / "rabbitmq-server")], self.environment)

    def tool(self):
        return [str(self.programs / "rabbitmqctl")], self.environment

    def forget_everything(self):
        for command in ("stop_app", "reset", "start_app"):
            self.ctl(command)


class Leveret(Broker):
    def __init__(self, folder, settings=""):
        super().__init__(folder, free_ports(2))
        program = os.environ["LEVERET_BIN"]
        (folder / "leveret.toml").write_text(settings)
        at = ["--listen", f"127.0.0.1:{self.port}", "--management-listen", f"127.0.0.1:{self.management_port}"]
        rest = ["--prometheus-listen", "off", "--data-dir", str(folder / "data")]
        self.start([program, "--config", str(folder / "leveret.toml"), *at, *rest], os.environ)

    def tool(self):
        tool = Path(os.environ["LEVERET_BIN"]).with_name("leveretctl")
        return [str(tool)], os.environ | {"LEVERET_URI": f"http://127.0.0.1:{self.management_port}"}
