// Where a message would go, and why.

import { h } from "./dom.js";
import { badge, card, exchangeLink, queueLink } from "./parts.js";
import { control } from "./dialog.js";
import { inline } from "./format.js";
import * as api from "./api.js";

const { path } = api;

/** What one exchange makes of the message. */
const step = (vhost, one) => h("li", {}, exchangeLink(vhost, one.exchange), one.by === "alternate" && [" ", badge("as an alternate", "warn")],
  one.bindings.length === 0 ? one.exchange !== "" && " has no binding for it" : h("ul", {}, one.bindings.map(match => h("li", {},
    h("code", {}, match.routing_key || "(empty)"), Object.keys(match.arguments ?? {}).length > 0 && ` ${inline(match.arguments)}`, " → ",
    match.destination_type === "queue" ? queueLink(vhost, match.destination) : exchangeLink(vhost, match.destination)))));

function answer(vhost, { queues, steps, cut }) {
  return [
    h("p", { role: "status" }, queues.length === 0
      ? [badge("nowhere", "warn"), " No queue gets it. Its publisher is told so only if it publishes as mandatory."]
      : ["It goes to ", queues.map((name, index) => [index > 0 && ", ", queueLink(vhost, name)])]),
    h("ol", { class: "deaths" }, steps.map(one => step(vhost, one))),
    cut && h("p", { class: "dim" }, "There is more than is told here."),
  ];
}

export function routePart(exchange, { state, redraw }) {
  state.controls ??= [
    control({ name: "routing_key", label: "Routing key", placeholder: "order.eu.created" }),
    control({ name: "headers", label: "Headers", kind: "arguments" }),
  ];
  const test = async event => {
    event.preventDefault();
    try {
      const [key, headers] = state.controls.map(one => one.read());
      state.answer = await api.post(path`/exchanges/${exchange.vhost}/${exchange.name || "amq.default"}/route`, { routing_key: key, headers });
      state.problem = null;
    } catch (error) {
      Object.assign(state, { answer: null, problem: error.message });
    }
    redraw();
  };
  // Made once: what somebody writes there is theirs until they leave.
  state.fields ??= h("form", { key: "route", onsubmit: test }, state.controls.map(one => one.row),
    h("p", {}, h("button", { type: "submit", class: "primary" }, "Where would it go?")));
  state.fields.keeps = true;
  return card("Route test", [
    h("p", { class: "dim" }, "Nothing is published: the broker says where a message would go, and by which bindings."),
    state.fields, state.problem && h("p", { class: "problem", role: "alert" }, state.problem),
    state.answer && answer(exchange.vhost, state.answer),
  ]);
}
