"""A part of the checklist through pika's SelectConnection: everything asynchronous and pipelined on one connection."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import pika  # noqa: E402

from checklist.pika_support import parameters  # noqa: E402
from harness import checks_of, equal, raises, run, unique  # noqa: E402


class Session:
    """Runs one generator per check: it yields after each request, and goes on with what the callback was given."""

    def __init__(self, script):
        self.error = self.closed_by = None
        self.connection = pika.SelectConnection(
            parameters(),
            on_open_callback=lambda _connection: self.resume(None),
            on_open_error_callback=lambda _connection, error: self.fail(error),
            on_close_callback=self.on_close,
        )
        self.script = script(self)

    def resume(self, value=None):
        try:
            self.script.send(value)
        except StopIteration:
            self.close()
        except Exception as error:
            self.fail(error)

    def fail(self, error):
        self.error = error
        self.close()

    def close(self):
        if self.connection.is_open:
            self.connection.close()
        else:
            self.connection.ioloop.stop()

    def on_close(self, _connection, reason):
        self.closed_by = reason
        self.connection.ioloop.stop()

    def run(self):
        self.connection.ioloop.start()
        if self.error:
            raise self.error
        return self.closed_by


def check_pipelined_confirms():
    count = 2000

    def script(session):
        channel = yield session.connection.channel(on_open_callback=session.resume)
        declared = yield channel.queue_declare("", exclusive=True, callback=session.resume)
        queue = declared.method.queue
        settled = []

        def on_confirm(frame):
            confirm = frame.method
            first = settled[-1] + 1 if confirm.multiple and settled else confirm.delivery_tag
            settled.extend(range(1 if confirm.multiple and not settled else first, confirm.delivery_tag + 1))
            if len(settled) == count:
                session.resume()

        yield channel.confirm_delivery(on_confirm, callback=session.resume)
        for number in range(count):
            channel.basic_publish("", queue, b"%d" % number)
        yield
        equal(sorted(settled), list(range(1, count + 1)))
        counted = yield channel.queue_declare(queue, passive=True, callback=session.resume)
        equal(counted.method.message_count, count)

    equal(Session(script).run().reply_code, 200)


def check_publish_and_consume_at_once():
    count = 2000

    def script(session):
        channel = yield session.connection.channel(on_open_callback=session.resume)
        declared = yield channel.queue_declare("", exclusive=True, callback=session.resume)
        yield channel.basic_qos(prefetch_count=100, callback=session.resume)
        received = []

        def on_message(_channel, method, _properties, body):
            received.append(int(body))
            if len(received) % 50 == 0:
                channel.basic_ack(method.delivery_tag, multiple=True)
            if len(received) == count:
                session.resume()

        yield channel.basic_consume(declared.method.queue, on_message, callback=session.resume)
        for number in range(count):
            channel.basic_publish("", declared.method.queue, b"%d" % number)
        yield
        equal(received, list(range(count)))

    equal(Session(script).run().reply_code, 200)


def check_return_comes_before_its_confirm():
    def script(session):
        channel = yield session.connection.channel(on_open_callback=session.resume)
        events = []

        def note(event):
            events.append(event)
            if event.startswith("ack 2"):
                session.resume()

        channel.add_on_return_callback(lambda _ch, method, _properties, body: note(f"return {method.reply_code} {body!r}"))
        yield channel.confirm_delivery(
            lambda frame: note(f"{frame.method.NAME.split('.')[1].lower()} {frame.method.delivery_tag}"),
            callback=session.resume,
        )
        channel.basic_publish("", unique("nowhere"), b"one", mandatory=True)
        channel.basic_publish("", unique("nowhere"), b"two", mandatory=True)
        yield
        for number, body in (("1", "b'one'"), ("2", "b'two'")):
            if f"ack {number}" in events:  # else the confirm of a later one covered it
                equal(events.index(f"return 312 {body}") < events.index(f"ack {number}"), True, str(events))
        equal([event for event in events if event.startswith("return")], ["return 312 b'one'", "return 312 b'two'"])

    Session(script).run()


def check_a_channel_error_leaves_the_other_channel():
    def script(session):
        doomed = yield session.connection.channel(on_open_callback=session.resume)
        healthy = yield session.connection.channel(on_open_callback=session.resume)
        doomed.add_on_close_callback(lambda _channel, reason: session.resume(reason))
        reason = yield doomed.basic_publish(unique("missing"), "k", b"x")
        equal((reason.reply_code, reason.reply_text.startswith("NOT_FOUND - no exchange")), (404, True))
        declared = yield healthy.queue_declare("", exclusive=True, callback=session.resume)
        equal(declared.method.queue.startswith("amq.gen-"), True)

    equal(Session(script).run().reply_code, 200)


def check_cancel_notification():
    def script(session):
        channel = yield session.connection.channel(on_open_callback=session.resume)
        declared = yield channel.queue_declare("", exclusive=True, callback=session.resume)
        channel.add_on_cancel_callback(lambda frame: cancelled.append(frame.method.consumer_tag))
        yield channel.basic_consume(declared.method.queue, print, consumer_tag="told", callback=session.resume)
        yield channel.queue_delete(declared.method.queue, callback=session.resume)
        # The cancellation follows the delete-ok; a further round trip puts it behind us.
        yield channel.queue_declare("", exclusive=True, callback=session.resume)
        equal(cancelled, ["told"])

    cancelled = []
    Session(script).run()


def check_nowait_requests():
    def script(session):
        channel = yield session.connection.channel(on_open_callback=session.resume)
        name = unique("nowait")
        channel.exchange_declare(name, "fanout", auto_delete=True)
        channel.queue_declare(name, exclusive=True)
        channel.queue_bind(name, name)
        channel.basic_publish(name, "", b"x")
        channel.basic_get(name, callback=lambda _ch, _method, _properties, body: session.resume(body), auto_ack=True)
        body = yield
        equal(body, b"x")

    Session(script).run()


def check_wrong_password():
    session = None

    def script(_session):
        yield

    session = Session(script)
    session.connection.params.credentials = pika.PlainCredentials("guest", "wrong")
    with raises(pika.exceptions.ProbableAuthenticationError, "ACCESS_REFUSED"):
        session.run()


if __name__ == "__main__":
    run("pika SelectConnection", pika.__version__, list(checks_of(sys.modules["__main__"])))
