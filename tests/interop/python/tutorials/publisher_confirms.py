"""Publisher confirms: every message is confirmed, singly and then in batches; the queue holds exactly those."""

import asyncio
import sys

import pika
from common import connect, named, parameters, say
from pika.adapters.asyncio_connection import AsyncioConnection

COUNT = int(sys.argv[1])


def one_by_one(queue):
    """Publishes, waits for the confirm, publishes the next."""
    connection = connect()
    channel = connection.channel()
    channel.confirm_delivery()
    for number in range(COUNT):
        channel.basic_publish("", queue, str(number), mandatory=True)
    say("confirmed singly", COUNT)
    connection.close()


def as_they_come(queue):
    """Publishes everything at once and crosses the numbers off as the confirms arrive, single or multiple."""
    outstanding = set(range(1, COUNT + 1))
    loop = asyncio.new_event_loop()

    def on_confirm(frame):
        confirm = frame.method
        assert isinstance(confirm, pika.spec.Basic.Ack), confirm
        settled = {n for n in outstanding if n <= confirm.delivery_tag} if confirm.multiple else {confirm.delivery_tag}
        assert settled <= outstanding, f"confirmed twice: {confirm}"
        outstanding.difference_update(settled)
        if not outstanding:
            connection.close()

    def on_confirming(_frame):
        for number in range(COUNT):
            channel.basic_publish("", queue, str(number))

    def on_channel(opened):
        nonlocal channel
        channel = opened
        channel.confirm_delivery(on_confirm, callback=on_confirming)

    channel = None
    connection = AsyncioConnection(
        parameters(),
        on_open_callback=lambda opened: opened.channel(on_open_callback=on_channel),
        on_close_callback=lambda _connection, _reason: loop.stop(),
        custom_ioloop=loop,
    )
    loop.run_forever()
    assert not outstanding, outstanding
    say("confirmed as they come", COUNT)


connection = connect()
channel = connection.channel()
queue = channel.queue_declare(queue=named("confirms"), auto_delete=True).method.queue
one_by_one(queue)
as_they_come(queue)
say("in the queue", channel.queue_declare(queue=queue, passive=True).method.message_count)
channel.queue_delete(queue)
connection.close()
