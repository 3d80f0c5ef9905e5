# frozen_string_literal: true

# How Ruby applications try again, over bunny: a ladder of queues whose messages expire, one per length of wait, where
# x-death counts the attempts; Sneakers' handler of retries; and Sidekiq's way, where the delay grows with a count in the
# job itself.

require 'json'
require_relative 'harness'

# The queue of work rejects into the exchange of retries; each step of the ladder expires back into the work.
class Ladder
  WAITS_MS = [100, 200, 400].freeze

  attr_reader :work, :steps, :failed

  def initialize(channel)
    @channel = channel
    name = unique('ladder')
    @back = channel.direct("#{name}.back", durable: true)
    @retries = channel.direct("#{name}.retry", durable: true)
    @work = durable_queue(name, 'x-dead-letter-exchange' => "#{name}.retry", 'x-dead-letter-routing-key' => 'retry.1')
    @work.bind(@back, routing_key: name)
    @steps = WAITS_MS.each_with_index.map do |wait, index|
      arguments = { 'x-message-ttl' => wait, 'x-dead-letter-exchange' => @back.name, 'x-dead-letter-routing-key' => name }
      durable_queue("#{name}.retry.#{wait}", arguments).tap { |step| step.bind(@retries, routing_key: "retry.#{index + 1}") }
    end
    @failed = durable_queue("#{name}.failed", {})
  end

  # How often the work was rejected: x-death has an entry per queue and reason.
  def self.rejections(properties, queue)
    deaths = (properties.headers || {}).fetch('x-death', [])
    deaths.sum { |death| death['queue'] == queue && death['reason'] == 'rejected' ? death['count'] : 0 }
  end

  # The first failure takes the way of the queue's arguments; later ones choose their step themselves.
  def fail(info, properties, body)
    attempt = Ladder.rejections(properties, @work.name) + waits(properties)
    if attempt.zero?
      @channel.reject(info.delivery_tag)
    else
      target = attempt < WAITS_MS.size ? [@retries, "retry.#{attempt + 1}"] : [@channel.default_exchange, @failed.name]
      target[0].publish(body, routing_key: target[1], persistent: true, headers: properties.headers)
      @channel.ack(info.delivery_tag)
    end
  end

  def delete
    [@work, *@steps, @failed].each(&:delete)
    [@back, @retries].each(&:delete)
  end

  private

  # Waits after the first one, whose rejection has an entry already.
  def waits(properties)
    deaths = (properties.headers || {}).fetch('x-death', [])
    names = @steps.drop(1).map(&:name)
    deaths.sum { |death| names.include?(death['queue']) ? death['count'] : 0 }
  end

  def durable_queue(name, arguments)
    @channel.queue(name, durable: true, arguments: arguments)
  end
end

check 'a ladder of waits, counted by x-death' do
  with_channel do |ch|
    ladder = Ladder.new(ch)
    ch.confirm_select
    ladder.work.publish('job', persistent: true, message_id: 'id', headers: { 'mine' => 1 })
    assert_equal true, ch.wait_for_confirms
    messages, = inbox(ladder.work, manual_ack: true)
    started = Time.now
    attempts = Array.new(4) do
      info, properties, body = take(messages, 1).first
      came = Time.now - started
      ladder.fail(info, properties, body)
      [came, properties]
    end
    # Each attempt came after all the waits before it.
    [0, 0.1, 0.3, 0.7].zip(attempts) { |earliest, (came, _)| assert_equal true, came >= earliest - 0.01 }

    deaths = attempts.last.last.headers['x-death'].map { |death| death.values_at('queue', 'reason', 'count') }
    wanted = ladder.steps.reverse.map { |step| [step.name, 'expired', 1] } + [[ladder.work.name, 'rejected', 1]]
    # The newest is first; in what order the others are that a client sent again, brokers say differently.
    assert_equal [wanted.first, wanted.sort], [deaths.first, deaths.sort]
    headers = attempts.last.last.headers
    assert_equal ['rejected', ladder.work.name, ''], headers.values_at('x-first-death-reason', 'x-first-death-queue', 'x-first-death-exchange')
    assert_equal 1, headers['mine']
    assert_equal true, headers['x-death'].all? { |death| death['time'].is_a?(Time) }

    eventually('it failed') { ladder.failed.message_count == 1 }
    _, properties, body = ladder.failed.pop
    assert_equal ['job', 2, wanted.size], [body, properties.delivery_mode, properties.headers['x-death'].size]
    assert_equal 0, ladder.work.message_count
    ladder.delete
  end
end

check 'one queue of retries, around and around' do
  with_channel do |ch|
    name = unique('loop')
    waiting = "#{name}.wait"
    work = ch.queue(name, durable: true, arguments: { 'x-dead-letter-exchange' => '', 'x-dead-letter-routing-key' => waiting })
    arguments = { 'x-message-ttl' => 50, 'x-dead-letter-exchange' => '', 'x-dead-letter-routing-key' => name }
    wait = ch.queue(waiting, durable: true, arguments: arguments)
    messages, = inbox(work, manual_ack: true)
    work.publish('job')
    counts = Array.new(4) do
      info, properties, = take(messages, 1).first
      rejections = Ladder.rejections(properties, name)
      rejections < 3 ? ch.reject(info.delivery_tag) : ch.ack(info.delivery_tag)
      rejections
    end
    assert_equal [0, 1, 2, 3], counts
    [work, wait].each { |queue| eventually('empty') { queue.message_count.zero? } }
    [work, wait].each(&:delete)
  end
end

check 'a wait of the message alone, and of the queue that is shorter' do
  with_channel do |ch|
    work = temporary_queue(ch)
    arguments = { 'x-message-ttl' => 60_000, 'x-dead-letter-exchange' => '', 'x-dead-letter-routing-key' => work.name }
    wait = temporary_queue(ch, arguments: arguments)
    wait.publish('soon', expiration: '100')
    eventually('it came back') { work.message_count == 1 }
    _, properties, = work.pop
    # The expiration is gone, or it would expire again; the history remembers it.
    assert_equal nil, properties.expiration
    death = properties.headers['x-death'].first
    assert_equal ['100', 'expired', wait.name], death.values_at('original-expiration', 'reason', 'queue')
  end
end

# Sneakers' Maxretry handler: topic exchanges for retries, requeues and errors around a worker's queue.
check "Sneakers' retries end in its error queue" do
  with_channel do |ch|
    name = unique('worker')
    exchanges = ["#{name}-retry", "#{name}-error", "#{name}-retry-requeue"].map { |each| ch.topic(each, durable: true) }
    work = ch.queue(name, durable: true, arguments: { 'x-dead-letter-exchange' => "#{name}-retry" })
    arguments = { 'x-dead-letter-exchange' => "#{name}-retry-requeue", 'x-message-ttl' => 50 }
    waiting = ch.queue("#{name}-retry", durable: true, arguments: arguments)
    errors = ch.queue("#{name}-error", durable: true)
    [waiting, errors].zip(exchanges).each { |queue, exchange| queue.bind(exchange, routing_key: '#') }
    work.bind(exchanges[2], routing_key: '#')
    source = ch.direct("#{name}-source", durable: true)
    work.bind(source, routing_key: 'task')

    source.publish('job', routing_key: 'task', persistent: true)
    messages, = inbox(work, manual_ack: true)
    failures = Array.new(4) do
      info, properties, body = take(messages, 1).first
      assert_equal 'task', info.routing_key # all the way: no step names another one
      count = (properties.headers || {}).fetch('x-death', []).sum { |death| death['queue'] == name ? death['count'] : 0 }
      if count < 3
        ch.reject(info.delivery_tag)
      else
        exchanges[1].publish(body, routing_key: info.routing_key, headers: { retry_info: JSON.dump(num_attempts: count + 1) })
        ch.ack(info.delivery_tag)
      end
      count
    end
    assert_equal [0, 1, 2, 3], failures
    eventually('it is among the errors') { errors.message_count == 1 }
    _, properties, body = errors.pop
    assert_equal ['job', { 'num_attempts' => 4 }], [body, JSON.parse(properties.headers['retry_info'])]
    assert_equal [0, 0], [work.message_count, waiting.message_count]
    [work, waiting, errors, *exchanges, source].each(&:delete)
  end
end

# Sidekiq's formula is count ** 4 + 15 + rand seconds; here it is small and without chance.
check 'delayed retries whose count is in the job' do
  with_channel do |ch|
    name = unique('sidekiq')
    dead = ch.queue("#{name}.dead", durable: true, arguments: { 'x-max-length' => 2, 'x-message-ttl' => 60_000 })
    work = ch.queue(name, durable: true)
    schedule = lambda do |job|
      # A queue per length of wait, as a message with a longer one would hold up those behind it.
      delay = 20 * (job['retry_count']**2 + 1)
      arguments = { 'x-message-ttl' => delay, 'x-expires' => delay + 60_000, 'x-dead-letter-exchange' => '', 'x-dead-letter-routing-key' => name }
      ch.queue("#{name}.in.#{delay}", durable: true, arguments: arguments).publish(JSON.dump(job), persistent: true)
    end
    messages, = inbox(work, manual_ack: true)
    3.times { |id| work.publish(JSON.dump('id' => id, 'retry_count' => 0), persistent: true) }
    seen = Hash.new { |hash, id| hash[id] = [] }
    12.times do
      info, _, body = take(messages, 1).first
      job = JSON.parse(body)
      seen[job['id']] << job['retry_count']
      job['retry_count'] += 1
      job['retry_count'] > 3 ? dead.publish(JSON.dump(job), persistent: true) : schedule.call(job)
      ch.ack(info.delivery_tag)
    end
    3.times { |id| assert_equal [0, 1, 2, 3], seen[id] }
    # Sidekiq keeps so many dead jobs and no more: the oldest one went.
    eventually('two dead jobs are kept') { dead.message_count == 2 }
    assert_equal 4, JSON.parse(dead.pop.last)['retry_count']
    [work, dead].each(&:delete)
    [1, 2, 3].each { |count| ch.queue_delete("#{name}.in.#{20 * (count**2 + 1)}") }
  end
end

run_checks('bunny-retries')
