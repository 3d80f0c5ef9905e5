"""What every tutorial script starts with: a connection to the broker under test, and a way to say what happened.

The scripts are programs like the tutorials' own, so each one says what it does as a line on stdout. NAMESPACE in the
environment is put before the names, so that two runs on one broker do not meet.
"""

import os

import pika

NAMESPACE = os.environ.get("NAMESPACE", "")


def parameters():
    return pika.URLParameters(os.environ["AMQP_URL"])


def connect():
    return pika.BlockingConnection(parameters())


def named(name):
    return NAMESPACE + name


def say(*words):
    print(*words, flush=True)
