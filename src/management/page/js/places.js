// Where one can go, and which view shows a place.

import { overview } from "./views/overview.js";
import { queues } from "./views/queues.js";
import { queue } from "./views/queue.js";
import { exchanges, exchange } from "./views/exchanges.js";
import { connections, connection } from "./views/connections.js";
import { channels, channel, consumers } from "./views/channels.js";
import { policies, policy } from "./views/policies.js";
import { users, user } from "./views/users.js";
import { vhosts, vhost } from "./views/vhosts.js";
import { topology } from "./views/topology.js";
import { limits } from "./views/limits.js";
import { definitions } from "./views/definitions.js";

/** `needs` is the tag without which a place is of no use; `key` follows g. */
export const PLACES = [
  { items: [{ path: "/", label: "Overview", key: "o" }] },
  { group: "Messages", items: [
    { path: "/queues", label: "Queues", key: "q" },
    { path: "/exchanges", label: "Exchanges", key: "e" },
    { path: "/policies", label: "Policies", key: "p", needs: "policymaker" },
    { path: "/topology", label: "Topology", key: "t" },
  ] },
  { group: "Clients", items: [
    { path: "/connections", label: "Connections", key: "c" },
    { path: "/channels", label: "Channels", key: "h" },
    { path: "/consumers", label: "Consumers", key: "s" },
  ] },
  { group: "Administration", items: [
    { path: "/vhosts", label: "Virtual hosts", key: "v" },
    { path: "/users", label: "Users", key: "u", needs: "administrator" },
    { path: "/limits", label: "Limits", key: "l", needs: "monitoring" },
    { path: "/definitions", label: "Definitions", key: "d", needs: "administrator" },
  ] },
];

const VIEWS = { __proto__: null, queues, exchanges, connections, channels, consumers, policies, users, vhosts, limits, definitions, topology };
/** Those of one thing: how many names there are in its path. */
const DETAILS = {
  __proto__: null,
  queues: [2, queue], exchanges: [2, exchange], connections: [1, connection], channels: [1, channel], policies: [2, policy],
  users: [1, user], vhosts: [1, vhost],
};

export function viewOf([place, ...names]) {
  if (!place) return { view: overview, isFound: true };
  const [number, detail] = DETAILS[place] ?? [];
  if (detail && names.length === number) return { view: detail, isFound: true };
  const view = names.length === 0 && VIEWS[place];
  return view ? { view, isFound: true } : { view: overview, isFound: false };
}
