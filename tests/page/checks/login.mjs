// Who gets in, and how: by the form, by what the address says, by a session that outlives a reload.

import { api, assert, assertEqual, broker, check, go, logIn, openTab, settled } from "../harness.mjs";

export default async function () {
  await check("the form is what a stranger sees, and a wrong password is said", async () => {
    const tab = await openTab();
    await tab.goto(broker.http);
    await tab.fill("#user", "guest");
    await tab.fill("#password", "wrong");
    await tab.click("[type=submit]");
    await tab.waitForFunction(() => document.querySelector("[role=alert]")?.textContent.includes("No user"));
    assertEqual(tab.faults, [], "faults");
    await tab.context().close();
  });

  await check("a session outlives a reload and ends with the logout", async () => {
    const tab = await openTab();
    await logIn(tab);
    await tab.reload();
    await settled(tab);
    const kept = await tab.evaluate(() => JSON.stringify({ ...localStorage, ...sessionStorage }) + document.cookie);
    assert(!/guest/.test(kept), `a script can read ${kept}`);
    await tab.click("#leave");
    await tab.waitForSelector("#user");
    await tab.reload();
    await tab.waitForSelector("#user");
    await tab.context().close();
  });

  await check("user and password in the address open the page, and are gone from it", async () => {
    const tab = await openTab();
    await tab.goto(broker.http.replace("//", "//guest:guest@") + "/#/connections");
    await tab.waitForSelector("#places");
    await settled(tab);
    assertEqual(await tab.evaluate(() => document.URL), `${broker.http}/#/connections`, "the address");
    assertEqual(await tab.textContent("h1"), "Connections", "what is shown");
    assertEqual(tab.faults, [], "faults");
    await tab.context().close();
  });

  await check("bookmarks of RabbitMQ's page lead to the same places", async () => {
    await api("PUT", "/queues/%2F/orders", {});
    const tab = await openTab();
    await logIn(tab);
    for (const [hash, title] of [["#/queues/%2F/orders", "orders"], ["#/exchanges/%2F/amq.default", "(default)"], ["#/queues", "Queues"],
      ["#/exchanges", "Exchanges"], ["#/connections", "Connections"], ["#/channels", "Channels"], ["#/users", "Users"],
      ["#/users/guest", "guest"], ["#/vhosts", "Virtual hosts"], ["#/vhosts/%2F", "/"], ["#/policies", "Policies"], ["#/limits", "Limits"]]) {
      await tab.goto(`${broker.http}/${hash}`);
      await tab.waitForFunction(wanted => document.querySelector("main h1")?.textContent === wanted, title);
    }
    await go(tab, "#/constructor/__proto__");
    assertEqual(tab.faults, [], "faults");
    await tab.context().close();
  });

  await check("tags decide what is shown", async () => {
    const places = async tags => {
      await api("PUT", "/users/somebody", { password: "pw", tags });
      await api("PUT", "/permissions/%2F/somebody", { configure: ".*", write: ".*", read: ".*" });
      const tab = await openTab();
      await logIn(tab, "somebody", "pw");
      const shown = await tab.locator("#places a").evaluateAll(links => links.map(link => link.getAttribute("href")));
      for (const place of shown) {
        await go(tab, place);
        assertEqual(await tab.locator("main .problem:not(:empty), main .banner").allTextContents(), [], `${tags} at ${place}`);
      }
      assertEqual(tab.faults, [], "faults");
      await tab.context().close();
      return shown;
    };
    const everybody = ["#/", "#/queues", "#/exchanges", "#/connections", "#/channels", "#/consumers", "#/vhosts"];
    const without = (await places("management")).filter(place => !everybody.includes(place) && place !== "#/topology");
    assertEqual(without, [], "for management");
    assert((await places("policymaker")).includes("#/policies"), "policymakers make policies");
    assert((await places("monitoring")).includes("#/limits"), "monitors see limits");
    const all = await places("administrator");
    assert(all.includes("#/users") && all.includes("#/definitions"), "administrators see users and definitions");
  });

  await check("a session that ends leads to the form", async () => {
    await api("PUT", "/users/brief", { password: "pw", tags: "management" });
    const tab = await openTab();
    await logIn(tab, "brief", "pw");
    await api("DELETE", "/users/brief");
    await tab.waitForSelector("#user");
    await tab.context().close();
  });

  await check("the browser is told what the page may not do", async () => {
    for (const path of ["/", "/js/app.js", "/css/base.css", "/icon.svg"]) {
      const { headers, status } = await fetch(broker.http + path);
      assertEqual(status, 200, path);
      const policy = headers.get("content-security-policy");
      assert(policy.startsWith("default-src 'none'; script-src 'self'; style-src 'self';"), policy);
      assert(!/unsafe|\*/.test(policy), policy);
      assert(/frame-ancestors 'none'/.test(policy) && /base-uri 'none'/.test(policy), policy);
      assertEqual(headers.get("x-content-type-options"), "nosniff", path);
      const again = await fetch(broker.http + path, { headers: { "if-none-match": headers.get("etag") } });
      assertEqual(again.status, 304, `${path} again`);
    }
  });
}
