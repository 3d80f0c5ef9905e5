"""Hello World: sends one message to a queue by its name."""

from common import connect, named, say

connection = connect()
channel = connection.channel()
channel.queue_declare(queue=named("hello"))
channel.basic_publish(exchange="", routing_key=named("hello"), body="Hello World!")
say("sent", "Hello World!")
connection.close()
