// Connections, and one of them with its channels.

import { h, link } from "../dom.js";
import { ago, byteRate, bytes, count, moment, rateOf } from "../format.js";
import { listBar, loadPage, pager, table, vhostNames } from "../table.js";
import { badge, button, card, facts, heading, tree } from "../parts.js";
import { lines } from "../charts.js";
import { rates } from "./overview.js";
import { CHANNEL_COLUMNS } from "./channels.js";
import { confirmLoss } from "../dialog.js";
import { emptyConnections } from "../learn.js";
import { go } from "../router.js";
import { may, session } from "../store.js";
import * as api from "../api.js";

const { path } = api;

const state = connection => badge(connection.state, { running: "good", blocked: "bad" }[connection.state] ?? "warn",
  connection.state === "blocked" ? "It may not publish: memory or disk are full" : undefined);
const client = properties => [properties?.product, properties?.version].filter(part => typeof part === "string").join(" ");

const COLUMNS = [
  { id: "name", label: "Connection", sort: "name", cell: one => [link(path`/connections/${one.name}`, one.user_provided_name ?? one.name),
    one.user_provided_name && h("small", { class: "block dim" }, one.name)] },
  { id: "vhost", label: "Virtual host", sort: "vhost", cell: one => one.vhost ?? "–" },
  { id: "user", label: "User", sort: "user", cell: one => one.user },
  { id: "state", label: "State", sort: "state", cell: state },
  { id: "ssl", label: "TLS", sort: "ssl", cell: one => one.ssl ? badge(one.ssl_protocol ?? "TLS", "good") : "–" },
  { id: "channels", label: "Channels", sort: "channels", number: true, cell: one => count(one.channels) },
  { id: "recv_oct", label: "From client", sort: "recv_oct_details.rate", number: true, cell: one => byteRate(rateOf(one, "recv_oct")) },
  { id: "send_oct", label: "To client", sort: "send_oct_details.rate", number: true, cell: one => byteRate(rateOf(one, "send_oct")) },
  { id: "send_pend", label: "Unsent", sort: "send_pend", number: true, title: "What waits to be taken by the client", cell: one => bytes(one.send_pend) },
  { id: "client", label: "Client", cell: one => client(one.client_properties) || "–" },
  { id: "connected_at", label: "For", sort: "connected_at", number: true, cell: one => ago(one.connected_at) },
  { id: "auth_mechanism", label: "Login", sort: "auth_mechanism", extra: true, cell: one => one.auth_mechanism },
  { id: "timeout", label: "Heartbeat", sort: "timeout", number: true, extra: true, cell: one => `${one.timeout} s` },
  { id: "peer_host", label: "From host", sort: "peer_host", extra: true, cell: one => `${one.peer_host}:${one.peer_port}` },
];
const DEFAULTS = { sort: "name" };

function close(one, then) {
  let reason = "";
  confirmLoss({
    title: "Close this connection?",
    lost: [
      `${one.user_provided_name ?? one.name} of user ${one.user}`,
      `${count(one.channels)} channels, their consumers, and exclusive queues with all that is in them`,
      "What its consumers hold unacknowledged goes back to its queues. Most clients connect again by themselves.",
      h("label", { class: "field" }, "The client is told why",
        h("input", { value: "", placeholder: "Closed via management", oninput: event => reason = event.target.value })),
    ],
    verb: "Close it", done: "The connection is closed.",
    action: async () => {
      await api.remove(path`/connections/${one.name}`, reason ? { "x-reason": reason } : {});
      then?.();
    },
  });
}

async function load({ query, signal }) {
  const where = query.vhost ? path`/vhosts/${query.vhost}/connections` : "/connections";
  const [page, vhosts] = await Promise.all([loadPage(where, COLUMNS, { defaults: DEFAULTS, signal }), vhostNames(signal)]);
  return { page, vhosts };
}

export const connections = {
  title: "Connections", load,
  render: ({ page, vhosts }, { query }) => h("div", {},
    heading("Connections"),
    listBar({ noun: "connection", page, columns: COLUMNS, vhosts }),
    table({ label: "Connections", columns: COLUMNS, rows: page.items, key: one => one.name, defaults: DEFAULTS,
      empty: query.name ? `No connection's name has ${query.name} in it.` : emptyConnections() }),
    pager(page)),
};

const mayClose = one => may("administrator") || one.user === session.user;

export const connection = {
  title: "Connection",
  name: ({ parts }) => parts[1],
  async load({ parts: [, name], signal }) {
    const [one, channels] = await Promise.all([
      api.get(path`/connections/${name}`, { data_rates_age: 600, data_rates_incr: 5 }, signal),
      api.get(path`/connections/${name}/channels`, {}, signal),
    ]);
    return { one, channels };
  },
  render: ({ one, channels }) => h("div", {},
    heading(one.user_provided_name ?? one.name, state(one),
      [mayClose(one) && button("Close", () => close(one, () => go("/connections")), "danger")]),
    h("div", { class: "charts" },
      lines({ title: "Bytes", unit: byteRate, series: [
        { label: "from client", color: "a", points: rates(one.recv_oct_details), fills: true },
        { label: "to client", color: "b", points: rates(one.send_oct_details) },
      ] }),
      card("", facts([
        ["Name", one.name], ["User", may("administrator") ? link(path`/users/${one.user}`, one.user) : one.user], ["Virtual host", one.vhost],
        ["Connected", `${moment(one.connected_at)}, ${ago(one.connected_at)} ago`], ["Protocol", one.protocol],
        ["Login", one.auth_mechanism], ["Heartbeat", `${one.timeout} s`], ["Largest frame", bytes(one.frame_max)],
        ["Channels", `${count(one.channels)} of ${count(one.channel_max)}`],
        ["Bytes", `${bytes(one.recv_oct)} from the client, ${bytes(one.send_oct)} to it, ${bytes(one.send_pend)} unsent`],
        ["TLS", one.ssl ? `${one.ssl_protocol} ${one.ssl_cipher}` : "none"], ["Certificate of", one.peer_cert_subject],
      ]))),
    card("Channels", table({ label: "Channels", columns: CHANNEL_COLUMNS, rows: channels, key: channel => channel.name, sorts: false,
      empty: "The connection has opened no channel yet." })),
    card("What the client says of itself", tree(one.client_properties))),
};
