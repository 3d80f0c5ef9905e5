// What the broker does right now, and what somebody should do about it.

import { h, link } from "../dom.js";
import { byteRate, bytes, count, duration, percent, plural, rate, rateOf } from "../format.js";
import { badge, card, facts, queueLink } from "../parts.js";
import { heat, lines, meter } from "../charts.js";
import { may, record, session } from "../store.js";
import { look } from "../metrics.js";
import { warnings } from "../warnings.js";
import { tutorials } from "../learn.js";
import * as api from "../api.js";

const HISTORY = { lengths_age: 600, lengths_incr: 5, msg_rates_age: 600, msg_rates_incr: 5 };
const HISTORY_OF_NODE = { node_stats_age: 600, node_stats_incr: 5 };
/** As many moments as a heat map has columns. */
const HISTORY_OF_DURATIONS = { node_stats_age: 300, node_stats_incr: 5 };
/** What is drawn at the place of the bucket that has no end, in seconds. */
const ENDLESS_S = 7200;
/** The longest queues, among which those are that nobody reads. */
const LONGEST = { page: 1, page_size: 10, sort: "messages", sort_reverse: "true" };

/** With so many queues, finding the longest is work for the broker: then it is asked less often. */
const MANY_QUEUES = 10_000, LONGEST_EVERY_MS = 30_000;

const HEATS = [
  ["time_in_queue", "Time in queue", "From a publish until a consumer is sent the message"],
  ["delivery_to_acknowledgement", "Delivery to acknowledgement", "How long consumers work on a message"],
  ["publish_to_confirm", "Publish to confirm", "How long publishers wait: the disk is in it"],
  ["turn", "Turns of the loop", "How long the broker is busy before it looks up again"],
];

async function longestQueues(state, ask) {
  const areMany = (session.overview?.object_totals.queues ?? 0) > MANY_QUEUES;
  if (!areMany || Date.now() - (state.longestAt ?? 0) > LONGEST_EVERY_MS) {
    state.longest = (await ask("/queues", LONGEST)).items;
    state.longestAt = Date.now();
  }
  return state.longest;
}

/** Of others the node that is asked knows little more than whether they run. */
const isAsked = node => node.os_pid !== undefined;

/** The nodes, the one that is asked before others, and how long things took there. */
async function nodesAndDurations(ask) {
  const nodes = await ask("/nodes", HISTORY_OF_NODE);
  nodes.sort((one, other) => isAsked(other) - isAsked(one));
  return [nodes, await ask(api.path`/nodes/${nodes[0].name}/durations`, HISTORY_OF_DURATIONS)];
}

async function load({ state, signal }) {
  const ask = (where, query) => api.get(where, query, signal);
  const monitors = may("monitoring");
  const [overview, longest, [nodes, durations], metrics, cluster, blocked] = await Promise.all([
    ask("/overview", monitors ? HISTORY : {}),
    longestQueues(state, ask),
    monitors ? nodesAndDurations(ask) : [[], null],
    monitors ? look(signal) : null,
    monitors ? ask("/cluster") : null,
    ask("/connections", { page: 1, page_size: 100, sort: "state", columns: "name,state,user" }),
  ]);
  session.overview = overview;
  return { overview, longest, nodes, durations, metrics, cluster, connections: blocked.items };
}

/** Counters of the past as rates, the oldest first. */
export function rates(details) {
  const samples = [...details?.samples ?? []].reverse();
  return samples.slice(1).map(({ sample, timestamp }, index) => {
    const before = samples[index];
    return [timestamp, Math.max(0, (sample - before.sample) * 1000 / (timestamp - before.timestamp))];
  });
}

export const levels = details => [...details?.samples ?? []].reverse().map(({ sample, timestamp }) => [timestamp, sample]);

export function messageCharts(stats, totals) {
  return [
    lines({ title: "Messages per second", unit: rate, series: [
      { label: "in", color: "a", points: rates(stats?.publish_details), fills: true },
      { label: "out", color: "b", points: rates(stats?.deliver_get_details) },
      { label: "acknowledged", color: "c", points: rates(stats?.ack_details) },
    ] }),
    lines({ title: "Messages queued", series: [
      { label: "ready", color: "a", points: levels(totals?.messages_ready_details), fills: true },
      { label: "unacknowledged", color: "d", points: levels(totals?.messages_unacknowledged_details) },
    ] }),
  ];
}

function tile(label, figure, beside, path) {
  const content = [h("span", { class: "label" }, label), h("b", {}, figure), beside && h("small", {}, beside)];
  return path ? link(path, content, { class: "tile" }) : h("div", { class: "tile" }, content);
}

function tiles({ overview, nodes }) {
  const { message_stats: stats, queue_totals: totals, object_totals: objects } = overview, node = nodes[0];
  return h("div", { class: "tiles" },
    tile("In", rate(rateOf(stats, "publish")), `${count(stats?.publish)} in all`),
    tile("Out", rate(rateOf(stats, "deliver_get")), `${count(stats?.deliver_get)} in all`),
    tile("Ready", count(totals.messages_ready), "wait for a consumer", "/queues?sort=messages_ready&reverse=true"),
    tile("Unacknowledged", count(totals.messages_unacknowledged), "consumers have them", "/queues?sort=messages_unacknowledged&reverse=true"),
    tile("Connections", count(objects.connections), plural(objects.channels ?? 0, "channel"), "/connections"),
    tile("Queues", count(objects.queues), objects.consumers === undefined ? null : plural(objects.consumers, "consumer"), "/queues"),
    node && tile("Memory", bytes(node.mem_used), [meter("Memory", node.mem_used / node.mem_limit, node.mem_alarm ? "bad" : ""), ` of ${bytes(node.mem_limit)}`]),
    node && tile("Disk free", bytes(node.disk_free), [`stops at ${bytes(node.disk_free_limit)}`]));
}

/** Shortest first: what is wrong, or that nothing is. */
const attention = all => h("section", { class: "attention", "aria-label": "What needs you" }, all.length === 0
  ? h("p", { class: "calm" }, badge("all well", "good"), " No alarm is on, no queue is left alone, and nobody is blocked.")
  : h("ul", {}, all.map(one => h("li", { class: one.kind, key: one.id },
    h("strong", {}, one.what), h("span", {}, one.advice), one.link && h("span", { class: "go" }, one.link)))));

const longest = queues => card("Longest queues", queues.some(queue => queue.messages > 0)
  ? h("table", { class: "small" },
    h("thead", {}, h("tr", {}, ["Queue", "Messages", "In", "Out", "Consumers"].map((label, index) =>
      h("th", { scope: "col", class: index ? "number" : null }, label)))),
    h("tbody", {}, queues.filter(queue => queue.messages > 0).slice(0, 6).map(queue => h("tr", { key: queue.vhost + "/" + queue.name },
      h("th", { scope: "row" }, queueLink(queue.vhost, queue.name)),
      h("td", { class: "number" }, count(queue.messages)),
      h("td", { class: "number" }, rate(rateOf(queue.message_stats, "publish"))),
      h("td", { class: "number" }, rate(rateOf(queue.message_stats, "deliver_get"))),
      h("td", { class: `number ${queue.consumers ? "" : "bad"}` }, count(queue.consumers))))))
  : h("p", { class: "dim" }, "All queues are empty."));

const stateOf = node => badge(node.running ? "running" : "down", node.running ? "good" : "bad");

function nodeCard(node, metrics, overview) {
  return [
    lines({ title: "Memory", unit: bytes, limit: node.mem_limit, series: [
      { label: "resident", color: "a", points: levels(node.mem_used_details), fills: true },
      { label: "of messages", color: "b", points: levels(node.message_memory_details) },
    ] }),
    lines({ title: "Free disk", unit: bytes, limit: node.disk_free_limit, series: [{ label: "free", color: "c", points: levels(node.disk_free_details), fills: true }] }),
    lines({ title: "Written to the log", unit: byteRate, series: [
      { label: "bytes", color: "a", points: rates(node.io_write_bytes_details), fills: true },
    ] }),
    lines({ title: "Writes and syncs of the log", unit: rate, series: [
      { label: "writes", color: "a", points: rates(node.io_write_count_details) },
      { label: "syncs", color: "d", points: rates(node.io_sync_count_details) },
    ] }),
    trafficChart(metrics),
    card(`Node ${node.name}`, facts([
      ["State", stateOf(node)],
      ["Up for", duration(node.uptime)],
      ["Process", node.os_pid],
      ["Processors", node.processors],
      ["Descriptors", `${count(node.fd_used)} of ${count(node.fd_total)} (${percent(node.fd_used / node.fd_total)})`],
      ["Version", `${overview.product_name} ${overview.product_version}, as RabbitMQ ${overview.rabbitmq_version}`],
      ["Listens", h("ul", { class: "plain" }, overview.listeners?.map(one =>
        h("li", {}, h("code", {}, `${one.protocol} ${one.ip_address}:${one.port}`))))],
    ])),
  ];
}

const ROLES = { leader: ["leads", "good"], voter: ["follows", ""], learner: ["catches up, no vote yet", "warn"], none: ["no member", "warn"] };

/** The nodes that keep one log, who leads, and what others lack. A broker that is alone has none of it. */
const clusterCard = cluster => cluster && cluster.nodes.length > 1 && card(`Cluster ${cluster.name}`, [
  h("table", { class: "small" },
    h("thead", {}, h("tr", {}, ["Node", "State", "Role", "Behind", "Lacks"].map((label, index) =>
      h("th", { scope: "col", class: index > 2 ? "number" : null }, label)))),
    h("tbody", {}, cluster.nodes.map(node => h("tr", { key: node.name },
      h("th", { scope: "row" }, node.name),
      h("td", {}, stateOf(node)),
      h("td", {}, badge(...ROLES[node.role])),
      h("td", { class: "number" }, node.role === "leader" || node.behind_ms == null ? "" : node.behind_ms ? duration(node.behind_ms) : "nothing"),
      h("td", { class: "number" }, node.role === "leader" || node.behind_bytes == null ? "" : bytes(node.behind_bytes)))))),
  h("p", { class: "dim" }, `Term ${count(cluster.term)}. What ${cluster.quorum} of them have on their disks is confirmed.`),
]);

/** How fast a counter of Prometheus's page rises. */
function rising(metrics, name) {
  const value = metrics?.figures[name];
  if (value === undefined) return null;
  const raw = record("raw " + name, value, metrics.at);
  return raw.slice(1).map(([at, figure], index) => [at, Math.max(0, (figure - raw[index][1]) * 1000 / (at - raw[index][0]))]);
}

function trafficChart(metrics) {
  const to = rising(metrics, "rabbitmq_connection_incoming_bytes_total");
  const from = rising(metrics, "rabbitmq_connection_outgoing_bytes_total");
  return to && from && lines({ title: "Bytes of clients", unit: byteRate, series: [
    { label: "in", color: "a", points: to }, { label: "out", color: "b", points: from },
  ] });
}

function heats({ bounds_us: bounds, samples }) {
  return HEATS.map(([name, title, hint]) => heat({
    title, hint, unit: duration, bounds: [...bounds.map(bound => bound / 1e6), ENDLESS_S],
    history: samples[name].map(({ timestamp, counts }) => [timestamp, counts]).reverse(),
  }));
}

function render(data) {
  const { overview, longest: queues, nodes, durations, metrics } = data;
  const isNew = overview.object_totals.queues === 0 && overview.object_totals.connections === 0;
  return [
    h("h1", { class: "hidden" }, "Overview"),
    attention(warnings(data)),
    tiles(data),
    isNew && tutorials(overview),
    h("div", { class: "charts" }, may("monitoring") && messageCharts(overview.message_stats, overview.queue_totals)),
    h("div", { class: "two" }, longest(queues), clusterCard(data.cluster)),
    durations && [h("h2", {}, "How long things take"), h("p", { class: "dim" }, "In the last five minutes, a column for every five seconds; the brighter, the more often. Of messages one in some is timed."),
      h("div", { class: "charts" }, heats(durations))],
    nodes.filter(isAsked).map(node => [h("h2", {}, "Node"), h("div", { class: "charts" }, nodeCard(node, metrics, overview))]),
    h("div", { class: "charts" }, nodes.filter(node => !isAsked(node)).map(node => card(`Node ${node.name}`, facts([["State", stateOf(node)]])))),
  ];
}

export const overview = { title: "Overview", load, render: (data, context) => h("div", {}, render(data, context)) };
