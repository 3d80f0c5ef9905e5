"""Brokers of another system: a folder with a whole Debian in it, as debootstrap makes one, whose servers are measured
beside those that are installed here. So a machine of one release compares with the brokers of another.

They run in a mount namespace of their own in which the folder is the root and the data folder is /mnt, so that their data
lie on the disk that all brokers use, and nothing is left mounted or written when they end. That takes root.
"""

import functools
import os
import pathlib
import platform

from . import brokers, machine

ENTER = 'mount --bind "$1" "$2/mnt" && mount -t proc proc "$2/proc" && cd / && exec chroot "$2" "${@:3}"'
DATA = pathlib.PurePosixPath("/mnt")


class Rooted:
    """What a kind of broker has more when it is of a folder. `root` and `package` are its class's."""

    root = pathlib.Path("/")
    package = ""

    @classmethod
    def missing(cls):
        if os.geteuid() != 0:
            return f"entering {cls.root} takes root"
        return None

    @property
    def data(self):
        return DATA

    def enter(self):
        """What goes before a command."""
        return ["unshare", "--mount", "bash", "-c", ENTER, "enter", str(self.folder), str(self.root)]


class RootedRabbitMq(Rooted, brokers.RabbitMq):
    package = "rabbitmq-server"
    # Of its classic queues, which have been of version 2 since 4.0.
    promise = brokers.RabbitMqTuned.promise
    source = "rabbitmq.com/blog/2025/01/17/how-are-the-messages-stored"
    settings = "queues that are neither durable nor exclusive are permitted, which it is about to give up"
    configuration = "deprecated_features.permit.transient_nonexcl_queues = true\n"

    def version(self):
        return f"RabbitMQ {installed(self.root, self.package)} ({system(self.root)})"

    def command(self):
        command, env = super().command()
        return command, {**env, "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}


class RootedNats(Rooted, brokers.Nats):
    package = "nats-server"

    def version(self):
        return f"NATS {installed(self.root, self.package)} ({system(self.root)})"

    def command(self):
        command, env = super().command()
        return [*self.enter(), *command], env


@functools.cache
def installed(root, package):
    """The version of a package in the folder, or nothing."""
    return machine.output_of("dpkg-query", f"--admindir={root}/var/lib/dpkg", "-W", "-f", "${Version}", package)


def system(root):
    """What the folder is, in the words of its os-release."""
    for line in (root / "etc/os-release").read_text().splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.split("=", 1)[1].strip('"')
    return platform.system()


def kinds(folder):
    """The kinds of broker in a folder, named for their versions: "rabbitmq 4.3.6", "nats 2.15.1"."""
    root = pathlib.Path(folder).resolve()
    found = []
    for kind in (RootedRabbitMq, RootedNats):
        version = installed(root, kind.package).split("-")[0]
        if version:
            name = f"{kind.plays} {version}"
            found.append(type(kind.__name__, (kind,), {"name": name, "root": root}))
    return found
