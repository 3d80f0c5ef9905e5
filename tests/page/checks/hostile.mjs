// Names, headers and bodies come from clients, and are never anything but text: a corpus in every field there is.

import { api, assert, assertEqual, broker, check, connect, go, logIn, openTab } from "../harness.mjs";

const CORPUS = [
  "<img src=x onerror=pwned=1>", "\"><script>pwned=1</script>", "'\"><svg/onload=pwned=1>", "javascript:pwned=1", "</title><script>pwned=1</script>",
  "{{constructor.constructor('pwned=1')()}}", "${pwned=1}", "&lt;script&gt;pwned=1&lt;/script&gt;", "<iframe srcdoc='<script>top.pwned=1</script>'>",
  "<style>*{display:none}</style>", "__proto__", "constructor", "a/b?c#d&e=f%2F%00", "\u202Egnp.exe", "../../api/users", " ", "%", "' OR 1=1 --",
  "<a href=javascript:pwned=1>x</a>", "data:text/html,<script>pwned=1</script>",
];
/** What a page consists of; anything else came out of a name. */
const FORBIDDEN = "main img, main script, main iframe, main style, main object, main embed, main base, main link, main form[action]";

async function fillBroker() {
  const seg = encodeURIComponent;
  const connections = [];
  for (const [index, evil] of CORPUS.entries()) {
    const vhost = `v${index}${evil}`;
    await api("PUT", `/vhosts/${seg(vhost)}`, { description: evil, tags: "x,<b>y</b>" });
    await api("PUT", `/users/${seg("u" + index + evil)}`, { password: "pw", tags: `management,${evil.replaceAll(",", "")}` });
    await api("PUT", `/permissions/${seg(vhost)}/${seg("u" + index + evil)}`, { configure: "", write: "<b>", read: ".*" });
    await api("PUT", `/policies/%2F/${seg(evil)}`, { pattern: evil.replace(/[\\^$.*+?()[\]{}|]/g, "."), definition: { "dead-letter-exchange": evil }, "apply-to": "queues" });
  }
  const connection = await connect({ connection_name: CORPUS[0], product: CORPUS[1], version: CORPUS[2], __proto__: null, [CORPUS[3]]: CORPUS[4] });
  connections.push(connection);
  const channel = await connection.createChannel();
  for (const evil of CORPUS) {
    await channel.assertExchange(`x${evil}`, "headers", { arguments: { "alternate-exchange": evil } });
    await channel.assertQueue(evil, { arguments: { "x-dead-letter-exchange": evil, "x-dead-letter-routing-key": evil } });
    await channel.bindQueue(evil, `x${evil}`, evil, { [evil]: evil, "x-match": "any" });
    channel.sendToQueue(evil, Buffer.from(evil), {
      headers: { [evil]: evil, "x-death": [{ reason: evil, queue: evil, exchange: evil, "routing-keys": [evil], count: 2 }] },
      contentType: evil, messageId: evil, appId: evil, correlationId: evil, type: evil, replyTo: evil,
    });
    await channel.consume(await channel.assertQueue(`c${evil}`).then(queue => queue.queue), () => {}, { consumerTag: `t${evil}` });
    channel.sendToQueue(`c${evil}`, Buffer.from(evil), { headers: { [evil]: evil } });
  }
  return connections;
}

async function look(tab, where) {
  await go(tab, where);
  const found = await tab.evaluate(forbidden => ({ pwned: window.pwned, elements: [...document.querySelectorAll(forbidden)].map(one => one.outerHTML) }), FORBIDDEN);
  assertEqual(found, { elements: [] }, where);
  assertEqual(tab.faults, [], `faults at ${where}`);
  const scripts = await tab.locator("a").evaluateAll(links => links.map(link => link.protocol).filter(protocol => !["http:", "https:", "blob:"].includes(protocol)));
  assertEqual(scripts, [], `links at ${where}`);
}

export default async function () {
  const connections = await fillBroker();
  const tab = await openTab();
  await tab.addInitScript(() => addEventListener("securitypolicyviolation", event => console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`)));
  await logIn(tab);

  await check("lists show names as text", async () => {
    for (const place of ["#/", "#/queues", "#/exchanges", "#/connections", "#/channels", "#/consumers", "#/policies", "#/vhosts", "#/users", "#/limits",
      "#/definitions", "#/topology"]) {
      await look(tab, place);
    }
    await go(tab, "#/queues");
    const shown = await tab.locator("tbody th a").allTextContents();
    for (const evil of CORPUS) assert(shown.includes(evil), `${evil} is not in the list as it is`);
  });

  await check("what the address says is text, too", async () => {
    for (const evil of CORPUS) {
      const text = encodeURIComponent(evil);
      await look(tab, `#/queues?name=${text}&sort=${text}&columns=${text}`);
      await look(tab, `#/queues/%2F/no${text}`);
    }
  });

  await check("queues, with their messages and who has them", async () => {
    for (const evil of CORPUS) {
      const name = encodeURIComponent(evil);
      for (const tab_ of ["overview", "messages", "consumers", "bindings", "unacked", "tail"]) await look(tab, `#/queues/%2F/${name}?tab=${tab_}`);
      await look(tab, `#/queues/%2F/c${name}?tab=unacked`);
      await go(tab, `#/queues/%2F/${name}?tab=messages`);
      await tab.getByRole("button", { name: "Look", exact: true }).click();
      await tab.waitForSelector("article.message");
      assertEqual(await tab.locator("article.message pre").first().textContent(), evil, "the body");
      await look(tab, `#/queues/%2F/${name}?tab=messages`);
    }
  });

  await check("exchanges, connections, channels, policies, users and virtual hosts", async () => {
    for (const [index, evil] of CORPUS.entries()) {
      const name = encodeURIComponent(evil);
      await look(tab, `#/exchanges/%2F/x${name}`);
      await look(tab, `#/exchanges/%2F/x${name}?tab=bindings`);
      await look(tab, `#/policies/%2F/${name}`);
      await look(tab, `#/users/u${index}${name}`);
      await look(tab, `#/vhosts/v${index}${name}`);
    }
    for (const [place, path] of [["connections", "/connections"], ["channels", "/channels"]]) {
      for (const one of await api("GET", path)) await look(tab, `#/${place}/${encodeURIComponent(one.name)}`);
    }
  });

  await check("questions name what is lost as text", async () => {
    for (const evil of CORPUS.slice(0, 5)) {
      await go(tab, `#/queues/%2F/${encodeURIComponent(evil)}`);
      await tab.locator("main").getByRole("button", { name: "Delete", exact: true }).click();
      assert((await tab.textContent("dialog")).includes(evil), evil);
      await tab.keyboard.press("Escape");
      await tab.waitForSelector("dialog", { state: "detached" });
      assertEqual(tab.faults, [], "faults");
    }
  });
  for (const connection of connections) await connection.close();
  await tab.context().close();
  assert(broker.process.exitCode === null, "the broker runs");
}
