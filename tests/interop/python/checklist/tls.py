"""The Python clients over TLS: `tls.py pika`, `tls.py aio-pika`, `tls.py kombu`.

Each of them looks at the broker's certificate, and says who it is with a certificate of its own.
"""

import asyncio
import os
import ssl
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from harness import HOST, PASSWORD, USER, equal, poll_until, raises, run, unique  # noqa: E402

PORT = int(os.environ.get("AMQPS_PORT") or 0)
CERTIFICATES = Path(os.environ.get("INTEROP_TLS", ""))
LARGE = os.urandom(1024 * 1024)  # many records of TLS
WAIT_S = 10


def path(name):
    return str(CERTIFICATES / name)


def context(authority, certificate=False):
    made = ssl.create_default_context(cafile=path(authority))
    if certificate:
        made.load_cert_chain(path("client.pem"), path("client.key"))
    return made


def pika_checks():
    import pika

    def connect(authority="authority.pem", certificate=False):
        external = pika.credentials.ExternalCredentials()
        return pika.BlockingConnection(
            pika.ConnectionParameters(
                host=HOST,
                port=PORT,
                credentials=external if certificate else pika.PlainCredentials(USER, PASSWORD),
                ssl_options=pika.SSLOptions(context(authority, certificate), "localhost"),
            )
        )

    def exchange(connection, user=None):
        channel = connection.channel()
        channel.confirm_delivery()
        queue = channel.queue_declare("", exclusive=True).method.queue
        properties = pika.BasicProperties(user_id=user)
        channel.basic_publish("", queue, b"got", properties, mandatory=True)  # raises when it is not confirmed
        equal(channel.basic_get(queue, auto_ack=True)[2], b"got")
        received = []
        channel.basic_consume(queue, lambda _channel, _method, _properties, body: received.append(body), auto_ack=True)
        channel.basic_publish("", queue, LARGE, properties, mandatory=True)
        poll_until(lambda: received, "a delivery", step=lambda: connection.process_data_events(time_limit=0.05))
        equal(received, [LARGE])
        connection.close()

    def check_confirm_get_and_consume():
        exchange(connect())

    def check_a_strangers_certificate_is_refused():
        with raises(ssl.SSLCertVerificationError):
            connect(authority="stranger.pem")

    def check_external():
        exchange(connect(certificate=True), user="guest")

    return pika.__version__, [check_confirm_get_and_consume, check_a_strangers_certificate_is_refused, check_external]


def aio_pika_checks():
    import aio_pika

    def connect(authority="authority.pem", certificate=False):
        query = "?auth=external" if certificate else ""
        return aio_pika.connect(f"amqps://{USER}:{PASSWORD}@{HOST}:{PORT}/{query}", ssl_context=context(authority, certificate))

    async def exchange(connection, user=None):
        async with connection:
            channel = await connection.channel(publisher_confirms=True)
            queue = await channel.declare_queue(exclusive=True)

            async def publish(body):
                await channel.default_exchange.publish(aio_pika.Message(body, user_id=user), queue.name)

            await publish(b"got")
            equal((await queue.get(no_ack=True)).body, b"got")
            received = asyncio.Queue()
            await queue.consume(received.put, no_ack=True)
            await publish(LARGE)
            equal((await asyncio.wait_for(received.get(), WAIT_S)).body, LARGE)

    async def check_confirm_get_and_consume():
        await exchange(await connect())

    async def check_a_strangers_certificate_is_refused():
        with raises(ConnectionError, "certificate verify failed"):
            await connect(authority="stranger.pem")

    async def check_external():
        await exchange(await connect(certificate=True), user="guest")

    return aio_pika.__version__, [
        check_confirm_get_and_consume,
        check_a_strangers_certificate_is_refused,
        check_external,
    ]


def kombu_checks():
    import kombu

    def connect(authority="authority.pem", certificate=False):
        options = {"ca_certs": path(authority), "cert_reqs": ssl.CERT_REQUIRED, "server_hostname": "localhost"}
        if certificate:
            options |= {"certfile": path("client.pem"), "keyfile": path("client.key")}
        return kombu.Connection(
            f"amqps://{USER}:{PASSWORD}@{HOST}:{PORT}//",
            ssl=options,
            login_method="EXTERNAL" if certificate else "PLAIN",
            transport_options={"confirm_publish": True},
        )

    def exchange(connection, user=None):
        with connection:
            channel = connection.default_channel
            name = unique("kombu")
            channel.queue_declare(name, exclusive=True)
            queue = kombu.Queue(name, channel=channel, no_declare=True)
            producer = kombu.Producer(channel)
            producer.publish(b"got", routing_key=name, user_id=user)
            equal(bytes(queue.get(no_ack=True).body), b"got")
            received = []
            with kombu.Consumer(channel, [queue], no_ack=True, on_message=received.append):
                producer.publish(LARGE, routing_key=name, user_id=user)
                while not received:
                    connection.drain_events(timeout=WAIT_S)
            equal([bytes(message.body) for message in received], [LARGE])

    def check_confirm_get_and_consume():
        exchange(connect())

    def check_a_strangers_certificate_is_refused():
        with raises(ssl.SSLCertVerificationError):
            connect(authority="stranger.pem").connect()

    def check_external():
        exchange(connect(certificate=True), user="guest")

    return kombu.__version__, [check_confirm_get_and_consume, check_a_strangers_certificate_is_refused, check_external]


CLIENTS = {"pika": pika_checks, "aio-pika": aio_pika_checks, "kombu": kombu_checks}

if __name__ == "__main__":
    client = sys.argv[1]
    if not PORT:
        print(f"SKIP {client}-tls: the broker has no port for TLS, or there is no openssl to make certificates with")
        sys.exit(0)
    run(f"{client}-tls", *CLIENTS[client]())
