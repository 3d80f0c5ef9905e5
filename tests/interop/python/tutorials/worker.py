"""Work queues: does tasks, one at a time unless --no-prefetch, and acknowledges each one when it is done.

A task that begins with "hang" is never done: the worker says that it started and waits for its end.
"""

import sys

from common import connect, named, say


def on_task(channel, method, properties, body):
    task = body.decode()
    say("started", task, f"redelivered={method.redelivered}", f"delivery_mode={properties.delivery_mode}")
    if task.startswith("hang"):
        return
    channel.basic_ack(delivery_tag=method.delivery_tag)
    say("done", task)


channel = connect().channel()
channel.queue_declare(queue=named("tasks"), durable=True)
if "--no-prefetch" not in sys.argv:
    channel.basic_qos(prefetch_count=1)
channel.basic_consume(queue=named("tasks"), on_message_callback=on_task)
say("waiting")
channel.start_consuming()
