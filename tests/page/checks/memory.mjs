// A tab that is left open: ten minutes of its clock, and by hand of ours, with everything that updates by itself.

import { api, assert, assertEqual, check, connect, go, logIn, openTab, settled } from "../harness.mjs";
import { PAGES, populate } from "../populate.mjs";

/** Until nothing is kept any more without something else being let go, and as long again. */
const WARM_UP_MINUTES = 10, MINUTES = 10;
/** How long to look at a tab by the clock on the wall, in seconds; 0: not at all. */
const SOAK_S = Number(process.env.PAGE_SOAK_S ?? 0);
/** By when charts are full: the broker tells ten minutes of all that it has seen. */
const FULL_AFTER_S = 600;
const PACE_MS = 1000;
/**
 * How much more there may be in the end, of bytes and of nodes. Views that are not let go come to some thousand nodes in a
 * minute. Charts fill by the broker's clock, which nobody drives: so much in each minute on the wall, as long as they do.
 */
const GROWTH_MAX_BYTES = 256 << 10, GROWTH_MAX_NODES = 1000, FILLING_BYTES = 128 << 10;
/** Where somebody is who leaves a tab open, and where else somebody was now and then. */
const STAYS = ["overview", "queue", "topology", "queues"], VISITS = ["held", "messages", "exchange", "connections", "channels", "consumers", "policies"];

/** What is in use once all that nobody needs is gone: bytes of scripts, and nodes. */
async function inUse(devtools) {
  for (let time = 0; time < 3; time++) await devtools.send("HeapProfiler.collectGarbage");
  const { usedSize } = await devtools.send("Runtime.getHeapUsage");
  return [usedSize, (await devtools.send("Memory.getDOMCounters")).nodes];
}

/** Until all that the tab asked for has come and is shown. */
function watched(tab) {
  let underway = 0;
  tab.on("request", () => underway += 1);
  for (const end of ["requestfinished", "requestfailed"]) tab.on(end, () => underway -= 1);
  return async () => {
    while (underway > 0) await new Promise(resolve => setTimeout(resolve, 1));
    await settled(tab);
  };
}

const middle = all => [...all].sort((one, other) => one - other)[all.length >> 1];

/** What grew from the first to the last of several looks, while charts filled for so many minutes. */
function isFlat(looks, filling) {
  console.error(`page: in use over time: ${looks.map(([bytes, nodes]) => `${Math.round(bytes / 1024)} KiB, ${nodes} nodes`).join("; ")}`);
  for (const [index, most] of [GROWTH_MAX_BYTES + filling * FILLING_BYTES, GROWTH_MAX_NODES].entries()) {
    const of = part => middle(part.map(look => look[index]));
    const [first, last] = [of(looks.slice(0, 3)), of(looks.slice(-3))];
    assert(last - first < most, `${["bytes", "nodes"][index]} grew from ${first} to ${last}`);
  }
}

export default async function () {
  const end = await populate(connect, api);
  try {
    await check(`${MINUTES} minutes of a tab's clock leave its memory as it was`, async () => {
      const tab = await openTab();
      const isShown = watched(tab);
      await tab.clock.install();
      await logIn(tab);
      await tab.selectOption("#pace", String(PACE_MS));
      const devtools = await tab.context().newCDPSession(tab);
      const minute = async number => {
        await go(tab, PAGES[STAYS[number % STAYS.length]]);
        for (let second = 0; second < 60; second++) {
          await tab.clock.runFor(PACE_MS);
          await isShown();
        }
        await go(tab, PAGES[VISITS[number % VISITS.length]]);
        await go(tab, PAGES.overview);
      };
      for (let number = 0; number < WARM_UP_MINUTES; number++) await minute(number);
      const looks = [], begun = Date.now();
      for (let number = 0; number < MINUTES; number++) {
        await minute(number);
        looks.push(await inUse(devtools));
      }
      isFlat(looks, (Date.now() - begun) / 60_000);
      assertEqual(tab.faults, [], "faults");
      await tab.context().close();
    });

    if (SOAK_S > 0) {
      await check(`${SOAK_S} s on the wall leave the tab's memory as it was`, async () => {
        const tab = await openTab();
        await logIn(tab);
        await tab.selectOption("#pace", String(PACE_MS));
        await go(tab, "#/");
        const devtools = await tab.context().newCDPSession(tab);
        await new Promise(resolve => setTimeout(resolve, FULL_AFTER_S * 1000));
        const looks = [];
        for (let part = 0; part < 10; part++) {
          await new Promise(resolve => setTimeout(resolve, SOAK_S * 100));
          looks.push(await inUse(devtools));
        }
        isFlat(looks, 0);
        await tab.context().close();
      });
    }
  } finally {
    await end();
  }
}
