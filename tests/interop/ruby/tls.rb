# frozen_string_literal: true

# bunny over TLS: it looks at the broker's certificate, and shows one of its own.

require_relative 'harness'

CERTIFICATES = ENV.fetch('INTEROP_TLS')
LARGE = Random.bytes(1024 * 1024) # many records of TLS

def certificate(name)
  File.join(CERTIFICATES, name)
end

def connect_over_tls(authority, **options)
  settings = { port: Integer(ENV.fetch('AMQPS_PORT')), tls: true, verify_peer: true,
               tls_ca_certificates: [certificate(authority)] }
  connect(**settings, **options)
end

def exchange(connection, **properties)
  channel = connection.create_channel
  channel.confirm_select
  queue = temporary_queue(channel)
  queue.publish('got', **properties)
  assert_equal true, channel.wait_for_confirms
  assert_equal 'got', queue.pop[2]
  messages, = inbox(queue)
  queue.publish(LARGE, **properties)
  assert_equal true, channel.wait_for_confirms
  raise 'another body' unless take(messages, 1)[0][2] == LARGE

  connection.close
end

check 'confirm, get and consume' do
  exchange(connect_over_tls('authority.pem'))
end

check "a stranger's certificate is refused" do
  refused(OpenSSL::SSL::SSLError, /certificate verify failed/) { connect_over_tls('stranger.pem') }
end

check 'external' do
  shown = { tls_cert: certificate('client.pem'), tls_key: certificate('client.key') }
  exchange(connect_over_tls('authority.pem', auth_mechanism: 'EXTERNAL', **shown), user_id: 'guest')
end

run_checks('bunny-tls')
