// The common checklist through amqplib (npm).

import assert from 'node:assert/strict';
import amqp from 'amqplib';
import { Inbox, cuttableRelay, eventually, rejection, runSuite, unique, url, versionOf, within } from './harness.mjs';

const connection = await amqp.connect(url());

async function channel({ confirm = false, on = connection } = {}) {
  const opened = confirm ? await on.createConfirmChannel() : await on.createChannel();
  // A closed channel also emits 'error'; each check looks at the rejected call instead.
  opened.lastError = new Promise((resolve) => opened.on('error', resolve));
  return opened;
}

async function temporaryQueue(ch, options = {}) {
  const { queue } = await ch.assertQueue(unique('q'), { exclusive: true, durable: false, ...options });
  return queue;
}

async function consume(ch, queue, options = {}) {
  const inbox = new Inbox();
  const { consumerTag } = await ch.consume(queue, inbox.push, options);
  return Object.assign(inbox, { consumerTag });
}

const text = (message) => message.content.toString();
const sendAll = (ch, queue, bodies) => bodies.forEach((body) => ch.sendToQueue(queue, Buffer.from(body)));
const ready = async (ch, queue, count) =>
  eventually(`${count} ready`, async () => (await ch.checkQueue(queue)).messageCount === count);

async function refused(call, code, pattern) {
  const ch = await channel();
  const error = await rejection(call(ch));
  assert.equal(error.code ?? (await ch.lastError).code, code);
  assert.match(error.message, pattern);
  await (await channel()).close(); // the connection survived
}

const checks = {
  async declare() {
    const ch = await channel();
    const named = unique('named');
    assert.deepEqual(await ch.assertQueue(named), { queue: named, messageCount: 0, consumerCount: 0 });
    assert.deepEqual(await ch.assertQueue(named), { queue: named, messageCount: 0, consumerCount: 0 });
    assert.equal((await ch.checkQueue(named)).queue, named);
    assert.deepEqual(await ch.deleteQueue(named), { messageCount: 0 });
    const { queue } = await ch.assertQueue('', { exclusive: true });
    assert.match(queue, /^amq\.gen-/);
    // The empty name means the last queue declared on the channel.
    await ch.bindQueue('', 'amq.direct', unique('key'));
    const fleeting = await temporaryQueue(ch, { exclusive: false, autoDelete: true });
    await ch.cancel((await consume(ch, fleeting)).consumerTag);
    await ch.close();
    await refused((other) => other.checkQueue(fleeting), 404, /NOT_FOUND - no queue/);
  },

  async 'properties and headers come back as sent'() {
    const ch = await channel();
    const queue = await temporaryQueue(ch);
    const properties = {
      contentType: 'application/json', contentEncoding: 'utf-8', deliveryMode: 2, priority: 7,
      correlationId: 'correlation', replyTo: 'reply', expiration: '60000', messageId: 'id',
      timestamp: 1700000000, type: 'type', userId: 'guest', appId: 'app',
    };
    const headers = {
      string: 'žluťoučký', empty: '', bytes: Buffer.from([0, 1, 255]), yes: true, no: false, nothing: null,
      int8: -5, int16: -30000, int32: 2000000000, int64: -9007199254740991, double: 3.25,
      array: [1, 'two', [3], { four: 4 }], table: { nested: { deeper: ['x'] } },
      byte: { '!': 'byte', value: -128 }, short: { '!': 'short', value: 12 }, float: { '!': 'float', value: 0.5 },
      when: { '!': 'timestamp', value: 1700000001 }, money: { '!': 'decimal', value: { digits: 12345, places: 2 } },
    };
    ch.sendToQueue(queue, Buffer.from('{}'), { ...properties, headers });
    const message = await (await consume(ch, queue)).next();
    for (const [name, value] of Object.entries(properties)) assert.equal(message.properties[name], value, name);
    assert.deepEqual(message.properties.headers, {
      ...headers,
      byte: -128, short: 12, float: 0.5,
      when: { '!': 'timestamp', value: 1700000001 }, money: { '!': 'decimal', value: { digits: 12345, places: 2 } },
    });
    assert.equal(message.fields.exchange, '');
    assert.equal(message.fields.routingKey, queue);
    assert.equal(message.fields.redelivered, false);
    await ch.close();
  },

  async 'ack, nack and reject'() {
    const ch = await channel();
    const queue = await temporaryQueue(ch);
    sendAll(ch, queue, ['a', 'b', 'c', 'd', 'e']);
    const inbox = await consume(ch, queue);
    const [a, b, c, d, e] = await inbox.take(5);
    assert.deepEqual([a, b, c, d, e].map((m) => m.fields.deliveryTag), [1, 2, 3, 4, 5]);
    await ch.cancel(inbox.consumerTag);
    ch.ack(a);
    ch.reject(b, false);
    ch.nack(e, true, true); // c, d and e go back
    await ready(ch, queue, 3);
    const again = await (await consume(ch, queue)).take(3);
    assert.deepEqual(again.map(text), ['c', 'd', 'e']);
    assert.ok(again.every((m) => m.fields.redelivered));
    ch.ack(again[2], true);
    assert.equal((await ch.checkQueue(queue)).messageCount, 0);
    await ch.close();
  },

  async 'a closed channel puts its messages back in order'() {
    const ch = await channel();
    const queue = await temporaryQueue(ch);
    const reader = await channel();
    sendAll(ch, queue, ['1', '2', '3']);
    await (await consume(reader, queue)).take(3);
    await reader.close();
    const again = await (await consume(ch, queue)).take(3);
    assert.deepEqual(again.map(text), ['1', '2', '3']);
    assert.ok(again.every((m) => m.fields.redelivered));
    await ch.close();
  },

  async 'prefetch 1 is fair dispatch'() {
    const ch = await channel();
    const queue = await temporaryQueue(ch);
    await ch.prefetch(1);
    const [slow, quick] = [await consume(ch, queue), await consume(ch, queue)];
    sendAll(ch, queue, ['1', '2', '3', '4']);
    await slow.next(); // never acknowledged
    for (const body of ['2', '3', '4']) {
      const message = await quick.next();
      assert.equal(text(message), body);
      ch.ack(message);
    }
    assert.equal(slow.length, 0);
    await ch.close();
  },

  async 'global prefetch counts the channel'() {
    const ch = await channel();
    const queue = await temporaryQueue(ch);
    await ch.prefetch(3, true);
    const both = new Inbox();
    await ch.consume(queue, both.push);
    await ch.consume(queue, both.push);
    sendAll(ch, queue, ['1', '2', '3', '4', '5']);
    const first = await both.take(3);
    await ready(ch, queue, 2);
    assert.equal(both.length, 0);
    first.forEach((m) => ch.ack(m));
    await both.take(2);
    await ch.close();
  },

  async confirms() {
    const ch = await channel({ confirm: true });
    const queue = await temporaryQueue(ch);
    await new Promise((resolve, reject) =>
      ch.sendToQueue(queue, Buffer.from('one'), {}, (error) => (error ? reject(error) : resolve())));
    for (let i = 0; i < 1000; i += 1) ch.sendToQueue(queue, Buffer.from(`${i}`));
    await ch.waitForConfirms();
    assert.equal((await ch.checkQueue(queue)).messageCount, 1001);
    await ch.close();
  },

  async 'mandatory returns come before the ack'() {
    const ch = await channel({ confirm: true });
    const events = [];
    ch.on('return', (message) => events.push(['return', message.fields.replyCode, message.fields.replyText]));
    await new Promise((resolve) =>
      ch.publish('amq.direct', unique('nowhere'), Buffer.from('x'), { mandatory: true }, (error) => {
        events.push(['ack', error]);
        resolve();
      }));
    assert.deepEqual(events, [['return', 312, 'NO_ROUTE'], ['ack', null]]);
    await ch.close();
  },

  async '404, 405 and 406 close only the channel'() {
    const none = unique('none');
    await refused((ch) => ch.checkQueue(none), 404, new RegExp(`NOT_FOUND - no queue '${none}' in vhost '/'`));
    await refused((ch) => ch.checkExchange(none), 404, new RegExp(`NOT_FOUND - no exchange '${none}' in vhost '/'`));
    const ch = await channel();
    const queue = await temporaryQueue(ch);
    const shared = await temporaryQueue(ch, { exclusive: false, autoDelete: true });
    await refused((other) => other.assertQueue(shared, { autoDelete: true, durable: true }), 406,
      /PRECONDITION_FAILED - inequivalent arg 'durable' for queue '.*' in vhost '\/': received 'true' but current is 'false'/);
    await refused((other) => other.assertExchange('amq.direct', 'fanout'), 406,
      /inequivalent arg 'type' for exchange 'amq.direct' in vhost '\/': received 'fanout' but current is 'direct'/);
    const second = await amqp.connect(url());
    const locked = await rejection((await channel({ on: second })).assertQueue(queue, { durable: false }));
    assert.equal(locked.code, 405);
    assert.match(locked.message, /RESOURCE_LOCKED - cannot obtain exclusive access to locked queue/);
    await second.close();
    await ch.deleteQueue(shared);
    await ch.close();
  },

  async 'an unknown delivery tag closes with 406'() {
    const ch = await channel();
    ch.ack({ fields: { deliveryTag: 99 } });
    const error = await within(ch.lastError, 'the close');
    assert.equal(error.code, 406);
    assert.match(error.message, /PRECONDITION_FAILED - unknown delivery tag 99/);
  },

  async 'exchange types route'() {
    const ch = await channel();
    const exchange = async (type) => (await ch.assertExchange(unique(type), type, { autoDelete: true })).exchange;
    const bound = async (source, key, args) => {
      const queue = await temporaryQueue(ch);
      await ch.bindQueue(queue, source, key, args);
      return { queue, get: () => ch.get(queue, { noAck: true }) };
    };
    const arrives = async (target, wanted) => assert.equal(Boolean(await target.get()), wanted);

    const direct = await exchange('direct');
    const [one, two] = [await bound(direct, 'one'), await bound(direct, 'two')];
    ch.publish(direct, 'one', Buffer.from(''));
    await arrives(one, true);
    await arrives(two, false);
    await ch.unbindQueue(one.queue, direct, 'one');
    ch.publish(direct, 'one', Buffer.from(''));
    await arrives(one, false);

    const fanout = await exchange('fanout');
    const [left, right] = [await bound(fanout, ''), await bound(fanout, 'ignored')];
    ch.publish(fanout, 'any', Buffer.from(''));
    await arrives(left, true);
    await arrives(right, true);

    const topic = await exchange('topic');
    const [star, hash] = [await bound(topic, 'a.*.c'), await bound(topic, 'a.#')];
    for (const key of ['a.b.c', 'a']) ch.publish(topic, key, Buffer.from(key));
    assert.equal(text(await star.get()), 'a.b.c');
    await arrives(star, false);
    assert.deepEqual([text(await hash.get()), text(await hash.get())], ['a.b.c', 'a']);

    const headers = await exchange('headers');
    const all = await bound(headers, '', { 'x-match': 'all', colour: 'red', size: 3 });
    const any = await bound(headers, '', { 'x-match': 'any', colour: 'red', size: 3 });
    ch.publish(headers, '', Buffer.from(''), { headers: { colour: 'red', size: 4 } });
    await arrives(all, false);
    await arrives(any, true);
    ch.publish(headers, '', Buffer.from(''), { headers: { colour: 'red', size: 3, more: 1 } });
    await arrives(all, true);

    const source = await exchange('fanout');
    await ch.bindExchange(direct, source, '');
    ch.publish(source, 'two', Buffer.from(''));
    await arrives(two, true);
    await ch.unbindExchange(direct, source, '');
    await ch.close();
  },

  async 'consumers hear of a deleted queue'() {
    const ch = await channel();
    const queue = await temporaryQueue(ch);
    const inbox = await consume(ch, queue);
    await ch.deleteQueue(queue);
    assert.equal(await inbox.next(), null); // amqplib's way to say basic.cancel
    await ch.close();
  },

  async 'get, and get from an empty queue'() {
    const ch = await channel();
    const queue = await temporaryQueue(ch);
    assert.equal(await ch.get(queue), false);
    sendAll(ch, queue, ['x', 'y']);
    const message = await ch.get(queue);
    assert.equal(text(message), 'x');
    assert.equal(message.fields.messageCount, 1);
    ch.nack(message);
    const again = await ch.get(queue);
    assert.deepEqual([text(again), again.fields.redelivered], ['x', true]);
    assert.deepEqual(await ch.purgeQueue(queue), { messageCount: 1 });
    await ch.close();
  },

  async 'direct reply-to'() {
    const [client, server] = [await channel(), await channel()];
    const queue = await temporaryQueue(server);
    await server.consume(queue, (request) => {
      const { replyTo, correlationId } = request.properties;
      server.publish('', replyTo, Buffer.from(text(request).toUpperCase()), { correlationId });
    }, { noAck: true });
    const replies = await consume(client, 'amq.rabbitmq.reply-to', { noAck: true });
    client.sendToQueue(queue, Buffer.from('hare'), { replyTo: 'amq.rabbitmq.reply-to', correlationId: '42' });
    const reply = await replies.next();
    assert.deepEqual([text(reply), reply.properties.correlationId], ['HARE', '42']);
    await client.close();
    await server.close();
  },

  async 'bodies of 1 MiB and of nothing'() {
    const ch = await channel();
    const queue = await temporaryQueue(ch);
    const big = Buffer.alloc(1024 * 1024, 'leveret');
    ch.sendToQueue(queue, big);
    ch.sendToQueue(queue, Buffer.alloc(0));
    const [first, second] = await (await consume(ch, queue, { noAck: true })).take(2);
    assert.ok(first.content.equals(big));
    assert.equal(second.content.length, 0);
    await ch.close();
  },

  async 'heartbeats keep an idle connection alive'() {
    const idle = await amqp.connect(url({ query: '?heartbeat=1' }));
    let ended;
    idle.on('error', (error) => (ended = error));
    await new Promise((resume) => setTimeout(resume, 3500)); // three intervals: the time itself is under test
    assert.equal(ended, undefined);
    await (await idle.createChannel()).close();
    await idle.close();
  },

  async 'recovery after the socket is cut'() {
    const relay = await cuttableRelay();
    const queue = unique('recovered');
    const inbox = new Inbox();
    const recovering = await amqp.connect(url({ at: relay.port }), {
      recovery: {
        initialDelay: 10,
        maxDelay: 100,
        async setup(model) {
          const ch = await model.createChannel();
          await ch.assertQueue(queue, { autoDelete: true, durable: false });
          await ch.consume(queue, inbox.push, { noAck: true });
        },
      },
    });
    recovering.on('error', () => {});
    const reconnected = new Promise((resolve) => recovering.once('connect', resolve));
    relay.cut();
    await reconnected;
    const ch = await channel();
    await eventually('the consumer', async () => (await ch.checkQueue(queue)).consumerCount === 1);
    ch.sendToQueue(queue, Buffer.from('after'));
    assert.equal(text(await inbox.next()), 'after');
    await recovering.close();
    await ch.close();
    relay.close();
  },

  async 'a wrong password and an unknown vhost are refused'() {
    const login = await rejection(amqp.connect(url({ password: 'wrong' })));
    assert.match(login.message, /ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN/);
    const vhost = await rejection(amqp.connect(url({ vhost: 'nowhere' })));
    // amqplib drops the reply text here and names the frame alone.
    assert.match(vhost.message, /Expected ConnectionOpenOk; got <ConnectionClose channel:0>/);
  },

  async 'close and connect again'() {
    const first = await amqp.connect(url());
    await first.close();
    const second = await amqp.connect(url());
    await (await second.createChannel()).close();
    await second.close();
  },
};

await runSuite('amqplib', versionOf('amqplib'), checks);
