// All exchanges, and one of them with its bindings and what it keeps for later.

import { h } from "../dom.js";
import { count } from "../format.js";
import { listBar, loadPage, pager, table, vhostNames } from "../table.js";
import { badge, button, card, exchangeLink, facts, features, heading, queueLink, tabs, tree } from "../parts.js";
import { bindExchange, deleteExchange, declareExchange, publishMessage, unbind } from "../actions.js";
import { delayedPart, loadDelayed } from "../delayed.js";
import { leaveTail, tailPart } from "../tail.js";
import { routePart } from "../route.js";
import { choose, go } from "../router.js";
import * as api from "../api.js";

const { path } = api;

const COLUMNS = [
  { id: "name", label: "Exchange", sort: "name", cell: one => exchangeLink(one.vhost, one.name) },
  { id: "vhost", label: "Virtual host", sort: "vhost", cell: one => one.vhost },
  { id: "type", label: "Type", sort: "type", cell: one => one.type },
  { id: "features", label: "Features", cell: features },
  { id: "messages_delayed", label: "Delayed", sort: "messages_delayed", number: true, cell: one => one.messages_delayed === undefined ? "" : count(one.messages_delayed) },
  { id: "policy", label: "Policy", sort: "policy", extra: true, cell: one => one.policy ?? "–" },
];
const DEFAULTS = { sort: "name" };

export const exchanges = {
  title: "Exchanges",
  async load({ query, signal }) {
    const where = query.vhost ? path`/exchanges/${query.vhost}` : "/exchanges";
    const [page, vhosts] = await Promise.all([loadPage(where, COLUMNS, { defaults: DEFAULTS, signal }), vhostNames(signal)]);
    return { page, vhosts };
  },
  render: ({ page, vhosts }, { query }) => h("div", {},
    heading("Exchanges", null, [button("New exchange", () => declareExchange(vhosts, query.vhost), "primary")]),
    listBar({ noun: "exchange", page, columns: COLUMNS, vhosts }),
    table({ label: "Exchanges", columns: COLUMNS, rows: page.items, key: one => `${one.vhost}/${one.name}`, defaults: DEFAULTS,
      empty: `No exchange's name has ${query.name ?? ""} in it.` }),
    pager(page)),
};

/** Where a binding leads. */
const target = binding => binding.destination_type === "queue"
  ? queueLink(binding.vhost, binding.destination)
  : h("span", { class: "beside" }, exchangeLink(binding.vhost, binding.destination), " ", badge("exchange"));

const bindingColumns = (label, end) => [
  { id: "end", label, cell: end },
  { id: "key", label: "Routing key", cell: one => h("code", {}, one.routing_key || "(empty)") },
  { id: "arguments", label: "Arguments", cell: one => Object.keys(one.arguments).length ? tree(one.arguments) : "–" },
  { id: "press", label: "", className: "actions", cell: one => one.source !== "" && button("Unbind", () => unbind(one), "quiet") },
];
const bindingKey = one => `${one.source} ${one.destination_type} ${one.destination} ${one.properties_key}`;

const bindingsTab = ({ from, to }, exchange) => [
  card("From here", [
    table({ label: "Bindings from here", columns: bindingColumns("To", target), rows: from, sorts: false, key: bindingKey,
      empty: exchange.name === "" ? "Every queue gets what is published with its name." : "Nothing is bound to it: what is published here goes nowhere." }),
    exchange.name !== "" && h("p", {}, button("Bind to a queue or exchange", () => bindExchange(exchange))),
  ]),
  to.length > 0 && card("To here", table({ label: "Bindings to here", columns: bindingColumns("From", one => exchangeLink(one.vhost, one.source)),
    rows: to, sorts: false, key: bindingKey })),
];

const overviewTab = exchange => h("div", { class: "two" },
  card("", facts([
    ["Virtual host", exchange.vhost], ["Type", exchange.type], ["Survives a restart", exchange.durable ? "yes" : "no"],
    ["Auto-delete", exchange.auto_delete ? "yes, with its last binding" : "no"],
    ["Internal", exchange.internal ? "yes: clients can't publish to it" : "no"], ["Policy", exchange.policy],
    ["Keeps for later", exchange.messages_delayed !== undefined && count(exchange.messages_delayed)],
  ])),
  card("Arguments", tree(exchange.arguments)));

export const exchange = {
  title: "Exchange",
  name: ({ parts }) => parts[2],
  leave: leaveTail,
  async load({ parts: [, vhost, name], query, signal }) {
    const where = path`/exchanges/${vhost}/${name}`, tab = query.tab;
    const [one, from, to] = await Promise.all([
      api.get(where, {}, signal),
      api.get(`${where}/bindings/source`, { page: 1, page_size: 500 }, signal).then(page => page.items ?? page),
      api.get(`${where}/bindings/destination`, { page: 1, page_size: 500 }, signal).then(page => page.items ?? page),
    ]);
    return { one, from, to, delayed: tab === "delayed" ? await loadDelayed(one, query, signal) : null };
  },
  render(data, context) {
    const { one } = data, isDefault = one.name === "", tab = context.query.tab ?? "overview";
    const parts = { __proto__: null, overview: () => overviewTab(one), bindings: () => bindingsTab(data, one), delayed: () => delayedPart(one, data.delayed),
      route: () => routePart(one, context),
      tail: () => tailPart(path`/exchanges/${one.vhost}/${one.name || "amq.default"}/tail`, context) };
    return h("div", {},
      heading(isDefault ? "(default)" : one.name, [badge(one.type, "a"), features(one)], [
        !one.internal && button("Publish", () => publishMessage({ vhost: one.vhost, exchange: one.name })),
        !isDefault && !one.name.startsWith("amq.") && button("Delete", () => deleteExchange(one, data.from, () => go("/exchanges")), "danger"),
      ]),
      tabs([["overview", "Overview"], ["bindings", `Bindings (${count(data.from.length + data.to.length)})`],
        one.messages_delayed !== undefined && ["delayed", `Delayed (${count(one.messages_delayed)})`], ["route", "Route test"], ["tail", "Live tail"]], tab, choose),
      (parts[tab] ?? parts.overview)());
  },
};
