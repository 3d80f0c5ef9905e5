// Every check, or those that are named.

import { readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import * as harness from "./harness.mjs";

const folder = join(dirname(fileURLToPath(import.meta.url)), "checks");
const there = readdirSync(folder).map(file => file.replace(/\.mjs$/, "")).sort();
const wanted = process.argv.length > 2 ? process.argv.slice(2) : there;
const began = Date.now();
let failed = false;

await harness.startBrowser();
for (const file of wanted) {
  await harness.startBroker();
  try {
    const { default: checks } = await import(`./checks/${file}.mjs`);
    await checks();
  } catch (error) {
    failed = true;
    console.error(error);
    console.log(`FAIL page: ${file}: ${harness.name()}: ${String(error.message).split("\n")[0].slice(0, 300)}`);
  }
  await harness.stopBroker();
}
await harness.stopBrowser();
if (!failed) console.log(`ok page chromium (${harness.total()} checks, ${Math.round((Date.now() - began) / 1000)}s)`);
process.exit(failed ? 1 : 0);
