<?php

// Laravel's RabbitMQ driver (vladimir-yuryev/laravel-queue-rabbitmq), its declarations and sends replayed with
// php-amqplib, on which it stands: a job that is for later waits in `QUEUE.delay.MS`, a queue whose messages expire into
// the job's queue and which goes away when it is not used; a job that failed is rejected into `QUEUE.failed`.

declare(strict_types=1);

require __DIR__ . '/harness.php';

use PhpAmqpLib\Channel\AMQPChannel;
use PhpAmqpLib\Connection\AMQPStreamConnection;
use PhpAmqpLib\Exception\AMQPProtocolChannelException;
use PhpAmqpLib\Message\AMQPMessage;
use PhpAmqpLib\Wire\AMQPTable;

/** What RabbitMQQueue and RabbitMQJob do to the broker, with the driver's names for it. */
final class LaravelQueue
{
    /** @param array{exchange?: string, reroute_failed?: bool, prioritize_delayed?: bool, quorum?: bool} $options */
    public function __construct(private AMQPChannel $channel, public string $name, private array $options = [])
    {
        $this->declareDestination();
    }

    public function declareDestination(): void
    {
        $arguments = [];
        if (($this->options['prioritize_delayed'] ?? false) && !($this->options['quorum'] ?? false)) {
            $arguments['x-max-priority'] = 2;
        }
        if ($this->options['reroute_failed'] ?? false) {
            $arguments['x-dead-letter-exchange'] = '';
            $arguments['x-dead-letter-routing-key'] = "$this->name.failed";
        }
        if ($this->options['quorum'] ?? false) {
            $arguments['x-queue-type'] = 'quorum';
        }
        $this->channel->queue_declare($this->name, false, true, false, false, false, new AMQPTable($arguments));
        if ($exchange = $this->options['exchange'] ?? '') {
            $this->channel->exchange_declare($exchange, 'direct', false, true, false, false, true, new AMQPTable([]));
            $this->channel->queue_bind($this->name, $exchange, $this->name);
        }
    }

    public function push(string $id, int $attempts = 0): void
    {
        $this->channel->basic_publish($this->message($id, $attempts), $this->options['exchange'] ?? '', $this->name, true);
    }

    /** Delays are whole seconds in Laravel; fractions only keep this test short. */
    public function later(float $delay_s, string $id, int $attempts = 0): string
    {
        $ttl = (int) ($delay_s * 1000);
        $waiting = "$this->name.delay.$ttl";
        $this->channel->queue_declare($waiting, false, true, false, false, false, new AMQPTable([
            'x-dead-letter-exchange' => $this->options['exchange'] ?? '',
            'x-dead-letter-routing-key' => $this->name,
            'x-message-ttl' => $ttl,
            'x-expires' => $ttl * 2,
        ]));
        $this->channel->basic_publish($this->message($id, $attempts), '', $waiting, true);
        return $waiting;
    }

    public function pop(): ?AMQPMessage
    {
        return $this->channel->basic_get($this->name);
    }

    public function waitAndPop(): AMQPMessage
    {
        eventually("a job in $this->name", function () use (&$job) {
            return $job = $this->pop();
        });
        return $job;
    }

    public function attempts(AMQPMessage $job): int
    {
        return headersOf($job)['laravel']['attempts'] + 1;
    }

    /** RabbitMQJob::release: a new message for later, then the old one's ack. */
    public function release(AMQPMessage $job, float $delay_s): void
    {
        $this->later($delay_s, json_decode($job->getBody(), true)['id'], $this->attempts($job));
        $this->channel->basic_ack($job->getDeliveryTag());
    }

    public function fail(AMQPMessage $job): void
    {
        $this->channel->basic_reject($job->getDeliveryTag(), false);
    }

    public function delete(AMQPMessage $job): void
    {
        $this->channel->basic_ack($job->getDeliveryTag());
    }

    private function message(string $id, int $attempts): AMQPMessage
    {
        $properties = [
            'content_type' => 'application/json',
            'delivery_mode' => AMQPMessage::DELIVERY_MODE_PERSISTENT,
            'correlation_id' => $id,
            'application_headers' => new AMQPTable(['laravel' => ['attempts' => $attempts]]),
        ];
        if ($this->options['prioritize_delayed'] ?? false) {
            $properties['priority'] = $attempts;
        }
        return new AMQPMessage(json_encode(['id' => $id, 'job' => 'App\\Jobs\\Send']), $properties);
    }
}

function headersOf(AMQPMessage $job): array
{
    return $job->get('application_headers')->getNativeData();
}

function exists(AMQPStreamConnection $connection, string $exchange): bool
{
    try {
        $channel = $connection->channel();
        $channel->exchange_declare($exchange, '', true);
        $channel->close();
        return true;
    } catch (AMQPProtocolChannelException $error) {
        if ($error->amqp_reply_code !== 404) {
            throw $error;
        }
        return false;
    }
}

$checks = [
    'jobs for later come when it is time' => function (AMQPChannel $ch) {
        $queue = new LaravelQueue($ch, unique('laravel'));
        $started = microtime(true);
        $slow = $queue->later(0.8, 'slow');
        $quick = $queue->later(0.3, 'quick');
        $queue->push('now');
        $arrived = [];
        foreach (['now', 'quick', 'slow'] as $wanted) {
            $job = $queue->waitAndPop();
            equal($wanted, $job->get('correlation_id'));
            $arrived[$wanted] = [microtime(true) - $started, $job];
            $queue->delete($job);
        }
        foreach (['quick' => [0.3, $quick], 'slow' => [0.8, $slow]] as $name => [$delay_s, $waited_in]) {
            [$elapsed_s, $job] = $arrived[$name];
            equal(true, $elapsed_s >= $delay_s - 0.01);
            equal(['', $queue->name, false], [$job->getExchange(), $job->getRoutingKey(), $job->isRedelivered()]);
            $headers = headersOf($job);
            equal(['attempts' => 0], $headers['laravel']);
            [$death] = $headers['x-death'];
            equal(['expired', $waited_in, '', [$waited_in], 1],
                [$death['reason'], $death['queue'], $death['exchange'], $death['routing-keys'], $death['count']]);
            equal([$waited_in, 'expired', ''],
                [$headers['x-first-death-queue'], $headers['x-first-death-reason'], $headers['x-first-death-exchange']]);
            equal(['application/json', 2], [$job->get('content_type'), $job->get('delivery_mode')]);
        }
        $ch->queue_delete($queue->name);
    },

    'the queue of a delay goes away unused, and another use keeps it' => function (AMQPChannel $ch, AMQPStreamConnection $connection) {
        $queue = new LaravelQueue($ch, unique('laravel'));
        $waiting = $queue->later(0.4, 'first');
        // Asking for a queue is a use of it, so ask for an exchange that goes with it.
        $watch = unique('watch');
        $ch->exchange_declare($watch, 'fanout', false, false, true);
        $ch->queue_bind($waiting, $watch);
        $queue->delete($queue->waitAndPop());
        equal($waiting, $queue->later(0.4, 'second'));
        $queue->delete($queue->waitAndPop());
        eventually('the queue of the delay is gone', fn () => !exists($connection, $watch));
        $queue->later(0.4, 'third');
        equal('third', $queue->waitAndPop()->get('correlation_id'));
        $ch->queue_delete($queue->name);
    },

    'released jobs come back with their attempts, and fail in the end' => function (AMQPChannel $ch) {
        $queue = new LaravelQueue($ch, unique('laravel'), ['reroute_failed' => true]);
        $failed = new LaravelQueue($ch, "$queue->name.failed");
        $queue->push('job');
        foreach ([1, 2, 3] as $attempt) {
            $job = $queue->waitAndPop();
            equal($attempt, $queue->attempts($job));
            if ($attempt < 3) {
                $queue->release($job, 0.1);
            }
        }
        $queue->fail($job);
        $job = $failed->waitAndPop();
        equal(['job', 3], [$job->get('correlation_id'), $queue->attempts($job)]);
        // A released job is a new message, so it has the history of its last wait alone, and of the failure above it.
        [$failure, $wait] = headersOf($job)['x-death'];
        equal(['rejected', $queue->name, 1], [$failure['reason'], $failure['queue'], $failure['count']]);
        equal(['expired', "$queue->name.delay.100", 1], [$wait['reason'], $wait['queue'], $wait['count']]);
        $failed->delete($job);
        equal(0, countOf($ch, $queue->name));
        $ch->queue_delete($queue->name);
        $ch->queue_delete($failed->name);
    },

    'delayed jobs go first where they are to' => function (AMQPChannel $ch) {
        $queue = new LaravelQueue($ch, unique('laravel'), ['prioritize_delayed' => true]);
        $queue->push('new');
        $queue->push('twice tried', 2);
        $queue->push('newer');
        $queue->push('often tried', 9);
        $queue->push('once tried', 1);
        eventually('all are there', fn () => countOf($ch, $queue->name) === 5);
        foreach (['twice tried', 'often tried', 'once tried', 'new', 'newer'] as $wanted) {
            $job = $queue->waitAndPop();
            equal($wanted, $job->get('correlation_id'));
            $queue->delete($job);
        }
        $ch->queue_delete($queue->name);
    },

    'a quorum queue behind an exchange' => function (AMQPChannel $ch) {
        $exchange = unique('jobs');
        $options = ['quorum' => true, 'exchange' => $exchange, 'reroute_failed' => true];
        $queue = new LaravelQueue($ch, unique('laravel'), $options);
        $failed = new LaravelQueue($ch, "$queue->name.failed", ['quorum' => true]);
        $queue->later(0.2, 'later');
        $job = $queue->waitAndPop();
        equal([$exchange, $queue->name], [$job->getExchange(), $job->getRoutingKey()]);
        $queue->fail($job);
        $job = $failed->waitAndPop();
        equal('later', $job->get('correlation_id'));
        equal([['rejected', $exchange], ['expired', '']],
            array_map(fn ($death) => [$death['reason'], $death['exchange']], headersOf($job)['x-death']));
        $failed->delete($job);
        $ch->queue_delete($queue->name);
        $ch->queue_delete($failed->name);
        $ch->exchange_delete($exchange);
    },
];

runChecks('laravel-queue', $checks);
