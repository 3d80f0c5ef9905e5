"""RPC: answers each request with a Fibonacci number."""

import pika
from common import connect, named, say


def fibonacci(n):
    smaller, larger = 0, 1
    for _ in range(n):
        smaller, larger = larger, smaller + larger
    return smaller


def on_request(channel, method, properties, body):
    say("request", body.decode())
    reply = pika.BasicProperties(correlation_id=properties.correlation_id)
    channel.basic_publish("", properties.reply_to, str(fibonacci(int(body))), reply)
    channel.basic_ack(delivery_tag=method.delivery_tag)


channel = connect().channel()
channel.queue_declare(queue=named("rpc"))
channel.basic_qos(prefetch_count=1)
channel.basic_consume(queue=named("rpc"), on_message_callback=on_request)
say("waiting")
channel.start_consuming()
