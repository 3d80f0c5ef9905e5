// What several views show: facts, states, arguments, actions.

import { h, link } from "./dom.js";
import { inline, isNumber } from "./format.js";
import { path } from "./api.js";

/** Names and values, one under the other; what is unknown is left out. */
export const facts = entries => h("dl", { class: "facts" }, entries.filter(entry => entry && entry[1] !== undefined
  && entry[1] !== null && entry[1] !== false && entry[1] !== "").map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));

export const badge = (text, kind = "", title) => h("span", { class: `badge ${kind}`, title }, text);

/** Arguments as RabbitMQ abbreviates the usual ones. */
export function features(thing) {
  const named = { __proto__: null, "x-message-ttl": "TTL", "x-expires": "expires", "x-max-length": "max length", "x-max-length-bytes": "max bytes",
    "x-dead-letter-exchange": "DLX", "x-dead-letter-routing-key": "DLK", "x-max-priority": "priorities",
    "x-single-active-consumer": "single active", "x-overflow": "overflow", "alternate-exchange": "alternate" };
  const known = Object.entries(thing.arguments ?? {}).filter(([name]) => name !== "x-queue-type");
  return h("span", { class: "badges" },
    thing.type === "quorum" && badge("quorum", "a"),
    thing.durable === false && badge("transient", "", "Gone after a restart of the broker"),
    thing.exclusive && badge("exclusive", "", "Of one connection, and gone with it"),
    thing.auto_delete && badge("auto-delete", "", "Gone when nobody uses it any more"),
    thing.internal && badge("internal", "", "Clients can't publish to it"),
    known.map(([name, value]) => badge(named[name] ?? name, "b", `${name}: ${inline(value)}`)),
    thing.policy && badge(`policy ${thing.policy}`, "b"));
}

/** A table of names and values out of JSON. */
export function tree(value) {
  if (value === null || typeof value !== "object") return h("code", { class: isNumber(value) ? "number" : null }, inline(value));
  const entries = Object.entries(value);
  if (entries.length === 0) return h("span", { class: "dim" }, "none");
  return h("table", { class: "tree" }, h("tbody", {}, entries.map(([name, part]) =>
    h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, tree(part))))));
}

export const queueLink = (vhost, name) => link(path`/queues/${vhost}/${name}`, name || "(no name)");
export const exchangeLink = (vhost, name) => link(path`/exchanges/${vhost}/${name || "amq.default"}`, name || "(default)");

/** A heading, what is beside it, and what can be pressed. */
export const heading = (title, beside, actions = []) => h("div", { class: "title" },
  h("h1", {}, title), beside, h("span", { class: "grow" }), h("div", { class: "actions" }, actions));

export const button = (text, press, kind = "") => h("button", { type: "button", class: kind || null, onclick: press }, text);

export const card = (title, content, className = "") => h("section", { class: `card ${className}` }, title && h("h2", {}, title), content);

/** Tabs of a page, kept in the address. */
export function tabs(all, now, choose) {
  return h("div", { class: "tabs", role: "tablist" }, all.filter(Boolean).map(([id, label]) => h("button", {
    type: "button", role: "tab", id: `tab-${id}`, "aria-selected": String(id === now), onclick: () => choose({ tab: id === all[0][0] ? undefined : id }),
  }, label)));
}
