// Live tail: messages appear as they come, filtered, and nothing is taken.

import { api, assert, assertEqual, check, go, logIn, openTab, press } from "../harness.mjs";

const publish = (key, payload, headers = {}) => api("POST", "/exchanges/%2F/amq.topic/publish",
  { routing_key: key, payload, payload_encoding: "string", properties: { headers } });

export default async function () {
  await api("PUT", "/queues/%2F/q", {});
  await api("POST", "/bindings/%2F/e/amq.topic/q/q", { routing_key: "#" });
  const tab = await openTab();
  await logIn(tab);
  const bodies = () => tab.locator("article.message pre").allTextContents();
  const begin = async filter => {
    for (const [name, value] of Object.entries(filter)) await tab.fill(`[name=${name}]`, value);
    const answered = tab.waitForResponse(response => response.url().includes("/tail"));
    await press(tab, "Begin");
    assertEqual((await answered).status(), 200, "the tail");
  };

  await check("a queue's tail shows what enters it", async () => {
    await go(tab, "#/queues/%2F/q?tab=tail");
    await begin({ seconds: "60" });
    await publish("a.b", "first");
    await publish("a.c", "second");
    await tab.waitForFunction(() => document.querySelectorAll("article.message").length === 2);
    assertEqual(await bodies(), ["second", "first"], "the newest is the first");
    assertEqual((await api("GET", "/queues/%2F/q")).messages_ready, 2, "nothing is taken");
    await press(tab, "Stop");
  });

  await check("keys, headers and text are chosen by", async () => {
    await go(tab, "#/exchanges/%2F/amq.topic?tab=tail");
    await begin({ routing_key: "order.*", header: "tenant=t1", text: "carrot" });
    await publish("order.new", "a carrot", { tenant: "t2" });
    await publish("order.new", "lettuce", { tenant: "t1" });
    await publish("invoice.new", "a carrot", { tenant: "t1" });
    await publish("order.new", "the carrot", { tenant: "t1" });
    await tab.waitForSelector("article.message");
    assertEqual(await bodies(), ["the carrot"], "what is chosen");
    assert((await tab.textContent("article.message header")).includes("to q"), "where it went");
    await press(tab, "Stop");
  });

  await check("it ends by itself, and with its queue", async () => {
    await go(tab, "#/queues/%2F/q?tab=tail");
    await begin({ seconds: "1" });
    await tab.waitForFunction(() => document.querySelector("main").textContent.includes("The time is over."));
    await begin({ seconds: "60" });
    await api("DELETE", "/queues/%2F/q");
    await tab.waitForFunction(() => document.querySelector("main").textContent.includes("It is gone"));
  });
  assertEqual(tab.faults, [], "faults");
  await tab.context().close();
}
