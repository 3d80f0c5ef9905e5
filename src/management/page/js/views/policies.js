// Policies and those of operators: what holds for queues and exchanges by their names.

import { h, link } from "../dom.js";
import { count } from "../format.js";
import { listBar, loadPage, pager, table, vhostNames } from "../table.js";
import { badge, button, card, facts, heading, tabs, tree } from "../parts.js";
import { confirmLoss, openForm } from "../dialog.js";
import { choose, go } from "../router.js";
import { may } from "../store.js";
import * as api from "../api.js";

const { path } = api;

const KEYS = [
  ["message-ttl", "number", "Messages are gone, or dead letters, after so many milliseconds"],
  ["expires", "number", "Queues are deleted when nobody used them for so many milliseconds"],
  ["max-length", "number", "At most so many messages"], ["max-length-bytes", "number", "At most so many bytes"],
  ["overflow", "text", "drop-head, reject-publish or reject-publish-dlx"],
  ["dead-letter-exchange", "text", "Where what is rejected or expires goes"],
  ["dead-letter-routing-key", "text", "With which key instead of its own"],
  ["delivery-limit", "number", "How often a message may come back (quorum)"],
  ["consumer-timeout", "number", "How long a consumer may hold a message, in milliseconds"],
  ["alternate-exchange", "text", "Where an exchange sends what it has no binding for"],
];
const APPLIES = [["all", "queues and exchanges"], ["queues", "queues"], ["classic_queues", "classic queues"],
  ["quorum_queues", "quorum queues"], ["exchanges", "exchanges"]];
const KINDS = [["policies", "Policies"], ["operator-policies", "Of operators"]];

const columns = kind => [
  { id: "name", label: "Policy", sort: "name", cell: one => link(path`/policies/${one.vhost}/${one.name}` + (kind === "policies" ? "" : "?tab=operator-policies"), one.name) },
  { id: "vhost", label: "Virtual host", sort: "vhost", cell: one => one.vhost },
  { id: "pattern", label: "Names that match", sort: "pattern", cell: one => h("code", {}, one.pattern) },
  { id: "apply-to", label: "Of", sort: "apply-to", cell: one => APPLIES.find(([id]) => id === one["apply-to"])?.[1] ?? one["apply-to"] },
  { id: "definition", label: "Definition", cell: one => Object.entries(one.definition).map(([key, value]) => [badge(`${key}: ${JSON.stringify(value)}`, "b"), " "]) },
  { id: "priority", label: "Priority", sort: "priority", number: true, cell: one => count(one.priority) },
];

function edit(kind, vhosts, one) {
  openForm({
    title: one ? `Change ${one.name}` : kind === "policies" ? "New policy" : "New policy of operators", verb: one ? "Change" : "Make", wide: true,
    intro: "It holds for what is there and what comes, as soon as it is made. Of several that match, the one with the highest priority counts.",
    fields: [
      !one && { name: "vhost", label: "Virtual host", kind: "select", options: vhosts, value: "/" },
      !one && { name: "name", label: "Name", required: true },
      { name: "pattern", label: "Names that match", value: one?.pattern ?? "", required: true, hint: "A regular expression: ^orders\\. is all that begins with orders." },
      { name: "apply-to", label: "Of", kind: "select", options: APPLIES, value: one?.["apply-to"] ?? "all" },
      { name: "priority", label: "Priority", kind: "number", value: one?.priority ?? 0 },
      { name: "definition", label: "Definition", kind: "arguments", options: KEYS, value: one?.definition },
    ],
    done: "The policy holds.",
    action: ({ vhost, name, ...policy }) => api.put("/" + kind + path`/${vhost ?? one.vhost}/${name ?? one.name}`, policy),
  });
}

const kindOf = query => query.tab === "operator-policies" ? "operator-policies" : "policies";

export const policies = {
  title: "Policies",
  async load({ query, signal }) {
    const where = "/" + kindOf(query) + (query.vhost ? path`/${query.vhost}` : "");
    const [page, vhosts] = await Promise.all([loadPage(where, columns(kindOf(query)), { defaults: { sort: "name" }, signal }), vhostNames(signal)]);
    return { page, vhosts };
  },
  render({ page, vhosts }, { query }) {
    const kind = kindOf(query), mayMake = kind === "policies" ? may("policymaker") : may("administrator");
    return h("div", {},
      heading("Policies", null, [mayMake && button("New policy", () => edit(kind, vhosts), "primary")]),
      tabs(KINDS, kind, choose),
      listBar({ noun: "policy", nouns: "policies", page, columns: columns(kind), vhosts }),
      table({ label: "Policies", columns: columns(kind), rows: page.items, key: one => `${one.vhost}/${one.name}`, defaults: { sort: "name" },
        empty: query.name ? `No policy's name has ${query.name} in it.` : kind === "policies"
          ? "There is no policy. One says for all queues whose names match how long they may become, how long messages live, and where dead letters go."
          : "There is none. Policies of operators are limits that users' own policies and arguments cannot exceed." }),
      pager(page));
  },
};

export const policy = {
  title: "Policy",
  name: ({ parts }) => parts[2],
  load: ({ parts: [, vhost, name], query, signal }) => api.get("/" + kindOf(query) + path`/${vhost}/${name}`, {}, signal),
  render(one, { query }) {
    const kind = kindOf(query), mayMake = kind === "policies" ? may("policymaker") : may("administrator");
    return h("div", {},
      heading(one.name, kind === "policies" ? badge("policy") : badge("of operators"), [
        mayMake && button("Change", () => edit(kind, [], one)),
        mayMake && button("Delete", () => confirmLoss({
          title: `Delete ${one.name}?`,
          lost: [`What it says of ${one["apply-to"]} whose names match ${one.pattern}: ${Object.keys(one.definition).join(", ")}`,
            "They are as if it had never been, or as the next policy that matches says."],
          verb: "Delete", done: "It is deleted.",
          action: async () => {
            await api.remove("/" + kind + path`/${one.vhost}/${one.name}`);
            go("/policies" + (kind === "policies" ? "" : "?tab=operator-policies"));
          },
        }), "danger"),
      ]),
      h("div", { class: "two" },
        card("", facts([["Virtual host", one.vhost], ["Names that match", h("code", {}, one.pattern)], ["Of", one["apply-to"]], ["Priority", String(one.priority)],
          ["Queues", link(`/queues?vhost=${encodeURIComponent(one.vhost)}&name=${encodeURIComponent(one.pattern)}&regex=true`, "those whose names match")]])),
        card("Definition", tree(one.definition))));
  },
};
