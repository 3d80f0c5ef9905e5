"""The Celery application and its tasks, imported by the worker and by the driver alike."""

import os

from celery import Celery

# Every run has queues of its own; the broker may be a shared one.
NAMESPACE = os.environ["NAMESPACE"]
TASKS_QUEUE = NAMESPACE + "celery"

app = Celery("interop", broker=os.environ["AMQP_URL"], backend="rpc://")
app.conf.update(
    task_default_queue=TASKS_QUEUE,
    task_default_exchange=TASKS_QUEUE,
    task_default_routing_key=TASKS_QUEUE,
    control_exchange=NAMESPACE + "pidbox",
    event_exchange=NAMESPACE + "events",
    result_exchange=NAMESPACE + "results",
    worker_send_task_events=True,
    task_send_sent_event=True,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    result_expires=600,
)


@app.task
def add(x, y):
    return x + y


@app.task
def fail(text):
    raise ValueError(text)


@app.task(bind=True, max_retries=3)
def succeed_at_third_try(self):
    if self.request.retries < 2:
        raise self.retry(countdown=0)
    return self.request.retries


@app.task(bind=True, acks_late=True)
def hang_until_redelivered(self, started_file):
    """Says in a file that it started; hangs, unless the broker says that somebody started it before."""
    with open(started_file, "a", encoding="utf-8") as file:
        file.write(f"{os.getpid()}\n")
    if not self.request.delivery_info["redelivered"]:
        import signal

        signal.pause()
    return "redelivered"


@app.task
def echo(value):
    return value
