// One queue: what is in it, who reads it, and what can be done with it.

import { h, link } from "../dom.js";
import { bytes, count, moment, plural, rate, rateOf } from "../format.js";
import { table } from "../table.js";
import { badge, button, card, exchangeLink, facts, features, heading, tabs, tree } from "../parts.js";
import { messageCharts, rates } from "./overview.js";
import { lines } from "../charts.js";
import { deadLettersOf } from "../graph.js";
import { state } from "./queues.js";
import { CONSUMER_COLUMNS } from "./channels.js";
import { bindQueue, deleteQueue, publishMessage, purgeQueue, unbind } from "../actions.js";
import { messagesPart } from "../messages.js";
import { heldPart, loadHeld, move, redrive } from "../held.js";
import { leaveTail, tailPart } from "../tail.js";
import { choose, go } from "../router.js";
import * as api from "../api.js";

const { path } = api;
const HISTORY = { lengths_age: 600, lengths_incr: 5, msg_rates_age: 600, msg_rates_incr: 5 };

async function load({ parts: [, vhost, name], query, signal }) {
  const where = path`/queues/${vhost}/${name}`;
  const [queue, bindings, held] = await Promise.all([
    api.get(where, HISTORY, signal), api.get(where + "/bindings", {}, signal),
    query.tab === "unacked" ? loadHeld(vhost, name, query, signal) : null,
  ]);
  return { queue, bindings, held };
}

/** Who reads, at what pace. */
function readers(queue) {
  const consumers = queue.consumer_details ?? [], going = rateOf(queue.message_stats, "deliver_get");
  if (consumers.length === 0) {
    return queue.messages > 0
      ? [badge("nobody reads", "warn"), ` ${plural(queue.messages_ready, "message waits", "messages wait")} for a consumer.`]
      : "Nobody.";
  }
  const prefetch = [...new Set(consumers.map(one => one.prefetch_count || "no limit"))].join(", ");
  return `${plural(consumers.length, "consumer")} at ${rate(going)} together; prefetch count ${prefetch}`;
}

function overviewTab({ queue }) {
  const stats = queue.message_stats;
  return [
    h("div", { class: "tiles" }, [
      ["Ready", count(queue.messages_ready), "wait for a consumer"],
      ["Unacknowledged", count(queue.messages_unacknowledged), "consumers have them"],
      ["In", rate(rateOf(stats, "publish")), `${count(stats?.publish)} in all`],
      ["Out", rate(rateOf(stats, "deliver_get")), `${count(stats?.deliver_get)} in all`],
      ["Acknowledged", rate(rateOf(stats, "ack")), `${count(stats?.ack)} in all`],
      ["Redelivered", rate(rateOf(stats, "redeliver")), `${count(stats?.redeliver)} in all`],
    ].map(([label, figure, beside]) => h("div", { class: "tile" }, h("span", { class: "label" }, label), h("b", {}, figure), h("small", {}, beside)))),
    h("div", { class: "charts" }, messageCharts(stats, queue),
      lines({ title: "How messages go out", unit: rate, series: [
        { label: "acknowledged by hand", color: "a", points: rates(stats?.deliver_details) },
        { label: "automatically", color: "b", points: rates(stats?.deliver_no_ack_details) },
        { label: "again", color: "d", points: rates(stats?.redeliver_details) },
      ] }),
      card("", facts([
        ["Who reads", readers(queue)],
        ["Virtual host", queue.vhost], ["Type", queue.type], ["Node", queue.node],
        ["Survives a restart", queue.durable ? "yes" : "no"],
        ["Oldest message of", queue.head_message_timestamp && moment(queue.head_message_timestamp * 1000)],
        ["Memory", bytes(queue.memory)],
        ["Only reader", queue.single_active_consumer_tag ?? queue.exclusive_consumer_tag],
        ["Of connection", queue.owner_pid_details?.name && link(path`/connections/${queue.owner_pid_details.name}`, queue.owner_pid_details.name)],
        ["Policy", queue.policy && link(path`/policies/${queue.vhost}/${queue.policy}`, queue.policy)],
        ["Operator policy", queue.operator_policy],
        ["Delivery limit", queue.delivery_limit], ["Waiting for a retry", queue.messages_delayed || null],
        ["Dead letters go to", deadLetters(queue)],
      ]))),
    h("div", { class: "two" },
      card("Arguments", tree(queue.arguments)),
      card("What its policies make of it", tree(queue.effective_policy_definition ?? {}))),
  ];
}

/** Where what is rejected, expires or is too much goes. */
function deadLetters(queue) {
  const dead = deadLettersOf(queue);
  return dead && [exchangeLink(queue.vhost, dead.exchange), dead.key !== undefined ? [" with the key ", h("code", {}, dead.key)] : " with their own key"];
}

const consumersTab = ({ queue }) => card("Consumers", table({
  label: "Consumers", columns: CONSUMER_COLUMNS.filter(column => !["queue", "vhost"].includes(column.id)),
  rows: queue.consumer_details ?? [], sorts: false, key: one => `${one.channel_details.name} ${one.consumer_tag}`,
  empty: "Nobody consumes from this queue: it grows until somebody does, or until its limits throw messages away.",
}));

function bindingsTab({ queue, bindings }) {
  const columns = [
    { id: "source", label: "From exchange", cell: one => exchangeLink(one.vhost, one.source) },
    { id: "key", label: "Routing key", cell: one => h("code", {}, one.routing_key || "(empty)") },
    { id: "arguments", label: "Arguments", cell: one => Object.keys(one.arguments).length ? tree(one.arguments) : "–" },
    { id: "press", label: "", className: "actions", cell: one => one.source !== "" && button("Unbind", () => unbind(one), "quiet") },
  ];
  return card("Bindings", [
    table({ label: "Bindings", columns, rows: bindings, sorts: false, key: one => `${one.source} ${one.properties_key}` }),
    h("p", {}, button("Bind to an exchange", () => bindQueue(queue))),
  ]);
}

function render(data, context) {
  const { queue } = data, tab = context.query.tab ?? "overview";
  const content = {
    __proto__: null, overview: overviewTab, consumers: consumersTab, bindings: bindingsTab, messages: () => messagesPart(queue, context),
    unacked: () => heldPart(queue, data.held, context.query),
    tail: () => tailPart(path`/queues/${queue.vhost}/${queue.name}/tail`, context),
  }[tab] ?? overviewTab;
  return h("div", {},
    heading(queue.name || "(no name)", [state(queue), features(queue)], [
      button("Publish", () => publishMessage({ vhost: queue.vhost, exchange: "", key: queue.name, isFixed: true })),
      queue.messages_ready > 0 && button("Move", () => move(queue)),
      queue.messages_ready > 0 && button("Redrive", () => redrive(queue)),
      button("Purge", () => purgeQueue(queue)),
      button("Delete", () => deleteQueue(queue, () => go("/queues")), "danger"),
    ]),
    tabs([["overview", "Overview"], ["messages", "Messages"],
      ["unacked", `Held (${count(queue.messages_unacknowledged)})`], ["consumers", `Consumers (${count(queue.consumers)})`],
      ["bindings", `Bindings (${count(data.bindings.length)})`], ["tail", "Live tail"]], tab, choose),
    content(data, context));
}

export const queue = { title: "Queue", name: ({ parts }) => parts[2], load, render, leave: leaveTail };
