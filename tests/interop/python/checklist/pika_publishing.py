"""pika: publishing, properties, confirms, returns, transactions, bodies of every size."""

import datetime
import decimal

import pika
from pika.exceptions import ChannelClosedByBroker, UnroutableError

from checklist.pika_support import Deliveries, channel, exclusive_queue, get_all, message_count, publish_numbered
from harness import equal, raises, unique

MEBIBYTE = 1024 * 1024


def check_every_property_comes_back():
    sent = pika.BasicProperties(
        content_type="application/x-thing",
        content_encoding="gzip",
        headers={"k": "v"},
        delivery_mode=2,
        priority=7,
        correlation_id="correlation",
        reply_to="reply",
        expiration="60000",
        message_id="message",
        timestamp=1700000000,
        type="kind",
        user_id="guest",
        app_id="app",
        cluster_id="cluster",
    )
    with channel() as ch:
        queue = exclusive_queue(ch)
        ch.basic_publish("", queue, b"body", sent)
        method, properties, body = ch.basic_get(queue, auto_ack=True)
        equal(body, b"body")
        equal(vars(properties), vars(sent))
        equal((method.exchange, method.routing_key, method.redelivered, method.message_count), ("", queue, False, 0))


def check_no_property_comes_back_as_none():
    with channel() as ch:
        queue = exclusive_queue(ch)
        ch.basic_publish("", queue, b"x")
        _method, properties, _body = ch.basic_get(queue, auto_ack=True)
        equal(vars(properties), vars(pika.BasicProperties()))


def check_every_header_type_comes_back():
    # pika writes no floating-point numbers; the other clients' checks do.
    headers = {
        "text": "grüße",
        "bytes": b"\x00\xff\x01",
        "true": True,
        "false": False,
        "int8": -5,
        "int16": -300,
        "int32": -2_000_000_000,
        "int64": -9_000_000_000_000_000_000,
        "decimal": decimal.Decimal("3.14"),
        "time": datetime.datetime(2024, 2, 29, 12, 30, 15),
        "nothing": None,
        "array": [1, "two", None, [True], {"deep": "er"}],
        "table": {"a": 1, "b": {"c": [1, 2, {"d": "e"}]}},
        "empty table": {},
        "empty array": [],
        "empty text": "",
        "long text": "x" * 5000,
    }
    with channel() as ch:
        queue = exclusive_queue(ch)
        ch.basic_publish("", queue, b"", pika.BasicProperties(headers=headers))
        _method, properties, _body = ch.basic_get(queue, auto_ack=True)
        for key, value in headers.items():
            got = properties.headers[key]
            if isinstance(got, datetime.datetime):
                got = got.replace(tzinfo=None)
            equal(got, value, key)
        equal(len(properties.headers), len(headers))


def check_bodies_of_many_sizes():
    # Around frame_max (131072 with 8 bytes of frame around it) the split into frames changes.
    sizes = [0, 1, 4088, 4096, 131063, 131064, 131065, 262128, 262129, MEBIBYTE]
    with channel() as ch:
        deliveries = Deliveries(ch)
        queue = exclusive_queue(ch)
        deliveries.consume(queue, auto_ack=True)
        for size in sizes:
            ch.basic_publish("", queue, bytes([size % 251]) * size)
        deliveries.wait_for(len(sizes))
        for size, body in zip(sizes, deliveries.bodies()):
            equal(body == bytes([size % 251]) * size, True, f"body of {size} bytes")


def check_body_of_20_mebibytes():
    body = bytes(range(256)) * (20 * MEBIBYTE // 256)
    with channel() as ch:
        queue = exclusive_queue(ch)
        ch.confirm_delivery()
        ch.basic_publish("", queue, body)
        equal(ch.basic_get(queue, auto_ack=True)[2] == body, True, "the body is the same")


def check_frame_max_4096():
    body = bytes(range(256)) * 200
    headers = {f"h{number}": "v" * 20 for number in range(100)}
    with channel(frame_max=4096) as ch:
        equal(ch.connection._impl.params.frame_max, 4096)
        queue = exclusive_queue(ch)
        deliveries = Deliveries(ch)
        deliveries.consume(queue, auto_ack=True)
        ch.basic_publish("", queue, body, pika.BasicProperties(headers=headers))
        _method, properties, received = deliveries.wait_for(1)[0]
        equal(received == body, True, "the body is the same")
        equal(properties.headers, headers)


def check_confirms_answer_every_publish():
    with channel() as ch:
        queue = exclusive_queue(ch)
        ch.confirm_delivery()
        publish_numbered(ch, queue, 50)
        equal(message_count(ch, queue), 50)


def check_confirm_of_unroutable_without_mandatory_is_an_ack():
    with channel() as ch:
        ch.confirm_delivery()
        ch.basic_publish("", unique("nowhere"), b"lost")


def check_mandatory_is_returned_before_its_confirm():
    nowhere = unique("nowhere")
    with channel() as ch:
        ch.confirm_delivery()
        # pika raises UnroutableError only when the basic.return came before the basic.ack.
        with raises(UnroutableError) as caught:
            ch.basic_publish("amq.direct", nowhere, b"back", pika.BasicProperties(message_id="m1"), mandatory=True)
        (returned,) = caught.error.messages
        equal((returned.method.reply_code, returned.method.reply_text), (312, "NO_ROUTE"))
        equal((returned.method.exchange, returned.method.routing_key), ("amq.direct", nowhere))
        equal((returned.body, returned.properties.message_id), (b"back", "m1"))
        queue = exclusive_queue(ch)
        ch.basic_publish("", queue, b"fine", mandatory=True)
        equal(get_all(ch, queue), [(False, b"fine")])


def check_return_without_confirms():
    with channel() as ch:
        returned = []
        ch.add_on_return_callback(lambda _ch, method, properties, body: returned.append((method.reply_code, body)))
        ch.basic_publish("", unique("nowhere"), b"back", mandatory=True)
        exclusive_queue(ch)  # the answer to this comes after the return
        ch.connection.process_data_events(time_limit=0)
        equal(returned, [(312, b"back")])


def check_transaction_commit_and_rollback():
    with channel() as ch, channel() as observer:
        queue = unique("tx")
        observer.queue_declare(queue=queue, auto_delete=True)
        try:
            ch.tx_select()
            publish_numbered(ch, queue, 2)
            equal(message_count(observer, queue), 0, "before the commit")
            ch.tx_rollback()
            equal(message_count(observer, queue), 0, "after the rollback")
            ch.basic_publish("", queue, b"committed")
            ch.tx_commit()
            equal(message_count(observer, queue), 1, "after the commit")
            method, _properties, _body = ch.basic_get(queue)
            ch.basic_ack(method.delivery_tag)
            ch.tx_rollback()  # takes the ack back: the message is still this channel's to acknowledge
            ch.basic_ack(method.delivery_tag)
            ch.tx_commit()
            ch.close()
            equal(message_count(observer, queue), 0, "after a committed ack")
        finally:
            observer.queue_delete(queue=queue)


def check_transaction_that_is_never_committed_is_dropped():
    with channel() as observer:
        queue = unique("tx")
        observer.queue_declare(queue=queue)
        try:
            with channel() as ch:
                ch.tx_select()
                ch.basic_publish("", queue, b"lost")
            equal(message_count(observer, queue), 0)
        finally:
            observer.queue_delete(queue=queue)


def check_transactions_and_confirms_exclude_each_other():
    with channel() as ch:
        ch.tx_select()
        with raises(ChannelClosedByBroker, "cannot switch from tx to confirm mode") as caught:
            ch.confirm_delivery()
        equal(caught.error.reply_code, 406)
    with channel() as ch:
        with raises(ChannelClosedByBroker, "channel is not transactional") as caught:
            ch.tx_commit()
        equal(caught.error.reply_code, 406)


def check_user_id_must_be_the_user():
    with channel() as ch:
        queue = exclusive_queue(ch)
        ch.confirm_delivery()
        ch.basic_publish("", queue, b"mine", pika.BasicProperties(user_id="guest"))
        with raises(ChannelClosedByBroker, "user_id property set to 'somebody' but authenticated user was 'guest'"):
            ch.basic_publish("", queue, b"not mine", pika.BasicProperties(user_id="somebody"))
