// A virtual host of two hundred exchanges and queues, drawn: everything can be read.

import { api, assert, assertEqual, check, go, logIn, openTab } from "../harness.mjs";

const FANOUTS = 20, QUEUES_OF_EACH = 9, NODES = FANOUTS + FANOUTS * QUEUES_OF_EACH;
const DRAWN_MAX_MS = Number(process.env.PAGE_TOPOLOGY_MS ?? 1000);

const boxes = (tab, what) => tab.evaluate(selector => [...document.querySelectorAll(selector)].map(one => {
  const { left, top, right, bottom } = one.getBoundingClientRect();
  return { left, top, right, bottom, text: one.textContent };
}), what);

const meets = (one, other) => one.left < other.right && other.left < one.right && one.top < other.bottom && other.top < one.bottom;

const pairs = all => all.flatMap((one, index) => all.slice(index + 1).filter(other => meets(one, other)).map(other => `${one.text} and ${other.text}`));

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
    assertEqual(words.flatMap(word => nodes.filter(node => meets(word, node)).map(node => `${word.text} and ${node.text}`)), [], "words on nodes");
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
  assertEqual(tab.faults, [], "faults");
  await tab.context().close();
}
