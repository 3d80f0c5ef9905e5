// All queues.

import { h } from "../dom.js";
import { bytes, count, rate, rateOf } from "../format.js";
import { listBar, loadPage, pager, table, vhostNames } from "../table.js";
import { badge, button, features, heading, queueLink } from "../parts.js";
import { path } from "../api.js";
import { emptyQueues } from "../learn.js";
import { declareQueue } from "../actions.js";

const speed = name => ({ number: true, sort: `message_stats.${name}_details.rate`, cell: queue => rate(rateOf(queue.message_stats, name)) });
const figure = (id, label, more) => ({ id, label, number: true, sort: id, cell: queue => count(queue[id]), ...more });

const COLUMNS = [
  { id: "name", label: "Queue", sort: "name", cell: queue => queueLink(queue.vhost, queue.name) },
  { id: "vhost", label: "Virtual host", sort: "vhost", cell: queue => queue.vhost },
  { id: "features", label: "Features", cell: features },
  { id: "state", label: "State", cell: state },
  figure("messages_ready", "Ready"),
  figure("messages_unacknowledged", "Unacked", { title: "Consumers have them, and have not acknowledged them" }),
  figure("messages", "Total"),
  figure("consumers", "Consumers", { cell: queue => h("span", { class: queue.messages_ready > 0 && queue.consumers === 0 ? "bad" : null }, count(queue.consumers)) }),
  { id: "publish", label: "In", ...speed("publish") },
  { id: "deliver_get", label: "Out", ...speed("deliver_get") },
  { id: "ack", label: "Acks", ...speed("ack") },
  { id: "redeliver", label: "Redelivered", extra: true, ...speed("redeliver") },
  figure("memory", "Memory", { extra: true, cell: queue => bytes(queue.memory) }),
  { id: "type", label: "Type", sort: "type", extra: true, cell: queue => queue.type },
  { id: "policy", label: "Policy", sort: "policy", extra: true, cell: queue => queue.policy ?? "–" },
  { id: "owner", label: "Owner", extra: true, cell: queue => queue.owner_pid_details?.name ?? "–" },
];

const DEFAULTS = { sort: "name" };

/** What a queue is doing, of its figures. */
export function state(queue) {
  const going = rateOf(queue.message_stats, "deliver_get");
  if (queue.messages_ready > 0 && queue.consumers === 0) return badge("nobody reads", "warn");
  if (going === undefined) return badge("unknown", "", "The broker has not looked at it twice yet");
  if (going > 0) return badge("flowing", "good");
  if (queue.messages_ready > 0) return badge("stuck", "warn", "There are messages and consumers, and nothing goes out");
  if (queue.messages_unacknowledged > 0) return badge("held", "warn", "Consumers have messages, and no more come");
  return badge("idle");
}

async function load({ query, signal }) {
  const where = query.vhost ? path`/queues/${query.vhost}` : "/queues";
  const [page, vhosts] = await Promise.all([
    loadPage(where, COLUMNS, { defaults: DEFAULTS, signal }), vhostNames(signal),
  ]);
  return { page, vhosts };
}

const render = ({ page, vhosts }, { query }) => h("div", {},
  heading("Queues", null, [button("New queue", () => declareQueue(vhosts, query.vhost), "primary")]),
  listBar({ noun: "queue", page, columns: COLUMNS, vhosts }),
  table({
    label: "Queues", columns: COLUMNS, rows: page.items, key: queue => `${queue.vhost}/${queue.name}`, defaults: DEFAULTS,
    empty: query.name ? `No queue's name has ${query.name} in it.` : emptyQueues(),
  }),
  pager(page));

export const queues = { title: "Queues", load, render };
