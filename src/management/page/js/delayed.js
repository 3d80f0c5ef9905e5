// Messages that an exchange keeps until they are due.

import { h } from "./dom.js";
import { bytes, count, duration, moment } from "./format.js";
import { pager, table } from "./table.js";
import { button } from "./parts.js";
import { confirmLoss } from "./dialog.js";
import * as api from "./api.js";

const { path } = api;

export const loadDelayed = (exchange, query, signal) => api.get(path`/delayed/${exchange.vhost}/${exchange.name}`,
  { page: query.page ?? 1, page_size: query.page_size ?? 50 }, signal);

function cancel(exchange, message) {
  confirmLoss({
    title: "Cancel this message?",
    lost: [`The message with the key ${message.routing_key || "(empty)"} of ${bytes(message.payload_bytes)}, due at ${moment(message.due_at)}`,
      "It is published to nobody, and does not come back."],
    verb: "Cancel the message", done: "It is cancelled.",
    action: () => api.remove(path`/delayed/${exchange.vhost}/${exchange.name}/${message.id}`),
  });
}

export function delayedPart(exchange, page) {
  if (!page) return h("p", { class: "loading" }, "…");
  const columns = [
    { id: "due", label: "Due", cell: one => moment(one.due_at) },
    { id: "in", label: "In", number: true, cell: one => duration(Math.max(0, one.due_at - Date.now())) },
    { id: "key", label: "Routing key", cell: one => h("code", {}, one.routing_key || "(empty)") },
    { id: "message_id", label: "Message id", cell: one => one.message_id ?? "–" },
    { id: "persistent", label: "Persistent", cell: one => one.persistent ? "yes" : "no" },
    { id: "size", label: "Size", number: true, cell: one => bytes(one.payload_bytes) },
    { id: "press", label: "", className: "actions", cell: one => button("Cancel", () => cancel(exchange, one), "quiet") },
  ];
  return [
    h("p", { class: "dim" }, `${count(page.total_count)} in all, the next one first.`),
    table({ label: "Delayed messages", columns, rows: page.items, sorts: false, key: one => one.id,
      empty: "Nothing waits. Messages with the header x-delay, in milliseconds, are kept here until they are due." }),
    pager(page),
  ];
}
