// Runs named checks one after another and prints the verdict. Knows nothing of any client.

import { readFileSync } from 'node:fs';
import net from 'node:net';
import { randomBytes } from 'node:crypto';

const CHECK_DEADLINE_MS = 15_000;

export const host = process.env.AMQP_HOST ?? '127.0.0.1';
export const port = Number(process.env.AMQP_PORT ?? 5672);

export function url({ user = 'guest', password = 'guest', vhost = '%2f', at = port, query = '' } = {}) {
  return `amqp://${user}:${password}@${host}:${at}/${vhost}${query}`;
}

// Names are unique per run, so that a run which was killed cannot disturb the next one.
const run = randomBytes(4).toString('hex');
let names = 0;
export function unique(what) {
  names += 1;
  return `interop.js.${run}.${what}.${names}`;
}

export function versionOf(name) {
  return JSON.parse(readFileSync(new URL(`./node_modules/${name}/package.json`, import.meta.url))).version;
}

export function within(promise, what, ms = CHECK_DEADLINE_MS) {
  let timer;
  const deadline = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: nothing within ${ms} ms`)), ms);
  });
  return Promise.race([promise, deadline]).finally(() => clearTimeout(timer));
}

export async function eventually(what, condition, ms = CHECK_DEADLINE_MS) {
  for (const end = Date.now() + ms; Date.now() < end; ) {
    const value = await condition();
    if (value) return value;
    await new Promise((resume) => setTimeout(resume, 5));
  }
  throw new Error(`${what}: not so within ${ms} ms`);
}

export async function rejection(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error('an error was expected, but the call succeeded');
}

// An unbounded inbox: `next()` waits for the message that comes next, in order of arrival.
export class Inbox {
  #waiting = [];
  #arrived = [];
  push = (message) => {
    const waiter = this.#waiting.shift();
    if (waiter) waiter(message);
    else this.#arrived.push(message);
  };
  get length() {
    return this.#arrived.length;
  }
  next() {
    if (this.#arrived.length > 0) return Promise.resolve(this.#arrived.shift());
    return within(new Promise((resolve) => this.#waiting.push(resolve)), 'a message');
  }
  async take(count) {
    const messages = [];
    while (messages.length < count) messages.push(await this.next());
    return messages;
  }
}

// A relay to the broker whose connections can be cut, as a failing network would.
export async function cuttableRelay() {
  const sockets = new Set();
  const server = net.createServer((near) => {
    const far = net.connect(port, host);
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => sockets.delete(socket));
    }
    near.pipe(far).pipe(near);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const cut = () => sockets.forEach((socket) => socket.destroy());
  return { port: server.address().port, cut, close: () => (cut(), server.close()) };
}

export async function runSuite(client, version, checks) {
  const started = Date.now();
  let failed = false;
  for (const [name, check] of Object.entries(checks)) {
    try {
      console.error(`check ${name}`);
      await within(check(), 'the check');
    } catch (error) {
      failed = true;
      console.error(error);
      console.log(`FAIL ${client}: ${name}: ${String(error.message).replaceAll('\n', ' ').slice(0, 300)}`);
    }
  }
  const seconds = ((Date.now() - started) / 1000).toFixed(1);
  if (!failed) console.log(`ok ${client} ${version} (${Object.keys(checks).length} checks, ${seconds}s)`);
  process.exit(failed ? 1 : 0);
}
