// A virtual host as a graph: what is where, from left to right as messages go.

const SWEEPS = 6;

/** Where a queue's dead letters go: { exchange, key }, or null. */
export function deadLettersOf(queue) {
  const policy = queue.effective_policy_definition ?? {};
  const exchange = queue.arguments?.["x-dead-letter-exchange"] ?? policy["dead-letter-exchange"];
  if (exchange === undefined) return null;
  return { exchange, key: queue.arguments?.["x-dead-letter-routing-key"] ?? policy["dead-letter-routing-key"] };
}

/** { nodes: [{ id, kind, name, of }], edges: [{ from, to, kind, keys }] } of what the API lists. */
export function graphOf({ exchanges, queues, bindings }) {
  const nodes = new Map(), edges = new Map();
  for (const one of exchanges) if (one.name !== "") nodes.set(`e ${one.name}`, { id: `e ${one.name}`, kind: "exchange", name: one.name, of: one });
  for (const one of queues) nodes.set(`q ${one.name}`, { id: `q ${one.name}`, kind: "queue", name: one.name, of: one });
  const add = (from, to, kind, key) => {
    if (!nodes.has(from) || !nodes.has(to)) return;
    const id = `${kind} ${from}\n${to}`, edge = edges.get(id) ?? { id, from, to, kind, keys: [] };
    edges.set(id, edge);
    if (key !== undefined) edge.keys.push(key);
  };
  for (const one of bindings) {
    if (one.source !== "") add(`e ${one.source}`, `${one.destination_type === "queue" ? "q" : "e"} ${one.destination}`, "binding", one.routing_key);
  }
  for (const one of exchanges) {
    const alternate = one.arguments?.["alternate-exchange"];
    if (alternate !== undefined) add(`e ${one.name}`, `e ${alternate}`, "alternate");
  }
  for (const one of queues) {
    const dead = deadLettersOf(one);
    if (dead) add(`q ${one.name}`, dead.exchange === "" ? `q ${dead.key ?? one.name}` : `e ${dead.exchange}`, "dead", dead.key);
  }
  return { nodes: [...nodes.values()], edges: [...edges.values()] };
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
