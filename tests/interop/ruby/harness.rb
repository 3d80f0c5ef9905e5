# frozen_string_literal: true

# What the Ruby suites share: connections, names, waiting for what must come, and the verdict.

require 'bunny'
require 'logger'
require 'timeout'

HOST = ENV.fetch('AMQP_HOST', '127.0.0.1')
PORT = Integer(ENV.fetch('AMQP_PORT', '5672'))
LOGGER = Logger.new($stderr)
CHECK_DEADLINE_S = 15

def assert_equal(wanted, got)
  raise "got #{got.inspect}, want #{wanted.inspect}" unless wanted == got
end

def assert_match(pattern, got)
  raise "got #{got.inspect}, want #{pattern.inspect}" unless pattern.match?(got)
end

def refused(kind, pattern)
  yield
rescue kind => e
  assert_match(pattern, e.message)
else
  raise "#{kind} was expected, but the call succeeded"
end

def eventually(what)
  deadline = Time.now + 5
  until yield
    raise "#{what}: not so within 5 s" if Time.now > deadline

    sleep 0.005
  end
end

# Names are unique per run, so that a run which was killed cannot disturb the next one.
def unique(what)
  $names = ($names || 0) + 1
  "interop.bunny.#{Process.pid}.#{what}.#{$names}"
end

def connect(**options)
  settings = { host: HOST, port: PORT, logger: LOGGER, automatically_recover: false, connection_timeout: 5 }
  Bunny.new(**settings, **options).start
end

def with_channel
  connection = connect
  yield connection.create_channel, connection
ensure
  connection&.close
end

def temporary_queue(channel, **options)
  channel.queue(unique('q'), exclusive: true, **options)
end

# Subscribes and gives a thread-safe inbox of [delivery_info, properties, body].
def inbox(queue, **options)
  messages = Queue.new
  consumer = queue.subscribe(**options) { |*message| messages << message }
  [messages, consumer]
end

def take(messages, count)
  Timeout.timeout(5) { Array.new(count) { messages.pop } }
end

def send_all(channel, queue, bodies)
  bodies.each { |body| channel.default_exchange.publish(body, routing_key: queue.name) }
end

CHECKS = {}
def check(name, &block)
  CHECKS[name] = block
end

# Runs every check, prints the suite's line (a line per failure otherwise) and exits.
def run_checks(client)
  $stdout.sync = true
  started = Time.now
  failed = CHECKS.reject do |name, body|
    LOGGER.info("check #{name}")
    Timeout.timeout(CHECK_DEADLINE_S, &body)
    true
  rescue StandardError => e
    LOGGER.error(e.full_message)
    puts "FAIL #{client}: #{name}: #{e.class}: #{e.message.tr("\n", ' ')[0, 300]}"
    false
  end
  puts format("ok #{client} %s (%d checks, %.1fs)", Bunny::VERSION, CHECKS.size, Time.now - started) if failed.empty?
  exit!(failed.empty? ? 0 : 1)
end
