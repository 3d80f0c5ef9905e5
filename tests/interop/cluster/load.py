"""What clients do while nodes fail: publishers with confirms, consumers that acknowledge, and who changes definitions.

Each goes on at the next node when its connection is lost, until it is told to end. All that they do is in the history.
"""

import random
import subprocess
import threading
import time

import pika
from pika.adapters.utils.connection_workflow import AMQPConnectorException
from pika.exceptions import AMQPError, NackError, UnroutableError

from history import REJECTED, body_of, may_be_in, name_of
from nodes import PASSWORD, USER

RECONNECT_S = 0.02
PUBLISH_PAUSE_S = 0.002
CONNECT_S = 2
PREFETCH = 40
QUIET_S = 0.2  # nothing came for so long: the queue may be empty
DRAIN_DEADLINE_S = 45
DEFINITIONS_DEADLINE_S = 10

# What pika and its sockets raise when a node goes.
LOST = (AMQPError, AMQPConnectorException, OSError, AssertionError, AttributeError)


def connect(node):
    credentials = pika.PlainCredentials(USER, PASSWORD)
    parameters = pika.ConnectionParameters(
        node.host,
        node.amqp,
        credentials=credentials,
        heartbeat=2,
        connection_attempts=1,
        socket_timeout=CONNECT_S,
        stack_timeout=CONNECT_S,
    )
    return pika.BlockingConnection(parameters)


class Client(threading.Thread):
    """Connects, works and connects again."""

    def __init__(self, name, nodes, history):
        super().__init__(name=name, daemon=True)
        self.nodes, self.history = nodes, history
        self.ending = threading.Event()
        self.connections = 0

    def run(self):
        while not self.ending.is_set():
            node = self.nodes[self.connections % len(self.nodes)]
            connection = None
            try:
                connection = connect(node)
                self.work(connection, f"{self.name}.{self.connections}")
            except LOST:
                self.ending.wait(RECONNECT_S)
            finally:
                try:
                    if connection is not None:
                        connection.close()
                except LOST:
                    pass
            self.connections += 1

    def end(self):
        self.ending.set()


    def settle(self, channel, delivery, tag):
        """Acknowledges it, or rejects it where that is what the queue is for."""
        if delivery.queue == REJECTED:
            channel.basic_reject(tag, requeue=False)
        else:
            # It may arrive even though sending it fails.
            self.history.acknowledge(delivery)
            channel.basic_ack(tag)


class Publisher(Client):
    def __init__(self, name, nodes, history, queues):
        super().__init__(name, nodes, history)
        self.queues, self.numbers = queues, dict.fromkeys(queues, 0)

    def work(self, connection, line):
        channel = connection.channel()
        channel.confirm_delivery()
        properties = pika.BasicProperties(delivery_mode=2)
        while not self.ending.is_set():
            for queue in self.queues:
                name, number = line.rsplit(".", 1)
                message = name_of(name, number, queue, self.numbers[queue])
                self.numbers[queue] += 1
                body = body_of(message)
                self.history.publish(message, time.time())
                try:
                    channel.basic_publish("", queue, body, properties, mandatory=True)
                    self.history.confirm(message, time.time())
                except NackError:
                    pass  # refused
                except UnroutableError:
                    self.history.odd(f"definition lost: the queue of {message} is not there")
            time.sleep(PUBLISH_PAUSE_S)


class GoPublisher:
    """amqp091-go, with many messages under way."""

    def __init__(self, program, name, nodes, history, queues, log):
        urls = [f"amqp://{USER}:{PASSWORD}@{node.host}:{node.amqp}/%2f" for node in nodes]
        self.history = history
        self.process = subprocess.Popen(
            [program, name, ",".join(queues), ",".join(urls)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        self.reader = threading.Thread(target=self.read, daemon=True)

    def start(self):
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            what, message, at = line.split()
            if what == "p":
                self.history.publish(message, float(at))
            else:
                self.history.confirm(message, float(at))

    def end(self):
        self.process.stdin.close()

    def join(self, timeout):
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.reader.join(timeout)

    def is_alive(self):
        return self.process.poll() is None


class Consumer(Client):
    def __init__(self, name, nodes, history, queue):
        super().__init__(name, nodes, history)
        self.queue = queue

    def work(self, connection, line):
        channel = connection.channel()
        channel.basic_qos(prefetch_count=PREFETCH)
        for method, _, body in channel.consume(self.queue, inactivity_timeout=0.05):
            if method is not None:
                delivery = self.history.deliver(body, self.queue, line, method.redelivered)
                self.settle(channel, delivery, method.delivery_tag)
            if self.ending.is_set():
                return


class Drain(Client):
    """Takes all there is of a queue once all is healed, and makes sure that it is gone for good."""

    def __init__(self, name, nodes, history, queue):
        super().__init__(name, nodes, history)
        self.queue = queue
        self.deadline = None
        self.why = "it was not connected"

    def run(self):
        self.deadline = time.monotonic() + DRAIN_DEADLINE_S
        # Also when nobody lets it in.
        timer = threading.Timer(DRAIN_DEADLINE_S, self.end)
        timer.start()
        super().run()
        timer.cancel()

    def left(self):
        with self.history.lock:
            acknowledged = {each.message for each in self.history.deliveries if each.acknowledged}
            mine = [each for each in self.history.confirmed if may_be_in(each, self.queue)]
            return [each for each in mine if each not in acknowledged and self.queue != REJECTED]

    def work(self, connection, line):
        channel = connection.channel()
        channel.confirm_delivery()
        channel.basic_qos(prefetch_count=PREFETCH * 5)
        for method, _, body in channel.consume(self.queue, inactivity_timeout=QUIET_S):
            if method is not None:
                delivery = self.history.deliver(body, self.queue, line, method.redelivered)
                self.settle(channel, delivery, method.delivery_tag)
                continue
            left = self.left()
            there = channel.queue_declare(self.queue, passive=True).method
            # While another consumer is there it may hold messages that come back.
            if there.message_count == 0 and there.consumer_count == 1 and not left:
                break
            self.why = f"{there.message_count} wait, {len(left)} are missing, {there.consumer_count} consume"
            if time.monotonic() > self.deadline:
                self.end()
                return
        # Nothing is left, and nobody has any. Once this is confirmed, so are all acknowledgements before it.
        message = name_of(line, "last", self.queue, 0)
        self.history.publish(message, time.time())
        channel.basic_publish("", self.queue, body_of(message), pika.BasicProperties(delivery_mode=2), mandatory=True)
        self.history.settle(self.queue)
        self.history.confirm(message, time.time())
        method, _, body = next(channel.consume(self.queue, inactivity_timeout=10))
        if method is not None:
            delivery = self.history.deliver(body, self.queue, line, method.redelivered)
            self.settle(channel, delivery, method.delivery_tag)
        self.why = None
        self.end()


class Definer(threading.Thread):
    """Makes queues, bindings, users and policies, and removes older ones, through whichever node."""

    def __init__(self, name, nodes, wanted, seed):
        super().__init__(name=name, daemon=True)
        self.nodes, self.wanted = nodes, wanted
        self.random = random.Random(seed)
        self.ending = threading.Event()

    def run(self):
        number = 0
        while not self.ending.is_set():
            self.one(f"{self.name}.{number}")
            number += 1
            self.ending.wait(0.03)

    def end(self):
        self.ending.set()

    def one(self, name):
        if self.ask("PUT", f"queues/%2F/{name}", {"durable": True}, [f"queue {name}"], True):
            binding = {"routing_key": name}
            self.ask("POST", f"bindings/%2F/e/amq.direct/q/{name}", binding, [f"binding {name}"], True)
        self.ask("PUT", f"users/{name}", {"password": "x", "tags": ""}, [f"user {name}"], True)
        policy = {"pattern": f"^{name}$", "definition": {"max-length": 7}, "apply-to": "queues"}
        self.ask("PUT", f"policies/%2F/{name}", policy, [f"policy {name}"], True)
        there = sorted(each for each, state in self.wanted.items() if state)
        for each in self.random.sample(there, min(3, len(there))):
            kind, old = each.split(" ")
            path = {"queue": f"queues/%2F/{old}", "user": f"users/{old}", "policy": f"policies/%2F/{old}"}.get(kind)
            if path:
                of_it = [f"binding {old}"] if kind == "queue" and f"binding {old}" in self.wanted else []
                self.ask("DELETE", path, None, [each, *of_it], False)

    def ask(self, method, path, body, names, state):
        for name in names:
            self.wanted[name] = None
        try:
            self.random.choice(self.nodes).ask(method, path, body, timeout=2)
        except (OSError, ValueError):
            return False
        for name in names:
            self.wanted[name] = state
        return True


def definitions_there(nodes):
    """The names of all that a definer may have made, as one of these nodes says."""
    deadline = time.monotonic() + DEFINITIONS_DEADLINE_S
    said = None
    while said is None:
        for node in nodes:
            try:
                said = said or node.ask("GET", "definitions", timeout=DEFINITIONS_DEADLINE_S)
            except (OSError, ValueError):
                # A follower may lose sight of the leader for a moment once more, when what was stuck in its connections goes.
                if time.monotonic() > deadline:
                    raise
                time.sleep(RECONNECT_S)
    there = {f"queue {each['name']}" for each in said["queues"]}
    there |= {f"user {each['name']}" for each in said["users"]}
    there |= {f"policy {each['name']}" for each in said["policies"]}
    return there | {f"binding {each['routing_key']}" for each in said["bindings"]}
