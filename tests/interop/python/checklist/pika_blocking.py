"""The whole checklist through pika's BlockingConnection."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import pika  # noqa: E402

from checklist import pika_connection, pika_consuming, pika_declaring, pika_publishing, pika_routing  # noqa: E402
from harness import checks_of, run  # noqa: E402

if __name__ == "__main__":
    modules = (pika_declaring, pika_publishing, pika_routing, pika_consuming, pika_connection)
    run("pika", pika.__version__, list(checks_of(*modules)))
