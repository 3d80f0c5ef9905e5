// The messages of a queue: looking at them where they are, taking them out, and what they look like.

import { h, tell } from "./dom.js";
import { bytes, count, moment, plural } from "./format.js";
import { badge, button, card, tree } from "./parts.js";
import { confirmLoss } from "./dialog.js";
import * as api from "./api.js";

const { path } = api;
const MODES = [["ack_requeue_false", "take it out for good"], ["reject_requeue_false", "reject it: to the dead letters"]];
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

const LOOK_MAX = 100;
const number = id => Number(document.getElementById(id).value);

const isDead = message => Array.isArray(message.properties?.headers?.["x-death"]);

/** Back to where it died, this one alone. */
function redriveOne(queue, message, done) {
  const [{ queue: died }] = message.properties.headers["x-death"];
  confirmLoss({
    title: "Redrive this message?",
    lost: [`The message with the key ${message.routing_key || "(empty)"} leaves ${queue.name}`, `It goes back to ${died}, in which it died, and its consumers get it again.`],
    verb: "Redrive it", done: "It is back.",
    action: async () => {
      const { moved, skipped: [why] } = await api.post(path`/queues/${queue.vhost}/${queue.name}/redrive`, { message: message.id });
      if (moved === 0) throw new api.ApiError(409, `It stays: ${why.reason}.`);
      done();
    },
  });
}

/** Looking: nothing is moved, marked or counted by it. */
function lookPart(queue, { state, redraw }) {
  const look = async from => {
    try {
      state.seen = await api.get(path`/queues/${queue.vhost}/${queue.name}/peek`,
        { from, count: Math.min(LOOK_MAX, number("look-count") || 20), truncate: TRUNCATE_BYTES });
      if (state.seen.items.length === 0) tell("No message is ready there.");
    } catch (error) {
      tell(error.message, "bad");
    }
    redraw();
  };
  const { items, next, away } = state.seen ?? {};
  return card("Look at messages", [
    h("form", { class: "bar", onsubmit: event => {
      event.preventDefault();
      look(Math.max(0, number("look-from") - 1 || 0));
    } },
    h("label", {}, "From ", h("input", { type: "number", id: "look-from", min: 1, value: 1 })),
    h("label", {}, "how many ", h("input", { type: "number", id: "look-count", min: 1, max: LOOK_MAX, value: 20 })),
    h("button", { type: "submit", class: "primary" }, "Look"),
    h("span", { class: "dim" }, `Of ${plural(queue.messages_ready, "message")} that are ready, the next one first. They stay as they are.`)),
    items?.map(message => messageCard(message, message.position, isDead(message) && button("Redrive this", () => redriveOne(queue, message, () => {
      state.seen.items = items.filter(other => other !== message);
      redraw();
    }), "quiet"))),
    away && h("p", { class: "dim" }, "What comes after these waits on disk, and cannot be looked at from here."),
    items?.length > 0 && h("p", { class: "actions" }, next !== null && button("Later ›", () => look(next)),
      button("Clear", () => {
        state.seen = null;
        redraw();
      }, "quiet")),
  ]);
}

/** Taking out. What was taken stays on the page until somebody leaves it. */
function takePart(queue, { state, redraw }) {
  const press = event => {
    event.preventDefault();
    const wanted = Math.min(GET_MAX, number("get-count") || 1), ackmode = document.getElementById("get-mode").value;
    confirmLoss({
      title: ackmode === "ack_requeue_false" ? "Take messages out?" : "Reject messages?",
      lost: [`${plural(Math.min(wanted, queue.messages_ready), "message")} of ${queue.name}, the next ones first`,
        ackmode === "ack_requeue_false" ? "They are shown here once, and are gone."
          : "They go to the queue's dead letters, and are gone if it has none."],
      verb: "Go on", done: "Done.",
      action: async () => {
        state.got = await api.post(path`/queues/${queue.vhost}/${queue.name}/get`,
          { count: wanted, ackmode, encoding: "auto", truncate: TRUNCATE_BYTES });
        redraw();
      },
    });
  };
  return card("Take messages", [
    h("form", { class: "bar", onsubmit: press },
      h("label", {}, "Get ", h("input", { type: "number", id: "get-count", min: 1, max: GET_MAX, value: 1 })),
      h("label", {}, "and ", h("select", { id: "get-mode" }, MODES.map(([id, label]) => h("option", { value: id }, label)))),
      h("button", { type: "submit" }, "Get")),
    state.got?.map((message, index) => messageCard(message, index)),
  ]);
}

export const messagesPart = (queue, context) => [lookPart(queue, context), takePart(queue, context)];
