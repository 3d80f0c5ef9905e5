"""What the pika checks share: connections, names that are cleaned up, and collecting deliveries."""

import socket
from contextlib import contextmanager

import pika

from harness import HOST, PASSWORD, PORT, USER, poll_until, unique

QUIET_S = 0.1  # how long "nothing more comes" is watched for


def parameters(**overrides):
    settings = {"host": HOST, "port": PORT, "virtual_host": "/", "credentials": pika.PlainCredentials(USER, PASSWORD)}
    return pika.ConnectionParameters(**(settings | overrides))


@contextmanager
def connection(**overrides):
    opened = pika.BlockingConnection(parameters(**overrides))
    try:
        yield opened
    finally:
        if opened.is_open:
            opened.close()


@contextmanager
def channel(**overrides):
    with connection(**overrides) as opened:
        yield opened.channel()


def exclusive_queue(channel, **options):
    return channel.queue_declare(queue="", exclusive=True, **options).method.queue


@contextmanager
def shared_queue(prefix, **options):
    """A queue which several connections can use; deleted at the end, on a connection of its own."""
    name = unique(prefix)
    with channel() as owner:
        owner.queue_declare(queue=name, **options)
        try:
            yield name
        finally:
            owner.queue_delete(queue=name)


@contextmanager
def shared_exchange(prefix, **options):
    name = unique(prefix)
    with channel() as owner:
        owner.exchange_declare(exchange=name, **options)
        try:
            yield name
        finally:
            owner.exchange_delete(exchange=name)


def cut(connection):
    """Takes the connection's socket away without a word to the broker."""
    connection._impl._transport._sock.shutdown(socket.SHUT_RDWR)


class Deliveries:
    """Collects what one channel's consumers receive, in order of arrival."""

    def __init__(self, channel):
        self.channel = channel
        self.received = []

    def consume(self, queue, consumer_tag=None, **options):
        def on_message(_channel, method, properties, body):
            self.received.append((method, properties, body))

        return self.channel.basic_consume(queue=queue, on_message_callback=on_message, consumer_tag=consumer_tag, **options)

    def wait_for(self, count):
        """Waits for `count` deliveries in all, then makes sure that no further one is on its way."""
        poll_until(
            lambda: len(self.received) >= count,
            f"{count} deliveries (there are {len(self.received)})",
            step=lambda: self.channel.connection.process_data_events(time_limit=0.05),
        )
        self.quiet()
        if len(self.received) != count:
            raise AssertionError(f"expected {count} deliveries, got {len(self.received)}: {self.received}")
        return self.received

    def quiet(self):
        """Everything that the broker sent before its answer to this round trip has arrived."""
        self.channel.connection.process_data_events(time_limit=QUIET_S)

    def bodies(self):
        return [body for _method, _properties, body in self.received]

    def by_consumer(self):
        return [(method.consumer_tag, body) for method, _properties, body in self.received]


def publish_numbered(channel, routing_key, count, exchange=""):
    for number in range(count):
        channel.basic_publish(exchange, routing_key, b"m%d" % number)


def get_all(channel, queue):
    """Empties a queue with basic.get: (redelivered, body) of each message, in order."""
    messages = []
    while True:
        method, _properties, body = channel.basic_get(queue, auto_ack=True)
        if method is None:
            return messages
        messages.append((method.redelivered, body))


def message_count(channel, queue):
    return channel.queue_declare(queue=queue, passive=True).method.message_count
