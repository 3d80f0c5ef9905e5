<?php

// php-amqplib over TLS: it looks at the broker's certificate, and shows one of its own.

declare(strict_types=1);

require __DIR__ . '/harness.php';

use PhpAmqpLib\Connection\AMQPSSLConnection;
use PhpAmqpLib\Message\AMQPMessage;

function certificate(string $name): string
{
    return getenv('INTEROP_TLS') . '/' . $name;
}

function connectOverTls(string $authority, array $ssl = [], array $options = [], string $user = 'guest'): AMQPSSLConnection
{
    $host = getenv('AMQP_HOST') ?: '127.0.0.1';
    $ssl += ['cafile' => certificate($authority), 'verify_peer' => true, 'verify_peer_name' => true];
    $options += ['connection_timeout' => 3.0, 'read_write_timeout' => 6.0];
    return new AMQPSSLConnection($host, getenv('AMQPS_PORT'), $user, $user, '/', $ssl, $options);
}

function exchange(AMQPSSLConnection $connection, array $properties = []): void
{
    $channel = $connection->channel();
    $channel->confirm_select();
    $queue = temporaryQueue($channel);
    $large = random_bytes(1024 * 1024); // many records of TLS
    $channel->basic_publish(new AMQPMessage('got', $properties), '', $queue);
    $channel->wait_for_pending_acks(PATIENCE_S);
    equal('got', $channel->basic_get($queue, true)->getBody());
    $inbox = consume($channel, $queue, true);
    $channel->basic_publish(new AMQPMessage($large, $properties), '', $queue);
    $channel->wait_for_pending_acks(PATIENCE_S);
    equal(true, bodies(take($channel, $inbox, 1)) === [$large]);
    $connection->close();
}

runChecks('php-amqplib-tls', [
    'confirm, get and consume' => fn () => exchange(connectOverTls('authority.pem')),

    "a stranger's certificate is refused" => function () {
        try {
            connectOverTls('stranger.pem');
        } catch (Exception $error) {
            equal(1, preg_match('/certificate verify failed|unable to connect/i', $error->getMessage()));
            return;
        }
        throw new RuntimeException('a refusal was expected, but the connection was opened');
    },

    'external' => function () {
        $shown = ['local_cert' => certificate('client.pem'), 'local_pk' => certificate('client.key')];
        $connection = connectOverTls('authority.pem', $shown, ['login_method' => 'EXTERNAL'], '');
        exchange($connection, ['user_id' => 'guest']);
    },
]);
