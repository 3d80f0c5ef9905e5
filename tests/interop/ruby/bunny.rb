# frozen_string_literal: true

# The common checklist through bunny.

require_relative 'harness'

check 'declare' do
  with_channel do |ch, connection|
    named = ch.queue(unique('named'), durable: true)
    assert_equal [0, 0], [named.message_count, named.consumer_count]
    assert_equal true, connection.queue_exists?(named.name)
    named.delete
    assert_equal false, connection.queue_exists?(named.name)
    assert_match(/^amq\.gen-/, ch.queue('', exclusive: true).name)
    fleeting = ch.queue(unique('auto-delete'), auto_delete: true)
    _, consumer = inbox(fleeting)
    consumer.cancel
    assert_equal false, connection.queue_exists?(fleeting.name)
  end
end

check 'properties and headers come back as sent' do
  with_channel do |ch|
    queue = temporary_queue(ch)
    headers = {
      'string' => 'žluťoučký'.b, 'empty' => '', 'yes' => true, 'no' => false, 'nothing' => nil, 'small' => -5,
      'large' => -9_007_199_254_740_991, 'double' => 0.1, 'time' => Time.at(1_700_000_001),
      'array' => [1, 'two', [3], { 'four' => 4 }], 'table' => { 'nested' => { 'deeper' => 'x' } }
    }
    properties = {
      content_type: 'application/json', content_encoding: 'utf-8', delivery_mode: 2, priority: 7,
      correlation_id: 'correlation', reply_to: 'reply', expiration: '60000', message_id: 'id',
      timestamp: 1_700_000_000, type: 'type', user_id: 'guest', app_id: 'app', headers: headers
    }
    queue.publish('{}', **properties)
    info, got, body = queue.pop
    # The client takes seconds and hands out a Time.
    assert_equal properties.merge(timestamp: Time.at(1_700_000_000)), got.to_hash
    assert_equal ['', queue.name, false, '{}'], [info.exchange, info.routing_key, info.redelivered?, body]
  end
end

check 'ack, nack and reject' do
  with_channel do |ch|
    queue = temporary_queue(ch)
    send_all(ch, queue, %w[a b c d e])
    messages, consumer = inbox(queue, manual_ack: true)
    tags = take(messages, 5).map { |info, _, _| info.delivery_tag.to_i }
    assert_equal [1, 2, 3, 4, 5], tags
    consumer.cancel
    ch.ack(1)
    ch.reject(2, false)
    ch.nack(5, true, true) # c, d and e go back
    eventually('requeued') { queue.message_count == 3 }
    messages, = inbox(queue, manual_ack: true)
    again = take(messages, 3)
    assert_equal(%w[c d e], again.map { |_, _, body| body })
    assert_equal true, again.all? { |info, _, _| info.redelivered? }
    ch.ack(again.last.first.delivery_tag, true)
    assert_equal 0, queue.message_count
  end
end

check 'a closed channel puts its messages back in order' do
  with_channel do |ch, connection|
    queue = temporary_queue(ch)
    send_all(ch, queue, %w[1 2 3])
    reader = connection.create_channel
    take(inbox(reader.queue(queue.name, exclusive: true), manual_ack: true).first, 3)
    reader.close
    again = take(inbox(queue, manual_ack: true).first, 3)
    assert_equal([['1', true], ['2', true], ['3', true]], again.map { |info, _, body| [body, info.redelivered?] })
  end
end

check 'prefetch 1 is fair dispatch' do
  with_channel do |ch|
    queue = temporary_queue(ch)
    ch.prefetch(1)
    slow, = inbox(queue, manual_ack: true)
    quick, = inbox(queue, manual_ack: true)
    send_all(ch, queue, %w[1 2 3 4])
    take(slow, 1) # never acknowledged
    %w[2 3 4].each do |wanted|
      info, _, body = take(quick, 1).first
      assert_equal wanted, body
      ch.ack(info.delivery_tag)
    end
    assert_equal 0, slow.size
  end
end

check 'global prefetch counts the channel' do
  with_channel do |ch|
    queue = temporary_queue(ch)
    ch.prefetch(3, true)
    2.times { inbox(queue, manual_ack: true) }
    send_all(ch, queue, %w[1 2 3 4 5])
    eventually('three are out') { queue.message_count == 2 }
    ch.ack(3, true)
    eventually('all are out') { queue.message_count.zero? }
  end
end

check 'confirms' do
  with_channel do |ch|
    queue = temporary_queue(ch)
    ch.confirm_select
    send_all(ch, queue, %w[one])
    assert_equal true, ch.wait_for_confirms
    send_all(ch, queue, Array.new(1000, 'x'))
    assert_equal true, ch.wait_for_confirms
    assert_equal 1001, queue.message_count
  end
end

check 'mandatory returns come before the ack' do
  with_channel do |ch|
    returned = Queue.new
    ch.confirm_select
    ch.direct('amq.direct', durable: true).tap do |exchange|
      exchange.on_return { |info, properties, body| returned << [info.reply_code, info.reply_text, properties.message_id, body] }
      exchange.publish('x', routing_key: unique('nowhere'), mandatory: true, message_id: 'lost')
    end
    assert_equal true, ch.wait_for_confirms
    assert_equal [312, 'NO_ROUTE', 'lost', 'x'], take(returned, 1).first
  end
end

check 'transactions' do
  with_channel do |ch, connection|
    queue = temporary_queue(ch)
    ch.tx_select
    send_all(ch, queue, %w[lost])
    ch.tx_rollback
    send_all(ch, queue, %w[kept])
    watched = connection.create_channel.queue(queue.name, exclusive: true)
    assert_equal 0, watched.message_count
    ch.tx_commit
    assert_equal 'kept', watched.pop.last
    assert_equal nil, watched.pop.last
  end
end

check '404, 405 and 406 close only the channel' do
  with_channel do |ch, connection|
    missing = unique('missing')
    refused(Bunny::NotFound, /NOT_FOUND - no queue '#{missing}' in vhost '\/'/) do
      connection.create_channel.queue(missing, passive: true)
    end
    shared = ch.queue(unique('shared'), auto_delete: true)
    refused(Bunny::PreconditionFailed, /PRECONDITION_FAILED - inequivalent arg 'durable' for queue '#{shared.name}' in vhost '\/': received 'true' but current is 'false'/) do
      connection.create_channel.queue(shared.name, auto_delete: true, durable: true)
    end
    shared.delete
    queue = temporary_queue(ch)
    second = connect
    refused(Bunny::ResourceLocked, /RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '#{queue.name}' in vhost '\/'/) do
      second.create_channel.queue(queue.name, passive: true)
    end
    [connection, second].each { |survivor| survivor.create_channel.close }
    second.close
  end
end

check 'exchange types route' do
  with_channel do |ch|
    bound = lambda do |source, **options|
      temporary_queue(ch).bind(source, **options)
    end
    arrives = ->(queue, wanted) { assert_equal wanted, !queue.pop.last.nil? }

    direct = ch.direct(unique('direct'), auto_delete: true)
    one = bound.call(direct, routing_key: 'one')
    two = bound.call(direct, routing_key: 'two')
    direct.publish('x', routing_key: 'one')
    arrives.call(one, true)
    arrives.call(two, false)
    one.unbind(direct, routing_key: 'one')
    direct.publish('x', routing_key: 'one')
    arrives.call(one, false)

    fanout = ch.fanout(unique('fanout'), auto_delete: true)
    both = [bound.call(fanout), bound.call(fanout, routing_key: 'ignored')]
    fanout.publish('x', routing_key: 'any')
    both.each { |queue| arrives.call(queue, true) }

    topic = ch.topic(unique('topic'), auto_delete: true)
    star = bound.call(topic, routing_key: 'a.*.c')
    hash = bound.call(topic, routing_key: 'a.#')
    %w[a.b.c a b].each { |key| topic.publish(key, routing_key: key) }
    assert_equal ['a.b.c', nil], [star.pop.last, star.pop.last]
    assert_equal ['a.b.c', 'a', nil], [hash.pop.last, hash.pop.last, hash.pop.last]

    headers = ch.headers(unique('headers'), auto_delete: true)
    all = bound.call(headers, arguments: { 'x-match' => 'all', 'colour' => 'red', 'size' => 3 })
    any = bound.call(headers, arguments: { 'x-match' => 'any', 'colour' => 'red', 'size' => 3 })
    headers.publish('x', headers: { 'size' => 3 })
    arrives.call(all, false)
    arrives.call(any, true)

    source = ch.fanout(unique('source'), auto_delete: true)
    direct.bind(source)
    source.publish('x', routing_key: 'two')
    arrives.call(two, true)
    direct.unbind(source)
  end
end

check 'consumers hear of a deleted queue' do
  with_channel do |ch|
    queue = temporary_queue(ch)
    cancelled = Queue.new
    queue.subscribe(on_cancellation: ->(*) { cancelled << true }) { |*| }
    queue.delete
    assert_equal [true], take(cancelled, 1)
  end
end

check 'get, and get from an empty queue' do
  with_channel do |ch|
    queue = temporary_queue(ch)
    assert_equal [nil, nil, nil], queue.pop
    send_all(ch, queue, %w[x y])
    info, _, body = queue.pop(manual_ack: true)
    assert_equal ['x', false], [body, info.redelivered?]
    ch.nack(info.delivery_tag, false, true)
    info, _, body = queue.pop(manual_ack: true)
    assert_equal ['x', true], [body, info.redelivered?]
    queue.purge
    assert_equal 0, queue.message_count
  end
end

check 'direct reply-to' do
  with_channel do |client, connection|
    server = connection.create_channel
    queue = temporary_queue(server)
    queue.subscribe do |_, properties, body|
      server.default_exchange.publish(body.upcase, routing_key: properties.reply_to, correlation_id: properties.correlation_id)
    end
    replies = Queue.new
    client.basic_consume('amq.rabbitmq.reply-to', '', true) { |_, properties, body| replies << [properties.correlation_id, body] }
    client.default_exchange.publish('hare', routing_key: queue.name, reply_to: 'amq.rabbitmq.reply-to', correlation_id: '42')
    assert_equal %w[42 HARE], take(replies, 1).first
  end
end

check 'bodies of 1 MiB and of nothing' do
  with_channel do |ch|
    queue = temporary_queue(ch)
    big = Random.new(1).bytes(1024 * 1024)
    send_all(ch, queue, [big, ''])
    assert_equal true, big == queue.pop.last
    assert_equal '', queue.pop.last
  end
end

check 'heartbeats keep an idle connection alive' do
  connection = connect(heartbeat: 1)
  sleep 3.5 # three intervals: the time itself is under test
  assert_equal true, connection.open?
  connection.create_channel.close
  connection.close
end

check 'recovery after the socket is cut' do
  connection = connect(automatically_recover: true, network_recovery_interval: 0.1)
  queue = connection.create_channel.queue(unique('recovered'))
  messages, = inbox(queue)
  with_channel do |ch|
    counts = -> { ch.queue_declare(queue.name, passive: true).consumer_count }
    connection.transport.socket.shutdown # what a failing network looks like from here
    eventually('the consumer gone') { counts.call.zero? }
    eventually('the consumer back') { counts.call == 1 }
    send_all(ch, queue, %w[after])
    assert_equal 'after', take(messages, 1).first.last
    ch.queue_delete(queue.name)
  end
  connection.close
end

check 'a wrong password and an unknown vhost are refused' do
  refused(Bunny::AuthenticationFailureError, /Authentication.*failed|ACCESS_REFUSED/i) { connect(password: 'wrong') }
  refused(Bunny::NotAllowedError, /vhost nowhere not found/) { connect(vhost: 'nowhere') }
end

check 'close and connect again' do
  2.times { with_channel { |ch| ch.close } }
end

run_checks('bunny')
