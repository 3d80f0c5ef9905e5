// A broker that looks like one at work, for those who look at it, and the pages there are.

export const PAGES = {
  overview: "#/", queues: "#/queues", queue: "#/queues/%2F/orders.new", messages: "#/queues/%2F/orders.dead?tab=messages",
  consumersOfQueue: "#/queues/%2F/orders.new?tab=consumers", held: "#/queues/%2F/orders.new?tab=unacked",
  bindings: "#/queues/%2F/orders.new?tab=bindings",
  exchanges: "#/exchanges", exchange: "#/exchanges/%2F/orders", bindingsOfExchange: "#/exchanges/%2F/orders?tab=bindings",
  tail: "#/queues/%2F/orders.new?tab=tail", tailOfExchange: "#/exchanges/%2F/orders?tab=tail",
  delayed: "#/exchanges/%2F/later?tab=delayed", connections: "#/connections", channels: "#/channels", consumers: "#/consumers",
  policies: "#/policies", policy: "#/policies/%2F/limits", vhosts: "#/vhosts", vhost: "#/vhosts/%2F", users: "#/users",
  user: "#/users/alice", limits: "#/limits", topology: "#/topology", route: "#/exchanges/%2F/orders?tab=route", way: "#/topology?node=queue%3Aorders.new", definitions: "#/definitions",
};

/** Fills the broker and keeps it busy; what it gives ends that. */
export async function populate(connect, api) {
  await api("PUT", "/exchanges/%2F/later", { type: "x-delayed-message", arguments: { "x-delayed-type": "direct" } });
  for (const minutes of [10, 30, 90]) {
    await api("POST", "/exchanges/%2F/later/publish", {
      routing_key: `remind.${minutes}`, payload: "x", payload_encoding: "string", properties: { headers: { "x-delay": minutes * 60000 } },
    });
  }
  await api("PUT", "/policies/%2F/limits", { pattern: "^orders\\.", definition: { "max-length": 200000, "message-ttl": 86400000 }, "apply-to": "queues" });
  await api("PUT", "/users/alice", { password: "carrot", tags: "monitoring" });
  await api("PUT", "/permissions/%2F/alice", { configure: "^alice", write: ".*", read: ".*" });
  await api("PUT", "/user-limits/alice/max-connections", { value: 20 });
  await api("PUT", "/vhosts/staging", { description: "Before it counts", tags: "test" });

  const publisher = await connect({ connection_name: "orders-service" }), channel = await publisher.createConfirmChannel();
  await channel.assertExchange("orders", "topic");
  await channel.assertExchange("dead", "fanout");
  await channel.assertExchange("events", "fanout");
  await channel.assertQueue("orders.new", { arguments: { "x-dead-letter-exchange": "dead", "x-max-length": 100000 } });
  await channel.assertQueue("orders.dead");
  await channel.assertQueue("emails", { arguments: { "x-message-ttl": 3600000 } });
  await channel.assertQueue("audit", { durable: false });
  await channel.assertQueue("invoices", { arguments: { "x-queue-type": "quorum", "x-delivery-limit": 5 } });
  for (const [queue, exchange, key] of [["orders.new", "orders", "order.*.created"], ["audit", "orders", "#"], ["orders.dead", "dead", ""],
    ["emails", "events", ""], ["invoices", "orders", "order.#"]]) await channel.bindQueue(queue, exchange, key);
  await channel.bindExchange("events", "orders", "order.eu.*");

  const workers = await connect({ connection_name: "workers" }), timers = new Set();
  const later = (ms, run) => {
    const timer = setTimeout(() => {
      timers.delete(timer);
      run();
    }, ms);
    timers.add(timer);
  };
  const consume = async (queue, tag, prefetch, work) => {
    const its = await workers.createChannel();
    await its.prefetch(prefetch);
    await its.consume(queue, message => message && work(its, message), { consumerTag: tag });
  };
  let number = 0;
  await consume("orders.new", "worker-1", 20, (its, message) =>
    later(number % 300, () => ++number % 20 ? its.ack(message) : its.nack(message, false, false)));
  await consume("invoices", "billing", 50, (its, message) => later(number % 40, () => its.ack(message)));
  await consume("emails", "smtp", 5, () => {});
  let order = 0;
  const publishing = setInterval(() => {
    for (let index = 0; index < 8; index++) {
      order += 1;
      channel.publish("orders", `order.${["eu", "us", "apac"][order % 3]}.${order % 7 ? "created" : "paid"}`,
        Buffer.from(JSON.stringify({ order, total: order % 90 + 0.5, items: ["carrot", "lettuce"] })),
        { persistent: true, messageId: `m${order}`, contentType: "application/json", headers: { tenant: `t${order % 5}` } });
    }
  }, 50);
  return async () => {
    clearInterval(publishing);
    for (const timer of timers) clearTimeout(timer);
    await Promise.all([publisher.close(), workers.close()]);
  };
}
