// Pictures of every page, dark and light, for people to look at.

import { mkdirSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { api, connect, go, logIn, openTab, startBroker, startBrowser, stopBroker, stopBrowser } from "./harness.mjs";
import { PAGES, populate } from "./populate.mjs";

const folder = process.env.PAGE_SCREENSHOTS ?? mkdtempSync(join(tmpdir(), "leveret-page-pictures."));
/** How long the broker works before it is looked at: charts have something to show then. */
const WORKS_MS = Number(process.env.PAGE_WORKS_S ?? 60) * 1000;

mkdirSync(folder, { recursive: true });
await startBrowser();
await startBroker();
const end = await populate(connect, api);
const tabs = [];
for (const colorScheme of ["light", "dark"]) {
  const tab = await openTab({ colorScheme, viewport: { width: 1280, height: 860 } });
  await logIn(tab);
  tabs.push([colorScheme, tab]);
}
await new Promise(resolve => setTimeout(resolve, WORKS_MS));
for (const [colorScheme, tab] of tabs) {
  for (const [name, hash] of Object.entries(PAGES)) {
    await go(tab, hash);
    await tab.screenshot({ path: join(folder, `${name}-${colorScheme}.png`), fullPage: true });
  }
}
const phone = await openTab({ viewport: { width: 390, height: 844 }, deviceScaleFactor: 2 });
await logIn(phone);
await phone.screenshot({ path: join(folder, "phone.png") });
await end();
await stopBrowser();
await stopBroker();
console.log(folder);
