// Definitions: all that is there as a file, out and in.

import { h, tell } from "../dom.js";
import { count, plural } from "../format.js";
import { button, card, heading } from "../parts.js";
import { confirmLoss } from "../dialog.js";
import * as api from "../api.js";

const { path } = api;
const KINDS = ["users", "vhosts", "permissions", "topic_permissions", "parameters", "global_parameters", "policies", "queues",
  "exchanges", "bindings"];

const where = vhost => vhost === undefined ? "/definitions" : path`/definitions/${vhost}`;

/** Saves them as a file. */
async function save(vhost) {
  try {
    // As they are told: a script would round numbers of more than 53 bits.
    const address = URL.createObjectURL(new Blob([await api.getText(where(vhost))], { type: "application/json" }));
    const name = `${location.hostname}${vhost === undefined ? "" : "-" + vhost.replaceAll("/", "_")}-${new Date().toISOString().slice(0, 10)}.json`;
    h("a", { href: address, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(address), 60000);
  } catch (error) {
    tell(error.message, "bad");
  }
}

/** Reads a file and asks before it is taken in. */
async function load(input, vhost) {
  const [file] = input.files;
  if (!file) return;
  let text, definitions;
  try {
    text = await file.text();
    definitions = JSON.parse(text);
  } catch {
    return tell(`${file.name} is no JSON.`, "bad");
  } finally {
    input.value = "";
  }
  const counted = KINDS.filter(kind => definitions[kind]?.length > 0).map(kind => `${count(definitions[kind].length)} ${kind.replaceAll("_", " ")}`);
  confirmLoss({
    title: `Take in ${file.name}?`,
    lost: [counted.join(", ") || "There is nothing in it.", "What is there under the same name and otherwise stays as it is, or is refused; users and policies are as the file says.",
      vhost !== undefined && `All of it goes into ${vhost}.`],
    verb: "Take it in", done: "It is taken in.", action: () => api.post(where(vhost), text),
  });
}

export function definitionsOf(vhost) {
  const input = h("input", { type: "file", accept: "application/json,.json", class: "hidden", id: "file", "aria-label": "A file of definitions",
    onchange: event => load(event.target, vhost) });
  return card(vhost === undefined ? "" : "Definitions", [
    h("p", {}, vhost === undefined
      ? "Users, virtual hosts, permissions, policies, queues, exchanges and bindings, as one file. RabbitMQ reads it, and files of RabbitMQ can be taken in here. Messages are not in it."
      : "Queues, exchanges, bindings and policies of this virtual host, as one file."),
    h("div", { class: "actions" }, button("Save to a file", () => save(vhost), "primary"),
      button("Take in a file …", () => document.getElementById("file").click()), input),
  ]);
}

export const definitions = {
  title: "Definitions",
  load: ({ signal }) => api.get("/overview", {}, signal),
  render: overview => h("div", {}, heading("Definitions"), definitionsOf(undefined),
    card("In it now", h("p", {}, `${plural(overview.object_totals.queues, "queue")} and ${plural(overview.object_totals.exchanges, "exchange")}, and what belongs to them. Passwords are in it as hashes alone.`))),
};
