"""pika: declaring, deleting and purging; the errors that close a channel and leave the connection alone."""

import pika
from pika.exceptions import ChannelClosedByBroker

from checklist.pika_support import Deliveries, channel, connection, get_all, message_count, publish_numbered
from checklist.pika_support import exclusive_queue, shared_exchange, shared_queue
from harness import equal, raises, unique

LOCKED = (
    "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{}' in vhost '/'. It could be originally declared "
    "on another connection or the exclusive property value does not match that of the original declaration."
)


def refused(reply_code, reply_text, action):
    """`action(channel)` closes its channel with exactly this; the connection and its other channel go on."""
    with connection() as opened:
        bystander = opened.channel()
        with raises(ChannelClosedByBroker) as caught:
            action(opened.channel())
        equal((caught.error.reply_code, caught.error.reply_text), (reply_code, reply_text))
        queue = exclusive_queue(bystander)
        bystander.basic_publish("", queue, b"still here")
        equal(get_all(bystander, queue), [(False, b"still here")])
        equal(opened.channel().is_open, True, "a new channel opens")


def check_declare_answers_name_and_counts():
    name = unique("declare")
    with channel() as ch:
        first = ch.queue_declare(name, exclusive=True).method
        equal((first.queue, first.message_count, first.consumer_count), (name, 0, 0))
        publish_numbered(ch, name, 3)
        Deliveries(exclusive := ch.connection.channel()).consume(name)
        exclusive.connection.process_data_events(time_limit=0.05)
        again = ch.queue_declare(name, exclusive=True).method
        equal(again.consumer_count, 1)


def check_server_named_queues():
    with channel() as ch:
        names = {exclusive_queue(ch) for _ in range(20)}
        equal(len(names), 20)
        for name in names:
            equal((name.startswith("amq.gen-"), len(name)), (True, len("amq.gen-") + 22), name)


def check_the_empty_name_means_the_channels_last_queue():
    with channel() as ch:
        queue = exclusive_queue(ch)
        ch.queue_bind("", "amq.direct", queue)
        ch.basic_publish("amq.direct", queue, b"x")
        equal(ch.basic_get("", auto_ack=True)[2], b"x")


def check_passive_declare():
    with shared_queue("passive") as queue, channel() as ch:
        ch.confirm_delivery()  # an unconfirmed message may still be on its way to the count
        ch.basic_publish("", queue, b"x")
        equal(ch.queue_declare(queue, passive=True).method.message_count, 1)
        # A passive declare looks at the name only.
        equal(ch.queue_declare(queue, passive=True, durable=True, exclusive=True).method.queue, queue)
    with shared_exchange("passive", exchange_type="fanout") as exchange, channel() as ch:
        ch.exchange_declare(exchange, "direct", passive=True)


def check_redeclare_must_be_equivalent():
    with shared_queue("same", durable=True) as queue:
        with channel() as ch:
            ch.queue_declare(queue, durable=True)
        text = f"PRECONDITION_FAILED - inequivalent arg 'durable' for queue '{queue}' in vhost '/': "
        refused(406, text + "received 'false' but current is 'true'", lambda ch: ch.queue_declare(queue))
        text = f"PRECONDITION_FAILED - inequivalent arg 'auto_delete' for queue '{queue}' in vhost '/': "
        refused(
            406,
            text + "received 'true' but current is 'false'",
            lambda ch: ch.queue_declare(queue, durable=True, auto_delete=True),
        )
    with shared_exchange("same", exchange_type="direct") as exchange:
        text = f"PRECONDITION_FAILED - inequivalent arg 'type' for exchange '{exchange}' in vhost '/': "
        refused(
            406,
            text + "received 'fanout' but current is 'direct'",
            lambda ch: ch.exchange_declare(exchange, "fanout"),
        )


def check_404_for_what_is_not_there():
    name = unique("missing")
    no_queue = f"NOT_FOUND - no queue '{name}' in vhost '/'"
    no_exchange = f"NOT_FOUND - no exchange '{name}' in vhost '/'"
    refused(404, no_queue, lambda ch: ch.queue_declare(name, passive=True))
    refused(404, no_queue, lambda ch: ch.basic_consume(name, print))
    refused(404, no_queue, lambda ch: ch.basic_get(name))
    refused(404, no_queue, lambda ch: ch.queue_purge(name))
    refused(404, no_queue, lambda ch: ch.queue_bind(name, "amq.fanout"))
    refused(404, no_exchange, lambda ch: ch.exchange_declare(name, passive=True))
    refused(404, no_exchange, lambda ch: ch.queue_bind(exclusive_queue(ch), name))

    def publish(ch):
        ch.confirm_delivery()
        ch.basic_publish(name, "k", b"x")

    refused(404, no_exchange, publish)


def check_403_for_reserved_names():
    text = "ACCESS_REFUSED - {} name 'amq.mine' contains reserved prefix 'amq.*'"
    refused(403, text.format("queue"), lambda ch: ch.queue_declare("amq.mine"))
    refused(403, text.format("exchange"), lambda ch: ch.exchange_declare("amq.mine", "direct"))
    on_default = "ACCESS_REFUSED - operation not permitted on the default exchange"
    refused(403, on_default, lambda ch: ch.queue_bind(exclusive_queue(ch), ""))
    system = "ACCESS_REFUSED - deletion of system exchange 'amq.direct' in vhost '/' not allowed"
    refused(403, system, lambda ch: ch.exchange_delete("amq.direct"))


def check_405_for_another_connections_exclusive_queue():
    with channel() as owner:
        queue = unique("exclusive")
        owner.queue_declare(queue, exclusive=True)
        actions = (
            lambda ch: ch.queue_declare(queue),
            lambda ch: ch.queue_declare(queue, exclusive=True),
            lambda ch: ch.queue_declare(queue, passive=True),
            lambda ch: ch.basic_consume(queue, print),
            lambda ch: ch.basic_get(queue),
            lambda ch: ch.queue_purge(queue),
            lambda ch: ch.queue_delete(queue),
            lambda ch: ch.queue_bind(queue, "amq.fanout"),
        )
        for action in actions:
            refused(405, LOCKED.format(queue), action)
        owner.basic_publish("", queue, b"mine")
        equal(get_all(owner, queue), [(False, b"mine")])
        other_channel = owner.connection.channel()
        equal(message_count(other_channel, queue), 0)  # the connection owns it, not the channel
    with channel() as ch:
        ch.queue_declare(queue, exclusive=True)  # it went away with its connection, so the name is free


def check_delete_missing_is_fine():
    with channel() as ch:
        equal(ch.queue_delete(unique("missing")).method.message_count, 0)
        ch.exchange_delete(unique("missing"))


def check_delete_if_unused_and_if_empty():
    with shared_queue("delete") as queue:
        with channel() as ch:
            ch.confirm_delivery()
            publish_numbered(ch, queue, 2)
        text = f"PRECONDITION_FAILED - queue '{queue}' in vhost '/' not empty"
        refused(406, text, lambda ch: ch.queue_delete(queue, if_empty=True))
        with channel() as consumer:
            consumer.basic_qos(prefetch_count=1)
            Deliveries(consumer).consume(queue)
            text = f"PRECONDITION_FAILED - queue '{queue}' in vhost '/' in use"
            refused(406, text, lambda ch: ch.queue_delete(queue, if_unused=True))
        with channel() as ch:
            equal(ch.queue_delete(queue, if_unused=True).method.message_count, 2)
    with channel() as ch:
        exchange, queue = unique("delete"), exclusive_queue(ch)
        ch.exchange_declare(exchange, "fanout")
        ch.queue_bind(queue, exchange)
        text = f"PRECONDITION_FAILED - exchange '{exchange}' in vhost '/' in use"
        refused(406, text, lambda other: other.exchange_delete(exchange, if_unused=True))
        ch.queue_unbind(queue, exchange)
        ch.exchange_delete(exchange, if_unused=True)


def check_purge_counts_ready_messages_only():
    with channel() as ch:
        queue = exclusive_queue(ch)
        publish_numbered(ch, queue, 5)
        method, _properties, _body = ch.basic_get(queue)
        equal(ch.queue_purge(queue).method.message_count, 4)
        ch.basic_nack(method.delivery_tag)
        equal(get_all(ch, queue), [(True, b"m0")])


def check_auto_delete_queue_goes_with_its_last_consumer():
    with channel() as ch:
        queue = unique("auto")
        ch.queue_declare(queue, auto_delete=True)
        message_count(ch, queue)  # never had a consumer: stays
        tags = [Deliveries(ch).consume(queue) for _ in range(2)]
        ch.basic_cancel(tags[0])
        message_count(ch, queue)
        ch.basic_cancel(tags[1])
        with raises(ChannelClosedByBroker, "no queue"):
            message_count(ch, queue)


def check_auto_delete_exchange_goes_with_its_last_binding():
    with channel() as ch:
        exchange, queue = unique("auto"), exclusive_queue(ch)
        ch.exchange_declare(exchange, "fanout", auto_delete=True)
        ch.exchange_declare(exchange, passive=True)
        ch.queue_bind(queue, exchange)
        ch.queue_unbind(queue, exchange)
        with raises(ChannelClosedByBroker, "no exchange"):
            ch.exchange_declare(exchange, passive=True)


def check_unknown_exchange_type():
    with connection() as opened:
        # RabbitMQ 3 closes the connection for it, RabbitMQ 4 the channel.
        closed = (pika.exceptions.ConnectionClosedByBroker, pika.exceptions.ChannelClosedByBroker)
        with raises(closed, "unknown exchange type 'nonsense'") as caught:
            opened.channel().exchange_declare(unique("nonsense"), "nonsense")
        equal(caught.error.reply_code in (503, 406), True)
