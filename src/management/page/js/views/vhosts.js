// Virtual hosts, and one of them: what is in it, who may enter, its limits.

import { h, link } from "../dom.js";
import { count, plural, rate, rateOf } from "../format.js";
import { listBar, loadPage, pager, table } from "../table.js";
import { badge, button, card, facts, heading } from "../parts.js";
import { confirmLoss, openForm } from "../dialog.js";
import { go } from "../router.js";
import { may, session } from "../store.js";
import { definitionsOf } from "./definitions.js";
import * as api from "../api.js";

const { path } = api;
const TYPES = [["", "as the broker says"], "classic", "quorum"];

const speed = name => ({ number: true, sort: `message_stats.${name}_details.rate`, cell: one => rate(rateOf(one.message_stats, name)) });
const COLUMNS = [
  { id: "name", label: "Virtual host", sort: "name", cell: one => may("administrator") ? link(path`/vhosts/${one.name}`, one.name) : one.name },
  { id: "description", label: "Description", sort: "description", cell: one => one.description || "–" },
  { id: "tags", label: "Tags", cell: one => one.tags.map(tag => [badge(tag), " "]) },
  { id: "messages_ready", label: "Ready", sort: "messages_ready", number: true, cell: one => count(one.messages_ready) },
  { id: "messages_unacknowledged", label: "Unacked", sort: "messages_unacknowledged", number: true, cell: one => count(one.messages_unacknowledged) },
  { id: "publish", label: "In", ...speed("publish") },
  { id: "deliver_get", label: "Out", ...speed("deliver_get") },
  { id: "default_queue_type", label: "Queues are", sort: "default_queue_type", cell: one => one.default_queue_type },
  { id: "tracing", label: "Traced", sort: "tracing", cell: one => one.tracing ? badge("traced", "warn", "amq.rabbitmq.trace tells of each message: that costs") : "–" },
];

function edit(one) {
  openForm({
    title: one ? `Change ${one.name}` : "New virtual host", verb: one ? "Change" : "Make",
    done: one ? "It is changed." : "It is there, and you may do everything in it.",
    fields: [
      !one && { name: "name", label: "Name", required: true },
      { name: "description", label: "Description", value: one?.description },
      { name: "tags", label: "Tags", value: one?.tags.join(",") ?? "", hint: "Separated by commas." },
      { name: "default_queue_type", label: "Queues that say no type are", kind: "select", options: TYPES, value: one?.default_queue_type ?? "" },
      { name: "tracing", label: "Traced: amq.rabbitmq.trace tells of each publish and delivery", kind: "check", value: one?.tracing },
    ],
    async action({ name, default_queue_type: type, ...vhost }) {
      await api.put(path`/vhosts/${name ?? one.name}`, { ...vhost, ...(type && { default_queue_type: type }) });
      session.vhosts = null;
    },
  });
}

export const vhosts = {
  title: "Virtual hosts",
  load: ({ signal }) => loadPage("/vhosts", COLUMNS, { defaults: { sort: "name" }, signal }),
  render: (page, { query }) => h("div", {},
    heading("Virtual hosts", null, [may("administrator") && button("New virtual host", () => edit(), "primary")]),
    listBar({ noun: "virtual host", page, columns: COLUMNS }),
    table({ label: "Virtual hosts", columns: COLUMNS, rows: page.items, key: one => one.name, defaults: { sort: "name" },
      empty: query.name ? `No virtual host's name has ${query.name} in it.` : "You may enter none. An administrator can let you into one." }),
    pager(page)),
};

function limit(one) {
  openForm({
    title: `A limit of ${one.name}`, verb: "Set", done: "The limit holds.",
    fields: [
      { name: "limit", label: "Of", kind: "select", options: [["max-connections", "connections"], ["max-queues", "queues"]] },
      { name: "value", label: "At most", kind: "number", required: true, hint: "Below 0: no limit." },
    ],
    action: ({ limit: name, value }) => api.put(path`/vhost-limits/${one.name}/${name}`, { value }),
  });
}

function remove({ one, connections, queues, exchanges }) {
  confirmLoss({
    title: `Delete the virtual host ${one.name}?`, type: one.name,
    lost: [`${plural(queues, "queue")} with ${plural(one.messages ?? 0, "message")}`, plural(exchanges, "exchange"),
      "All its bindings, policies, permissions and limits", `${plural(connections, "connection")} that are closed`],
    verb: "Delete all of it", done: "The virtual host is deleted.",
    action: async () => {
      await api.remove(path`/vhosts/${one.name}`);
      session.vhosts = null;
      go("/vhosts");
    },
  });
}

const number = (where, signal) => api.get(where, { page: 1, page_size: 1, columns: "name" }, signal).then(page => page.total_count);

export const vhost = {
  title: "Virtual host",
  name: ({ parts }) => parts[1],
  async load({ parts: [, name], signal }) {
    const [one, permissions, limits, queues, exchanges, connections] = await Promise.all([
      api.get(path`/vhosts/${name}`, {}, signal), api.get(path`/vhosts/${name}/permissions`, {}, signal),
      api.get(path`/vhost-limits/${name}`, {}, signal), number(path`/queues/${name}`, signal),
      number(path`/exchanges/${name}`, signal), number(path`/vhosts/${name}/connections`, signal),
    ]);
    return { one, permissions, limits: limits[0]?.value ?? {}, queues, exchanges, connections };
  },
  render(data) {
    const { one, permissions, limits, queues, exchanges, connections } = data, of = `?vhost=${encodeURIComponent(one.name)}`;
    return h("div", {},
      heading(one.name, one.tags.map(tag => badge(tag)), [button("Change", () => edit(one)), button("Delete", () => remove(data), "danger")]),
      h("div", { class: "two" },
        card("", facts([
          ["Description", one.description], ["Queues", link(`/queues${of}`, count(queues))], ["Exchanges", link(`/exchanges${of}`, count(exchanges))],
          ["Connections", link(`/connections${of}`, count(connections))], ["Messages", `${count(one.messages_ready)} ready, ${count(one.messages_unacknowledged)} unacknowledged`],
          ["Rates", `${rate(rateOf(one.message_stats, "publish"))} in, ${rate(rateOf(one.message_stats, "deliver_get"))} out`],
          ["Queues that say no type", `are ${one.default_queue_type}`], ["Traced", one.tracing ? "yes" : "no"],
        ])),
        card("Limits", [
          Object.keys(limits).length === 0 && h("p", { class: "dim" }, "None: it may have as many connections and queues as the broker."),
          facts(Object.entries(limits).map(([name, value]) => [name, [String(value), " ", button("Take away", () => confirmLoss({
            title: "Take the limit away?", lost: [`${name} of ${one.name}`], verb: "Take it away", done: "There is no such limit any more.",
            action: () => api.remove(path`/vhost-limits/${one.name}/${name}`),
          }), "quiet")]])),
          h("p", {}, button("Set a limit", () => limit(one))),
        ])),
      card("Who may enter", table({ label: "Permissions", sorts: false, rows: permissions, key: row => row.user, columns: [
        { id: "user", label: "User", cell: row => link(path`/users/${row.user}`, row.user) },
        ...["configure", "write", "read"].map(name => ({ id: name, label: name, cell: row => h("code", {}, row[name] || "(nothing)") })),
      ], empty: "Nobody may enter. Let a user in on its own page." })),
      definitionsOf(one.name));
  },
};
