"""RPC: asks for the Fibonacci numbers of its arguments, all at once, and matches the answers by correlation id."""

import sys
import uuid

import pika
from common import connect, named, say

connection = connect()
channel = connection.channel()
callback_queue = channel.queue_declare(queue="", exclusive=True).method.queue
say("callback", callback_queue)
asked, answers = {}, {}


def on_answer(_channel, _method, properties, body):
    answers[asked[properties.correlation_id]] = int(body)


channel.basic_consume(queue=callback_queue, on_message_callback=on_answer, auto_ack=True)
for number in sys.argv[1:]:
    correlation_id = str(uuid.uuid4())
    asked[correlation_id] = number
    request = pika.BasicProperties(reply_to=callback_queue, correlation_id=correlation_id)
    channel.basic_publish("", named("rpc"), number, request)
while len(answers) < len(asked):
    connection.process_data_events(time_limit=10)
for number, answer in answers.items():
    say("answer", number, answer)
connection.close()
