"""Celery applications whose queues do more than plain ones, imported by the worker and by the driver alike."""

import os
import time

from celery import Celery
from celery.exceptions import Reject

NAMESPACE = os.environ["NAMESPACE"]


def application(name, **settings):
    queue = f"{NAMESPACE}{name}"
    app = Celery(name, broker=os.environ["AMQP_URL"], backend="rpc://")
    app.conf.update(
        task_default_queue=queue,
        task_default_exchange=queue,
        task_default_routing_key=queue,
        control_exchange=NAMESPACE + "pidbox",
        event_exchange=NAMESPACE + "events",
        task_acks_late=True,
        worker_prefetch_multiplier=1,
        broker_connection_retry_on_startup=True,
        result_expires=600,
        **settings,
    )
    return app


# One queue of ten levels; what says no priority is of level 3.
priorities = application("priorities", task_queue_max_priority=10, task_default_priority=3)

# The exchange has to be a topic one for delays to wait in the broker.
quorum = application(
    "quorum",
    task_default_queue_type="quorum",
    task_default_exchange_type="topic",
    broker_transport_options={"confirm_publish": True},
)


@priorities.task
def when():
    return time.monotonic_ns()


@priorities.task(bind=True, max_retries=3)
def when_at_third_try(self):
    if self.request.retries < 2:
        raise self.retry(countdown=0)
    return time.monotonic_ns()


@quorum.task(bind=True)
def when_and_how(self):
    return time.monotonic(), self.request.delivery_info["routing_key"]


@quorum.task(bind=True, max_retries=3)
def succeed_after_delayed_retries(self):
    if self.request.retries < 2:
        raise self.retry(countdown=1)
    return time.monotonic(), self.request.delivery_info["routing_key"]


@quorum.task(bind=True)
def succeed_at_third_delivery(self):
    """The queue counts how often the message came back."""
    returns = self.request.get("x-delivery-count") or 0
    if returns < 2:
        raise Reject("again", requeue=True)
    return returns
