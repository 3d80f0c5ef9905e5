// Where one can go, and which view shows a place.

import { overview } from "./views/overview.js";
import { queues } from "./views/queues.js";
import { queue } from "./views/queue.js";
import { connections, connection } from "./views/connections.js";

/** `needs` is the tag without which a place is of no use; `key` follows g. */
export const PLACES = [
  { items: [{ path: "/", label: "Overview", key: "o" }] },
  { group: "Messages", items: [
    { path: "/queues", label: "Queues", key: "q" },
  ] },
  { group: "Clients", items: [
    { path: "/connections", label: "Connections", key: "c" },
  ] },
];

const VIEWS = { queues, connections };
/** Those of one thing: how many names there are in its path. */
const DETAILS = { queues: [2, queue], connections: [1, connection] };

export function viewOf([place, ...names]) {
  if (!place) return { view: overview, isFound: true };
  const [number, detail] = DETAILS[place] ?? [];
  if (detail && names.length === number) return { view: detail, isFound: true };
  const view = names.length === 0 && VIEWS[place];
  return view ? { view, isFound: true } : { view: overview, isFound: false };
}
