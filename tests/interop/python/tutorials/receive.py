"""Hello World: prints what comes."""

from common import connect, named, say


def on_message(_channel, _method, _properties, body):
    say("received", body.decode())


channel = connect().channel()
channel.queue_declare(queue=named("hello"))
channel.basic_consume(queue=named("hello"), auto_ack=True, on_message_callback=on_message)
say("waiting")
channel.start_consuming()
