"""What the replayed topologies share: durable things that are deleted at the end, confirmed sends, timed deliveries."""

import contextlib
import time

import pika
import pika.exceptions

from checklist.pika_support import channel, connection
from harness import poll_until

PERSISTENT = pika.DeliveryMode.Persistent.value


class Topology:
    """A channel that remembers what it declared, so that a shared broker is left as it was found."""

    def __init__(self, opened):
        self.channel = opened
        self.exchanges, self.queues = [], []

    def exchange(self, name, kind="fanout", *, durable=True, auto_delete=False, arguments=None):
        self.exchanges.append(name)
        self.channel.exchange_declare(name, kind, durable=durable, auto_delete=auto_delete, arguments=arguments)
        return name

    def queue(self, name, *, durable=True, auto_delete=False, arguments=None):
        self.queues.append(name)
        self.channel.queue_declare(name, durable=durable, auto_delete=auto_delete, arguments=arguments)
        return name

    def bind_queue(self, queue, exchange, key="", arguments=None):
        self.channel.queue_bind(queue, exchange, key, arguments)

    def bind_exchange(self, destination, source, key=""):
        self.channel.exchange_bind(destination, source, key)


@contextlib.contextmanager
def topology():
    with channel() as opened:
        made = Topology(opened)
        try:
            yield made
        finally:
            # The checks' channel may have been closed with an error.
            with channel() as cleaner:
                for name in made.queues:
                    cleaner.queue_delete(name)
                for name in made.exchanges:
                    cleaner.exchange_delete(name)


class Inbox:
    """A consumer of one queue on a connection of its own, which takes one delivery at a time unless told otherwise."""

    def __init__(self, opened, queue, prefetch=1, arguments=None):
        self.channel = opened.channel()
        self.channel.basic_qos(prefetch_count=prefetch)
        self.deliveries = []
        self.tag = self.channel.basic_consume(queue, self._on_message, arguments=arguments)

    def _on_message(self, _channel, method, properties, body):
        self.deliveries.append((time.monotonic(), method, properties, body))

    def next(self, deadline_s=10.0):
        """The next delivery: when it came, its method, properties and body. Not acknowledged."""
        poll_until(lambda: self.deliveries, "a delivery", deadline_s, step=self._step)
        return self.deliveries.pop(0)

    def take(self, deadline_s=10.0):
        """The next delivery's properties and body, acknowledged."""
        _when, method, properties, body = self.next(deadline_s)
        self.channel.basic_ack(method.delivery_tag)
        return properties, body

    def _step(self):
        self.channel.connection.process_data_events(time_limit=0.05)


@contextlib.contextmanager
def inbox(queue, prefetch=1, arguments=None):
    with connection() as opened:
        yield Inbox(opened, queue, prefetch, arguments)


@contextlib.contextmanager
def confirming():
    """A channel whose sends raise UnroutableError and NackError."""
    with channel() as sender:
        sender.confirm_delivery()
        yield sender


def wait_for_count(opened, queue, count):
    """Counts of quorum queues lag a little behind what was confirmed."""

    def counted():
        return opened.queue_declare(queue, passive=True).method.message_count == count

    poll_until(counted, f"{count} messages in {queue}")


def exists(kind, name):
    """Whether there is a `queue` or an `exchange` of that name."""
    with channel() as asking:
        try:
            getattr(asking, f"{kind}_declare")(name, passive=True)
        except pika.exceptions.ChannelClosedByBroker as closed:
            if closed.reply_code != 404:
                raise
            return False
        return True
