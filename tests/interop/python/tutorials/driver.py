"""Runs the tutorials' programs as separate processes and asserts what each tutorial promises."""

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import pika  # noqa: E402

from harness import URL, checks_of, equal, run, unique  # noqa: E402

LINE_DEADLINE_S = 15
QUIET_S = 0.2

DURABLE_TASK = "redelivered=False delivery_mode=2"


class Program:
    """A script running in a process of its own, whose lines we read as they come."""

    def __init__(self, namespace, script, *arguments):
        self.name = script
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / f"{script}.py"), *arguments],
            stdout=subprocess.PIPE,
            stderr=sys.stderr,
            text=True,
            env=os.environ | {"NAMESPACE": namespace},
        )
        self.lines = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))
        self.lines.put(None)

    def line(self):
        try:
            line = self.lines.get(timeout=LINE_DEADLINE_S)
        except queue.Empty:
            raise AssertionError(f"{self.name} said nothing for {LINE_DEADLINE_S} s") from None
        if line is None:
            raise AssertionError(f"{self.name} ended with status {self.process.wait()}")
        return line

    def take(self, count):
        return [self.line() for _ in range(count)]

    def silent(self):
        try:
            raise AssertionError(f"{self.name} said {self.lines.get(timeout=QUIET_S)!r}")
        except queue.Empty:
            pass

    def kill(self):
        """As a crash would end it: the socket closes and nothing else is said."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def finish(self):
        equal(self.process.wait(LINE_DEADLINE_S), 0, f"{self.name}'s exit status")
        said = []
        while (line := self.lines.get(timeout=LINE_DEADLINE_S)) is not None:
            said.append(line)
        return said


class Tutorial(ExitStack):
    """One tutorial's names and programs; both are gone at its end."""

    def __init__(self, *queues, exchanges=()):
        super().__init__()
        self.namespace = unique("tutorial") + "."
        self.queues, self.exchanges = queues, exchanges

    def __enter__(self):
        self.callback(self._delete)
        return super().__enter__()

    def _delete(self):
        with pika.BlockingConnection(pika.URLParameters(URL)) as connection:
            channel = connection.channel()
            for name in self.queues:
                channel.queue_delete(self.namespace + name)
            for name in self.exchanges:
                channel.exchange_delete(self.namespace + name)

    def start(self, script, *arguments, ready=True):
        """Starts a program that stays; `ready` waits until it consumes."""
        program = Program(self.namespace, script, *arguments)
        self.callback(program.kill)
        if ready:
            program.greeting = program.line()
            equal(program.greeting.split()[0], "waiting")
        return program

    def call(self, script, *arguments):
        """Runs a program to its end."""
        return Program(self.namespace, script, *arguments).finish()


def check_1_hello_world():
    with Tutorial("hello") as tutorial:
        equal(tutorial.call("send"), ["sent Hello World!"])  # nobody is there yet: the queue keeps it
        receiver = tutorial.start("receive")
        equal(receiver.line(), "received Hello World!")
        tutorial.call("send")
        equal(receiver.line(), "received Hello World!")
        receiver.silent()


def check_2_work_queues_round_robin():
    with Tutorial("tasks") as tutorial:
        workers = [tutorial.start("worker", "--no-prefetch") for _ in range(2)]
        tutorial.call("new_task", *[f"task-{n}" for n in range(10)])
        for first, worker in enumerate(workers):
            # Every second task, in order, exactly: the workers consume in the order in which they came.
            for n in range(first, 10, 2):
                equal(worker.take(2), [f"started task-{n} {DURABLE_TASK}", f"done task-{n}"])
            worker.silent()


def check_2_work_queues_killed_worker():
    with Tutorial("tasks") as tutorial:
        doomed = tutorial.start("worker")
        tutorial.call("new_task", "hang-1")
        equal(doomed.line(), f"started hang-1 {DURABLE_TASK}")
        survivor = tutorial.start("worker", "--no-prefetch")
        tutorial.call("new_task", "after")
        equal(survivor.take(2), [f"started after {DURABLE_TASK}", "done after"])
        doomed.kill()
        equal(survivor.line(), "started hang-1 redelivered=True delivery_mode=2")


def check_2_work_queues_fair_dispatch():
    with Tutorial("tasks") as tutorial:
        busy = tutorial.start("worker")
        tutorial.call("new_task", "hang-1")
        equal(busy.line(), f"started hang-1 {DURABLE_TASK}")
        idle = tutorial.start("worker")
        tutorial.call("new_task", *[f"task-{n}" for n in range(6)])
        # The busy one has its prefetch_count=1 in hand, so everything goes to the idle one.
        for n in range(6):
            equal(idle.take(2), [f"started task-{n} {DURABLE_TASK}", f"done task-{n}"])
        busy.silent()


def check_2_work_queues_durable():
    with Tutorial("tasks") as tutorial:
        tutorial.call("new_task", "kept")
        with pika.BlockingConnection(pika.URLParameters(URL)) as connection:
            channel = connection.channel()
            declared = channel.queue_declare(tutorial.namespace + "tasks", durable=True)
            equal(declared.method.consumer_count, 0)
            _method, properties, body = channel.basic_get(tutorial.namespace + "tasks", auto_ack=True)
            equal((body, properties.delivery_mode), (b"kept", 2))
            try:
                channel.queue_declare(tutorial.namespace + "tasks", durable=False)
                raise AssertionError("a durable queue was declared again as transient")
            except pika.exceptions.ChannelClosedByBroker as error:
                equal(error.reply_code, 406)


def check_3_publish_subscribe():
    with Tutorial(exchanges=["logs-fanout"]) as tutorial:
        tutorial.call("emit_log", "fanout", "", "too early")  # nobody listens: gone
        receivers = [tutorial.start("receive_logs", "fanout") for _ in range(3)]
        tutorial.call("emit_log", "fanout", "", "to all")
        for receiver in receivers:
            equal(receiver.line(), "received  to all")
        receivers[0].kill()
        tutorial.call("emit_log", "fanout", "", "to the rest")
        for receiver in receivers[1:]:
            equal(receiver.line(), "received  to the rest")
            receiver.silent()
        equal(len({receiver.greeting for receiver in receivers}), 3, "each has a queue of its own")


def check_4_routing():
    with Tutorial(exchanges=["logs-direct"]) as tutorial:
        errors = tutorial.start("receive_logs", "direct", "error")
        everything = tutorial.start("receive_logs", "direct", "info", "warning", "error")
        for severity in ("info", "error", "debug", "warning", "error"):
            tutorial.call("emit_log", "direct", severity, f"a {severity}")
        equal(errors.take(2), ["received error a error"] * 2)
        expected = ["info", "error", "warning", "error"]
        equal(everything.take(4), [f"received {severity} a {severity}" for severity in expected])
        errors.silent()
        everything.silent()


def check_5_topics():
    patterns = {
        ("#",): ["kern.critical", "kern.info", "cron.critical", "a.kern.critical", "kern"],
        ("kern.*",): ["kern.critical", "kern.info"],
        ("*.critical",): ["kern.critical", "cron.critical"],
        ("kern.*", "*.critical"): ["kern.critical", "kern.info", "cron.critical"],
        ("kern.#",): ["kern.critical", "kern.info", "kern"],
    }
    with Tutorial(exchanges=["logs-topic"]) as tutorial:
        receivers = {keys: tutorial.start("receive_logs", "topic", *keys) for keys in patterns}
        for key in patterns[("#",)]:
            tutorial.call("emit_log", "topic", key, "line")
        for keys, receiver in receivers.items():
            equal(receiver.take(len(patterns[keys])), [f"received {key} line" for key in patterns[keys]], str(keys))
            receiver.silent()


def check_6_rpc():
    with Tutorial("rpc") as tutorial:
        tutorial.start("rpc_server")
        tutorial.start("rpc_server")
        fibonacci = {"0": 0, "1": 1, "10": 55, "30": 832040, "90": 2880067194370816120}
        clients = [Program(tutorial.namespace, "rpc_client", *fibonacci) for _ in range(2)]
        callbacks = set()
        for client in clients:
            callback, *answers = client.finish()
            callbacks.add(callback)
            equal(callback.split()[1].startswith("amq.gen-"), True, callback)
            equal(sorted(answers), sorted(f"answer {n} {value}" for n, value in fibonacci.items()))
        equal(len(callbacks), 2, "each client has a callback queue of its own")
        with pika.BlockingConnection(pika.URLParameters(URL)) as connection:
            # The callback queues were exclusive: they went away with their clients.
            for callback in callbacks:
                try:
                    connection.channel().queue_declare(callback.split()[1], passive=True)
                    raise AssertionError(f"{callback} is still there")
                except pika.exceptions.ChannelClosedByBroker as error:
                    equal(error.reply_code, 404)


def check_7_publisher_confirms():
    with Tutorial() as tutorial:
        started = time.monotonic()
        said = tutorial.call("publisher_confirms", "200")
        equal(said, ["confirmed singly 200", "confirmed as they come 200", "in the queue 400"])
        print(f"confirms took {time.monotonic() - started:.2f} s", file=sys.stderr)


if __name__ == "__main__":
    run("tutorials (pika)", pika.__version__, list(checks_of(sys.modules["__main__"])))
