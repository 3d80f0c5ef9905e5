// Users, and what one of them may.

import { h, link } from "../dom.js";
import { count, plural } from "../format.js";
import { listBar, loadPage, pager, table, vhostNames } from "../table.js";
import { badge, button, card, facts, heading } from "../parts.js";
import { confirmLoss, openForm } from "../dialog.js";
import { go } from "../router.js";
import { session } from "../store.js";
import * as api from "../api.js";

const { path } = api;
const TAGS = ["administrator", "monitoring", "policymaker", "management", "impersonator"];
const TAGS_HINT = "Separated by commas. administrator: everything; monitoring: sees all; policymaker: makes policies; management: may use this page; none: AMQP only.";

const COLUMNS = [
  { id: "name", label: "User", sort: "name", cell: user => link(path`/users/${user.name}`, user.name) },
  { id: "tags", label: "Tags", sort: "tags", cell: user => user.tags.length ? user.tags.map(tag => [badge(tag, tag === "administrator" ? "a" : ""), " "]) : "–" },
  { id: "password", label: "Password", cell: user => user.password_hash === "" ? badge("none", "warn", "Logs in by certificate or token alone") : "set" },
  { id: "algorithm", label: "Hash", extra: true, cell: user => user.hashing_algorithm ?? "–" },
  { id: "limits", label: "Limits", cell: user => Object.entries(user.limits ?? {}).map(([name, value]) => badge(`${name}: ${value}`)) },
];

function edit(user) {
  openForm({
    title: user ? `Change ${user.name}` : "New user", verb: user ? "Change" : "Make", done: user ? "It is changed." : "The user is there. It needs permissions to do anything.",
    fields: [
      !user && { name: "name", label: "Name", required: true },
      { name: "password", label: "Password", kind: "password", hint: user ? "Left empty, it stays as it is. A new one ends the user's sessions here." : "Left empty, the user logs in by certificate or token alone." },
      { name: "tags", label: "Tags", value: user?.tags.join(",") ?? "", options: TAGS, hint: TAGS_HINT },
    ],
    async action({ name, password, tags }) {
      const kept = user ? { password_hash: user.password_hash, hashing_algorithm: user.hashing_algorithm } : { password_hash: "" };
      await api.put(path`/users/${name ?? user.name}`, { tags, ...(password ? { password } : kept) });
      if (!user) go(path`/users/${name}`);
    },
  });
}

export const users = {
  title: "Users",
  load: ({ signal }) => loadPage("/users", COLUMNS, { defaults: { sort: "name" }, signal }),
  render: (page, { query }) => h("div", {},
    heading("Users", null, [button("New user", () => edit(), "primary")]),
    listBar({ noun: "user", page, columns: COLUMNS }),
    table({ label: "Users", columns: COLUMNS, rows: page.items, key: user => user.name, defaults: { sort: "name" },
      empty: `No user's name has ${query.name ?? ""} in it.` }),
    pager(page)),
};

function grant(user, vhosts, one) {
  const hint = "A regular expression of names; empty is nothing, .* is all.";
  openForm({
    title: one ? `What ${user.name} may in ${one.vhost}` : `Let ${user.name} into a virtual host`, verb: "Set", done: "The permissions hold.",
    fields: [
      !one && { name: "vhost", label: "Virtual host", kind: "select", options: vhosts, value: "/" },
      { name: "configure", label: "Configure: declare and delete", value: one?.configure ?? ".*", hint },
      { name: "write", label: "Write: publish to exchanges, bind queues", value: one?.write ?? ".*" },
      { name: "read", label: "Read: consume from queues, bind to exchanges", value: one?.read ?? ".*" },
    ],
    action: ({ vhost, ...permissions }) => api.put(path`/permissions/${vhost ?? one.vhost}/${user.name}`, permissions),
  });
}

function grantTopic(user, vhosts) {
  openForm({
    title: `Topics of ${user.name}`, verb: "Set", done: "The permissions hold.",
    fields: [
      { name: "vhost", label: "Virtual host", kind: "select", options: vhosts, value: "/" },
      { name: "exchange", label: "Exchange of type topic", required: true, value: "amq.topic" },
      { name: "write", label: "Routing keys that it may publish with", value: ".*" },
      { name: "read", label: "Routing keys that it may bind with", value: ".*" },
    ],
    action: ({ vhost, ...permissions }) => api.put(path`/topic-permissions/${vhost}/${user.name}`, permissions),
  });
}

const pattern = name => ({ id: name, label: name, cell: one => h("code", {}, one[name] || "(nothing)") });

function limit(user) {
  openForm({
    title: `A limit of ${user.name}`, verb: "Set", done: "The limit holds.",
    fields: [
      { name: "limit", label: "Of", kind: "select", options: [["max-connections", "connections"], ["max-channels", "channels"]] },
      { name: "value", label: "At most", kind: "number", required: true, hint: "Below 0: no limit." },
    ],
    action: ({ limit: name, value }) => api.put(path`/user-limits/${user.name}/${name}`, { value }),
  });
}

const takeLimit = (user, name) => confirmLoss({
  title: "Take the limit away?", lost: [`${name} of ${user.name}: it may then have as many as it likes.`], verb: "Take it away", done: "There is no such limit any more.",
  action: () => api.remove(path`/user-limits/${user.name}/${name}`),
});

function remove(user, connections) {
  confirmLoss({
    title: `Delete ${user.name}?`, type: user.name,
    lost: [`The user ${user.name}, with its password, permissions and limits`,
      connections > 0 && `${plural(connections, "connection")} that it has open`,
      user.name === session.user && "That is you: you are logged out at once."],
    verb: "Delete", done: "The user is deleted.",
    action: async () => {
      await api.remove(path`/users/${user.name}`);
      go("/users");
    },
  });
}

export const user = {
  title: "User",
  name: ({ parts }) => parts[1],
  async load({ parts: [, name], signal }) {
    const ask = (where, query) => api.get(where, query, signal);
    const [one, permissions, topics, limits, connections, vhosts] = await Promise.all([
      ask(path`/users/${name}`), ask(path`/users/${name}/permissions`), ask(path`/users/${name}/topic-permissions`),
      ask(path`/user-limits/${name}`), ask(path`/connections/username/${name}`, { columns: "name" }), vhostNames(signal),
    ]);
    return { one, permissions, topics, limits: limits[0]?.value ?? {}, connections, vhosts };
  },
  render: ({ one, permissions, topics, limits, connections, vhosts }) => h("div", {},
    heading(one.name, one.tags.map(tag => badge(tag, "a")), [
      button("Change", () => edit(one)),
      connections.length > 0 && button("Close its connections", () => confirmLoss({
        title: `Close all connections of ${one.name}?`, lost: [plural(connections.length, "connection") + ", with their channels, consumers and exclusive queues", "Most clients connect again by themselves."],
        verb: "Close them", done: "They are closed.", action: () => api.remove(path`/connections/username/${one.name}`),
      }), "danger"),
      button("Delete", () => remove(one, connections.length), "danger"),
    ]),
    card("Permissions", [
      table({ label: "Permissions", sorts: false, rows: permissions, key: row => row.vhost, columns: [
        { id: "vhost", label: "Virtual host", cell: row => row.vhost }, pattern("configure"), pattern("write"), pattern("read"),
        { id: "press", label: "", className: "actions", cell: row => [button("Change", () => grant(one, vhosts, row), "quiet"),
          button("Take away", () => confirmLoss({
            title: "Take these permissions away?", lost: [`${one.name} may not enter ${row.vhost} any more, and its connections there are refused what they ask.`],
            verb: "Take them away", done: "They are taken away.", action: () => api.remove(path`/permissions/${row.vhost}/${one.name}`),
          }), "quiet")] },
      ], empty: "It may enter no virtual host: nothing that it does over AMQP will work." }),
      h("p", {}, button("Let into a virtual host", () => grant(one, vhosts))),
    ]),
    card("Topic permissions", [
      table({ label: "Topic permissions", sorts: false, rows: topics, key: row => `${row.vhost}/${row.exchange}`, columns: [
        { id: "exchange", label: "Exchange", cell: row => row.exchange || "(default)" }, { id: "vhost", label: "Virtual host", cell: row => row.vhost }, pattern("write"), pattern("read"),
        { id: "press", label: "", className: "actions", cell: row => button("Take away", () => confirmLoss({
          title: "Take these away?", lost: [`The routing keys of ${row.exchange} in ${row.vhost} are then not looked at for ${one.name}.`],
          verb: "Take them away", done: "They are taken away.", action: () => api.remove(path`/topic-permissions/${row.vhost}/${one.name}/${row.exchange}`),
        }), "quiet") },
      ], empty: "None: its routing keys are not looked at." }),
      h("p", {}, button("Set one", () => grantTopic(one, vhosts))),
    ]),
    card("Limits", [
      facts([...Object.entries(limits).map(([name, value]) => [name, [String(value), " ", button("Take away", () => takeLimit(one, name), "quiet")]]),
        ["Connections open", count(connections.length)]]),
      h("p", {}, button("Set a limit", () => limit(one))),
    ])),
};
