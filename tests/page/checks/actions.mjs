// What can be pressed does what it says, and asks before something is lost.

import { api, assert, assertEqual, check, connect, fill, go, logIn, openTab, press, sure, until } from "../harness.mjs";

const status = path => api("GET", path).then(() => 200, error => Number(/: (\d{3}) /.exec(error.message)?.[1]));

export default async function () {
  const tab = await openTab();
  await logIn(tab);
  const dialogGone = () => tab.waitForSelector("dialog", { state: "detached" });

  await check("a queue is declared with its arguments", async () => {
    await go(tab, "#/queues");
    await press(tab, "New queue");
    await fill(tab, { Name: "orders", Type: "quorum" });
    await press(tab, "x-max-length", "dialog");
    await tab.locator("dialog .line input").nth(1).fill("1000");
    await press(tab, "Declare", "dialog");
    await dialogGone();
    const queue = await api("GET", "/queues/%2F/orders");
    assertEqual([queue.type, queue.durable, queue.arguments["x-max-length"]], ["quorum", true, 1000], "the queue");
    await tab.waitForFunction(() => location.hash === "#/queues/%2F/orders");
  });

  await check("what the broker refuses is said, and the form stays", async () => {
    await go(tab, "#/queues");
    await press(tab, "New queue");
    await fill(tab, { Name: "orders", Type: "classic" });
    await press(tab, "Declare", "dialog");
    await tab.waitForFunction(() => document.querySelector("dialog .problem").textContent.includes("inequivalent"));
    await tab.keyboard.press("Escape");
    await dialogGone();
  });

  await check("a message is published, looked at and taken", async () => {
    await go(tab, "#/queues/%2F/orders");
    await press(tab, "Publish");
    await fill(tab, { Body: "carrots" });
    await press(tab, "Publish", "dialog");
    await dialogGone();
    await until("the message", async () => (await api("GET", "/queues/%2F/orders")).messages_ready === 1);
    await go(tab, "#/queues/%2F/orders?tab=messages");
    await press(tab, "Look");
    await tab.waitForSelector("article.message");
    assertEqual(await tab.textContent("article.message pre"), "carrots", "the body");
    const [seen] = await api("POST", "/queues/%2F/orders/get", { count: 1, ackmode: "ack_requeue_true", encoding: "auto" });
    assertEqual(seen.redelivered, false, "it is as it was");
    await press(tab, "Get");
    await sure(tab, "Go on");
    await until("it is taken", async () => (await api("GET", "/queues/%2F/orders")).messages === 0);
  });

  await check("a full queue is purged and deleted by whoever writes its name", async () => {
    for (let number = 0; number < 3; number++) await api("POST", "/exchanges/%2F/amq.default/publish", { routing_key: "orders", properties: {}, payload: "x", payload_encoding: "string" });
    await go(tab, "#/queues");
    await go(tab, "#/queues/%2F/orders");
    await press(tab, "Purge");
    await tab.waitForSelector("dialog[open]");
    assert((await tab.textContent("dialog")).includes("3 messages"), "what is lost is said");
    await tab.fill("#sure", "order");
    assert(await tab.locator("dialog .danger").isDisabled(), "a wrong name presses nothing");
    await sure(tab, "Purge", "orders");
    await until("it is empty", async () => (await api("GET", "/queues/%2F/orders")).messages === 0);
    await press(tab, "Delete");
    await tab.waitForSelector("dialog[open]");
    await press(tab, "Keep it", "dialog");
    await dialogGone();
    assertEqual(await status("/queues/%2F/orders"), 200, "it is kept");
    await go(tab, "#/queues");
    await go(tab, "#/queues/%2F/orders");
    await press(tab, "Delete");
    await sure(tab, "Delete");
    assertEqual(await status("/queues/%2F/orders"), 404, "it is deleted");
  });

  await check("an exchange is declared, bound, unbound and deleted", async () => {
    await api("PUT", "/queues/%2F/q", {});
    await go(tab, "#/exchanges");
    await press(tab, "New exchange");
    await fill(tab, { Name: "logs", Type: "topic" });
    await press(tab, "Declare", "dialog");
    await tab.waitForFunction(() => location.hash === "#/exchanges/%2F/logs");
    await go(tab, "#/exchanges/%2F/logs?tab=bindings");
    await press(tab, "Bind to a queue or exchange");
    await fill(tab, { "Its name": "q", "Routing key": "kern.*" });
    await press(tab, "Bind", "dialog");
    await dialogGone();
    assertEqual((await api("GET", "/exchanges/%2F/logs/bindings/source")).length, 1, "bindings");
    await press(tab, "Unbind");
    await sure(tab, "Unbind");
    assertEqual((await api("GET", "/exchanges/%2F/logs/bindings/source")).length, 0, "bindings");
    await press(tab, "Publish");
    await fill(tab, { "Routing key": "nothing", Body: "x" });
    await press(tab, "Publish", "dialog");
    await tab.waitForFunction(() => document.getElementById("notes").textContent.includes("went to no queue"));
    await dialogGone();
    await press(tab, "Delete");
    await sure(tab, "Delete");
    assertEqual(await status("/exchanges/%2F/logs"), 404, "it is deleted");
  });

  await check("who holds a message is seen, and it is put back", async () => {
    await api("PUT", "/queues/%2F/held", {});
    await api("POST", "/exchanges/%2F/amq.default/publish", { routing_key: "held", properties: {}, payload: "x", payload_encoding: "string" });
    const connection = await connect(), channel = await connection.createChannel();
    await channel.consume("held", () => {}, { consumerTag: "sleeper" });
    await until("it is held", async () => (await api("GET", "/queues/%2F/held")).messages_unacknowledged === 1);
    await go(tab, "#/queues/%2F/held?tab=unacked");
    assert((await tab.textContent("tbody tr")).includes("sleeper"), "its consumer");
    await channel.cancel("sleeper");
    await press(tab, "Put back");
    await sure(tab, "Put it back");
    await until("it is back", async () => (await api("GET", "/queues/%2F/held")).messages_ready === 1);
    await connection.close();
  });

  await check("dead letters are looked at, redriven and moved", async () => {
    await api("PUT", "/queues/%2F/live", { arguments: { "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead" } });
    await api("PUT", "/queues/%2F/dead", {});
    for (let number = 0; number < 3; number++) await api("POST", "/exchanges/%2F/amq.default/publish", { routing_key: "live", properties: {}, payload: `${number}`, payload_encoding: "string" });
    await api("POST", "/queues/%2F/live/get", { count: 3, ackmode: "reject_requeue_false", encoding: "auto" });
    const ready = async name => (await api("GET", `/queues/%2F/${name}`)).messages_ready;
    await until("they are dead", async () => await ready("dead") === 3);
    await go(tab, "#/queues/%2F/dead?tab=messages");
    await press(tab, "Look");
    await tab.waitForSelector(".deaths");
    assert((await tab.textContent(".deaths")).includes("rejected in live, 1 time"), "the way it was");
    await tab.locator(".message").nth(1).getByRole("button", { name: "Redrive this" }).click();
    await sure(tab, "Redrive it");
    await tab.waitForFunction(() => document.querySelectorAll(".message").length === 2);
    const bodies = async name => (await api("GET", `/queues/%2F/${name}/peek`)).items.map(item => item.payload);
    assertEqual([await bodies("dead"), await bodies("live")], [["0", "2"], ["1"]], "one that is not the oldest is redriven");
    await press(tab, "Redrive");
    await fill(tab, { "How many": "1" });
    await press(tab, "Redrive", "dialog");
    await dialogGone();
    assertEqual([await ready("dead"), await ready("live")], [1, 2], "the oldest is redriven");
    await press(tab, "Move");
    await fill(tab, { "To the queue": "held" });
    await press(tab, "Move", "dialog");
    await dialogGone();
    assertEqual([await ready("dead"), await ready("held")], [0, 2], "the other is moved");
  });

  await check("where a message would go is told, and nothing is published", async () => {
    await api("PUT", "/queues/%2F/asked", {});
    await api("POST", "/bindings/%2F/e/amq.topic/q/asked", { routing_key: "kern.*" });
    await go(tab, "#/exchanges/%2F/amq.topic?tab=route");
    await tab.getByLabel("Routing key").fill("kern.critical");
    await press(tab, "Where would it go?");
    await tab.waitForFunction(() => document.querySelector("main [role=status]")?.textContent === "It goes to asked");
    await tab.getByLabel("Routing key").fill("user.info");
    await press(tab, "Where would it go?");
    await tab.waitForFunction(() => document.querySelector("main [role=status]")?.textContent.startsWith("nowhere"));
    assertEqual((await api("GET", "/queues/%2F/asked")).messages, 0, "messages");
  });

  await check("a policy is made, changed and deleted", async () => {
    await go(tab, "#/policies");
    await press(tab, "New policy");
    await fill(tab, { Name: "short", "Names that match": "^q$" });
    await press(tab, "max-length", "dialog");
    await tab.locator("dialog .line input").nth(1).fill("10");
    await press(tab, "Make", "dialog");
    await dialogGone();
    await until("it holds", async () => (await api("GET", "/queues/%2F/q")).policy === "short");
    await go(tab, "#/policies/%2F/short");
    await press(tab, "Change");
    await fill(tab, { Priority: "7" });
    await press(tab, "Change", "dialog");
    await dialogGone();
    assertEqual((await api("GET", "/policies/%2F/short")).priority, 7, "its priority");
    await press(tab, "Delete");
    await sure(tab, "Delete");
    assertEqual(await status("/policies/%2F/short"), 404, "it is deleted");
  });

  await check("a user is made, let in, limited and deleted", async () => {
    await go(tab, "#/users");
    await press(tab, "New user");
    await fill(tab, { Name: "alice", Password: "secret", Tags: "monitoring" });
    await press(tab, "Make", "dialog");
    await tab.waitForFunction(() => location.hash === "#/users/alice");
    await dialogGone();
    await press(tab, "Let into a virtual host");
    await fill(tab, { "Configure: declare and delete": "^alice" });
    await press(tab, "Set", "dialog");
    await dialogGone();
    assertEqual((await api("GET", "/users/alice/permissions"))[0].configure, "^alice", "permissions");
    await press(tab, "Set a limit");
    await fill(tab, { "At most": "5" });
    await press(tab, "Set", "dialog");
    await dialogGone();
    assertEqual((await api("GET", "/user-limits/alice"))[0].value["max-connections"], 5, "the limit");
    const hash = (await api("GET", "/users/alice")).password_hash;
    await press(tab, "Change");
    await fill(tab, { Tags: "policymaker" });
    await press(tab, "Change", "dialog");
    await dialogGone();
    const alice = await api("GET", "/users/alice");
    assertEqual([alice.tags, alice.password_hash], [["policymaker"], hash], "the tags are new and the password is not");
    await press(tab, "Delete");
    await sure(tab, "Delete", "alice");
    assertEqual(await status("/users/alice"), 404, "it is deleted");
  });

  await check("a virtual host is made and deleted with what is in it", async () => {
    await go(tab, "#/vhosts");
    await press(tab, "New virtual host");
    await fill(tab, { Name: "staging" });
    await press(tab, "Make", "dialog");
    await dialogGone();
    await api("PUT", "/queues/staging/one", {});
    await go(tab, "#/vhosts/staging");
    await press(tab, "Delete");
    await tab.waitForSelector("dialog[open]");
    assert((await tab.textContent("dialog")).includes("1 queue"), "what is lost is said");
    await sure(tab, "Delete all of it", "staging");
    assertEqual(await status("/vhosts/staging"), 404, "it is deleted");
  });

  await check("a connection is closed, and its client told why", async () => {
    const connection = await connect({ connection_name: "billing" });
    const closed = new Promise(resolve => connection.on("close", resolve));
    await go(tab, "#/connections");
    await tab.getByRole("link", { name: "billing" }).click();
    await tab.waitForFunction(() => location.hash.startsWith("#/connections/"));
    await tab.waitForFunction(() => document.querySelector("h1")?.textContent === "billing");
    await press(tab, "Close");
    await tab.waitForSelector("dialog[open]");
    await tab.getByLabel("The client is told why").fill("for repairs");
    await sure(tab, "Close it");
    assert(/for repairs/.test((await closed).message), "the client hears why");
  });

  await check("a delayed message is cancelled", async () => {
    await api("PUT", "/exchanges/%2F/later", { type: "x-delayed-message", arguments: { "x-delayed-type": "direct" } });
    await api("POST", "/exchanges/%2F/later/publish", { routing_key: "remind", payload: "x", payload_encoding: "string", properties: { headers: { "x-delay": 3600000 } } });
    await go(tab, "#/exchanges/%2F/later?tab=delayed");
    await press(tab, "Cancel");
    await sure(tab, "Cancel the message");
    assertEqual((await api("GET", "/delayed/%2F/later/count")).messages_delayed, 0, "messages that wait");
  });

  await check("definitions go out as a file and in again", async () => {
    await go(tab, "#/definitions");
    const [download] = await Promise.all([tab.waitForEvent("download"), press(tab, "Save to a file")]);
    const file = await download.path();
    await api("DELETE", "/queues/%2F/q");
    await tab.setInputFiles("#file", file);
    await sure(tab, "Take it in");
    assertEqual(await status("/queues/%2F/q"), 200, "the queue is there again");
  });

  assertEqual(tab.faults, [], "faults");
  await tab.context().close();
}
