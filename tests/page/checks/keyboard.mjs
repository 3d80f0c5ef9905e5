// No mouse: logging in, going somewhere, finding, opening, changing and going back with keys alone.

import { api, assert, assertEqual, broker, check, openTab, settled } from "../harness.mjs";

export default async function () {
  for (const name of ["apples", "beans", "carrots"]) await api("PUT", `/queues/%2F/${name}`, {});
  const tab = await openTab();
  const keys = async (...all) => {
    for (const key of all) await tab.keyboard.press(key);
  };
  const focused = () => tab.evaluate(() => document.activeElement.textContent || document.activeElement.value);
  const shows = title => tab.waitForFunction(wanted => document.querySelector("main h1")?.textContent === wanted, title);

  await check("logging in", async () => {
    await tab.goto(broker.http);
    await tab.waitForSelector("#user");
    await tab.keyboard.type("guest");
    await keys("Tab");
    await tab.keyboard.type("guest");
    await keys("Enter");
    await tab.waitForSelector("#places");
    await settled(tab);
  });

  await check("g and a letter go to places, j and k through lines, Enter opens, Escape leads back", async () => {
    await keys("g", "q");
    await shows("Queues");
    await settled(tab);
    await keys("j", "j", "j", "k");
    assertEqual(await focused(), "beans", "the line");
    await keys("Enter");
    await shows("beans");
    await keys("Escape", "Escape");
    await shows("Queues");
  });

  await check("/ searches, and the address keeps it", async () => {
    await settled(tab);
    await keys("/");
    await tab.keyboard.type("carr");
    await tab.waitForFunction(() => location.hash.includes("name=carr"));
    await tab.waitForFunction(() => document.querySelectorAll("tbody tr").length === 1);
    await keys("Escape", "j");
    assertEqual(await focused(), "carrots", "the line");
  });

  await check("the line stays where it is while figures come", async () => {
    await tab.selectOption("#pace", "1000");
    await keys("j");
    await tab.waitForResponse(response => response.url().includes("/api/queues"));
    await tab.waitForResponse(response => response.url().includes("/api/queues"));
    assertEqual(await focused(), "carrots", "the line");
  });

  await check("? says which keys there are", async () => {
    await keys("?");
    await tab.waitForSelector("dialog[open]");
    assert((await tab.textContent("dialog")).includes("search the list"), "the help");
    await keys("Escape");
    await tab.waitForSelector("dialog", { state: "detached" });
  });

  await check("a form is filled in, and the focus goes back to where it was", async () => {
    await tab.getByRole("button", { name: "New queue" }).focus();
    await keys("Enter");
    await tab.waitForSelector("dialog[open]");
    await keys("Tab");
    await tab.keyboard.type("dates");
    await keys("Enter");
    await shows("dates");
    await api("GET", "/queues/%2F/dates");
  });

  await check("everything that can be pressed is reached by Tab, and shows that it is", async () => {
    await keys("g", "q");
    await shows("Queues");
    await settled(tab);
    await tab.selectOption("#pace", "0");
    await tab.evaluate(() => document.activeElement.blur());
    const wanted = await tab.evaluate(() => [...document.querySelectorAll("a[href], button:not(:disabled), input, select")]
      .filter(one => one.offsetParent !== null || one.classList.contains("skip")).length);
    const seen = new Set();
    for (let step = 0; step < wanted + 8; step++) {
      await keys("Tab");
      const [id, hasRing] = await tab.evaluate(() => {
        const one = document.activeElement, all = [...document.querySelectorAll("*")];
        return [all.indexOf(one), getComputedStyle(one).outlineStyle !== "none" || one === document.body];
      });
      assert(hasRing, `nothing shows that ${await focused()} has the focus`);
      seen.add(id);
    }
    assert(seen.size >= wanted, `${seen.size} of ${wanted} are reached`);
  });
  assertEqual(tab.faults, [], "faults");
  await tab.context().close();
}
