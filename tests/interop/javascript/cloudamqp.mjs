// The common checklist through @cloudamqp/amqp-client (npm), including its transactions and its session recovery.

import assert from 'node:assert/strict';
import { AMQPClient, AMQPSession } from '@cloudamqp/amqp-client';
import { Inbox, cuttableRelay, eventually, rejection, runSuite, unique, url, versionOf, within } from './harness.mjs';

const connect = async (options) => new AMQPClient(url(options), undefined, null).connect();
const connection = await connect();

async function channel(on = connection) {
  const opened = await on.channel();
  opened.onerror = () => {}; // each check looks at the rejected call instead
  return opened;
}

async function temporaryQueue(ch, params = {}) {
  return (await ch.queueDeclare(unique('q'), { durable: false, exclusive: true, ...params })).name;
}

async function consume(ch, queue, params = { noAck: false }) {
  const inbox = new Inbox();
  const consumer = await ch.basicConsume(queue, params, inbox.push);
  return Object.assign(inbox, { tag: consumer.tag, consumer });
}

const text = (message) => message.bodyString();
async function sendAll(ch, queue, bodies) {
  for (const body of bodies) await ch.basicPublish('', queue, body);
}
const countOf = async (ch, queue) => (await ch.queueDeclare(queue, { passive: true })).messageCount;
const ready = (ch, queue, count) => eventually(`${count} ready`, async () => (await countOf(ch, queue)) === count);

async function refused(call, pattern, on = connection) {
  const error = await rejection(channel(on).then(call));
  assert.match(error.message, pattern);
  await (await channel(on)).close(); // the connection survived
}

const checks = {
  async declare() {
    const ch = await channel();
    const named = unique('named');
    assert.deepEqual(await ch.queueDeclare(named), { name: named, messageCount: 0, consumerCount: 0 });
    assert.equal((await ch.queueDeclare(named, { passive: true })).name, named);
    assert.equal((await ch.queueDelete(named)).messageCount, 0);
    assert.match((await ch.queueDeclare('', { exclusive: true })).name, /^amq\.gen-/);
    const fleeting = await temporaryQueue(ch, { exclusive: false, autoDelete: true });
    await ch.basicCancel((await consume(ch, fleeting)).tag);
    await refused((other) => other.queueDeclare(fleeting, { passive: true }), /NOT_FOUND - no queue.*404|404.*NOT_FOUND - no queue/);
    await ch.close();
  },

  async 'properties and headers come back as sent'() {
    const ch = await channel();
    const queue = await temporaryQueue(ch);
    const properties = {
      contentType: 'application/json', contentEncoding: 'utf-8', deliveryMode: 2, priority: 7,
      correlationId: 'correlation', replyTo: 'reply', expiration: '60000', messageId: 'id',
      timestamp: new Date(1700000000000), type: 'type', userId: 'guest', appId: 'app',
      headers: {
        string: 'žluťoučký', empty: '', bytes: new Uint8Array([0, 1, 255]), yes: true, no: false, nothing: null,
        negative: -5, large: 2 ** 40, long: -9007199254740991, float: 0.5, double: 2 ** 33 + 0.25,
        when: new Date(1700000001000), table: { nested: { deeper: 'x' } }, array: [1, 'two', [3], { four: 4 }],
      },
    };
    await ch.basicPublish('', queue, '{}', properties);
    const message = await (await consume(ch, queue)).next();
    const { headers, ...plain } = properties;
    const { headers: gotHeaders, ...gotPlain } = message.properties;
    assert.deepEqual(gotPlain, plain);
    assert.deepEqual({ ...gotHeaders, bytes: [...gotHeaders.bytes] }, { ...headers, bytes: [0, 1, 255] });
    assert.deepEqual([message.exchange, message.routingKey, message.redelivered], ['', queue, false]);
    await ch.close();
  },

  async 'ack, nack and reject'() {
    const ch = await channel();
    const queue = await temporaryQueue(ch);
    await sendAll(ch, queue, ['a', 'b', 'c', 'd', 'e']);
    const inbox = await consume(ch, queue);
    const [a, b, , , e] = await inbox.take(5);
    await ch.basicCancel(inbox.tag);
    await a.ack();
    await b.reject(false);
    await e.nack(true, true); // c, d and e go back
    await ready(ch, queue, 3);
    const again = await (await consume(ch, queue)).take(3);
    assert.deepEqual(again.map(text), ['c', 'd', 'e']);
    assert.ok(again.every((m) => m.redelivered));
    await again[2].ack(true);
    assert.equal(await countOf(ch, queue), 0);
    await ch.close();
  },

  async 'recover puts unacknowledged messages back'() {
    const ch = await channel();
    const queue = await temporaryQueue(ch);
    await sendAll(ch, queue, ['1', '2']);
    const inbox = await consume(ch, queue);
    await inbox.take(2);
    await ch.basicRecover(true);
    const again = await inbox.take(2);
    assert.deepEqual(again.map((m) => [text(m), m.redelivered]), [['1', true], ['2', true]]);
    await ch.close();
  },

  async 'prefetch 1 is fair dispatch'() {
    const ch = await channel();
    const queue = await temporaryQueue(ch);
    await ch.prefetch(1);
    const [slow, quick] = [await consume(ch, queue), await consume(ch, queue)];
    await sendAll(ch, queue, ['1', '2', '3', '4']);
    await slow.next(); // never acknowledged
    for (const body of ['2', '3', '4']) {
      const message = await quick.next();
      assert.equal(text(message), body);
      await message.ack();
    }
    assert.equal(slow.length, 0);
    await ch.close();
  },

  async 'global prefetch counts the channel'() {
    const ch = await channel();
    const queue = await temporaryQueue(ch);
    await ch.basicQos(3, 0, true);
    const both = new Inbox();
    await ch.basicConsume(queue, { noAck: false }, both.push);
    await ch.basicConsume(queue, { noAck: false }, both.push);
    await sendAll(ch, queue, ['1', '2', '3', '4', '5']);
    const first = await both.take(3);
    await ready(ch, queue, 2);
    assert.equal(both.length, 0);
    for (const message of first) await message.ack();
    await both.take(2);
    await ch.close();
  },

  async confirms() {
    const ch = await channel();
    const queue = await temporaryQueue(ch);
    await ch.confirmSelect();
    assert.equal(await ch.basicPublish('', queue, 'one'), 1);
    const tags = await Promise.all(Array.from({ length: 1000 }, (_, i) => ch.basicPublish('', queue, `${i}`)));
    assert.deepEqual(tags, Array.from({ length: 1000 }, (_, i) => i + 2));
    assert.equal(await countOf(ch, queue), 1001);
    await ch.close();
  },

  async 'mandatory returns come before the ack'() {
    const ch = await channel();
    const events = [];
    ch.onReturn = (message) => events.push([message.replyCode, message.replyText, text(message)]);
    await ch.confirmSelect();
    await ch.basicPublish('amq.direct', unique('nowhere'), 'x', {}, true);
    assert.deepEqual(events, [[312, 'NO_ROUTE', 'x']]);
    await ch.close();
  },

  async transactions() {
    const ch = await channel();
    const watcher = await channel();
    const queue = await temporaryQueue(ch);
    await ch.txSelect();
    await sendAll(ch, queue, ['lost']);
    await ch.txRollback();
    await sendAll(ch, queue, ['kept']);
    assert.equal(await countOf(watcher, queue), 0);
    await ch.txCommit();
    assert.equal(text(await ch.basicGet(queue, { noAck: true })), 'kept');
    assert.equal(await ch.basicGet(queue), null);
    await ch.close();
    await watcher.close();
  },

  async '404, 405 and 406 close only the channel'() {
    const none = unique('none');
    const ch = await channel();
    await refused((other) => other.basicConsume(none, {}, () => {}), /NOT_FOUND - no queue '.*' in vhost '\/'.*\(404\)/);
    await refused((other) => other.exchangeDeclare(none, 'direct', { passive: true }), /NOT_FOUND - no exchange '.*' in vhost '\/'/);
    await refused((other) => other.exchangeDeclare('amq.direct', 'fanout'),
      /PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'amq.direct' in vhost '\/': received 'fanout' but current is 'direct'/);
    const queue = await temporaryQueue(ch);
    const second = await connect();
    await refused((other) => other.queueDeclare(queue, { durable: false }),
      /RESOURCE_LOCKED - cannot obtain exclusive access to locked queue/, second);
    await second.close();
    await ch.close();
  },

  async 'exchange types route'() {
    const ch = await channel();
    const exchange = async (type) => {
      const name = unique(type);
      await ch.exchangeDeclare(name, type, { durable: false, autoDelete: true });
      return name;
    };
    const bound = async (source, key, args) => {
      const queue = await temporaryQueue(ch);
      await ch.queueBind(queue, source, key, args);
      return queue;
    };
    const arrives = async (queue, wanted) => assert.equal((await ch.basicGet(queue)) !== null, wanted);

    const direct = await exchange('direct');
    const [one, two] = [await bound(direct, 'one'), await bound(direct, 'two')];
    await ch.basicPublish(direct, 'one', '');
    await arrives(one, true);
    await arrives(two, false);

    const fanout = await exchange('fanout');
    const [left, right] = [await bound(fanout, ''), await bound(fanout, 'ignored')];
    await ch.basicPublish(fanout, 'any', '');
    await arrives(left, true);
    await arrives(right, true);

    const topic = await exchange('topic');
    const [star, hash] = [await bound(topic, '*.b'), await bound(topic, '#.b')];
    await ch.basicPublish(topic, 'x.a.b', '');
    await arrives(star, false);
    await arrives(hash, true);

    const headers = await exchange('headers');
    const [all, any] = [await bound(headers, '', { 'x-match': 'all', a: 'x', b: 1 }), await bound(headers, '', { 'x-match': 'any', a: 'x', b: 1 })];
    await ch.basicPublish(headers, '', '', { headers: { a: 'x' } });
    await arrives(all, false);
    await arrives(any, true);

    const source = await exchange('fanout');
    await ch.queueBind(left, source, ''); // keeps the auto-delete exchange after the unbind below
    await ch.exchangeBind(direct, source, '');
    await ch.basicPublish(source, 'two', '');
    await arrives(two, true);
    await ch.exchangeUnbind(direct, source, '');
    await ch.basicPublish(source, 'two', '');
    await arrives(two, false);
    await ch.close();
  },

  async 'consumers hear of a deleted queue'() {
    const ch = await channel();
    const queue = await temporaryQueue(ch);
    const { consumer } = await consume(ch, queue);
    const ended = rejection(consumer.wait());
    await ch.queueDelete(queue);
    assert.match((await within(ended, 'the cancel')).message, /Consumer cancelled by the server/);
    await ch.close();
  },

  async 'get, and get from an empty queue'() {
    const ch = await channel();
    const queue = await temporaryQueue(ch);
    assert.equal(await ch.basicGet(queue), null);
    await sendAll(ch, queue, ['x', 'y']);
    const message = await ch.basicGet(queue, { noAck: false });
    assert.deepEqual([text(message), message.messageCount], ['x', 1]);
    await message.nack(true);
    const again = await ch.basicGet(queue, { noAck: false });
    assert.deepEqual([text(again), again.redelivered], ['x', true]);
    assert.equal((await ch.queuePurge(queue)).messageCount, 1);
    await ch.close();
  },

  async 'direct reply-to'() {
    const [client, server] = [await channel(), await channel()];
    const queue = await temporaryQueue(server);
    await server.basicConsume(queue, { noAck: true }, ({ body, properties: { replyTo, correlationId } }) =>
      server.basicPublish('', replyTo, body, { correlationId }));
    const replies = await consume(client, 'amq.rabbitmq.reply-to', { noAck: true });
    await client.basicPublish('', queue, 'hare', { replyTo: 'amq.rabbitmq.reply-to', correlationId: '42' });
    const reply = await replies.next();
    assert.deepEqual([text(reply), reply.properties.correlationId], ['hare', '42']);
    await client.close();
    await server.close();
  },

  async 'bodies of 1 MiB and of nothing'() {
    const ch = await channel();
    const queue = await temporaryQueue(ch);
    const big = Buffer.alloc(1024 * 1024, 'leveret');
    await ch.basicPublish('', queue, big);
    await ch.basicPublish('', queue, null);
    const [first, second] = await (await consume(ch, queue, { noAck: true })).take(2);
    assert.ok(big.equals(first.body));
    assert.equal(second.bodySize, 0);
    await ch.close();
  },

  async 'heartbeats keep an idle connection alive'() {
    const idle = await connect({ query: '?heartbeat=1' });
    assert.equal(idle.heartbeat, 1);
    await new Promise((resume) => setTimeout(resume, 3500)); // three intervals: the time itself is under test
    assert.equal(idle.closed, false);
    await (await idle.channel()).close();
    await idle.close();
  },

  async 'a session recovers after the socket is cut'() {
    const relay = await cuttableRelay();
    const session = await AMQPSession.connect(url({ at: relay.port }), { reconnectInterval: 20, logger: null });
    const name = unique('recovered');
    const queue = await session.queue(name, { durable: false });
    const inbox = new Inbox();
    await queue.subscribe({ noAck: true }, inbox.push);
    const ch = await channel();
    const consumers = async () => (await ch.queueDeclare(name, { passive: true })).consumerCount;
    relay.cut();
    await eventually('the consumer gone', async () => (await consumers()) === 0);
    await eventually('the consumer back', async () => (await consumers()) === 1);
    await ch.basicPublish('', name, 'after');
    assert.equal(Buffer.from((await inbox.next()).body).toString(), 'after');
    await queue.delete();
    await session.stop();
    await ch.close();
    relay.close();
  },

  async 'a wrong password and an unknown vhost are refused'() {
    assert.match((await rejection(connect({ password: 'wrong' }))).message,
      /ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN/);
    assert.match((await rejection(connect({ vhost: 'nowhere' }))).message, /NOT_ALLOWED - vhost nowhere not found/);
  },

  async 'close and connect again'() {
    for (let round = 0; round < 2; round += 1) {
      const client = await connect();
      await (await client.channel()).close();
      await client.close();
    }
  },
};

await runSuite('cloudamqp-amqp-client', versionOf('@cloudamqp/amqp-client'), checks);
