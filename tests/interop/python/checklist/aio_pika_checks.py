"""The checklist through aio-pika (and aiormq beneath it)."""

import asyncio
import datetime
import decimal
import sys
from contextlib import asynccontextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import aio_pika  # noqa: E402
import aiormq  # noqa: E402
from aio_pika import DeliveryMode, ExchangeType, Message  # noqa: E402
from aio_pika.exceptions import ChannelNotFoundEntity, ChannelPreconditionFailed, DeliveryError  # noqa: E402

from harness import HOST, PORT, URL, checks_of, equal, raises, run, unique  # noqa: E402

WAIT_S = 10
IDLE_S = 4.5
QUIET_S = 0.1


@asynccontextmanager
async def channel(**options):
    async with await aio_pika.connect(URL) as connection:
        yield await connection.channel(**options)


class Inbox:
    """An asyncio queue that a consumer fills."""

    def __init__(self):
        self.messages = asyncio.Queue()

    async def __call__(self, message):
        await self.messages.put(message)

    async def take(self, count=1):
        return [await asyncio.wait_for(self.messages.get(), WAIT_S) for _ in range(count)]

    async def quiet(self):
        await asyncio.sleep(QUIET_S)
        equal(self.messages.qsize(), 0, "further messages")


async def publish_numbered(ch, queue, count):
    for number in range(count):
        await ch.default_exchange.publish(Message(b"m%d" % number), queue.name)


async def get_all(queue):
    messages = []
    while (message := await queue.get(no_ack=True, fail=False)) is not None:
        messages.append((message.redelivered, message.body))
    return messages


async def check_every_property_comes_back():
    headers = {
        "text": "grüße",
        "true": True,
        "int8": -5,
        "int32": 70_000,
        "int64": 9_000_000_000_000,
        "double": 2.25,
        "decimal": decimal.Decimal("3.14"),
        "time": datetime.datetime(2024, 2, 29, 12, 30, 15, tzinfo=datetime.timezone.utc),
        "nothing": None,
        "array": [1, "two", 3.5, [True]],
        "table": {"a": {"b": [1, {"c": "d"}]}},
    }
    sent = Message(
        b"body",
        headers=headers,
        content_type="a/b",
        content_encoding="gzip",
        delivery_mode=DeliveryMode.PERSISTENT,
        priority=7,
        correlation_id="correlation",
        reply_to="reply",
        expiration=60,
        message_id="message",
        timestamp=datetime.datetime(2024, 2, 29, tzinfo=datetime.timezone.utc),
        type="kind",
        user_id="guest",
        app_id="app",
    )
    async with channel() as ch:
        queue = await ch.declare_queue(exclusive=True)
        await ch.default_exchange.publish(sent, queue.name)
        got = await queue.get(no_ack=True)
        equal(got.body, b"body")
        for key, value in headers.items():
            equal(got.headers[key], value, key)
        for name in ("content_type", "content_encoding", "delivery_mode", "priority", "correlation_id", "reply_to"):
            equal(getattr(got, name), getattr(sent, name), name)
        for name in ("message_id", "timestamp", "type", "user_id", "app_id", "expiration"):
            equal(getattr(got, name), getattr(sent, name), name)


async def check_bodies_of_many_sizes():
    async with channel() as ch:
        queue, inbox = await ch.declare_queue(exclusive=True), Inbox()
        await queue.consume(inbox, no_ack=True)
        sizes = [0, 1, 131064, 131065, 1024 * 1024]
        for size in sizes:
            await ch.default_exchange.publish(Message(b"x" * size), queue.name)
        equal([len(message.body) for message in await inbox.take(len(sizes))], sizes)


async def check_acknowledging_and_putting_back():
    async with channel() as ch:
        queue = await ch.declare_queue(exclusive=True)
        await publish_numbered(ch, queue, 5)
        messages = [await queue.get() for _ in range(4)]
        await messages[0].ack()
        await messages[3].nack(requeue=True)
        await messages[1].reject(requeue=False)
        await messages[2].reject(requeue=True)
        equal(await get_all(queue), [(True, b"m2"), (True, b"m3"), (False, b"m4")])


async def check_process_context_requeues_on_error():
    async with channel() as ch:
        queue = await ch.declare_queue(exclusive=True)
        await publish_numbered(ch, queue, 1)
        message = await queue.get()
        with raises(ZeroDivisionError):
            async with message.process(requeue=True):
                raise ZeroDivisionError
        equal(await get_all(queue), [(True, b"m0")])


async def check_prefetch():
    for global_ in (False, True):
        async with channel() as ch:
            await ch.set_qos(prefetch_count=2, global_=global_)
            queue, inboxes = await ch.declare_queue(exclusive=True), [Inbox(), Inbox()]
            for inbox in inboxes:
                await queue.consume(inbox)
            await publish_numbered(ch, queue, 8)
            await asyncio.sleep(QUIET_S)
            held = sum(inbox.messages.qsize() for inbox in inboxes)
            equal(held, 2 if global_ else 4, f"global={global_}")


async def check_iterator():
    async with channel() as ch:
        queue = await ch.declare_queue(exclusive=True)
        await publish_numbered(ch, queue, 3)
        bodies = []
        async with queue.iterator() as messages:
            async for message in messages:
                async with message.process():
                    bodies.append(message.body)
                if len(bodies) == 3:
                    break
        equal(bodies, [b"m0", b"m1", b"m2"])


async def check_confirms_and_returns():
    async with channel(on_return_raises=True) as ch:
        queue = await ch.declare_queue(exclusive=True)
        confirms = await asyncio.gather(
            *(ch.default_exchange.publish(Message(b"%d" % n), queue.name) for n in range(100))
        )
        equal({type(confirm) for confirm in confirms}, {aiormq.spec.Basic.Ack})
        with raises(DeliveryError):
            await ch.default_exchange.publish(Message(b"back"), unique("nowhere"), mandatory=True)
        await ch.default_exchange.publish(Message(b"lost"), unique("nowhere"), mandatory=False)
    async with channel(on_return_raises=False) as ch:
        returned = await ch.default_exchange.publish(Message(b"back"), unique("nowhere"))
        equal((returned.delivery.reply_code, returned.delivery.reply_text), (312, "NO_ROUTE"))
        equal(returned.body, b"back")


async def check_transactions():
    async with channel(publisher_confirms=False) as ch:
        queue = await ch.declare_queue(exclusive=True)
        with raises(ZeroDivisionError):
            async with ch.transaction():
                await publish_numbered(ch, queue, 1)
                raise ZeroDivisionError
        equal(await get_all(queue), [])
        async with ch.transaction():
            await publish_numbered(ch, queue, 2)
        equal(await get_all(queue), [(False, b"m0"), (False, b"m1")])


async def check_errors_close_the_channel_only():
    async with await aio_pika.connect(URL) as connection:
        bystander, queue = await connection.channel(), unique("errors")
        with raises(ChannelNotFoundEntity, f"NOT_FOUND - no queue '{queue}' in vhost '/'"):
            await (await connection.channel()).get_queue(queue)
        owned = await bystander.declare_queue(queue, exclusive=True)
        with raises(ChannelPreconditionFailed, "inequivalent arg 'auto_delete'"):
            await (await connection.channel()).declare_queue(queue, exclusive=True, auto_delete=True)
        async with channel() as stranger:
            with raises(aiormq.exceptions.ChannelLockedResource, "RESOURCE_LOCKED"):
                await stranger.declare_queue(queue, exclusive=True)
        await publish_numbered(bystander, owned, 1)
        with raises(ChannelPreconditionFailed, "not empty"):
            await (await (await connection.channel()).get_queue(queue)).delete(if_empty=True)
        equal(await get_all(owned), [(False, b"m0")])


async def check_exchanges_and_bindings():
    async with channel() as ch:
        first = await ch.declare_exchange(unique("first"), ExchangeType.TOPIC, auto_delete=True)
        second = await ch.declare_exchange(unique("second"), ExchangeType.HEADERS, auto_delete=True)
        queue = await ch.declare_queue(exclusive=True)
        await second.bind(first, "log.#")
        await queue.bind(second, arguments={"x-match": "any", "a": 1, "b": 2.5})
        for key, headers in (("log.x", {"a": 1}), ("log", {"b": 2.5}), ("log", {"c": 1}), ("other", {"a": 1})):
            await first.publish(Message(key.encode(), headers=headers), key, mandatory=False)
        equal(await get_all(queue), [(False, b"log.x"), (False, b"log")])
        await queue.unbind(second, arguments={"x-match": "any", "a": 1, "b": 2.5})


async def check_purge_and_delete():
    async with channel() as ch:
        queue = await ch.declare_queue(unique("purge"))
        await publish_numbered(ch, queue, 3)
        equal((await queue.purge()).message_count, 3)
        await publish_numbered(ch, queue, 2)
        equal((await queue.delete(if_empty=False)).message_count, 2)


async def check_rpc_pattern():
    async with channel() as server_channel, channel() as client_channel:
        name = unique("rpc")
        server = await aio_pika.patterns.RPC.create(server_channel)

        async def multiply(*, x, y):
            return x * y

        await server.register(name, multiply, auto_delete=True)
        client = await aio_pika.patterns.RPC.create(client_channel)
        answers = await asyncio.gather(*(client.call(name, {"x": n, "y": n}) for n in range(20)))
        equal(answers, [n * n for n in range(20)])
        await client.close()
        await server.close()


async def check_direct_reply_to():
    async with channel() as client, channel() as server:
        requests, inbox = await server.declare_queue(exclusive=True), Inbox()
        replies = await client.get_queue("amq.rabbitmq.reply-to", ensure=False)
        await replies.consume(inbox, no_ack=True)
        request = Message(b"ping", reply_to="amq.rabbitmq.reply-to", correlation_id="c")
        await client.default_exchange.publish(request, requests.name)
        got = await requests.get(no_ack=True)
        await server.default_exchange.publish(Message(b"pong", correlation_id=got.correlation_id), got.reply_to)
        (reply,) = await inbox.take()
        equal((reply.body, reply.correlation_id), (b"pong", "c"))


async def check_heartbeats_keep_an_idle_connection():
    async with await aio_pika.connect(URL + "?heartbeat=1") as connection:
        ch = await connection.channel()
        queue = await ch.declare_queue(exclusive=True)
        await asyncio.sleep(IDLE_S)
        await publish_numbered(ch, queue, 1)
        equal(await get_all(queue), [(False, b"m0")])


async def check_robust_connection_restores_itself():
    async with await aio_pika.connect_robust(URL + "?reconnect_interval=0.1") as connection:
        ch, inbox, name = await connection.channel(), Inbox(), unique("robust")
        queue = await ch.declare_queue(name, exclusive=True)
        await queue.bind("amq.topic", name)
        await queue.consume(inbox)
        reconnected = asyncio.Event()
        connection.reconnect_callbacks.add(lambda *_: reconnected.set())
        await connection.transport.connection.close(ConnectionResetError("cut by the check"))
        await asyncio.wait_for(reconnected.wait(), WAIT_S)
        topic = await ch.get_exchange("amq.topic")
        await topic.publish(Message(b"after"), name)
        equal([message.body for message in await inbox.take()], [b"after"])


async def check_refused_connections():
    with raises(aiormq.exceptions.ProbableAuthenticationError, "ACCESS_REFUSED"):
        await aio_pika.connect(f"amqp://guest:wrong@{HOST}:{PORT}/%2f")
    with raises(aiormq.exceptions.InvalidFrameError, "Connection.Close"):
        await aio_pika.connect(f"amqp://guest:guest@{HOST}:{PORT}/nowhere")


if __name__ == "__main__":
    run("aio-pika", aio_pika.__version__, list(checks_of(sys.modules["__main__"])))
