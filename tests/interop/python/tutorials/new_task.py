"""Work queues: sends each argument as a persistent message to a durable queue."""

import sys

import pika
from common import connect, named, say

connection = connect()
channel = connection.channel()
channel.queue_declare(queue=named("tasks"), durable=True)
for task in sys.argv[1:]:
    persistent = pika.BasicProperties(delivery_mode=pika.DeliveryMode.Persistent)
    channel.basic_publish(exchange="", routing_key=named("tasks"), body=task, properties=persistent)
    say("sent", task)
connection.close()
