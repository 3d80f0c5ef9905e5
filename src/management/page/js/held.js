// Who holds which message, and for how long; dead letters, and where they go back to; moving.

import { h, link } from "./dom.js";
import { bytes, clock, count, duration, plural } from "./format.js";
import { table } from "./table.js";
import { badge, button, card } from "./parts.js";
import { choose } from "./router.js";
import { confirmLoss, openForm } from "./dialog.js";
import * as api from "./api.js";

const { path } = api;
/** From so long on somebody holding a message is worth a colour. */
const LONG_MS = 60_000;

export const loadHeld = (vhost, name, query, signal) => api.get(path`/queues/${vhost}/${name}/unacked`, { after: query.after, count: 100 }, signal);

function settle(queue, message, action) {
  const isBack = action === "requeue";
  confirmLoss({
    title: isBack ? "Put this message back?" : "Reject this message?",
    lost: [`The message with the key ${message.routing_key || "(empty)"} that ${message.consumer_tag ?? "basic.get"} has`,
      isBack ? "It is ready again, and another consumer may get it while this one still works on it."
        : "It goes to the queue's dead letters, and is gone if the queue has none.",
      "Its consumer is not told. When it acknowledges the message later, that counts for nothing."],
    verb: isBack ? "Put it back" : "Reject it", done: isBack ? "It is back." : "It is rejected.",
    action: () => api.post(path`/queues/${queue.vhost}/${queue.name}/unacked/${message.id}`, { action }),
  });
}

const howLong = ({ held_ms: least, held_at_most_ms: most }) =>
  least === null ? `up to ${duration(most)}` : `${duration(least)} to ${duration(most)}`;

function sinceWhen({ held_ms: least, held_at_most_ms: most }) {
  const now = Date.now(), after = `after ${clock(now - most)}`;
  return least === null ? `Since ${after}` : `Since before ${clock(now - least)}, and ${after}`;
}

export function heldPart(queue, held, query) {
  if (!held) return h("p", { class: "loading" }, "…");
  const columns = [
    { id: "who", label: "Held by", cell: one => [h("code", {}, one.consumer_tag ?? "basic.get"),
      h("small", { class: "block" }, link(path`/channels/${one.channel_details.name}`, one.channel_details.name))] },
    { id: "for", label: "For", number: true, title: "At least and at most: every ten seconds it is looked which are there",
      cell: one => h("span", { class: one.held_ms > LONG_MS ? "bad" : null, title: sinceWhen(one) }, howLong(one)) },
    { id: "key", label: "Routing key", cell: one => h("code", {}, one.routing_key || "(empty)") },
    { id: "id", label: "Message id", cell: one => one.properties?.message_id ?? "–" },
    { id: "tag", label: "Delivery tag", number: true, cell: one => count(one.delivery_tag) },
    { id: "size", label: "Size", number: true, cell: one => bytes(one.payload_bytes) },
    { id: "again", label: "", cell: one => one.redelivered && badge("redelivered", "warn") },
    { id: "press", label: "", className: "actions", cell: one => [button("Put back", () => settle(queue, one, "requeue"), "quiet"),
      button("Reject", () => settle(queue, one, "reject"), "quiet")] },
  ];
  return card("Messages that consumers have", [
    h("p", { class: "dim" }, `${plural(held.messages_unacknowledged, "message")} in all.`),
    table({ label: "Unacknowledged messages", columns, rows: held.items, sorts: false, key: one => one.id,
      empty: "Nobody holds a message of this queue." }),
    h("p", { class: "actions" }, query.after && button("From the first", () => choose({ after: undefined })),
      held.next && button("Later ›", () => choose({ after: held.next }))),
  ]);
}

/** How it went: what stayed where it was is said, and why. */
function told({ moved, left, skipped = [] }) {
  const why = skipped.map(({ reason, count: number }) => ` ${count(number)} stay: ${reason}.`).join("");
  return `${plural(moved, "message is", "messages are")} where they belong now, ${count(left)} are left.${why}`;
}

const COUNT = { name: "count", label: "How many", kind: "number", hint: "The oldest first. Left empty: all of them." };

export function redrive(queue) {
  openForm({
    title: `Redrive ${queue.name}`, verb: "Redrive", wide: true,
    intro: `${plural(queue.messages_ready, "message")} are here. Each goes back to where its x-death says it came from, and is gone from here.`,
    fields: [COUNT, { name: "target", label: "Where to", kind: "select",
      options: [["queue", "the queue that it died in"], ["exchange", "the exchange that it was published to, with its key: other queues may get it again"]] }],
    action: async ({ count: number, target }) => told(await api.post(path`/queues/${queue.vhost}/${queue.name}/redrive`,
      { target, ...(number !== undefined && { count: number }) })),
  });
}

export function move(queue) {
  openForm({
    title: `Move messages of ${queue.name}`, verb: "Move",
    intro: `${plural(queue.messages_ready, "message")} are here. They go to another queue, and are gone from here.`,
    fields: [{ name: "destination", label: "To the queue", required: true }, COUNT],
    action: async ({ count: number, destination }) => told(await api.post(path`/queues/${queue.vhost}/${queue.name}/move`,
      { destination, ...(number !== undefined && { count: number }) })),
  });
}
