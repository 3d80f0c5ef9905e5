"""The history of a cluster under faults, and what has to be true of it. Knows nothing of brokers, sockets or time.

A message is named by who published it, on which of its connections, to which queue, and a number that grows; its body
follows from its name. What may be lost is what was not confirmed; what may come twice is flagged the second time.
"""

import hashlib
import threading
from dataclasses import dataclass, field

LARGE_EACH, LARGE_BYTES = 97, 60_000  # now and then a message of several frames
SMALL_BYTES_MAX = 300
BULK, BULK_BYTES = "bulk", 200_000  # a queue of these fills segments and disks

# What is rejected in one queue goes on to another, and only there it is acknowledged.
REJECTED, DEAD = "hot.rejected", "dead"


def name_of(publisher, connection, queue, number):
    return f"{publisher}.{connection}/{queue}/{number}"


def line_and_number(message):
    """The line that a message is in: its publisher's connection and the queue. Within it there is an order."""
    line, number = message.rsplit("/", 1)
    return line, int(number)


def may_be_in(message, queue):
    return f"/{queue}/" in message or queue == DEAD and f"/{REJECTED}/" in message


def body_of(message):
    """Follows from the name, so that bodies which are mixed up or cut off are seen. The Go publisher has the same."""
    line, number = line_and_number(message)
    digest = hashlib.sha256(message.encode()).hexdigest()
    length = LARGE_BYTES if number % LARGE_EACH == LARGE_EACH - 1 else int(digest[:4], 16) % SMALL_BYTES_MAX
    if line.endswith(f"/{BULK}"):
        length = BULK_BYTES
    filling = digest * (length // len(digest) + 1)
    return f"{message} {filling[:length]}".encode()


@dataclass
class Delivery:
    message: str
    queue: str
    consumer: str  # one connection of one consumer: a new connection is a new name
    redelivered: bool
    is_whole: bool = True  # and in the queue that it was published to
    acknowledged: bool = False  # or at least it was tried


@dataclass
class History:
    """What clients did and saw, in the order in which each of them did."""

    published: dict = field(default_factory=dict)  # message: when, just before
    confirmed: dict = field(default_factory=dict)  # message: when
    deliveries: list = field(default_factory=list)
    settled: set = field(default_factory=set)  # acknowledged before something later was confirmed: gone for good
    oddities: list = field(default_factory=list)  # seen at once to be wrong

    def __post_init__(self):
        self.lock = threading.Lock()

    def publish(self, message, at):
        with self.lock:
            self.published[message] = at

    def confirm(self, message, at):
        with self.lock:
            self.confirmed[message] = at

    def odd(self, what):
        with self.lock:
            self.oddities.append(what)

    def deliver(self, body, queue, consumer, redelivered):
        message = body.split(b" ", 1)[0].decode(errors="replace")
        is_whole = may_be_in(message, queue) and body == body_of(message)
        delivery = Delivery(message, queue, consumer, redelivered, is_whole)
        with self.lock:
            if message in self.settled:
                self.oddities.append(f"risen: {message} came again, though its acknowledgement was on the disks")
            self.deliveries.append(delivery)
        return delivery

    def acknowledge(self, delivery):
        delivery.acknowledged = True

    def settle(self, queue):
        """The queue was seen empty, and then something later was confirmed."""
        with self.lock:
            mine = [delivery for delivery in self.deliveries if delivery.queue == queue]
            self.settled |= {delivery.message for delivery in mine if delivery.acknowledged}

    def forget(self):
        """What is settled and was found good needs no second look."""
        with self.lock:
            self.oddities.clear()
            self.deliveries = [delivery for delivery in self.deliveries if delivery.message not in self.settled]
            for message in self.settled:
                self.confirmed.pop(message, None)


def complaints(history, untouched=()):
    """What is wrong with the history of some rounds whose queues were drained. Of an untouched queue nothing was taken
    before the drain, by one consumer: all of it has to come in order, flagged or not."""
    found = list(history.oddities)
    acknowledged = {delivery.message for delivery in history.deliveries if delivery.acknowledged}
    lost = [message for message in history.confirmed if message not in acknowledged]
    for message in sorted(lost):
        to = [each.consumer for each in history.deliveries if each.message == message]
        found.append(f"lost: {message} was confirmed, and came to {to or 'nobody'}")
    unflagged = {}
    last = {}
    once = set()
    for delivery in history.deliveries:
        message, consumer = delivery.message, delivery.consumer
        if message not in history.published:
            found.append(f"phantom: {delivery.queue} gave {message[:80]!r}, which nobody published")
            continue
        if not delivery.is_whole:
            found.append(f"damaged: {delivery.queue} gave {message} with another body, or to the wrong queue")
        line, number = line_and_number(message)
        if (consumer, message) in once:
            found.append(f"twice: {message} came twice to {consumer}")
        once.add((consumer, message))
        if not delivery.redelivered:
            before = unflagged.setdefault((delivery.queue, message), consumer)
            if before != consumer:
                found.append(f"flag: {message} came to {before} and to {consumer}, and neither time as redelivered")
        # Dead letters come in the order in which they were rejected, and a consumer that is cut off holds older ones.
        has_order = not delivery.redelivered or delivery.queue in untouched
        if has_order and delivery.queue != DEAD:
            before = last.get((consumer, line), -1)
            if number <= before:
                found.append(f"order: {message} came to {consumer} after number {before}")
            last[consumer, line] = max(before, number)
    return found


def confirms_without_majority(history, since, until):
    """While most nodes are gone nothing that is published may be confirmed."""
    early = [message for message, at in history.confirmed.items() if history.published[message] > since and at < until]
    return [f"alone: {message} was confirmed while most nodes were gone" for message in early]


def first_confirm_after(history, at):
    """When the first message was confirmed that was published after this."""
    return min((when for message, when in history.confirmed.items() if history.published[message] > at), default=None)


def definitions_missing(wanted, there):
    """`wanted`: name → whether it has to be there (True), must not (False); what is in neither state has no answer yet."""
    missing = [f"definition lost: {name}" for name, state in wanted.items() if state is True and name not in there]
    risen = [f"definition risen: {name}" for name, state in wanted.items() if state is False and name in there]
    return missing + risen
