// A virtual host as a graph: what is where, from left to right as messages go.

import { rateOf } from "./format.js";

const SWEEPS = 6;

/** Where a queue's dead letters go: { exchange, key }, or null. */
export function deadLettersOf(queue) {
  const policy = queue.effective_policy_definition ?? {};
  const exchange = queue.arguments?.["x-dead-letter-exchange"] ?? policy["dead-letter-exchange"];
  if (exchange === undefined) return null;
  return { exchange, key: queue.arguments?.["x-dead-letter-routing-key"] ?? policy["dead-letter-routing-key"] };
}

const DEFAULT_EXCHANGE = "exchange:";
/** Kinds of exchanges that keep messages for later: what comes out of them does not come in at the time. */
const KEEPING = "x-delayed-message";
/** Exchanges to which the broker itself publishes what happens, which is not counted. */
const UNCOUNTED = new Set(["amq.rabbitmq.event", "amq.rabbitmq.trace"]);

/**
 * What `/api/topology` tells as { nodes: [{ id, kind, name, of }], edges: [{ id, from, to, kind, keys, count, rate }] },
 * without the default exchange, which leads everywhere.
 */
export function graphOf(drawn, isWhole) {
  const nodes = drawn.nodes.filter(node => node.id !== DEFAULT_EXCHANGE)
    .map(node => ({ id: node.id, kind: node.kind, name: node.name, of: node }));
  const edges = drawn.edges.filter(edge => edge.from !== DEFAULT_EXCHANGE && edge.to !== DEFAULT_EXCHANGE)
    .map(edge => ({ ...edge, id: `${edge.kind} ${edge.from}\n${edge.to}`, keys: edge.routing_keys }));
  if (isWhole) addRates(nodes, edges, drawn);
  return { nodes, edges };
}

/**
 * How many messages a second take an edge, where that follows from what is counted: what is published to each exchange, how
 * much of it goes on to queues, and what comes to each queue. Where several ways come together it does not follow, and is
 * not known.
 */
function addRates(nodes, edges, drawn) {
  // Of an exchange that nothing was ever published to there are no figures.
  const through = (exchange, name) => exchange?.message_stats === undefined ? 0 : rateOf(exchange.message_stats, name);
  const byId = new Map(nodes.map(node => [node.id, node.of]));
  const group = end => Map.groupBy(edges, edge => edge[end]), into = group("to"), outOf = group("from");
  const unseen = drawn.nodes.find(node => node.id === DEFAULT_EXCHANGE);
  // Whoever dies by the default exchange goes to queues that no edge leads to.
  const isUnseenIdle = through(unseen, "publish_in") === 0 && !drawn.edges.some(edge => edge.to === DEFAULT_EXCHANGE);
  for (const edge of edges) {
    const from = byId.get(edge.from), to = byId.get(edge.to);
    const isCounted = from.kind === "exchange" && from.type !== KEEPING && !UNCOUNTED.has(from.name);
    const isFirst = isCounted && !into.has(edge.from) && edge.kind === "binding";
    if (isFirst && from.type === "fanout") edge.rate = through(from, "publish_in");
    else if (isFirst && to.kind === "queue" && outOf.get(edge.from).length === 1) edge.rate = through(from, "publish_out");
    else if (to.kind === "queue" && into.get(edge.to).length === 1 && isUnseenIdle) edge.rate = rateOf(to.message_stats, "publish");
  }
}

/** Puts nodes into columns, and into an order in them in which few edges cross: each gets `column` and `row`. */
export function place({ nodes, edges }) {
  const byId = new Map(nodes.map(node => [node.id, node]));
  const after = new Map(nodes.map(node => [node.id, []])), before = new Map(nodes.map(node => [node.id, []]));
  const isForward = forward(nodes, edges);
  for (const edge of edges) {
    if (!isForward(edge)) continue;
    after.get(edge.from).push(edge.to);
    before.get(edge.to).push(edge.from);
  }
  columns(nodes, before);
  const last = Math.max(0, ...nodes.map(node => node.column));
  const rows = Array.from({ length: last + 1 }, (_, column) => nodes.filter(node => node.column === column)
    .sort((a, b) => a.name < b.name ? -1 : 1));
  const number = () => rows.forEach(row => row.forEach((node, index) => node.row = index - row.length / 2));
  number();
  const middle = (node, near) => {
    const all = near.get(node.id).map(id => byId.get(id).row);
    return all.length ? all.reduce((sum, row) => sum + row, 0) / all.length : node.row;
  };
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    for (const row of sweep % 2 ? [...rows].reverse() : rows) {
      const wanted = new Map(row.map(node => [node, middle(node, sweep % 2 ? after : before)]));
      row.sort((a, b) => wanted.get(a) - wanted.get(b));
      row.forEach((node, index) => node.row = index - row.length / 2);
    }
  }
  rows.forEach(row => row.forEach((node, index) => node.row = index));
  return rows;
}

/** Which edges go on, and not back to where one came from. */
function forward(nodes, edges) {
  const out = new Map(nodes.map(node => [node.id, []])), state = new Map(), back = new Set();
  for (const edge of edges) out.get(edge.from).push(edge);
  for (const root of nodes) {
    // A stack, as a way may be as long as there are nodes.
    const stack = [[root.id, 0]];
    while (stack.length) {
      const top = stack.at(-1), [id, index] = top;
      if (index === 0) {
        if (state.has(id)) {
          stack.pop();
          continue;
        }
        state.set(id, "open");
      }
      const edge = out.get(id)[index];
      top[1] += 1;
      if (!edge) {
        state.set(id, "done");
        stack.pop();
      } else if (state.get(edge.to) === "open") back.add(edge);
      else if (!state.has(edge.to)) stack.push([edge.to, 0]);
    }
  }
  return edge => !back.has(edge);
}

/** As far to the right as the longest way there. */
function columns(nodes, before) {
  const known = new Map();
  const column = id => {
    if (!known.has(id)) {
      known.set(id, 0);
      known.set(id, Math.max(0, ...before.get(id).map(from => column(from) + 1)));
    }
    return known.get(id);
  };
  for (const node of nodes) node.column = column(node.id);
}

/** All that a node's messages come from and go to. */
export function wayOf(id, edges) {
  const on = new Set([id]), walk = (from, to) => {
    const wait = [id], seen = new Set(wait);
    while (wait.length) {
      const now = wait.pop();
      for (const edge of edges) {
        if (edge[from] !== now || seen.has(edge[to])) continue;
        seen.add(edge[to]);
        on.add(edge[to]);
        wait.push(edge[to]);
      }
    }
  };
  walk("from", "to");
  walk("to", "from");
  return on;
}
