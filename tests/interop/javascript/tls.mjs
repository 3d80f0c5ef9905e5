// amqplib and @cloudamqp/amqp-client over TLS: `tls.mjs amqplib`, `tls.mjs cloudamqp`. Both look at the broker's certificate.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Inbox, host, rejection, runSuite, unique, versionOf } from './harness.mjs';

const url = `amqps://guest:guest@${host}:${process.env.AMQPS_PORT}/%2f`;
const read = (name) => readFileSync(`${process.env.INTEROP_TLS}/${name}`);
const withCertificate = { cert: read('client.pem'), key: read('client.key') };
const large = randomBytes(1024 * 1024); // many records of TLS

async function amqplib() {
  const { default: amqp } = await import('amqplib');
  const connect = (authority, options = {}) => amqp.connect(url, { ca: [read(authority)], ...options });

  async function exchange(connection, properties = {}) {
    const ch = await connection.createConfirmChannel();
    const { queue } = await ch.assertQueue(unique('tls'), { exclusive: true });
    ch.sendToQueue(queue, Buffer.from('got'), properties);
    await ch.waitForConfirms();
    assert.equal((await ch.get(queue, { noAck: true })).content.toString(), 'got');
    const inbox = new Inbox();
    await ch.consume(queue, inbox.push, { noAck: true });
    ch.sendToQueue(queue, large, properties);
    await ch.waitForConfirms();
    assert.ok((await inbox.next()).content.equals(large));
    await connection.close();
  }

  await runSuite('amqplib-tls', versionOf('amqplib'), {
    async 'confirm, get and consume'() {
      await exchange(await connect('authority.pem'));
    },
    async "a stranger's certificate is refused"() {
      assert.match((await rejection(connect('stranger.pem'))).code, /UNABLE_TO_VERIFY_LEAF_SIGNATURE|SELF_SIGNED_CERT_IN_CHAIN/);
    },
    async external() {
      const options = { ...withCertificate, credentials: amqp.credentials.external() };
      await exchange(await connect('authority.pem', options), { userId: 'guest' });
    },
  });
}

async function cloudamqp() {
  const { AMQPClient } = await import('@cloudamqp/amqp-client');
  const connect = (authority, options = {}) => new AMQPClient(url, { ca: read(authority), ...options }, null).connect();

  async function exchange(connection) {
    const ch = await connection.channel();
    await ch.confirmSelect();
    const queue = (await ch.queueDeclare(unique('tls'), { exclusive: true })).name;
    await ch.basicPublish('', queue, 'got');
    assert.equal((await ch.basicGet(queue)).bodyString(), 'got');
    const inbox = new Inbox();
    await ch.basicConsume(queue, { noAck: true }, inbox.push);
    await ch.basicPublish('', queue, large);
    assert.ok(large.equals((await inbox.next()).body));
    await connection.close();
  }

  await runSuite('cloudamqp-amqp-client-tls', versionOf('@cloudamqp/amqp-client'), {
    async 'confirm, get and consume'() {
      await exchange(await connect('authority.pem'));
    },
    async "a stranger's certificate is refused"() {
      assert.match((await rejection(connect('stranger.pem'))).message, /unable to verify the first certificate|self-signed certificate in certificate chain/);
    },
    // It has no EXTERNAL; the certificate is shown all the same.
    async 'with a certificate of its own'() {
      await exchange(await connect('authority.pem', withCertificate));
    },
  });
}

await { amqplib, cloudamqp }[process.argv[2]]();
