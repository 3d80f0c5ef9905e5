// Loaded before amqplib's own tests, which connect to the default port of this machine by any of its names: whoever asks
// for that port gets the broker under test.
'use strict';
const net = require('node:net');

const DEFAULT_PORT = 5672;
const { connect } = net;

net.connect = (options, ...rest) => {
  const meant = Number(options.port) === DEFAULT_PORT;
  const { AMQP_HOST: host, AMQP_PORT: port } = process.env;
  return connect(meant ? { ...options, host, port: Number(port) } : options, ...rest);
};
