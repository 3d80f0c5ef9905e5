"""Publish/subscribe, routing and topics: emits one line through an exchange.

emit_log.py fanout|direct|topic KEY TEXT
"""

import sys

from common import connect, named, say

kind, key, text = sys.argv[1:]
connection = connect()
channel = connection.channel()
channel.exchange_declare(exchange=named(f"logs-{kind}"), exchange_type=kind)
channel.basic_publish(exchange=named(f"logs-{kind}"), routing_key=key, body=text)
say("sent", key, text)
connection.close()
