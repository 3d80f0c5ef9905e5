"""pika: consuming, acknowledging and putting back, prefetch, priorities, exclusive consumers, cancellation."""

from pika.exceptions import ChannelClosedByBroker, ConnectionClosedByBroker

from checklist.pika_support import Deliveries, channel, connection, exclusive_queue, get_all, message_count
from checklist.pika_support import publish_numbered, shared_queue
from harness import equal, poll_until, raises


def check_consume_delivers_in_order_with_increasing_tags():
    with channel() as ch:
        queue, deliveries = exclusive_queue(ch), Deliveries(ch)
        publish_numbered(ch, queue, 50)
        tag = deliveries.consume(queue, auto_ack=True)
        publish_numbered(ch, queue, 50)
        received = deliveries.wait_for(100)
        equal(deliveries.bodies(), [b"m%d" % n for n in range(50)] * 2)
        equal([method.delivery_tag for method, _p, _b in received], list(range(1, 101)))
        equal({method.consumer_tag for method, _p, _b in received}, {tag})
        equal(tag.startswith("ctag"), True, "pika's own tag is kept")


def check_basic_get():
    with channel() as ch:
        queue = exclusive_queue(ch)
        equal(ch.basic_get(queue), (None, None, None))
        publish_numbered(ch, queue, 3)
        method, _properties, body = ch.basic_get(queue)
        equal((method.delivery_tag, method.redelivered, method.message_count, body), (1, False, 2, b"m0"))
        ch.basic_ack(method.delivery_tag)
        equal(get_all(ch, queue), [(False, b"m1"), (False, b"m2")])


def check_round_robin_between_consumers():
    with channel() as ch:
        queue, deliveries = exclusive_queue(ch), Deliveries(ch)
        for tag in "abc":
            deliveries.consume(queue, tag, auto_ack=True)
        publish_numbered(ch, queue, 9)
        deliveries.wait_for(9)
        equal(deliveries.by_consumer(), [("abc"[n % 3], b"m%d" % n) for n in range(9)])


def check_multiple_ack():
    with shared_queue("ack") as queue, channel() as observer:
        with channel() as ch:
            publish_numbered(ch, queue, 10)
            deliveries = Deliveries(ch)
            deliveries.consume(queue)
            deliveries.wait_for(10)
            ch.basic_ack(3)
            ch.basic_ack(7, multiple=True)
        # The connection is closed: what it had not acknowledged is back, in its place and marked.
        equal(get_all(observer, queue), [(True, b"m7"), (True, b"m8"), (True, b"m9")])


def check_ack_zero_multiple_means_all():
    with shared_queue("ack") as queue, channel() as observer:
        with channel() as ch:
            publish_numbered(ch, queue, 4)
            for _ in range(3):
                ch.basic_get(queue)
            ch.basic_ack(0, multiple=True)
        equal(get_all(observer, queue), [(False, b"m3")])


def check_requeued_messages_return_to_their_places():
    with channel() as ch:
        queue = exclusive_queue(ch)
        publish_numbered(ch, queue, 6)
        tags = [ch.basic_get(queue)[0].delivery_tag for _ in range(4)]
        ch.basic_nack(tags[2])
        ch.basic_reject(tags[0])
        ch.basic_nack(tags[3])
        ch.basic_reject(tags[1])
        redelivered = [(True, b"m%d" % n) for n in range(4)]
        equal(get_all(ch, queue), redelivered + [(False, b"m4"), (False, b"m5")])


def check_nack_multiple_and_reject_without_requeue_drop():
    with channel() as ch:
        queue = exclusive_queue(ch)
        publish_numbered(ch, queue, 6)
        tags = [ch.basic_get(queue)[0].delivery_tag for _ in range(5)]
        ch.basic_nack(tags[1], multiple=True, requeue=False)
        ch.basic_reject(tags[2], requeue=False)
        ch.basic_nack(tags[4], multiple=True, requeue=True)
        equal(get_all(ch, queue), [(True, b"m3"), (True, b"m4"), (False, b"m5")])


def check_a_requeued_message_comes_again_marked_redelivered():
    with channel() as ch:
        queue, deliveries = exclusive_queue(ch), Deliveries(ch)
        ch.basic_qos(prefetch_count=1)
        deliveries.consume(queue)
        publish_numbered(ch, queue, 2)
        ch.basic_reject(deliveries.wait_for(1)[0][0].delivery_tag, requeue=True)
        ch.basic_ack(deliveries.wait_for(2)[1][0].delivery_tag)
        deliveries.wait_for(3)
        received = [(method.redelivered, body) for method, _properties, body in deliveries.received]
        equal(received, [(False, b"m0"), (True, b"m0"), (False, b"m1")])


def check_closing_a_channel_puts_its_messages_back():
    with connection() as opened:
        first, second = opened.channel(), opened.channel()
        queue = exclusive_queue(first)
        publish_numbered(first, queue, 3)
        for _ in range(2):
            first.basic_get(queue)
        equal(message_count(second, queue), 1)
        first.close()
        equal(get_all(second, queue), [(True, b"m0"), (True, b"m1"), (False, b"m2")])


def check_recover_requeues_what_is_unacknowledged():
    with channel() as ch:
        queue, deliveries = exclusive_queue(ch), Deliveries(ch)
        publish_numbered(ch, queue, 2)
        deliveries.consume(queue)
        deliveries.wait_for(2)
        ch.basic_recover(requeue=True)
        received = deliveries.wait_for(4)
        again = [(method.redelivered, body) for method, _properties, body in received[2:]]
        equal(again, [(True, b"m0"), (True, b"m1")])


def check_unknown_delivery_tag_closes_the_channel():
    for settle in ("basic_ack", "basic_nack", "basic_reject"):
        with connection() as opened:
            ch = opened.channel()
            getattr(ch, settle)(7)
            with raises(ChannelClosedByBroker, "PRECONDITION_FAILED - unknown delivery tag 7") as caught:
                exclusive_queue(ch)
            equal(caught.error.reply_code, 406)
            exclusive_queue(opened.channel())


def check_a_tag_cannot_be_acknowledged_twice():
    with channel() as ch:
        queue = exclusive_queue(ch)
        publish_numbered(ch, queue, 1)
        tag = ch.basic_get(queue)[0].delivery_tag
        ch.basic_ack(tag)
        ch.basic_ack(tag)
        with raises(ChannelClosedByBroker, f"unknown delivery tag {tag}"):
            exclusive_queue(ch)


def check_prefetch_is_per_consumer():
    with channel() as ch:
        queue, deliveries = exclusive_queue(ch), Deliveries(ch)
        ch.basic_qos(prefetch_count=2)
        for tag in "ab":
            deliveries.consume(queue, tag)
        publish_numbered(ch, queue, 10)
        deliveries.wait_for(4)
        equal(sorted(tag for tag, _body in deliveries.by_consumer()), ["a", "a", "b", "b"])
        of_b = [method.delivery_tag for method, _p, _b in deliveries.received if method.consumer_tag == "b"]
        ch.basic_ack(of_b[0])
        equal(deliveries.wait_for(5)[4][0].consumer_tag, "b", "the one with credit gets the next")


def check_prefetch_global_is_per_channel():
    with channel() as ch:
        queue, deliveries = exclusive_queue(ch), Deliveries(ch)
        ch.basic_qos(prefetch_count=3, global_qos=True)
        for tag in "ab":
            deliveries.consume(queue, tag)
        publish_numbered(ch, queue, 10)
        deliveries.wait_for(3)
        ch.basic_ack(2, multiple=True)
        deliveries.wait_for(5)
        equal(deliveries.bodies(), [b"m%d" % n for n in range(5)])


def check_prefetch_does_not_hold_back_auto_ack():
    with channel() as ch:
        queue, deliveries = exclusive_queue(ch), Deliveries(ch)
        ch.basic_qos(prefetch_count=1)
        publish_numbered(ch, queue, 20)
        deliveries.consume(queue, auto_ack=True)
        deliveries.wait_for(20)


def check_prefetch_size_is_not_implemented():
    with connection() as opened:
        with raises(ConnectionClosedByBroker, "NOT_IMPLEMENTED - prefetch_size!=0 (10)") as caught:
            opened.channel().basic_qos(prefetch_size=10)
        equal(caught.error.reply_code, 540)


def check_consumer_priorities():
    with channel() as ch:
        queue, deliveries = exclusive_queue(ch), Deliveries(ch)
        ch.basic_qos(prefetch_count=2)
        deliveries.consume(queue, "low", arguments={"x-priority": -1})
        deliveries.consume(queue, "middle")
        deliveries.consume(queue, "high", arguments={"x-priority": 10})
        publish_numbered(ch, queue, 5)
        deliveries.wait_for(5)
        by_tag = [tag for tag, _body in deliveries.by_consumer()]
        equal(by_tag, ["high", "high", "middle", "middle", "low"])


def check_exclusive_consumer():
    with shared_queue("exclusive-consumer") as queue, channel() as owner:
        Deliveries(owner).consume(queue, exclusive=True)
        in_use = f"ACCESS_REFUSED - queue '{queue}' in vhost '/' in exclusive use"
        for exclusive in (False, True):
            with channel() as ch:
                with raises(ChannelClosedByBroker, in_use) as caught:
                    Deliveries(ch).consume(queue, exclusive=exclusive)
                equal(caught.error.reply_code, 403)
        owner.close()
        with channel() as ch:
            Deliveries(ch).consume(queue)
            with connection() as other, raises(ChannelClosedByBroker, in_use):
                Deliveries(other.channel()).consume(queue, exclusive=True)


def check_a_consumer_tag_is_unique_in_its_channel():
    with connection() as opened:
        ch, other = opened.channel(), opened.channel()
        queue = exclusive_queue(ch)
        # Past pika's own check, which would not let it reach the broker.
        Deliveries(ch).consume(queue, "same")
        Deliveries(other).consume(queue, "same")
        del ch._impl._consumers["same"], ch._consumer_infos["same"]
        with raises(ConnectionClosedByBroker, "NOT_ALLOWED - attempt to reuse consumer tag 'same'") as caught:
            Deliveries(ch).consume(queue, "same")
        equal(caught.error.reply_code, 530)


def check_cancel_stops_deliveries_and_keeps_unacknowledged_ones():
    with channel() as ch:
        queue, deliveries = exclusive_queue(ch), Deliveries(ch)
        publish_numbered(ch, queue, 2)
        tag = deliveries.consume(queue)
        deliveries.wait_for(2)
        ch.basic_cancel(tag)
        ch.confirm_delivery()
        publish_numbered(ch, queue, 1)
        deliveries.quiet()
        equal(len(deliveries.received), 2)
        equal(message_count(ch, queue), 1)
        ch.basic_ack(1)
        ch.basic_nack(2)
        equal(get_all(ch, queue), [(True, b"m1"), (False, b"m0")])


def check_consumers_are_told_when_their_queue_is_deleted():
    with channel() as ch, channel() as deleter, shared_queue("cancelled") as queue:
        cancelled = []
        ch.add_on_cancel_callback(lambda frame: cancelled.append(frame.method.consumer_tag))
        Deliveries(ch).consume(queue, "told")
        deleter.queue_delete(queue)
        poll_until(lambda: cancelled, "the cancellation", step=lambda: ch.connection.process_data_events(0.05))
        equal(cancelled, ["told"])
        exclusive_queue(ch)  # the channel lives on


def check_consume_generator_of_the_tutorials():
    with channel() as ch:
        queue = exclusive_queue(ch)
        publish_numbered(ch, queue, 3)
        bodies = []
        for method, _properties, body in ch.consume(queue, inactivity_timeout=5):
            ch.basic_ack(method.delivery_tag)
            bodies.append(body)
            if len(bodies) == 3:
                break
        equal(ch.cancel(), 0)
        equal(bodies, [b"m0", b"m1", b"m2"])
