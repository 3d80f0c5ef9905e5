// What can be done to queues, exchanges and bindings, each with the question before it.

import { count, plural } from "./format.js";
import { confirmLoss, openForm } from "./dialog.js";
import { go } from "./router.js";
import { session } from "./store.js";
import * as api from "./api.js";

const { path } = api;

const QUEUE_ARGUMENTS = [
  ["x-message-ttl", "number", "Messages are gone, or dead letters, after so many milliseconds"],
  ["x-expires", "number", "The queue is deleted when nobody used it for so many milliseconds"],
  ["x-max-length", "number", "At most so many messages"],
  ["x-max-length-bytes", "number", "At most so many bytes of them"],
  ["x-overflow", "text", "drop-head, reject-publish or reject-publish-dlx"],
  ["x-dead-letter-exchange", "text", "Where what is rejected or expires goes"],
  ["x-dead-letter-routing-key", "text", "With which key instead of its own"],
  ["x-max-priority", "number", "Priorities from 0 to this"],
  ["x-single-active-consumer", "yes or no", "One consumer at a time"],
  ["x-delivery-limit", "number", "How often a message may come back (quorum)"],
];

export function declareQueue(vhosts, vhost) {
  openForm({
    title: "New queue", verb: "Declare", done: "The queue is there.",
    fields: [
      { name: "vhost", label: "Virtual host", kind: "select", options: vhosts, value: vhost ?? "/" },
      { name: "name", label: "Name", required: true },
      { name: "type", label: "Type", kind: "select", value: "", options: [["", "as the virtual host says"], "classic", "quorum"] },
      { name: "durable", label: "Durable: it survives a restart of the broker", kind: "check", value: true },
      { name: "auto_delete", label: "Auto-delete: it goes with its last consumer", kind: "check" },
      { name: "arguments", label: "Arguments", kind: "arguments", options: QUEUE_ARGUMENTS },
    ],
    action: async ({ vhost: where, name, type, durable, auto_delete, arguments: given }) => {
      const all = type ? { ...given, "x-queue-type": type } : given;
      await api.put(path`/queues/${where}/${name}`, { durable, auto_delete, arguments: all });
      go(path`/queues/${where}/${name}`);
    },
  });
}

/** What goes with a queue. */
const contents = queue => [
  plural(queue.messages_ready, "message that is", "messages that are") + " ready",
  queue.messages_unacknowledged > 0 && `${plural(queue.messages_unacknowledged, "message")} that consumers have`,
];

export function purgeQueue(queue) {
  confirmLoss({
    title: `Purge ${queue.name}?`,
    lost: [contents(queue)[0], queue.messages_unacknowledged > 0 && `The ${count(queue.messages_unacknowledged)} that consumers have stay theirs.`,
      "They do not go to the dead letters, and do not come back."],
    verb: "Purge", done: `${queue.name} is purged.`, type: queue.messages_ready > 0 ? queue.name : undefined,
    action: () => api.remove(path`/queues/${queue.vhost}/${queue.name}/contents`),
  });
}

export function deleteQueue(queue, then) {
  confirmLoss({
    title: `Delete ${queue.name}?`,
    lost: [`The queue ${queue.name} of virtual host ${queue.vhost}, with its bindings`, ...contents(queue),
      queue.consumers > 0 && `${plural(queue.consumers, "consumer")} that will be cancelled`],
    verb: "Delete", done: `${queue.name} is deleted.`, type: queue.messages > 0 || queue.consumers > 0 ? queue.name : undefined,
    action: async () => {
      await api.remove(path`/queues/${queue.vhost}/${queue.name}`);
      then?.();
    },
  });
}

export function bindQueue(queue) {
  openForm({
    title: `Bind ${queue.name}`, verb: "Bind", done: "It is bound.",
    fields: [
      { name: "source", label: "From exchange", required: true },
      { name: "routing_key", label: "Routing key" },
      { name: "arguments", label: "Arguments", kind: "arguments", options: [["x-match", "text", "all or any, for exchanges of type headers"]] },
    ],
    action: ({ source, ...binding }) => api.post(path`/bindings/${queue.vhost}/e/${source}/q/${queue.name}`, binding),
  });
}

export function bindExchange(exchange) {
  openForm({
    title: `Bind from ${exchange.name}`, verb: "Bind", done: "It is bound.",
    fields: [
      { name: "kind", label: "To", kind: "select", value: "q", options: [["q", "a queue"], ["e", "an exchange"]] },
      { name: "destination", label: "Its name", required: true },
      { name: "routing_key", label: "Routing key" },
      { name: "arguments", label: "Arguments", kind: "arguments", options: [["x-match", "text", "all or any, for exchanges of type headers"]] },
    ],
    action: ({ kind, destination, ...binding }) =>
      api.post(path`/bindings/${exchange.vhost}/e/${exchange.name}/${kind}/${destination}`, binding),
  });
}

export function unbind(binding) {
  const kind = binding.destination_type === "queue" ? "q" : "e";
  confirmLoss({
    title: "Take this binding away?",
    lost: [`What ${binding.source} gets with ${binding.routing_key || "an empty key"} does not go to ${binding.destination} any more.`],
    verb: "Unbind", done: "It is not bound any more.",
    action: () => api.remove(path`/bindings/${binding.vhost}/e/${binding.source}/${kind}/${binding.destination}/${binding.properties_key}`),
  });
}

/** Properties that a publisher may set, but for headers. */
const PROPERTIES = [["content_type", "text", "such as application/json"], ["expiration", "text", "milliseconds, as text"],
  ["priority", "number", ""], ["message_id", "text", ""], ["correlation_id", "text", ""], ["reply_to", "text", ""], ["type", "text", ""],
  ["app_id", "text", ""]];

export function publishMessage({ vhost, exchange, key, isFixed }) {
  openForm({
    title: isFixed ? `Publish to ${key}` : `Publish to ${exchange || "the default exchange"}`, verb: "Publish", wide: true,
    fields: [
      !isFixed && { name: "routing_key", label: "Routing key", value: key ?? "" },
      { name: "payload", label: "Body", kind: "area" },
      { name: "payload_encoding", label: "The body is written as", kind: "select", value: "string", options: [["string", "text"], "base64"] },
      { name: "persistent", label: "Persistent: it survives a restart, in a durable queue", kind: "check", value: true },
      { name: "headers", label: "Headers", kind: "arguments" },
      { name: "properties", label: "Properties", kind: "arguments", options: PROPERTIES },
    ],
    action: async ({ routing_key, payload, payload_encoding, persistent, headers, properties }) => {
      const answer = await api.post(path`/exchanges/${vhost}/${exchange || "amq.default"}/publish`, {
        routing_key: isFixed ? key : routing_key, payload, payload_encoding,
        properties: { ...properties, headers, delivery_mode: persistent ? 2 : 1 },
      });
      return answer.routed ? "It is published, and in a queue." : "It is published, and went to no queue: no binding takes that key.";
    },
  });
}


const EXCHANGE_TYPES_HIDDEN = ["x-delayed-message", "x-message-deduplication"];

export function declareExchange(vhosts, vhost) {
  const types = [...new Set([...(session.overview?.exchange_types ?? []).map(type => type.name), ...EXCHANGE_TYPES_HIDDEN])];
  openForm({
    title: "New exchange", verb: "Declare", done: "The exchange is there.",
    fields: [
      { name: "vhost", label: "Virtual host", kind: "select", options: vhosts, value: vhost ?? "/" },
      { name: "name", label: "Name", required: true },
      { name: "type", label: "Type", kind: "select", value: "topic", options: types.map(name =>
        [name, [name, session.overview?.exchange_types?.find(type => type.name === name)?.description].filter(Boolean).join(": ")]) },
      { name: "durable", label: "Durable: it survives a restart of the broker", kind: "check", value: true },
      { name: "auto_delete", label: "Auto-delete: it goes with its last binding", kind: "check" },
      { name: "internal", label: "Internal: only exchanges send to it", kind: "check" },
      { name: "arguments", label: "Arguments", kind: "arguments", options: [
        ["alternate-exchange", "text", "Where what has no binding goes"], ["x-delayed-type", "text", "How an x-delayed-message exchange routes: direct, topic, …"],
      ] },
    ],
    action: async ({ vhost: where, name, ...exchange }) => {
      await api.put(path`/exchanges/${where}/${name}`, exchange);
      go(path`/exchanges/${where}/${name}`);
    },
  });
}

export function deleteExchange(exchange, bindings, then) {
  confirmLoss({
    title: `Delete ${exchange.name}?`,
    lost: [`The exchange ${exchange.name} of virtual host ${exchange.vhost}`, `${plural(bindings.length, "binding")} from it`,
      exchange.messages_delayed > 0 && `${plural(exchange.messages_delayed, "message")} that it keeps for later`,
      "Publishers to it are refused from then on: their channels are closed."],
    verb: "Delete", done: `${exchange.name} is deleted.`, type: bindings.length > 0 || exchange.messages_delayed > 0 ? exchange.name : undefined,
    action: async () => {
      await api.remove(path`/exchanges/${exchange.vhost}/${exchange.name}`);
      then?.();
    },
  });
}
