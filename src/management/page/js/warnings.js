// What is wrong, in words, and what to do about it. Each is said because of a figure of the API.

import { link } from "./dom.js";
import { bytes, count, plural } from "./format.js";
import { queueLink } from "./parts.js";

/** From so many messages on a queue that nobody reads is worth a word, and one is called long. */
const ALONE_FROM = 1, LONG_FROM = 100000;
/** A share of the descriptors that leaves little room. */
const DESCRIPTORS_FULL = 0.9;
/** A node that has lacked what is committed for so long is slow. */
const BEHIND_MS = 30_000;

function ofNode(node) {
  return [
    node.mem_alarm && { kind: "bad", id: "memory", what: `Memory is full: ${bytes(node.mem_used)} of ${bytes(node.mem_limit)}.`,
      advice: "Publishers are stopped until it falls. Add consumers to the longest queues, or purge what nobody needs; "
        + "raise memory_watermark only if the machine has room.",
      link: link("/queues?sort=messages&reverse=true", "Longest queues") },
    node.disk_free_alarm && { kind: "bad", id: "disk", what: `The disk is full: ${bytes(node.disk_free)} left, ${bytes(node.disk_free_limit)} are kept free.`,
      advice: "Publishers are stopped until there is room. Free some on the disk of the data folder, or let consumers take "
        + "durable messages away.",
      link: link("/queues?sort=messages&reverse=true", "Longest queues") },
    node.fd_used / node.fd_total > DESCRIPTORS_FULL && { kind: "bad", id: "descriptors",
      what: `${count(node.fd_used)} of ${count(node.fd_total)} descriptors are used.`,
      advice: "New connections will soon be refused. Look who opens so many, and raise the limit (LimitNOFILE, ulimit -n).",
      link: link("/connections", "Connections") },
    node.running === false && { kind: "bad", id: `down ${node.name}`, what: `Node ${node.name} is down.`,
      advice: "Look at its machine and its log." },
  ];
}

/** Of the nodes that keep one log. That one of them is down is said of the node. */
function ofCluster(cluster) {
  if (!cluster || cluster.nodes.length < 2) return [];
  const votes = node => node.role === "leader" || node.role === "voter";
  const voters = cluster.nodes.filter(node => node.running && votes(node));
  const slow = cluster.nodes.filter(node => node.running && node.behind_ms > BEHIND_MS);
  return [
    voters.length <= cluster.quorum && { kind: "bad", id: "critical", what: "When one more node is lost, nobody is served.",
      advice: "Start the nodes that are down; give one that lost its machine an empty folder, and it gets everything from the others." },
    ...slow.map(node => ({ kind: "warn", id: `slow ${node.name}`, what: `Node ${node.name} is behind.`,
      advice: "It lacks what others confirmed long ago: look at its disk, its network and its log." })),
  ];
}

function ofQueue(queue) {
  const id = `${queue.vhost}/${queue.name}`, to = queueLink(queue.vhost, queue.name);
  const going = queue.message_stats?.deliver_get_details?.rate ?? 0, coming = queue.message_stats?.publish_details?.rate ?? 0;
  if (queue.consumers === 0 && queue.messages_ready >= ALONE_FROM) {
    return { kind: "warn", id, what: `${plural(queue.messages_ready, "message")} in ${queue.name}, and nobody reads.`,
      advice: "Start its consumer, or move, purge or delete the queue if it has none any more.", link: to };
  }
  if (queue.messages_ready === 0 && queue.messages_unacknowledged > 0 && going === 0
    && (queue.message_stats?.ack_details?.rate ?? 0) === 0 && queue.consumers > 0 && queue.messages_unacknowledged >= 100) {
    return { kind: "warn", id, what: `Consumers of ${queue.name} hold ${plural(queue.messages_unacknowledged, "message")} and acknowledge none.`,
      advice: "They may be stuck, or forget to acknowledge.", link: to };
  }
  if (queue.messages_ready > LONG_FROM && coming > going) {
    return { kind: "warn", id, what: `${queue.name} is ${count(queue.messages_ready)} long and grows.`,
      advice: "Its consumers are slower than what comes: add some, or give them a larger prefetch count.", link: to };
  }
  return null;
}

function ofConnections(connections) {
  const blocked = connections.filter(connection => connection.state === "blocked");
  if (blocked.length === 0) return [];
  return [{ kind: "warn", id: "blocked", what: `${plural(blocked.length, "connection is", "connections are")} blocked from publishing.`,
    advice: "They go on by themselves when memory and disk have room again.", link: link("/connections?sort=state", "Connections") }];
}

export function warnings({ nodes, cluster, longest, connections }) {
  return [...nodes.flatMap(ofNode), ...ofCluster(cluster), ...ofConnections(connections), ...longest.map(ofQueue)].filter(Boolean).slice(0, 8);
}
