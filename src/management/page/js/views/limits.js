// Limits of users, of virtual hosts and of the node, together.

import { h, link } from "../dom.js";
import { bytes, count } from "../format.js";
import { table } from "../table.js";
import { button, card, heading } from "../parts.js";
import { meter } from "../charts.js";
import { openForm } from "../dialog.js";
import { may } from "../store.js";
import * as api from "../api.js";

const { path } = api;

function change(node) {
  openForm({
    title: `Limits of ${node.name}`, verb: "Set", done: "The limits hold until the broker starts again.",
    intro: "They hold until the broker ends; its configuration has what holds after that.",
    fields: [
      { name: "memory_watermark", label: "Memory at which publishers are stopped", kind: "number", hint: "As a share of the machine's, such as 0.6. Left empty, it stays." },
      { name: "disk_free_limit", label: "Bytes of disk that are kept free", kind: "number", hint: `Now ${count(node.disk_free_limit)}. Left empty, it stays.` },
    ],
    action: limits => api.put(path`/nodes/${node.name}/resource-limits`, limits),
  });
}

const rows = all => all.flatMap(one => Object.entries(one.value).map(([name, value]) => ({ of: one.user ?? one.vhost, name, value })));

const limitTable = (label, all, place) => card(label, table({ label, sorts: false, rows: rows(all), key: row => `${row.of} ${row.name}`, columns: [
  { id: "of", label: "Of", cell: row => may("administrator") ? link("/" + place + path`/${row.of}`, row.of) : row.of },
  { id: "name", label: "Limit", cell: row => row.name },
  { id: "value", label: "At most", number: true, cell: row => row.value < 0 ? "no limit" : count(row.value) },
], empty: `None. One is set on the page of a ${place === "users" ? "user" : "virtual host"}.` }));

export const limits = {
  title: "Limits",
  async load({ signal }) {
    const [users, vhosts, nodes] = await Promise.all([may("administrator") ? api.get("/user-limits", {}, signal) : [], api.get("/vhost-limits", {}, signal), api.get("/nodes", {}, signal)]);
    return { users, vhosts, nodes };
  },
  render: ({ users, vhosts, nodes }) => h("div", {},
    heading("Limits"),
    nodes.map(node => card(`Node ${node.name}`, [
      table({ label: "Limits of the node", sorts: false, key: row => row[0], columns: [
        { id: "of", label: "Of", cell: row => row[0] }, { id: "used", label: "Used", number: true, cell: row => row[1] },
        { id: "most", label: "Limit", number: true, cell: row => row[2] },
        { id: "share", label: "Share", cell: row => row[3] !== null && meter(row[0], row[3], row[3] > 0.9 ? "bad" : "") },
      ], rows: [
        ["Memory: publishers are stopped at it", bytes(node.mem_used), bytes(node.mem_limit), node.mem_used / node.mem_limit],
        ["Disk: publishers are stopped when less is free", `${bytes(node.disk_free)} free`, bytes(node.disk_free_limit), null],
        ["Descriptors: connections and files", count(node.fd_used), count(node.fd_total), node.fd_used / node.fd_total],
      ] }),
      may("administrator") && h("p", {}, button("Change memory and disk", () => change(node))),
    ])),
    may("administrator") && limitTable("Of users", users, "users"), limitTable("Of virtual hosts", vhosts, "vhosts")),
};
