<?php

// What the PHP suites share: connections, waiting for what must come, and the verdict.

declare(strict_types=1);

require getenv('PHP_AMQPLIB_AUTOLOAD');

use PhpAmqpLib\Channel\AMQPChannel;
use PhpAmqpLib\Connection\AMQPStreamConnection;
use PhpAmqpLib\Message\AMQPMessage;
use PhpAmqpLib\Package;

const PATIENCE_S = 5;

/** Names are unique per run, so that a run which was killed cannot disturb the next one. */
function unique(string $what): string
{
    static $names = 0;
    return sprintf('interop.php.%d.%s.%d', getmypid(), $what, ++$names);
}

function connect(string $password = 'guest', string $vhost = '/', int $heartbeat = 0): AMQPStreamConnection
{
    $host = getenv('AMQP_HOST') ?: '127.0.0.1';
    $port = getenv('AMQP_PORT') ?: '5672';
    return new AMQPStreamConnection(
        $host, $port, 'guest', $password, $vhost, false, 'AMQPLAIN', null, 'en_US', 3.0, 6.0, null, false, $heartbeat
    );
}

function equal($wanted, $got): void
{
    if ($wanted !== $got) {
        throw new RuntimeException('got ' . var_export($got, true) . ', want ' . var_export($wanted, true));
    }
}

function eventually(string $what, callable $condition): void
{
    for ($end = microtime(true) + PATIENCE_S; microtime(true) < $end; usleep(5000)) {
        if ($condition()) {
            return;
        }
    }
    throw new RuntimeException("$what: not so within " . PATIENCE_S . ' s');
}

function refused(string $kind, int $code, string $text, callable $call): void
{
    try {
        $call();
    } catch (Exception $error) {
        if (!$error instanceof $kind || $error->getCode() !== $code || strpos($error->getMessage(), $text) === false) {
            throw $error;
        }
        return;
    }
    throw new RuntimeException("$kind was expected, but the call succeeded");
}

function temporaryQueue(AMQPChannel $channel): string
{
    return $channel->queue_declare(unique('q'), false, false, true, false)[0];
}

function send(AMQPChannel $channel, string $queue, string ...$bodies): void
{
    foreach ($bodies as $body) {
        $channel->basic_publish(new AMQPMessage($body), '', $queue);
    }
}

/** Consumes into an ArrayObject, in order of arrival. */
function consume(AMQPChannel $channel, string $queue, bool $noAck = false, string $tag = ''): ArrayObject
{
    $inbox = new ArrayObject();
    $channel->basic_consume($queue, $tag, false, $noAck, false, false, fn ($message) => $inbox->append($message));
    return $inbox;
}

/** Waits until the inbox holds so many messages. */
function take(AMQPChannel $channel, ArrayObject $inbox, int $count): array
{
    while (count($inbox) < $count) {
        $channel->wait(null, false, PATIENCE_S);
    }
    return $inbox->getArrayCopy();
}

function bodies(array $messages): array
{
    return array_map(fn ($message) => $message->getBody(), $messages);
}

function countOf(AMQPChannel $channel, string $queue): int
{
    return $channel->queue_declare($queue, true)[1];
}

/**
 * Runs every check on a channel of its own, prints the suite's line (a line per failure otherwise) and exits.
 *
 * @param array<string, callable> $checks
 */
function runChecks(string $client, array $checks): void
{
    $started = microtime(true);
    $failed = false;
    foreach ($checks as $name => $check) {
        fwrite(STDERR, "check $name\n");
        try {
            $connection = connect();
            $check($connection->channel(), $connection);
            if ($connection->isConnected()) {
                $connection->close();
            }
        } catch (Throwable $error) {
            $failed = true;
            fwrite(STDERR, "$error\n");
            $reason = substr(str_replace("\n", ' ', $error->getMessage()), 0, 300);
            echo "FAIL $client: $name: " . get_class($error) . ": $reason\n";
        }
    }
    if (!$failed) {
        printf("ok $client %s (%d checks, %.1fs)\n", Package::VERSION, count($checks), microtime(true) - $started);
    }
    exit($failed ? 1 : 0);
}
