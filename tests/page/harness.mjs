// A broker of its own, a browser, and checks that are counted.

import { chromium } from "playwright-core";
import amqp from "amqplib";
import { spawn } from "node:child_process";
import { createServer } from "node:net";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** The longest that anything on the page may take to come: beside other work of a busy machine, only what hangs is late. */
export const PATIENCE_MS = 60_000;

export const broker = {};

async function freePort() {
  const server = createServer();
  await new Promise(resolve => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise(resolve => server.close(resolve));
  return port;
}

export async function startBroker(settings = "") {
  const folder = mkdtempSync(join(tmpdir(), "leveret-page."));
  const [amqpPort, httpPort] = [await freePort(), await freePort()];
  const config = join(folder, "leveret.toml");
  writeFileSync(config, `listen = ["127.0.0.1:${amqpPort}"]\nmanagement_listen = "127.0.0.1:${httpPort}"\n`
    + `data_dir = "${folder}/data"\ndurability = "os"\n${settings}\n[prometheus]\nlisten = "off"\n`);
  const process_ = spawn(process.env.LEVERET_BIN, ["--config", config], { stdio: ["ignore", "inherit", "inherit"] });
  process_.on("exit", status => {
    if (!broker.ends) {
      console.log(`FAIL page: broker: it ended with ${status}`);
      process.exit(1);
    }
  });
  Object.assign(broker, {
    process: process_, folder, http: `http://127.0.0.1:${httpPort}`, port: amqpPort,
    amqp: `amqp://guest:guest@127.0.0.1:${amqpPort}`, ends: false,
  });
  const deadline = Date.now() + PATIENCE_MS;
  while (!(await fetch(broker.http).catch(() => null))?.ok) {
    if (Date.now() > deadline) throw new Error("the broker does not serve its page");
    await new Promise(resolve => setTimeout(resolve, 50));
  }
}

export async function stopBroker() {
  broker.ends = true;
  const gone = new Promise(resolve => broker.process.on("exit", resolve));
  broker.process.kill("SIGTERM");
  await gone;
  rmSync(broker.folder, { recursive: true, force: true });
}

/** The API, asked by nobody's page. */
export async function api(method, path, body) {
  const answer = await fetch(`${broker.http}/api${path}`, {
    method, body: body === undefined ? undefined : JSON.stringify(body),
    headers: { authorization: "Basic " + btoa("guest:guest"), "content-type": "application/json" },
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
  return text ? JSON.parse(text) : undefined;
}

export async function connect(properties = {}) {
  const connection = await amqp.connect(broker.amqp, { clientProperties: properties });
  // A check that fails leaves its connections to the end of the broker.
  connection.on("error", () => {});
  return connection;
}

let browser;

export async function startBrowser() {
  browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox", "--js-flags=--expose-gc"] });
}

export const stopBrowser = () => browser.close();

/**
 * A tab of its own, with `faults`: what was thrown, what the browser refused because of the page's policy, and dialogs of
 * scripts that should never have run.
 */
export async function openTab(options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, ...options });
  const tab = await context.newPage();
  tab.setDefaultTimeout(PATIENCE_MS);
  tab.faults = [];
  tab.on("pageerror", error => tab.faults.push(String(error.stack ?? error)));
  tab.on("dialog", dialog => {
    tab.faults.push(`dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  tab.on("console", message => {
    // What the API refuses is no fault of the page, and the browser tells of it here, too.
    if (message.type() === "error" && !/the server responded with a status of 4\d\d/.test(message.text())) tab.faults.push(message.text());
  });
  return tab;
}

export async function logIn(tab, user = "guest", password = user) {
  await tab.goto(broker.http);
  await tab.fill("#user", user);
  await tab.fill("#password", password);
  await tab.click("[type=submit]");
  await tab.waitForSelector("#leave");
  await settled(tab);
}

/** Until what is shown has been read. Nothing is held of it: what a test holds a tab cannot let go. */
export const settled = tab => tab.waitForFunction(() => document.querySelector("main[aria-busy=false]") !== null);

export async function go(tab, hash) {
  await tab.evaluate(to => location.hash = to, hash);
  await tab.waitForFunction(to => location.hash === to, hash);
  await settled(tab);
}

/** Presses a button by what is written on it. */
export const press = (tab, name, within = "main") => tab.locator(within).getByRole("button", { name, exact: true }).first().click();

/** Answers the question that is open: with the name if it asks for one. */
export async function sure(tab, verb, name) {
  await tab.waitForSelector("dialog[open]");
  if (name !== undefined) await tab.fill("#sure", name);
  await press(tab, verb, "dialog");
  await tab.waitForSelector("dialog", { state: "detached" });
}

/** Fills in the form that is open, by its labels. */
export async function fill(tab, values) {
  await tab.waitForSelector("dialog[open]");
  for (const [label, value] of Object.entries(values)) {
    const field = tab.locator("dialog").getByLabel(label, { exact: true }).first();
    const tag = await field.evaluate(element => element.type);
    if (tag === "checkbox") await field.setChecked(value);
    else if (tag === "select-one") await field.selectOption(value);
    else await field.fill(value);
  }
}

let counted = 0, now = "";

export const name = () => now;
export const total = () => counted;

/** Runs one check; what it throws is what failed. */
export async function check(what, run) {
  now = what;
  await run();
  counted += 1;
}

export function assert(condition, reason) {
  if (!condition) throw new Error(reason);
}

export function assertEqual(is, wanted, what) {
  const [left, right] = [JSON.stringify(is), JSON.stringify(wanted)];
  assert(left === right, `${what}: ${left} is not ${right}`);
}

/** Waits until something holds, as the API or a page sees it. */
export async function until(what, holds) {
  const deadline = Date.now() + PATIENCE_MS;
  while (!(await holds())) {
    assert(Date.now() < deadline, `${what}: not within ${PATIENCE_MS} ms`);
    await new Promise(resolve => setTimeout(resolve, 50));
  }
}
