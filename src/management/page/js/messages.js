// The messages of a queue: getting them, and what they look like.

import { h, tell } from "./dom.js";
import { bytes, count, moment, plural } from "./format.js";
import { badge, button, card, tree } from "./parts.js";
import { confirmLoss } from "./dialog.js";
import * as api from "./api.js";

const { path } = api;
const MODES = [
  ["ack_requeue_true", "Look, and put back"], ["ack_requeue_false", "Take out for good"],
  ["reject_requeue_false", "Reject: to the dead letters"],
];
const TRUNCATE_BYTES = 50000, GET_MAX = 100;

/** A body as text, or as what it is where it is none. */
export function body(message) {
  if (message.payload_encoding === "base64") {
    return h("pre", { class: "payload", tabindex: "0" }, h("span", { class: "dim" }, "not text, in base64:\n"), message.payload);
  }
  return h("pre", { class: "payload", tabindex: "0" }, pretty(message.payload) || h("span", { class: "dim" }, "(empty)"));
}

function pretty(text) {
  if (!/^\s*[{[]/.test(text) || text.length > TRUNCATE_BYTES) return text;
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

/** The ways that a dead letter has been, the last one first. */
export function deaths(headers) {
  const all = headers?.["x-death"];
  if (!Array.isArray(all)) return null;
  return h("ol", { class: "deaths" }, all.map(death => h("li", {},
    badge(death.reason, "warn"), ` in ${death.queue}, `, plural(death.count ?? 1, "time"),
    `, published to ${death.exchange || "(default)"} with ${(death["routing-keys"] ?? []).join(", ")}`,
    death.time && `, first ${moment(death.time * 1000)}`)));
}

export function messageCard(message, index, actions) {
  const { headers, ...properties } = message.properties ?? {};
  return h("article", { class: "message", key: message.id ?? index },
    h("header", {},
      h("b", {}, `${count(index + 1)}`), h("span", {}, "key ", h("code", {}, message.routing_key || "(empty)")),
      h("span", {}, "by exchange ", h("code", {}, message.exchange || "(default)")),
      h("span", { class: "dim" }, bytes(message.payload_bytes)),
      message.redelivered && badge("redelivered", "warn", "A consumer had it before and gave it back, or was gone"),
      properties.delivery_mode === 2 && badge("persistent"),
      h("span", { class: "grow" }), actions),
    deaths(headers), body(message),
    h("details", {}, h("summary", {}, `Properties and headers (${count(Object.keys(properties).length + Object.keys(headers ?? {}).length)})`),
      tree({ ...properties, ...(headers && { headers }) })));
}

/** Getting messages. What was got stays on the page until somebody leaves it. */
export function messagesPart(queue, { state, redraw }) {
  const number = h("input", { type: "number", id: "get-count", min: 1, max: GET_MAX, value: 1 });
  const mode = h("select", { id: "get-mode" }, MODES.map(([id, label]) => h("option", { value: id }, label)));
  const fetchThem = async (wanted, ackmode) => {
    state.got = await api.post(path`/queues/${queue.vhost}/${queue.name}/get`,
      { count: wanted, ackmode, encoding: "auto", truncate: TRUNCATE_BYTES });
    if (state.got.length === 0) tell("The queue has no message that is ready.");
    redraw();
  };
  const press = async event => {
    event.preventDefault();
    const wanted = Math.min(GET_MAX, Number(document.getElementById("get-count").value) || 1);
    const ackmode = document.getElementById("get-mode").value;
    try {
      if (ackmode === "ack_requeue_true") return await fetchThem(wanted, ackmode);
    } catch (error) {
      return tell(error.message, "bad");
    }
    confirmLoss({
      title: ackmode === "ack_requeue_false" ? "Take messages out?" : "Reject messages?",
      lost: [`${plural(Math.min(wanted, queue.messages_ready), "message")} of ${queue.name}, the oldest first`,
        ackmode === "ack_requeue_false" ? "They are shown here once, and are gone."
          : "They go to the queue's dead letters, and are gone if it has none."],
      verb: "Go on", done: "Done.", action: () => fetchThem(wanted, ackmode),
    });
  };
  return card("Get messages", [
    h("form", { class: "bar", onsubmit: press },
      h("label", {}, "How many ", number), h("label", {}, "and then ", mode), h("button", { type: "submit", class: "primary" }, "Get"),
      h("span", { class: "dim" }, "What is put back is redelivered, and at its place again.")),
    state.got?.map((message, index) => messageCard(message, index)),
    state.got?.length > 0 && button("Clear", () => {
      state.got = null;
      redraw();
    }, "quiet"),
  ]);
}
