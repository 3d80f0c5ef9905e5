"""Publish/subscribe, routing and topics: prints the lines that its binding keys ask for.

receive_logs.py fanout|direct|topic [KEY…]   its queue is exclusive and named by the broker
"""

import sys

from common import connect, named, say

kind, *keys = sys.argv[1:]
exchange = named(f"logs-{kind}")


def on_line(_channel, method, _properties, body):
    say("received", method.routing_key, body.decode())


channel = connect().channel()
channel.exchange_declare(exchange=exchange, exchange_type=kind)
queue = channel.queue_declare(queue="", exclusive=True).method.queue
for key in keys or [""]:
    channel.queue_bind(exchange=exchange, queue=queue, routing_key=key)
channel.basic_consume(queue=queue, on_message_callback=on_line, auto_ack=True)
say("waiting", queue)
channel.start_consuming()
