<?php

// The common checklist through php-amqplib.

declare(strict_types=1);

require __DIR__ . '/harness.php';

use PhpAmqpLib\Channel\AMQPChannel;
use PhpAmqpLib\Connection\AMQPStreamConnection;
use PhpAmqpLib\Exception\AMQPBasicCancelException;
use PhpAmqpLib\Exception\AMQPConnectionClosedException;
use PhpAmqpLib\Exception\AMQPProtocolChannelException;
use PhpAmqpLib\Message\AMQPMessage;
use PhpAmqpLib\Wire\AMQPTable;

$checks = [
    'declare' => function (AMQPChannel $ch, AMQPStreamConnection $connection) {
        $named = unique('named');
        equal([$named, 0, 0], $ch->queue_declare($named, false, true, false, false));
        equal([$named, 0, 0], $ch->queue_declare($named, true));
        $ch->queue_delete($named);
        equal(0, strpos($ch->queue_declare('', false, false, true)[0], 'amq.gen-'));
        $fleeting = $ch->queue_declare(unique('auto-delete'), false, false, false, true)[0];
        consume($ch, $fleeting, false, 'only');
        $ch->basic_cancel('only');
        refused(AMQPProtocolChannelException::class, 404, "NOT_FOUND - no queue '$fleeting' in vhost '/'",
            fn () => $connection->channel()->queue_declare($fleeting, true));
    },

    'properties and headers come back as sent' => function (AMQPChannel $ch) {
        $queue = temporaryQueue($ch);
        $properties = [
            'content_type' => 'application/json', 'content_encoding' => 'utf-8', 'delivery_mode' => 2, 'priority' => 7,
            'correlation_id' => 'correlation', 'reply_to' => 'reply', 'expiration' => '60000', 'message_id' => 'id',
            'timestamp' => 1700000000, 'type' => 'type', 'user_id' => 'guest', 'app_id' => 'app',
        ];
        $headers = [
            'string' => 'žluťoučký', 'empty' => '', 'yes' => true, 'no' => false, 'nothing' => null, 'small' => -5,
            'large' => -9007199254740991, 'array' => [1, 'two', [3]], 'table' => ['nested' => ['deeper' => 'x']],
        ];
        $ch->basic_publish(new AMQPMessage('{}', $properties + ['application_headers' => new AMQPTable($headers)]), '', $queue);
        $message = $ch->basic_get($queue, true);
        $got = $message->get_properties();
        $gotHeaders = $got['application_headers']->getNativeData();
        unset($got['application_headers']);
        ksort($properties);
        ksort($got);
        equal($properties, $got);
        ksort($headers);
        ksort($gotHeaders);
        equal($headers, $gotHeaders);
        equal(['', $queue, false], [$message->getExchange(), $message->getRoutingKey(), $message->isRedelivered()]);
    },

    'ack, nack and reject' => function (AMQPChannel $ch) {
        $queue = temporaryQueue($ch);
        send($ch, $queue, 'a', 'b', 'c', 'd', 'e');
        $first = take($ch, consume($ch, $queue, false, 'first'), 5);
        equal([1, 2, 3, 4, 5], array_map(fn ($message) => $message->getDeliveryTag(), $first));
        $ch->basic_cancel('first');
        $ch->basic_ack(1);
        $ch->basic_reject(2, false);
        $ch->basic_nack(5, true, true); // c, d and e go back
        eventually('requeued', fn () => countOf($ch, $queue) === 3);
        $again = take($ch, consume($ch, $queue), 3);
        equal(['c', 'd', 'e'], bodies($again));
        equal([true, true, true], array_map(fn ($message) => $message->isRedelivered(), $again));
        $again[2]->ack(true);
        equal(0, countOf($ch, $queue));
    },

    'a closed channel puts its messages back in order' => function (AMQPChannel $ch, AMQPStreamConnection $connection) {
        $queue = temporaryQueue($ch);
        $reader = $connection->channel();
        send($ch, $queue, '1', '2', '3');
        take($reader, consume($reader, $queue), 3);
        $reader->close();
        $again = take($ch, consume($ch, $queue), 3);
        equal(['1', '2', '3'], bodies($again));
        equal(true, $again[0]->isRedelivered());
    },

    'prefetch 1 is fair dispatch' => function (AMQPChannel $ch) {
        $queue = temporaryQueue($ch);
        $ch->basic_qos(0, 1, false);
        [$slow, $quick] = [consume($ch, $queue), consume($ch, $queue)];
        send($ch, $queue, '1', '2', '3', '4');
        take($ch, $slow, 1); // never acknowledged
        foreach (['2', '3', '4'] as $i => $body) {
            $message = take($ch, $quick, $i + 1)[$i];
            equal($body, $message->getBody());
            $message->ack();
        }
        equal(1, count($slow));
    },

    'global prefetch counts the channel' => function (AMQPChannel $ch) {
        $queue = temporaryQueue($ch);
        $ch->basic_qos(0, 3, true);
        consume($ch, $queue);
        consume($ch, $queue);
        send($ch, $queue, '1', '2', '3', '4', '5');
        eventually('three are out', fn () => countOf($ch, $queue) === 2);
        $ch->basic_ack(3, true);
        eventually('all are out', fn () => countOf($ch, $queue) === 0);
    },

    'confirms' => function (AMQPChannel $ch) {
        $queue = temporaryQueue($ch);
        $ch->confirm_select();
        $acks = 0;
        $ch->set_ack_handler(function () use (&$acks) {
            $acks++;
        });
        send($ch, $queue, 'one');
        $ch->wait_for_pending_acks(PATIENCE_S);
        equal(1, $acks);
        send($ch, $queue, ...array_fill(0, 1000, 'x'));
        $ch->wait_for_pending_acks(PATIENCE_S);
        equal([1001, 1001], [$acks, countOf($ch, $queue)]);
    },

    'mandatory returns come before the ack' => function (AMQPChannel $ch) {
        $events = [];
        $ch->confirm_select();
        $ch->set_return_listener(function ($code, $text) use (&$events) {
            $events[] = "$code $text";
        });
        $ch->set_ack_handler(function () use (&$events) {
            $events[] = 'ack';
        });
        $ch->basic_publish(new AMQPMessage('x'), 'amq.direct', unique('nowhere'), true);
        $ch->wait_for_pending_acks_returns(PATIENCE_S);
        equal(['312 NO_ROUTE', 'ack'], $events);
    },

    'transactions' => function (AMQPChannel $ch, AMQPStreamConnection $connection) {
        $queue = temporaryQueue($ch);
        $watcher = $connection->channel();
        $ch->tx_select();
        send($ch, $queue, 'lost');
        $ch->tx_rollback();
        send($ch, $queue, 'kept');
        equal(0, countOf($watcher, $queue));
        $ch->tx_commit();
        equal('kept', $watcher->basic_get($queue, true)->getBody());
        equal(null, $watcher->basic_get($queue, true));
    },

    '404, 405 and 406 close only the channel' => function (AMQPChannel $ch, AMQPStreamConnection $connection) {
        $kind = AMQPProtocolChannelException::class;
        $missing = unique('missing');
        refused($kind, 404, "NOT_FOUND - no exchange '$missing' in vhost '/'",
            fn () => $connection->channel()->exchange_declare($missing, 'direct', true));
        refused($kind, 406, "PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'amq.direct' in vhost '/': "
            . "received 'fanout' but current is 'direct'",
            fn () => $connection->channel()->exchange_declare('amq.direct', 'fanout', false, true, false));
        $queue = temporaryQueue($ch);
        $second = connect();
        refused($kind, 405, "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '$queue' in vhost '/'",
            fn () => $second->channel()->queue_declare($queue, true));
        $second->channel()->close(); // both connections outlived their channels
        $connection->channel()->close();
        $second->close();
    },

    'exchange types route' => function (AMQPChannel $ch) {
        $exchange = function (string $type) use ($ch) {
            $name = unique($type);
            $ch->exchange_declare($name, $type, false, false, true);
            return $name;
        };
        $bound = function (string $source, string $key, array $arguments = []) use ($ch) {
            $queue = temporaryQueue($ch);
            $ch->queue_bind($queue, $source, $key, false, new AMQPTable($arguments));
            return $queue;
        };
        $arrives = fn (string $queue, bool $wanted) => equal($wanted, $ch->basic_get($queue, true) !== null);
        $publish = fn (string $to, string $key, array $headers = []) =>
            $ch->basic_publish(new AMQPMessage('x', ['application_headers' => new AMQPTable($headers)]), $to, $key);

        $direct = $exchange('direct');
        [$one, $two] = [$bound($direct, 'one'), $bound($direct, 'two')];
        $publish($direct, 'one');
        $arrives($one, true);
        $arrives($two, false);
        $ch->queue_unbind($one, $direct, 'one');
        $publish($direct, 'one');
        $arrives($one, false);

        $fanout = $exchange('fanout');
        [$left, $right] = [$bound($fanout, ''), $bound($fanout, 'ignored')];
        $publish($fanout, 'any');
        $arrives($left, true);
        $arrives($right, true);

        $topic = $exchange('topic');
        [$star, $hash] = [$bound($topic, 'a.*.c'), $bound($topic, 'a.#')];
        array_map(fn ($key) => $publish($topic, $key), ['a.b.c', 'a', 'b']);
        // A count may overtake the publishes before it, so it is asked for until it is right.
        eventually('routed', fn () => [countOf($ch, $star), countOf($ch, $hash)] === [1, 2]);

        $headers = $exchange('headers');
        $all = $bound($headers, '', ['x-match' => 'all', 'colour' => 'red', 'size' => 3]);
        $any = $bound($headers, '', ['x-match' => 'any', 'colour' => 'red', 'size' => 3]);
        $publish($headers, '', ['size' => 3]);
        $arrives($all, false);
        $arrives($any, true);

        $source = $exchange('fanout');
        $ch->exchange_bind($direct, $source);
        $publish($source, 'two');
        $arrives($two, true);
        $ch->exchange_unbind($direct, $source);
    },

    'consumers hear of a deleted queue' => function (AMQPChannel $ch, AMQPStreamConnection $connection) {
        $queue = temporaryQueue($ch);
        consume($ch, $queue, false, 'told');
        $connection->channel()->queue_delete($queue);
        try {
            $ch->wait(null, false, PATIENCE_S);
        } catch (AMQPBasicCancelException $cancel) {
            equal('told', $cancel->consumerTag);
            return;
        }
        throw new RuntimeException('the consumer heard nothing');
    },

    'get, and get from an empty queue' => function (AMQPChannel $ch) {
        $queue = temporaryQueue($ch);
        equal(null, $ch->basic_get($queue));
        send($ch, $queue, 'x', 'y');
        $message = $ch->basic_get($queue);
        equal(['x', 1], [$message->getBody(), $message->getMessageCount()]);
        $message->nack(true);
        $again = $ch->basic_get($queue);
        equal(['x', true], [$again->getBody(), $again->isRedelivered()]);
        equal(1, $ch->queue_purge($queue));
    },

    'direct reply-to' => function (AMQPChannel $client, AMQPStreamConnection $connection) {
        $server = $connection->channel();
        $queue = temporaryQueue($server);
        $replies = consume($client, 'amq.rabbitmq.reply-to', true);
        $request = new AMQPMessage('hare', ['reply_to' => 'amq.rabbitmq.reply-to', 'correlation_id' => '42']);
        $client->basic_publish($request, '', $queue);
        $came = take($server, consume($server, $queue, true), 1)[0];
        $reply = new AMQPMessage('leveret', ['correlation_id' => $came->get('correlation_id')]);
        $server->basic_publish($reply, '', $came->get('reply_to'));
        $answer = take($client, $replies, 1)[0];
        equal(['leveret', '42'], [$answer->getBody(), $answer->get('correlation_id')]);
    },

    'bodies of 1 MiB and of nothing' => function (AMQPChannel $ch) {
        $queue = temporaryQueue($ch);
        $big = random_bytes(1024 * 1024);
        send($ch, $queue, $big, '');
        equal(true, $big === $ch->basic_get($queue, true)->getBody());
        equal('', $ch->basic_get($queue, true)->getBody());
    },

    'heartbeats keep an idle connection alive' => function () {
        $idle = connect('guest', '/', 2);
        // Three intervals: the time itself is under test. The client sends heartbeats when it is asked to look.
        for ($end = microtime(true) + 6.5; microtime(true) < $end; usleep(200000)) {
            $idle->checkHeartBeat();
        }
        equal(true, $idle->isConnected());
        $idle->channel()->close();
        $idle->close();
    },

    'close and reconnect' => function (AMQPChannel $ch, AMQPStreamConnection $connection) {
        $connection->reconnect();
        $connection->channel()->close();
        $connection->close();
        equal(false, $connection->isConnected());
    },

    'a wrong password and an unknown vhost are refused' => function () {
        refused(AMQPConnectionClosedException::class, 403, 'ACCESS_REFUSED - Login was refused using authentication mechanism AMQPLAIN',
            fn () => connect('wrong'));
        refused(AMQPConnectionClosedException::class, 530, 'NOT_ALLOWED - vhost nowhere not found',
            fn () => connect('guest', 'nowhere'));
    },
];

runChecks('php-amqplib', $checks);
