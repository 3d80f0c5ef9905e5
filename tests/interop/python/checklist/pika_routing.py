"""pika: exchanges of every type, bindings, alternate exchanges, CC and BCC, direct reply-to."""

import pika

from checklist.pika_support import Deliveries, channel, exclusive_queue, get_all
from harness import equal, raises, unique


def exchange_on(ch, kind, **options):
    """An exchange that goes away with its last binding; every check here binds it."""
    name = unique(kind)
    ch.exchange_declare(exchange=name, exchange_type=kind, auto_delete=True, **options)
    return name


def bodies(ch, queue):
    return [body for _redelivered, body in get_all(ch, queue)]


def check_default_exchange_routes_to_the_queue_of_that_name():
    with channel() as ch:
        first, second = exclusive_queue(ch), exclusive_queue(ch)
        ch.basic_publish("", first, b"one")
        equal((bodies(ch, first), bodies(ch, second)), ([b"one"], []))


def check_direct_exchange():
    with channel() as ch:
        exchange, both, one = exchange_on(ch, "direct"), exclusive_queue(ch), exclusive_queue(ch)
        for key in ("red", "blue"):
            ch.queue_bind(both, exchange, key)
        ch.queue_bind(one, exchange, "red")
        for key in ("red", "blue", "green", "re", "red "):
            ch.basic_publish(exchange, key, key.encode())
        equal((bodies(ch, both), bodies(ch, one)), ([b"red", b"blue"], [b"red"]))


def check_fanout_exchange_ignores_the_key():
    with channel() as ch:
        exchange, queues = exchange_on(ch, "fanout"), [exclusive_queue(ch) for _ in range(3)]
        for number, queue in enumerate(queues):
            ch.queue_bind(queue, exchange, str(number))
        ch.basic_publish(exchange, "whatever", b"all")
        equal([bodies(ch, queue) for queue in queues], [[b"all"]] * 3)


def check_topic_exchange():
    keys = ["", "a", "b", "a.b", "a.b.c", "a..c", "a.c", "x.a.c", "a.b.b.c", "A.b"]
    expected = {
        "#": keys,
        "*": ["a", "b"],
        "a.*.c": ["a.b.c", "a..c"],
        "a.#": ["a", "a.b", "a.b.c", "a..c", "a.c", "a.b.b.c"],
        "#.c": ["a.b.c", "a..c", "a.c", "x.a.c", "a.b.b.c"],
        "*.*": ["a.b", "a.c", "A.b"],
        "a.#.c": ["a.b.c", "a..c", "a.c", "a.b.b.c"],
        "#.a.#": ["a", "a.b", "a.b.c", "a..c", "a.c", "x.a.c", "a.b.b.c"],
        "": [""],
        "a.b": ["a.b"],
    }
    with channel() as ch:
        exchange = exchange_on(ch, "topic")
        queues = {pattern: exclusive_queue(ch) for pattern in expected}
        for pattern, queue in queues.items():
            ch.queue_bind(queue, exchange, pattern)
        for key in keys:
            ch.basic_publish(exchange, key, key.encode())
        for pattern, queue in queues.items():
            equal([body.decode() for body in bodies(ch, queue)], expected[pattern], f"pattern {pattern!r}")


def check_several_matching_bindings_give_one_copy():
    with channel() as ch:
        exchange, queue = exchange_on(ch, "topic"), exclusive_queue(ch)
        for pattern in ("#", "a.*", "a.b", "*.b"):
            ch.queue_bind(queue, exchange, pattern)
        ch.basic_publish(exchange, "a.b", b"once")
        equal(bodies(ch, queue), [b"once"])


def check_headers_exchange_every_x_match():
    messages = {
        b"both": {"format": "pdf", "pages": 3, "x-kind": "report"},
        b"one": {"format": "pdf", "pages": 4},
        b"x only": {"x-kind": "report"},
        b"none": {"other": 1},
    }
    pattern = {"format": "pdf", "pages": 3, "x-kind": "report"}
    expected = {
        "all": [b"both"],
        "any": [b"both", b"one"],
        "all-with-x": [b"both"],
        "any-with-x": [b"both", b"one", b"x only"],
        None: [b"both"],
    }
    with channel() as ch:
        exchange = exchange_on(ch, "headers")
        queues = {}
        for mode in expected:
            queues[mode] = exclusive_queue(ch)
            arguments = pattern if mode is None else pattern | {"x-match": mode}
            ch.queue_bind(queues[mode], exchange, arguments=arguments)
        stricter = exclusive_queue(ch)
        ch.queue_bind(stricter, exchange, arguments={"format": "pdf", "x-kind": "other", "x-match": "all-with-x"})
        presence = exclusive_queue(ch)
        ch.queue_bind(presence, exchange, arguments={"pages": None, "x-match": "all"})
        for body, headers in messages.items():
            ch.basic_publish(exchange, "ignored", body, pika.BasicProperties(headers=headers))
        for mode, queue in queues.items():
            equal(bodies(ch, queue), expected[mode], f"x-match {mode}")
        equal(bodies(ch, stricter), [], "all-with-x compares x- headers too")
        equal(bodies(ch, presence), [b"both", b"one"], "a void value asks for presence only")


def check_predeclared_exchanges():
    with channel() as ch:
        kinds = {"amq.direct": "direct", "amq.fanout": "fanout", "amq.topic": "topic", "amq.headers": "headers"}
        kinds["amq.match"] = "headers"
        for name, kind in kinds.items():
            ch.exchange_declare(exchange=name, exchange_type=kind, durable=True)
        queue = exclusive_queue(ch)
        ch.queue_bind(queue, "amq.topic", f"{queue}.*")
        ch.basic_publish("amq.topic", f"{queue}.x", b"topic")
        equal(bodies(ch, queue), [b"topic"])


def check_unbind_stops_the_flow():
    with channel() as ch:
        exchange, queue, keeper = unique("unbind"), exclusive_queue(ch), exclusive_queue(ch)
        ch.exchange_declare(exchange, "direct")
        try:
            ch.queue_bind(keeper, exchange, "other")
            ch.queue_bind(queue, exchange, "k")
            ch.basic_publish(exchange, "k", b"bound")
            ch.queue_unbind(queue, exchange, "k")
            ch.basic_publish(exchange, "k", b"unbound")
            equal(bodies(ch, queue), [b"bound"])
            ch.queue_unbind(queue, exchange, "k")  # a binding that is not there: fine too
        finally:
            ch.exchange_delete(exchange)


def check_exchange_to_exchange_bindings():
    with channel() as ch:
        source, middle, queue = unique("source"), unique("middle"), exclusive_queue(ch)
        ch.exchange_declare(source, "topic")
        ch.exchange_declare(middle, "fanout")
        try:
            ch.exchange_bind(destination=middle, source=source, routing_key="log.#")
            ch.queue_bind(queue, middle)
            ch.basic_publish(source, "log.error", b"through")
            ch.basic_publish(source, "other", b"not through")
            method, _properties, body = ch.basic_get(queue, auto_ack=True)
            equal((body, method.exchange, method.routing_key), (b"through", source, "log.error"))
            ch.exchange_unbind(destination=middle, source=source, routing_key="log.#")
            ch.basic_publish(source, "log.error", b"unbound")
            equal(bodies(ch, queue), [])
            ch.exchange_bind(destination=middle, source=source, routing_key="#")
            ch.exchange_bind(destination=source, source=middle, routing_key="#")  # a cycle
            ch.basic_publish(source, "k", b"once")
            equal(bodies(ch, queue), [b"once"])
        finally:
            ch.exchange_delete(source)
            ch.exchange_delete(middle)


def check_alternate_exchange():
    with channel() as ch:
        alternate, main = unique("alternate"), unique("main")
        routed, unrouted = exclusive_queue(ch), exclusive_queue(ch)
        ch.exchange_declare(alternate, "fanout")
        ch.exchange_declare(main, "direct", arguments={"alternate-exchange": alternate})
        try:
            ch.queue_bind(unrouted, alternate)
            ch.queue_bind(routed, main, "known")
            ch.confirm_delivery()
            ch.basic_publish(main, "known", b"known", mandatory=True)
            ch.basic_publish(main, "unknown", b"unknown", mandatory=True)  # routed after all: not returned
            equal((bodies(ch, routed), bodies(ch, unrouted)), ([b"known"], [b"unknown"]))
        finally:
            ch.exchange_delete(main)
            ch.exchange_delete(alternate)


def check_cc_and_bcc_add_keys_and_bcc_stays_secret():
    with channel() as ch:
        direct, copy, blind = (exclusive_queue(ch) for _ in range(3))
        headers = {"CC": [copy], "BCC": [blind], "kept": 1}
        ch.basic_publish("", direct, b"mail", pika.BasicProperties(headers=headers))
        for queue in (direct, copy, blind):
            method, properties, body = ch.basic_get(queue, auto_ack=True)
            equal((body, method.routing_key), (b"mail", direct))
            equal(properties.headers, {"CC": [copy], "kept": 1})


def check_cc_must_be_an_array():
    with channel() as ch:
        queue = exclusive_queue(ch)
        ch.confirm_delivery()
        with raises(pika.exceptions.ChannelClosedByBroker) as caught:
            ch.basic_publish("", queue, b"x", pika.BasicProperties(headers={"CC": "not an array"}))
        equal(caught.error.reply_code, 406)


def check_internal_exchange_takes_no_publish():
    with channel() as ch:
        name = unique("internal")
        ch.exchange_declare(name, "fanout", internal=True)
        try:
            with raises(pika.exceptions.ChannelClosedByBroker, f"cannot publish to internal exchange '{name}'") as caught:
                ch.confirm_delivery()
                ch.basic_publish(name, "k", b"x")
            equal(caught.error.reply_code, 403)
        finally:
            ch.connection.channel().exchange_delete(name)


def check_direct_reply_to():
    with channel() as client, channel() as server:
        requests = exclusive_queue(server)
        replies = Deliveries(client)
        replies.consume("amq.rabbitmq.reply-to", auto_ack=True)
        # The queue is the server connection's own, but publishing to it through the default exchange is anybody's.
        for number in (1, 2):
            properties = pika.BasicProperties(reply_to="amq.rabbitmq.reply-to", correlation_id=f"c{number}")
            client.basic_publish("", requests, b"%d" % number, properties)
        work = Deliveries(server)
        work.consume(requests, auto_ack=True)
        for _method, properties, body in work.wait_for(2):
            equal(properties.reply_to.startswith("amq.rabbitmq.reply-to."), True, properties.reply_to)
            reply = pika.BasicProperties(correlation_id=properties.correlation_id)
            server.basic_publish("", properties.reply_to, body * 2, reply)
        received = [(properties.correlation_id, body) for _method, properties, body in replies.wait_for(2)]
        equal(received, [("c1", b"11"), ("c2", b"22")])


def check_direct_reply_to_needs_no_ack_and_a_consumer():
    with channel() as ch:
        with raises(pika.exceptions.ChannelClosedByBroker, "reply consumer cannot acknowledge") as caught:
            Deliveries(ch).consume("amq.rabbitmq.reply-to", auto_ack=False)
        equal(caught.error.reply_code, 406)
    with channel() as ch:
        with raises(pika.exceptions.ChannelClosedByBroker, "fast reply consumer does not exist") as caught:
            ch.confirm_delivery()
            ch.basic_publish("", "q", b"x", pika.BasicProperties(reply_to="amq.rabbitmq.reply-to"))
        equal(caught.error.reply_code, 406)
