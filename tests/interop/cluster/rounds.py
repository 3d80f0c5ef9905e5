"""Rounds of load and faults, by a seed, and what the history says after each. Prints the verdict and how long failing over took.

  ROUNDS=10 SEED=1     how many, and which
  ONLY=text            the faults whose names contain one of these, with commas between them
  LIMIT_S=55           no round begins after this, so that a slow machine does fewer
  CLUSTER_KEEP=1       leave folders and logs where they are
"""

import json
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from datetime import datetime
from pathlib import Path

import faults
from history import BULK, DEAD, REJECTED, History, complaints, confirms_without_majority, definitions_missing, first_confirm_after
from load import Consumer, Definer, Drain, GoPublisher, Publisher, connect, definitions_there
from nodes import NAMES, Cluster, why_no_network

ROUNDS = int(os.environ.get("ROUNDS", "10"))
SEED = int(os.environ.get("SEED", "1"))
LIMIT_S = float(os.environ.get("LIMIT_S", "1e9"))
GO_PUBLISHER = os.environ.get("GO_PUBLISHER", "")
WARM_S = 0.4
# How long a fault lasts: past an election, which takes a second at most.
HOLD_S = (1.2, 3.0) if LIMIT_S > 60 else (1.2, 1.6)
# And how much longer a disk is full: until what was set aside before is written, too.
FULL_S = 8 if LIMIT_S > 60 else 0
BULK_SHARE = 0.3
JOIN_S = 20

# Queue: its arguments. Of the cold ones nothing is taken before the drain.
QUEUES = {
    BULK: {},
    "hot.classic": {},
    "hot.quorum": {"x-queue-type": "quorum"},
    REJECTED: {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": DEAD},
    DEAD: {},
    "cold.classic": {},
    "cold.quorum": {"x-queue-type": "quorum"},
}
HOT = [queue for queue in QUEUES if queue.startswith("hot")]
LIGHT = [queue for queue in QUEUES if queue not in (BULK, DEAD)]
COLD = [queue for queue in QUEUES if queue.startswith("cold")]


class Rounds:
    def __init__(self, folder, with_network):
        self.folder = folder
        self.chance = random.Random(SEED)
        self.history = History()
        self.wanted = {}
        self.kinds = faults.ANYWHERE + (faults.IN_NAMESPACES if with_network else [])
        if only := os.environ.get("ONLY"):
            self.kinds = [kind for kind in self.kinds if any(word in kind.__name__ for word in only.split(","))]
        self.bag = []
        self.done = Counter()
        self.seen_by_clients, self.seen_in_logs = {}, {}
        self.cluster = Cluster(folder, with_network)
        self.events = open(folder / "events", "w")

    def begin(self):
        self.cluster.agree()
        connection = connect(self.cluster.nodes[0])
        for queue, arguments in QUEUES.items():
            connection.channel().queue_declare(queue, durable=True, arguments=arguments)
        connection.close()

    def next_kind(self):
        """Each kind as often as any other, in an order by chance."""
        if not self.bag:
            self.bag = self.chance.sample(self.kinds, len(self.kinds))
        return self.bag.pop()

    def note(self, what):
        print(f"{time.time():.3f} {what}", file=self.events, flush=True)

    def round(self, number):
        kind = self.next_kind()
        hold_s = self.chance.uniform(*HOLD_S)
        if kind in faults.NEED_BULK:
            hold_s += FULL_S
        leader = self.cluster.leader()
        self.note(f"round {number}: {kind.__name__}, {leader.name} leads")
        clients = self.clients(number)
        # Now and then as much as fills segments; always where the disk is to be full.
        if kind in faults.NEED_BULK or self.chance.random() < BULK_SHARE:
            clients += self.bulk(number)
        for client in clients:
            client.start()
        time.sleep(WARM_S)
        began = time.time()
        try:
            outcome = kind(self.cluster, leader, self.chance)
            gone = time.time()
            self.note("done")
            if kind is faults.stop_leader:
                gone = began
            time.sleep(hold_s)
            healed = time.time()
            if kind in faults.NEED_BULK:
                free = [shutil.disk_usage(node.data).free >> 10 for node in self.cluster.nodes]
                self.note(f"running: {[node.is_running() for node in self.cluster.nodes]}, KiB free: {free}")
            self.note("healing")
            relayed = self.cluster.heal()
            self.cluster.agree()
            self.note("agreed")
            found = outcome.complaints
            if relayed is not None:
                self.note("a relay carried %d packets and lost %d" % relayed)
                # Else nothing was tried.
                found += [] if relayed[0] else ["relay: it carried nothing"]
        finally:
            for client in clients:
                client.end()
            for client in clients:
                client.join(JOIN_S)
        found += [f"client: {client} did not end" for client in clients if client.is_alive()]
        self.note("drain")
        found += self.drain(number)
        self.cluster.agree(is_quiet=True)
        self.note("quiet")
        if outcome.alone:
            found += confirms_without_majority(self.history, gone, healed)
        if outcome.lost_leader:
            self.measure(kind.__name__, outcome.lost_leader, gone)
        found += complaints(self.history, COLD)
        asked = self.chance.sample(self.cluster.nodes, len(self.cluster.nodes))
        found += definitions_missing(self.wanted, definitions_there(asked))
        found += self.deaths(kind)
        self.done[kind.__name__] += 1
        used = [shutil.disk_usage(node.data).used >> 20 for node in self.cluster.nodes]
        self.note(f"{len(self.history.published)} published, {len(found)} complaints, MiB on disks: {used}")
        self.history.forget()
        return kind.__name__, found

    def clients(self, number):
        nodes = self.cluster.nodes
        turned = [nodes[turn:] + nodes[:turn] for turn in range(len(nodes))]
        # Each at a node of its own, so that some are passed on.
        found = [Publisher(f"r{number}p{turn}", turned[turn], self.history, LIGHT) for turn in range(len(nodes))]
        if GO_PUBLISHER:
            found.append(self.go_publisher(f"r{number}g", turned, LIGHT))
        found += [Consumer(f"r{number}c{place}", turned[(number + place) % 3], self.history, queue) for place, queue in enumerate(HOT)]
        found.append(Definer(f"d{number}", nodes, self.wanted, self.chance.random()))
        return found

    def bulk(self, number):
        nodes = self.cluster.nodes
        name = f"r{number}b"
        publisher = self.go_publisher(name, [nodes], [BULK]) if GO_PUBLISHER else Publisher(name, nodes, self.history, [BULK])
        return [publisher, Consumer(f"r{number}bc", nodes, self.history, BULK)]

    def go_publisher(self, name, orders, queues):
        with open(self.folder / "go.log", "ab") as log:
            return GoPublisher(GO_PUBLISHER, name, self.chance.choice(orders), self.history, queues, log)

    def drain(self, number):
        drains = [Drain(f"r{number}d{place}", self.cluster.nodes, self.history, queue) for place, queue in enumerate(QUEUES)]
        # What others lead to comes after them.
        for is_last in (False, True):
            turn = [each for each in drains if (each.queue == DEAD) == is_last]
            for each in turn:
                each.start()
            for each in turn:
                each.join()
        return [f"drain: {each.queue}: {each.why}" for each in drains if each.why]

    def measure(self, kind, lost, since):
        confirmed = first_confirm_after(self.history, since)
        if confirmed is not None:
            self.seen_by_clients.setdefault(kind, []).append(confirmed - since)
        served = [at for name in NAMES if name != lost for at in led_from(self.cluster.node(name).log) if at > since]
        if served:
            self.seen_in_logs.setdefault(kind, []).append(min(served) - since)

    def deaths(self, kind):
        found = []
        for node in self.cluster.nodes:
            if kind not in faults.MAY_END_A_NODE:
                found += [f"death: {node.name} ended by itself with {status}" for status in node.deaths]
            node.deaths.clear()
            if "panicked at" in node.log.read_text(errors="replace"):
                found.append(f"panic: in the log of {node.name}")
        return found


def led_from(log):
    """When a node began to serve, as it says itself."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if "this node leads, with" in line]
    return [datetime.fromisoformat(line.split()[0].replace("Z", "+00:00")).timestamp() for line in lines]


def table(title, measured):
    rows = [*sorted(measured.items()), ("all", [each for values in measured.values() for each in values])]
    print(f"{title:44} {'n':>4} {'p50':>7} {'p99':>7} {'max':>7}")
    for name, values in rows:
        if values:
            values = sorted(values)
            at = lambda share: values[min(len(values) - 1, int(len(values) * share))]
            print(f"  {name:42} {len(values):4} {at(0.5):7.3f} {at(0.99):7.3f} {values[-1]:7.3f}")


def main():
    started = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="cluster.", dir=os.environ["INTEROP_LOG"]))
    why = why_no_network()
    if why:
        print(f"SKIP cluster: partitions and full disks: {why}", flush=True)
    if not GO_PUBLISHER:
        print("SKIP cluster: the publisher of amqp091-go: there is no go", flush=True)
    rounds = Rounds(folder, why is None)
    failures = 0
    number = 0
    try:
        rounds.begin()
        while number < ROUNDS and time.monotonic() - started < LIMIT_S:
            kind, found = rounds.round(number)
            number += 1
            for each in found[:10]:
                print(f"FAIL cluster: round {number - 1} of seed {SEED}, {kind}: {each}", flush=True)
            failures += len(found)
            print(f"round {number - 1} {kind} {len(found)} {time.monotonic() - started:.1f}s", file=sys.stderr, flush=True)
            if found:
                break
        # The rest is of the node that is asked.
        asked = [node.status_by_ctl() for node in rounds.cluster.nodes]
        statuses = [[status.get(key) for key in ("cluster_name", "leader", "disk_nodes", "running_nodes")] for status in asked]
        if not failures and any(status != statuses[0] for status in statuses):
            failures += 1
            print(f"FAIL cluster: cluster_status differs: {json.dumps(statuses)}", flush=True)
    except Exception as error:
        traceback.print_exc()
        failures += 1
        print(f"FAIL cluster: round {number} of seed {SEED}: {error}", flush=True)
    finally:
        rounds.cluster.remove()
    print(f"{number} rounds: " + ", ".join(f"{count} {kind}" for kind, count in sorted(rounds.done.items())))
    table("until another confirms, s (clients)", rounds.seen_by_clients)
    table("until another serves, s (logs)", rounds.seen_in_logs)
    if failures:
        print(f"logs of the nodes: {folder}")
    else:
        print(f"ok cluster itself ({number} rounds, {time.monotonic() - started:.1f}s)", flush=True)
        if "CLUSTER_KEEP" not in os.environ:
            shutil.rmtree(folder, ignore_errors=True)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
