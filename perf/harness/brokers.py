"""Brokers to measure: found or installed, started on loopback with a port and a folder of their own, ended again.

Each is there twice where its documentation says how to make it faster: with the configuration that it has by default,
and with those settings. A broker says in its own words, with the source, what it promises when it confirms a persistent
message; the tables repeat that beside its figures.
"""

import hashlib
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import time

from . import machine, scenarios

READY_LIMIT_S = 60
STOP_LIMIT_S = 20
REST_LIMIT_S = 15
REST_LOOK_S = 0.4
# Processor time in one look up to which a broker counts as at rest, in hundredths of a second.
REST_TICKS = 3
OPENSSL = shutil.which("openssl")
# Brokers that speak TLS do so where there is something to make a certificate with.
TLS = frozenset({scenarios.TLS} if OPENSSL else ())


# Bound, and listened at by nobody: so Linux gives these ports to nobody else before the brokers they are for are there, or while
# those are down.
held_ports = []


def free_port():
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    held_ports.append(held)
    return held.getsockname()[1]


def resident_bytes(pid):
    """Of a process; nothing once it is gone."""
    try:
        pages = int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def environment(**more):
    return {**os.environ, **{name: str(value) for name, value in more.items()}}


class Broker:
    """One broker with one configuration. Subclasses say how it is found and started."""

    name = ""
    # What scenarios call it that name the brokers they are for.
    plays = ""
    scheme = "amqp"
    promise = ""
    # Of its quorum queues, where that is another one.
    quorum_promise = ""
    source = ""
    settings = ""
    # Those of RabbitMQ's extensions that it has.
    features = frozenset()

    def __init_subclass__(cls):
        super().__init_subclass__()
        cls.plays = cls.plays or cls.name

    def __init__(self, scratch):
        self.folder = pathlib.Path(scratch) / self.name.replace(" ", "-").replace(",", "")
        self.folder.mkdir(parents=True)
        self.port = free_port()
        self.tls_port = free_port()
        self.process = None
        self.listening_pid = None
        self.helpers = []

    @classmethod
    def missing(cls):
        """Why it cannot be measured here, or None."""
        return None

    def version(self):
        return ""

    def command(self):
        """What starts it: arguments and environment."""
        raise NotImplementedError

    @property
    def uri(self):
        if self.scheme == "nats":
            return f"nats://127.0.0.1:{self.port}"
        return f"amqp://guest:guest@127.0.0.1:{self.port}/%2f"

    @property
    def tls_uri(self):
        return f"amqps://guest:guest@localhost:{self.tls_port}/%2f"

    def certificate(self):
        """Makes a certificate and its key, `server.pem` and `server.key` in the broker's folder. False where that can't be done."""
        names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-days", "2"]
        files = ["-keyout", self.folder / "server.key", "-out", self.folder / "server.pem"]
        if OPENSSL:
            subprocess.run([OPENSSL, "req", "-x509", *kind, *names, *files], capture_output=True, check=True)
        return bool(OPENSSL)

    def start(self):
        arguments, env = self.command()
        with open(self.folder / "output.log", "ab") as log:
            self.process = subprocess.Popen(
                arguments, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                cwd=self.folder,
            )
        deadline = time.monotonic() + READY_LIMIT_S
        while time.monotonic() < deadline and self.process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            time.sleep(0.05)
        tail = (self.folder / "output.log").read_text(errors="replace").strip().splitlines()[-1:]
        self.stop()
        raise RuntimeError(f"{self.name} does not start: {' '.join(tail)}")

    @property
    def pid(self):
        """The process that listens: what was started may be a script."""
        if self.listening_pid:
            return self.listening_pid
        listening = machine.output_of("ss", "-ltnpH", f"sport = :{self.port}")
        found = re.search(r"pid=(\d+)", listening)
        self.listening_pid = int(found.group(1)) if found else self.process.pid
        return self.listening_pid

    def is_alive(self):
        return self.process is not None and self.process.poll() is None

    def stop(self):
        """Ends what `start` started, its whole session, and waits for that."""
        for process in [self.process, *self.helpers]:
            if process is None or process.poll() is not None:
                continue
            for how, limit in ((signal.SIGTERM, STOP_LIMIT_S), (signal.SIGKILL, STOP_LIMIT_S)):
                try:
                    os.killpg(process.pid, how)
                    process.wait(limit)
                    break
                except subprocess.TimeoutExpired:
                    continue
                except ProcessLookupError:
                    break
        self.process, self.listening_pid, self.helpers = None, None, []

    def restart(self, fresh=False):
        self.stop()
        if fresh:
            shutil.rmtree(self.folder)
            self.folder.mkdir()
        return self.start()

    def ticks(self):
        try:
            fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            return 0
        return int(fields[11]) + int(fields[12])

    def resident_bytes(self):
        return resident_bytes(self.pid)


# What 3.10 has, and every later one.
RABBITMQ_FEATURES = frozenset({
    "time to live", "length limits", "priorities", "single active consumer", "dead letters", "quorum queues", "consistent hash",
})


class Leveret(Broker):
    name = "leveret"
    features = RABBITMQ_FEATURES | TLS | {"delayed messages", "deduplication"}
    promise = "on disk: fdatasync before the confirm"
    source = "README, Durability"
    durability = "always"
    programs = None

    def version(self):
        return f"{machine.output_of(self.programs / 'leveret', '--version')} ({machine.output_of('git', 'rev-parse', '--short', 'HEAD')})"

    def command(self):
        settings = self.folder / "leveret.toml"
        text = f'durability = "{self.durability}"\ntls_listen = ["127.0.0.1:{self.tls_port}"]\n'
        if self.certificate():
            text += '[tls]\ncertfile = "server.pem"\nkeyfile = "server.key"\n'
        settings.write_text(text)
        arguments = [
            self.programs / "leveret", "--config", settings, "--listen", f"127.0.0.1:{self.port}",
            "--management-listen", f"127.0.0.1:{free_port()}", "--prometheus-listen", "off", "--data-dir", self.folder / "data", "--log-level", "error",
        ]
        return [str(argument) for argument in arguments], environment()


class LeveretOs(Leveret):
    name = plays = "leveret, durability os"
    promise = "with the operating system: write before the confirm, no fsync"
    durability = "os"
    settings = 'durability = "os": as RabbitMQ\'s classic queues of version 2 promise'


class RabbitMq(Broker):
    name = "rabbitmq"
    features = RABBITMQ_FEATURES | TLS
    # Of version 1 of its classic queues, which 3.10 has by default.
    promise = "on disk, or acknowledged: in batches, a few hundred milliseconds apart or when a queue is idle"
    quorum_promise = "on disk: its write-ahead log is synced before the confirm (rabbitmq.com/docs/quorum-queues)"
    source = "rabbitmq.com/docs/3.10/confirms, Ack Latency for Persistent Messages"
    configuration = ""
    runtime = ""
    launcher = "/usr/lib/rabbitmq/bin/rabbitmq-server"

    @classmethod
    def missing(cls):
        if not pathlib.Path(cls.launcher).exists():
            return "rabbitmq-server is not installed"
        return None if shutil.which("epmd") else "epmd is not installed"

    @property
    def data(self):
        """Its folder, as it sees that itself."""
        return self.folder

    def enter(self):
        """What goes before a command, to run it where this broker runs."""
        return []

    def version(self):
        return f"RabbitMQ {machine.output_of('dpkg-query', '-W', '-f', '${Version}', 'rabbitmq-server')} (Debian)"

    def command(self):
        if not self.helpers:
            # A port mapper of its own: the one that Erlang starts by itself would outlive the measurement.
            self.mapper_port = free_port()
            mapper = [*self.enter(), "epmd", "-port", str(self.mapper_port), "-address", "127.0.0.1"]
            self.helpers = [subprocess.Popen(mapper, stdin=subprocess.DEVNULL, start_new_session=True)]
        env = environment(
            HOME=self.data,
            ERL_EPMD_PORT=self.mapper_port,
            ERL_EPMD_ADDRESS="127.0.0.1",
            RABBITMQ_NODE_PORT=self.port,
            RABBITMQ_NODE_IP_ADDRESS="127.0.0.1",
            RABBITMQ_NODENAME=f"perf{self.port}@localhost",
            RABBITMQ_DIST_PORT=free_port(),
            RABBITMQ_MNESIA_BASE=self.data / "mnesia",
            RABBITMQ_LOG_BASE=self.data / "log",
            RABBITMQ_CONFIG_FILE=self.data / "rabbitmq.conf",
            RABBITMQ_ENABLED_PLUGINS_FILE=self.data / "enabled_plugins",
            RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=f"-kernel inet_dist_use_interface {{127,0,0,1}} {self.runtime}",
        )
        text = self.configuration
        if self.certificate():
            text += f"listeners.ssl.1 = 127.0.0.1:{self.tls_port}\n"
            text += f"ssl_options.certfile = {self.data}/server.pem\nssl_options.keyfile = {self.data}/server.key\n"
        (self.folder / "rabbitmq.conf").write_text(text)
        (self.folder / "enabled_plugins").write_text("[rabbitmq_consistent_hash_exchange].\n")
        return [*self.enter(), self.launcher], env


class RabbitMqTuned(RabbitMq):
    name = plays = "rabbitmq, tuned"
    promise = "with the operating system, or acknowledged: no fsync before the confirm"
    source = "of version 2 of its classic queues: rabbitmq.com/blog/2025/01/17/how-are-the-messages-stored"
    settings = (
        "classic queues of version 2 (rabbitmq.com/docs/3.10/persistence-conf), no statistics (rabbitmq.conf.example), "
        "socket buffers of 192 KiB (rabbitmq.com/docs/networking, Tuning for Throughput), schedulers that do not spin "
        "where cores are shared (rabbitmq.com/docs/runtime)"
    )
    configuration = """classic_queue.default_version = 2
collect_statistics = none
tcp_listen_options.backlog = 4096
tcp_listen_options.nodelay = true
tcp_listen_options.sndbuf = 196608
tcp_listen_options.recbuf = 196608
"""
    runtime = "+sbwt none +sbwtdcpu none +sbwtdio none"


class GarageMq(Broker):
    name = "garagemq"
    promise = "with the operating system: its store (badger) runs with SyncWrites off"
    source = "github.com/valinurovam/garagemq, storage/storage_badger.go"
    nodelay = "false"
    messages_in_ram = 131072

    @classmethod
    def missing(cls):
        return None if shutil.which("garagemq") else "garagemq is not installed"

    def version(self):
        return f"GarageMQ {machine.output_of('dpkg-query', '-W', '-f', '${Version}', 'garagemq')} (Debian)"

    def command(self):
        password = hashlib.md5(b"guest").hexdigest()
        (self.folder / "config.yaml").write_text(f"""proto: amqp-rabbit
users:
  - username: guest
    password: {password}
tcp: {{ip: 127.0.0.1, port: {self.port}, nodelay: {self.nodelay}, readBufSize: 196608, writeBufSize: 196608}}
admin: {{ip: 127.0.0.1, port: {free_port()}}}
queue: {{shardSize: 8192, maxMessagesInRam: {self.messages_in_ram}}}
db: {{defaultPath: {self.folder}/db, engine: badger}}
vhost: {{defaultPath: /}}
security: {{passwordCheck: md5}}
connection: {{channelsMax: 4096, frameMaxSize: 65536}}
""")
        return ["garagemq", "--config", str(self.folder / "config.yaml"), "--log-level", "error"], environment()


class GarageMqTuned(GarageMq):
    name = plays = "garagemq, tuned"
    settings = "tcp.nodelay, and ten million messages in memory (its README's configuration)"
    nodelay = "true"
    messages_in_ram = 10_000_000


class Nats(Broker):
    name = "nats"
    scheme = "nats"
    promise = "nothing: core NATS keeps and confirms nothing"
    source = "docs.nats.io, Core NATS"

    @classmethod
    def missing(cls):
        return None if shutil.which("nats-server") else "nats-server is not installed"

    def version(self):
        return machine.output_of("nats-server", "--version")

    def command(self):
        return ["nats-server", "-a", "127.0.0.1", "-p", str(self.port)], environment()


class Container(Broker):
    """A broker from an image, on the machine's own network, so that no bridge is measured."""

    image = ""

    @classmethod
    def missing(cls):
        if not shutil.which("docker"):
            return "docker is not installed"
        try:
            run = subprocess.run(["docker", "info"], capture_output=True, text=True, timeout=20, check=False)
        except subprocess.TimeoutExpired:
            return "docker does not answer"
        return None if run.returncode == 0 else "docker cannot run containers here"

    def version(self):
        return f"image {self.image}"

    @property
    def container(self):
        return f"leveret-compare-{self.port}"

    def stop(self):
        if self.process is not None:
            subprocess.run(["docker", "stop", "--time", "10", self.container], capture_output=True, check=False)
        super().stop()

    def inside(self, *arguments, **variables):
        command = ["docker", "run", "--rm", "--network", "host", "--name", self.container]
        for name, value in variables.items():
            command += ["--env", f"{name}={value}"]
        return [*command, self.image, *arguments], environment()


class RabbitMqImage(Container):
    name = "rabbitmq 4"
    image = "rabbitmq:4"
    # Its image enables no plugin for it.
    features = RABBITMQ_FEATURES - {"consistent hash"}
    quorum_promise = RabbitMq.quorum_promise
    promise = RabbitMqTuned.promise
    source = RabbitMqTuned.source

    def command(self):
        return self.inside(RABBITMQ_NODE_PORT=self.port, RABBITMQ_NODENAME=f"perf{self.port}@localhost",
                           RABBITMQ_DIST_PORT=free_port())


class LavinMqImage(Container):
    name = "lavinmq"
    image = "cloudamqp/lavinmq:latest"
    features = Leveret.features - {"quorum queues"} - TLS
    promise = "on disk: syncfs before the confirm, since 2.9.0"
    source = "lavinmq.com/documentation/publisher-confirms; github.com/cloudamqp/lavinmq/pull/1891"

    def command(self):
        return self.inside("--amqp-port", str(self.port), "--http-port", str(free_port()), "--bind", "127.0.0.1")


INSTALLABLE = {RabbitMq: "rabbitmq-server", GarageMq: "garagemq", Nats: "nats-server"}
ALL = [Leveret, LeveretOs, RabbitMq, RabbitMqTuned, GarageMq, GarageMqTuned, Nats, RabbitMqImage, LavinMqImage]


def install_missing():
    """Installs Debian's packages of what is missing, if that is ours to do. Their servers are kept from starting."""
    packages = [package for kind, package in INSTALLABLE.items() if kind.missing()]
    if not packages or os.geteuid() != 0 or not shutil.which("apt-get"):
        return
    env = environment(DEBIAN_FRONTEND="noninteractive", RUNLEVEL="1")
    install = ["apt-get", "install", "-qy", "--no-install-recommends"]
    for package in packages:
        print(f"installing {package}", flush=True)
        if subprocess.run([*install, package], env=env, capture_output=True, check=False).returncode != 0:
            subprocess.run(["apt-get", "update", "-q"], env=env, capture_output=True, check=False)
            subprocess.run([*install, package], env=env, capture_output=True, check=False)


def rest(brokers):
    """Waits until none of them works any more: one that still cleans up would be measured with the next one's run."""
    deadline = time.monotonic() + REST_LIMIT_S
    alive = [broker for broker in brokers if broker.is_alive()]
    while alive and time.monotonic() < deadline:
        before = [broker.ticks() for broker in alive]
        time.sleep(REST_LOOK_S)
        alive = [broker for broker, ticks in zip(alive, before) if broker.ticks() - ticks > REST_TICKS]
