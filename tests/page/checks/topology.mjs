// A virtual host of two hundred exchanges and queues, drawn: everything can be read, and rates are those of the API.

import { api, assert, assertEqual, check, go, logIn, openTab, until } from "../harness.mjs";

const FANOUTS = 20, QUEUES_OF_EACH = 9, NODES = FANOUTS + FANOUTS * QUEUES_OF_EACH;
const DRAWN_MAX_MS = Number(process.env.PAGE_TOPOLOGY_MS ?? 1000);

const boxes = (tab, what) => tab.evaluate(selector => [...document.querySelectorAll(selector)].map(one => {
  const { left, top, right, bottom } = one.getBoundingClientRect();
  return { left, top, right, bottom, text: one.textContent };
}), what);

const meets = (one, other) => one.left < other.right && other.left < one.right && one.top < other.bottom && other.top < one.bottom;

const pairs = all => all.flatMap((one, index) => all.slice(index + 1).filter(other => meets(one, other)).map(other => `${one.text} and ${other.text}`));

const across = (ones, others) => ones.flatMap(one => others.filter(other => meets(one, other)).map(other => `${one.text} and ${other.text}`));

export default async function () {
  const exchanges = [], queues = [], bindings = [];
  for (let fanout = 0; fanout < FANOUTS; fanout++) {
    const name = `events.of.a.long.name.${fanout}`, type = fanout % 2 ? "topic" : "fanout";
    exchanges.push({ name, vhost: "/", type, durable: true, auto_delete: false, internal: false, arguments: fanout % 5 ? {} : { "alternate-exchange": "events.of.a.long.name.1" } });
    for (let queue = 0; queue < QUEUES_OF_EACH; queue++) {
      const destination = `queue.of.a.rather.long.name.${fanout}.${queue}`;
      const dies = queue === 0 && fanout > 0 ? { "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "queue.of.a.rather.long.name.0.0" } : {};
      queues.push({ name: destination, vhost: "/", durable: true, auto_delete: false, arguments: dies });
      bindings.push({ source: name, vhost: "/", destination, destination_type: "queue", routing_key: `a.long.routing.key.${queue}`, arguments: {} });
      // Some get from two exchanges.
      if (queue === 1) bindings.push({ source: `events.of.a.long.name.${(fanout + 1) % FANOUTS}`, vhost: "/", destination, destination_type: "queue", routing_key: "another.key", arguments: {} });
    }
  }
  await api("POST", "/definitions", { exchanges, queues, bindings });
  const tab = await openTab({ viewport: { width: 1400, height: 900 } });
  await logIn(tab);

  await check(`${NODES} exchanges and queues can be read`, async () => {
    await go(tab, "#/limits");
    const ms = await tab.evaluate(async wanted => {
      const began = performance.now();
      location.hash = "#/topology";
      while (document.querySelectorAll(".vertex").length < wanted) await new Promise(resolve => requestAnimationFrame(resolve));
      return Math.round(performance.now() - began);
    }, NODES);
    console.error(`page: the topology of ${NODES} nodes came after ${ms} ms`);
    assert(ms < DRAWN_MAX_MS, `drawn after ${ms} ms`);
    assertEqual(await tab.locator(".edge").count(), bindings.length + FANOUTS - 1 + Math.ceil(FANOUTS / 5), "edges");
    const nodes = await boxes(tab, ".vertex rect");
    assertEqual(nodes.length, NODES, "nodes");
    assertEqual(pairs(nodes), [], "nodes on nodes");
    const cut = await tab.evaluate(() => [...document.querySelectorAll(".vertex")].filter(vertex => {
      const room = vertex.querySelector("rect").getBBox();
      return [...vertex.querySelectorAll("text")].some(text => text.getBBox().x + text.getBBox().width > room.width);
    }).map(vertex => vertex.textContent));
    assertEqual(cut, [], "names beyond their nodes");
    const words = await boxes(tab, ".edge text");
    assert(words.length > NODES / 2, `${words.length} edges have words`);
    assertEqual(pairs(words), [], "words on words");
    assertEqual(across(words, nodes), [], "words on nodes");
    const size = await tab.evaluate(() => Math.min(...[...document.querySelectorAll(".graph text")].map(text => parseFloat(getComputedStyle(text).fontSize))));
    assert(size >= 10, `letters of ${size} pixels`);
  });

  await check("what is pressed shows its way, with words", async () => {
    await tab.locator(".vertex.queue").filter({ hasText: "queue.of.a.rather.long.n" }).first().press("Enter");
    await tab.waitForFunction(() => document.querySelector(".vertex.chosen"));
    const on = await tab.locator(".vertex:not(.off)").count();
    assert(on > 1 && on < NODES / 2, `${on} are on its way`);
    assertEqual(pairs(await boxes(tab, ".edge:not(.off) text")), [], "words on words");
  });
  await check("what the broker tells of itself has the rate of who hears it, as it is not counted where it comes from", async () => {
    const rates = await tab.evaluate(async () => {
      const { graphOf } = await import("/js/graph.js");
      const stats = (name, rate) => ({ [name]: 7, [`${name}_details`]: { rate } });
      const exchange = (name, message_stats) => ({ id: `exchange:${name}`, kind: "exchange", name, type: "topic", message_stats });
      const nodes = [exchange("amq.rabbitmq.trace"), exchange("amq.rabbitmq.event", stats("publish_out", 1)), exchange("never"), exchange("other"),
        ...["q", "r", "s"].map(name => ({ id: `queue:${name}`, kind: "queue", name, message_stats: stats("publish", 5) }))];
      const edge = (from, to) => ({ kind: "binding", from: `exchange:${from}`, to: `queue:${to}`, routing_keys: ["#"], count: 1 });
      const edges = [edge("amq.rabbitmq.trace", "q"), edge("other", "q"), edge("amq.rabbitmq.event", "r"), edge("never", "s")];
      return graphOf({ nodes, edges }, true).edges.map(edge => edge.rate ?? "unknown");
    });
    assertEqual(rates, ["unknown", 0, 5, 0], "rates");
  });
  await check("an edge has a rate only where it follows from what is counted", async () => {
    const publishing = setInterval(() => {
      for (const exchange of ["events.of.a.long.name.0", "events.of.a.long.name.1"]) {
        api("POST", `/exchanges/%2F/${exchange}/publish`, { routing_key: "a.long.routing.key.3", payload: "x", payload_encoding: "string", properties: {} }).catch(() => {});
      }
    }, 50);
    try {
      await go(tab, "#/topology");
      const titles = () => tab.evaluate(() => [...document.querySelectorAll(".edge title")].map(title => title.textContent));
      const to = (all, from, queue) => all.find(title => title.startsWith(`events.of.a.long.name.${from} → queue.of.a.rather.long.name.${queue}: `));
      await until("the fan-out's rate", async () => / [1-9][\d.]*\/s$/.test(to(await titles(), 0, "0.3") ?? ""));
      const all = await titles(), rateOf = title => /, ([\d.,]+\/s|rate unknown)$/.exec(title)[1];
      // All of a fan-out's ways have what comes to it, also those into queues that others lead to.
      assertEqual(new Set([2, 3, 4, 0, 1].map(queue => rateOf(to(all, 0, `0.${queue}`)))).size, 1, "one rate for all of a fan-out");
      // A topic exchange picks: what a queue gets tells, where no other way leads there.
      assertEqual(rateOf(to(all, 1, "1.2")), "0/s", "a queue that gets nothing");
      assert(rateOf(to(all, 1, "1.3")) !== "0/s", "a queue that gets something");
      assertEqual(rateOf(to(all, 1, "1.1")), "rate unknown", "a queue that two lead to");
      const words = await boxes(tab, ".edge text");
      assert(words.some(word => word.text.endsWith("/s")), "rates are written");
      assertEqual([...pairs(words), ...across(words, await boxes(tab, ".vertex rect"))], [], "words with rates on words and nodes");
    } finally {
      clearInterval(publishing);
    }
  });
  assertEqual(tab.faults, [], "faults");
  await tab.context().close();
}
