// The topology of a virtual host, drawn: exchanges, bindings, queues, and where dead letters go.

import { h, hidden } from "../dom.js";
import { count, plural, rate, rateOf } from "../format.js";
import { vhostNames } from "../table.js";
import { badge, card, exchangeLink, facts, heading, queueLink } from "../parts.js";
import { choose } from "../router.js";
import { graphOf, place, wayOf } from "../graph.js";
import * as api from "../api.js";

const { path } = api;
/** What is drawn at most: more than that nobody reads. */
const NODES_MAX = 500;
const WIDTH = 190, HEIGHT = 30, STEP_X = 300, STEP_Y = 38, EDGE = 12, NAME_MAX = 26, KEY_MAX = 17, KEY_MAX_BESIDE_RATE = 9;
/** Ways into a node that have room for words. */
const WORDS_MAX = 2;

async function load({ query, signal }) {
  const vhosts = await vhostNames(signal), vhost = query.vhost ?? (vhosts.includes("/") ? "/" : vhosts[0]);
  if (vhost === undefined) return { vhosts };
  return { vhosts, vhost, drawn: await api.get(path`/topology/${vhost}`, { limit: NODES_MAX, name: query.name }, signal) };
}

const short = (name, most) => name.length > most ? name.slice(0, most - 1) + "…" : name;
const x = node => EDGE + node.column * STEP_X;

function beside({ kind, of }) {
  if (kind === "queue") return `${count(of.messages ?? 0)} · ${rate(rateOf(of.message_stats, "publish"))}`;
  const coming = rateOf(of.message_stats, "publish_in");
  return coming === undefined ? of.type : `${of.type} · ${rate(coming)}`;
}

const KINDS = { "dead-letter": "dead letters", alternate: "alternate" };

function drawNode(node, y, isOn, chosen) {
  const alone = node.kind === "queue" && node.of.messages_ready > 0 && node.of.consumers === 0;
  const press = () => choose({ node: node.id === chosen ? undefined : node.id });
  return h("g", {
    key: node.id, class: `vertex ${node.kind} ${alone ? "alone" : ""} ${isOn ? "" : "off"} ${node.id === chosen ? "chosen" : ""}`,
    transform: `translate(${x(node)} ${y})`, tabindex: "0", role: "button", "aria-pressed": String(node.id === chosen),
    onclick: press,
    onkeydown: event => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      press();
    },
  },
  h("title", {}, `${node.kind} ${node.name}`),
  h("rect", { width: WIDTH, height: HEIGHT, rx: node.kind === "exchange" ? 15 : 5 }),
  h("text", { x: 10, y: 13, class: "name" }, short(node.name, NAME_MAX)),
  h("text", { x: 10, y: 25, class: "figure" }, beside(node)));
}

/** Keys and rate of an edge, as far as there is room. */
function words(edge) {
  const keys = edge.keys.filter(Boolean), most = edge.rate > 0 ? KEY_MAX_BESIDE_RATE : KEY_MAX;
  const named = keys.length > 2 ? `${count(edge.count)} keys` : short(keys.join(", "), most);
  return [named, edge.rate > 0 && rate(edge.rate)].filter(Boolean).join(" · ");
}

/** `place`: the how manieth of those that have words, or -1. */
function drawEdge(edge, from, to, isOn, place) {
  const [fromX, fromY, toX, toY] = [x(from) + WIDTH, from.y + HEIGHT / 2, x(to), to.y + HEIGHT / 2];
  const bend = toX > fromX ? (toX - fromX) / 2 : 70;
  const d = `M${fromX} ${fromY}C${fromX + bend} ${fromY} ${toX - bend} ${toY} ${toX} ${toY}`;
  const text = place < 0 ? "" : words(edge);
  const said = `${from.name} → ${to.name}: ${KINDS[edge.kind] ?? edge.kind} ${edge.keys.join(", ")}, ${edge.rate === undefined ? "rate unknown" : rate(edge.rate)}`;
  return h("g", { key: edge.id, class: `edge ${edge.kind} ${isOn ? "" : "off"}` },
    h("title", {}, said),
    h("path", { d }), h("path", { class: "head", d: `M${toX - 7} ${toY - 4}L${toX} ${toY}L${toX - 7} ${toY + 4}` }),
    text && h("text", { x: toX - 12, y: place ? toY + 12 : toY - 4, "text-anchor": "end" }, text));
}

/** Which edges have words, and the how manieth of their node each is then. */
function placesOfWords(edges, isOn) {
  const into = Map.groupBy(edges.filter(isOn), edge => edge.to);
  return edge => {
    const all = into.get(edge.to) ?? [];
    return all.length <= WORDS_MAX ? all.indexOf(edge) : -1;
  };
}

function draw(graph, chosen) {
  const rows = place(graph), tallest = Math.max(1, ...rows.map(row => row.length));
  const byId = new Map(graph.nodes.map(node => [node.id, node]));
  for (const row of rows) for (const node of row) node.y = EDGE + ((tallest - row.length) / 2 + node.row) * STEP_Y;
  const way = byId.has(chosen) ? wayOf(chosen, graph.edges) : null, isOn = id => !way || way.has(id);
  const isEdgeOn = edge => isOn(edge.from) && isOn(edge.to), placeOf = placesOfWords(graph.edges, isEdgeOn);
  const width = rows.length * STEP_X - (STEP_X - WIDTH) + 2 * EDGE + 60, height = tallest * STEP_Y + 2 * EDGE;
  return h("div", { class: "scroll graph", tabindex: "0", role: "region", "aria-label": "Topology" },
    h("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "group", "aria-label": "Exchanges, bindings and queues" },
      graph.edges.map(edge => drawEdge(edge, byId.get(edge.from), byId.get(edge.to), isEdgeOn(edge), placeOf(edge))),
      graph.nodes.map(node => drawNode(node, node.y, isOn(node.id), chosen))));
}

function about(node, graph, vhost) {
  const names = (way, here, there) => graph.edges.filter(edge => edge[here] === node.id).map(edge => {
    const other = graph.nodes.find(one => one.id === edge[there]);
    return h("li", {}, other.kind === "queue" ? queueLink(vhost, other.name) : exchangeLink(vhost, other.name), " ",
      KINDS[edge.kind] && badge(KINDS[edge.kind], "warn"), " ", h("code", {}, edge.keys.join(", ")), edge.kind === "binding" && edge.count > edge.keys.length && ` and ${count(edge.count - edge.keys.length)} more`,
      edge.rate !== undefined && ` · ${rate(edge.rate)}`);
  });
  return card("", facts([
    [node.kind === "queue" ? "Queue" : "Exchange", node.kind === "queue" ? queueLink(vhost, node.name) : exchangeLink(vhost, node.name)],
    ["Type", node.of.type], ["Messages", node.kind === "queue" && `${count(node.of.messages_ready)} ready, ${count(node.of.messages_unacknowledged)} unacknowledged`],
    ["Consumers", node.kind === "queue" && count(node.of.consumers)],
    ["Gets from", h("ul", { class: "plain" }, names("in", "to", "from"))], ["Sends to", h("ul", { class: "plain" }, names("out", "from", "to"))],
  ]));
}

export const topology = {
  title: "Topology",
  load,
  render(data, { query }) {
    const { vhosts, vhost, drawn } = data;
    if (vhost === undefined) return h("div", {}, heading("Topology"), h("div", { class: "empty" }, "You may enter no virtual host."));
    // What leads to a part of it only the whole tells.
    const graph = graphOf(drawn, !drawn.cut && !query.name), used = new Set(graph.edges.flatMap(edge => [edge.from, edge.to]));
    const isAll = query.all === "true";
    graph.nodes = graph.nodes.filter(node => isAll || used.has(node.id));
    const chosen = graph.nodes.find(node => node.id === query.node);
    return h("div", {},
      heading("Topology"),
      h("div", { class: "bar" },
        h("label", { class: "search" }, hidden("Search queues by name"), h("input", { type: "search", id: "search", placeholder: "Search queues", value: query.name ?? "",
          autocomplete: "off", spellcheck: "false", onchange: event => choose({ name: event.target.value }) })),
        h("label", {}, "Virtual host ", h("select", { onchange: event => choose({ vhost: event.target.value, node: undefined }) },
          vhosts.map(name => h("option", { value: name, selected: name === vhost }, name)))),
        h("label", {}, h("input", { type: "checkbox", checked: isAll, onchange: event => choose({ all: event.target.checked ? "true" : undefined }) }), " also what is bound to nothing"),
        h("span", { class: "grow" }), h("span", { class: "dim" }, `${plural(graph.nodes.length, "node")}, ${plural(graph.edges.length, "edge")}`)),
      drawn.cut && h("p", { class: "banner" }, `Only a part is drawn: ${count(drawn.nodes.length)} of ${plural(drawn.exchanges, "exchange")} and ${plural(drawn.queues, "queue")}. Search for the queues that you mean.`),
      chosen && about(chosen, graph, vhost),
      graph.nodes.length === 0 ? h("div", { class: "empty" }, "No exchange is bound to anything yet. What is published to the default exchange goes to the queue whose name is the key.")
        : draw(graph, query.node),
      h("p", { class: "dim" }, "Messages go from left to right. Round are exchanges, square are queues with their length and what comes to them a second; "
        + "dashed is where dead letters and what has no binding go. Beside an edge are its keys, and how much goes along it where that follows from what is counted. "
        + "Press one to see its way. The default exchange is not drawn: it reaches every queue."));
  },
};
