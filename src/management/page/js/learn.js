// What to do with an empty broker: RabbitMQ's tutorials, with this broker's address filled in.

import { h } from "./dom.js";
import { button, card } from "./parts.js";
import { prefer, preferences, session } from "./store.js";

/** Where clients connect, as this page's reader would reach it. */
function place() {
  const listener = session.overview?.listeners?.find(one => one.protocol === "amqp");
  return { host: location.hostname, port: listener?.port ?? 5672, user: session.user ?? "guest" };
}

const LESSONS = ["Hello", "Work queues", "Publish/subscribe", "Routing", "Topics", "RPC"];

/** For each language: what begins every program, and for each lesson who sends and who receives. */
const LANGUAGES = {
  Python: {
    install: "pip install pika",
    begin: ({ host, port, user }) => `import pika
login = pika.PlainCredentials("${user}", "PASSWORD")
connection = pika.BlockingConnection(pika.ConnectionParameters("${host}", ${port}, "/", login))
channel = connection.channel()
def show(channel, method, properties, body): print(method.routing_key, body)`,
    lessons: [
      `channel.queue_declare("hello")
channel.basic_publish("", "hello", b"Hello World!")
channel.basic_consume("hello", show, auto_ack=True)
channel.start_consuming()`,
      `channel.queue_declare("task_queue", durable=True)
channel.basic_publish("", "task_queue", b"work...", pika.BasicProperties(delivery_mode=2))
channel.basic_qos(prefetch_count=1)
def work(channel, method, properties, body): channel.basic_ack(method.delivery_tag)
channel.basic_consume("task_queue", work)
channel.start_consuming()`,
      `channel.exchange_declare("logs", "fanout")
queue = channel.queue_declare("", exclusive=True).method.queue
channel.queue_bind(queue, "logs")
channel.basic_publish("logs", "", b"info: everybody reads this")
channel.basic_consume(queue, show, auto_ack=True)
channel.start_consuming()`,
      `channel.exchange_declare("direct_logs", "direct")
queue = channel.queue_declare("", exclusive=True).method.queue
channel.queue_bind(queue, "direct_logs", "error")
channel.basic_publish("direct_logs", "error", b"who binds error reads this")
channel.basic_consume(queue, show, auto_ack=True)
channel.start_consuming()`,
      `channel.exchange_declare("topic_logs", "topic")
queue = channel.queue_declare("", exclusive=True).method.queue
channel.queue_bind(queue, "topic_logs", "kern.*")
channel.basic_publish("topic_logs", "kern.critical", b"who binds kern.* or # reads this")
channel.basic_consume(queue, show, auto_ack=True)
channel.start_consuming()`,
      `channel.queue_declare("rpc_queue")
def answer(channel, method, properties, body):
    channel.basic_publish("", properties.reply_to, b"42", pika.BasicProperties(correlation_id=properties.correlation_id))
channel.basic_consume("rpc_queue", answer, auto_ack=True)
channel.basic_consume("amq.rabbitmq.reply-to", show, auto_ack=True)
channel.basic_publish("", "rpc_queue", b"6*7", pika.BasicProperties(reply_to="amq.rabbitmq.reply-to", correlation_id="1"))
channel.start_consuming()`,
    ],
  },
  JavaScript: {
    install: "npm install amqplib",
    begin: ({ host, port, user }) => `import amqp from "amqplib";
const connection = await amqp.connect("amqp://${user}:PASSWORD@${host}:${port}");
const channel = await connection.createChannel();
const show = message => console.log(message.fields.routingKey, message.content.toString());`,
    lessons: [
      `await channel.assertQueue("hello", { durable: false });
channel.sendToQueue("hello", Buffer.from("Hello World!"));
await channel.consume("hello", show, { noAck: true });`,
      `await channel.assertQueue("task_queue", { durable: true });
channel.sendToQueue("task_queue", Buffer.from("work..."), { persistent: true });
await channel.prefetch(1);
await channel.consume("task_queue", message => channel.ack(message));`,
      `await channel.assertExchange("logs", "fanout", { durable: false });
const { queue } = await channel.assertQueue("", { exclusive: true });
await channel.bindQueue(queue, "logs", "");
channel.publish("logs", "", Buffer.from("info: everybody reads this"));
await channel.consume(queue, show, { noAck: true });`,
      `await channel.assertExchange("direct_logs", "direct", { durable: false });
const { queue } = await channel.assertQueue("", { exclusive: true });
await channel.bindQueue(queue, "direct_logs", "error");
channel.publish("direct_logs", "error", Buffer.from("who binds error reads this"));
await channel.consume(queue, show, { noAck: true });`,
      `await channel.assertExchange("topic_logs", "topic", { durable: false });
const { queue } = await channel.assertQueue("", { exclusive: true });
await channel.bindQueue(queue, "topic_logs", "kern.*");
channel.publish("topic_logs", "kern.critical", Buffer.from("who binds kern.* or # reads this"));
await channel.consume(queue, show, { noAck: true });`,
      `await channel.assertQueue("rpc_queue", { durable: false });
await channel.consume("rpc_queue", ({ properties: { replyTo, correlationId } }) =>
  channel.sendToQueue(replyTo, Buffer.from("42"), { correlationId }), { noAck: true });
await channel.consume("amq.rabbitmq.reply-to", show, { noAck: true });
channel.sendToQueue("rpc_queue", Buffer.from("6*7"), { replyTo: "amq.rabbitmq.reply-to", correlationId: "1" });`,
    ],
  },
  Java: {
    install: "com.rabbitmq:amqp-client",
    begin: ({ host, port, user }) => `import com.rabbitmq.client.*;
ConnectionFactory factory = new ConnectionFactory();
factory.setUri("amqp://${user}:PASSWORD@${host}:${port}");
Channel channel = factory.newConnection().createChannel();
DeliverCallback show = (tag, message) ->
    System.out.println(message.getEnvelope().getRoutingKey() + " " + new String(message.getBody()));`,
    lessons: [
      `channel.queueDeclare("hello", false, false, false, null);
channel.basicPublish("", "hello", null, "Hello World!".getBytes());
channel.basicConsume("hello", true, show, tag -> {});`,
      `channel.queueDeclare("task_queue", true, false, false, null);
channel.basicPublish("", "task_queue", MessageProperties.PERSISTENT_TEXT_PLAIN, "work...".getBytes());
channel.basicQos(1);
channel.basicConsume("task_queue", false,
    (tag, message) -> channel.basicAck(message.getEnvelope().getDeliveryTag(), false), tag -> {});`,
      `channel.exchangeDeclare("logs", "fanout");
String queue = channel.queueDeclare().getQueue();
channel.queueBind(queue, "logs", "");
channel.basicPublish("logs", "", null, "info: everybody reads this".getBytes());
channel.basicConsume(queue, true, show, tag -> {});`,
      `channel.exchangeDeclare("direct_logs", "direct");
String queue = channel.queueDeclare().getQueue();
channel.queueBind(queue, "direct_logs", "error");
channel.basicPublish("direct_logs", "error", null, "who binds error reads this".getBytes());
channel.basicConsume(queue, true, show, tag -> {});`,
      `channel.exchangeDeclare("topic_logs", "topic");
String queue = channel.queueDeclare().getQueue();
channel.queueBind(queue, "topic_logs", "kern.*");
channel.basicPublish("topic_logs", "kern.critical", null, "who binds kern.* or # reads this".getBytes());
channel.basicConsume(queue, true, show, tag -> {});`,
      `channel.queueDeclare("rpc_queue", false, false, false, null);
channel.basicConsume("rpc_queue", true, (tag, asked) -> channel.basicPublish("", asked.getProperties().getReplyTo(),
    new AMQP.BasicProperties.Builder().correlationId(asked.getProperties().getCorrelationId()).build(), "42".getBytes()), tag -> {});
channel.basicConsume("amq.rabbitmq.reply-to", true, show, tag -> {});
channel.basicPublish("", "rpc_queue", new AMQP.BasicProperties.Builder().replyTo("amq.rabbitmq.reply-to")
    .correlationId("1").build(), "6*7".getBytes());`,
    ],
  },
  Go: {
    install: "go get github.com/rabbitmq/amqp091-go",
    begin: ({ host, port, user }) => `connection, err := amqp.Dial("amqp://${user}:PASSWORD@${host}:${port}/")
channel, err := connection.Channel()
show := func(messages <-chan amqp.Delivery) {
	for message := range messages { fmt.Println(message.RoutingKey, string(message.Body)) }
}`,
    lessons: [
      `channel.QueueDeclare("hello", false, false, false, false, nil)
channel.Publish("", "hello", false, false, amqp.Publishing{Body: []byte("Hello World!")})
messages, err := channel.Consume("hello", "", true, false, false, false, nil)
show(messages)`,
      `channel.QueueDeclare("task_queue", true, false, false, false, nil)
channel.Publish("", "task_queue", false, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte("work...")})
channel.Qos(1, 0, false)
messages, err := channel.Consume("task_queue", "", false, false, false, false, nil)
for message := range messages { message.Ack(false) }`,
      `channel.ExchangeDeclare("logs", "fanout", false, false, false, false, nil)
queue, err := channel.QueueDeclare("", false, false, true, false, nil)
channel.QueueBind(queue.Name, "", "logs", false, nil)
channel.Publish("logs", "", false, false, amqp.Publishing{Body: []byte("info: everybody reads this")})
messages, err := channel.Consume(queue.Name, "", true, false, false, false, nil)
show(messages)`,
      `channel.ExchangeDeclare("direct_logs", "direct", false, false, false, false, nil)
queue, err := channel.QueueDeclare("", false, false, true, false, nil)
channel.QueueBind(queue.Name, "error", "direct_logs", false, nil)
channel.Publish("direct_logs", "error", false, false, amqp.Publishing{Body: []byte("who binds error reads this")})
messages, err := channel.Consume(queue.Name, "", true, false, false, false, nil)
show(messages)`,
      `channel.ExchangeDeclare("topic_logs", "topic", false, false, false, false, nil)
queue, err := channel.QueueDeclare("", false, false, true, false, nil)
channel.QueueBind(queue.Name, "kern.*", "topic_logs", false, nil)
channel.Publish("topic_logs", "kern.critical", false, false, amqp.Publishing{Body: []byte("who binds kern.* or # reads this")})
messages, err := channel.Consume(queue.Name, "", true, false, false, false, nil)
show(messages)`,
      `channel.QueueDeclare("rpc_queue", false, false, false, false, nil)
asked, err := channel.Consume("rpc_queue", "", true, false, false, false, nil)
go func() { for message := range asked {
	channel.Publish("", message.ReplyTo, false, false, amqp.Publishing{CorrelationId: message.CorrelationId, Body: []byte("42")})
} }()
answers, err := channel.Consume("amq.rabbitmq.reply-to", "", true, false, false, false, nil)
channel.Publish("", "rpc_queue", false, false, amqp.Publishing{ReplyTo: "amq.rabbitmq.reply-to", CorrelationId: "1", Body: []byte("6*7")})
show(answers)`,
    ],
  },
};

const chosen = () => LANGUAGES[preferences.language] ? preferences.language : "Python";

function pick(all, now, choose, label) {
  return h("span", { class: "segments", role: "group", "aria-label": label }, all.map((one, index) => h("button", {
    type: "button", "aria-pressed": String(one === now), onclick: () => {
      choose(one, index);
      dispatchEvent(new Event("changed"));
    },
  }, one)));
}

/** The tutorials; `only` shows one of them without the choice. */
export function tutorials(only) {
  const language = chosen(), lesson = Number.isInteger(only) ? only : preferences.lesson ?? 0, { install, begin, lessons } = LANGUAGES[language];
  const text = `${begin(place())}\n\n${lessons[lesson]}`;
  return card(Number.isInteger(only) ? "" : "Begin", [
    !Number.isInteger(only) && h("p", {}, "Nobody is connected yet. Here is how programs talk to this broker; write your password where it says so."),
    h("div", { class: "bar" }, pick(Object.keys(LANGUAGES), language, one => prefer("language", one), "Language"),
      !Number.isInteger(only) && pick(LESSONS, LESSONS[lesson], (_, index) => prefer("lesson", index), "Tutorial"),
      h("span", { class: "grow" }), h("code", { class: "dim" }, install),
      button("Copy", () => navigator.clipboard?.writeText(text), "quiet")),
    h("pre", { class: "payload", tabindex: "0" }, text),
  ], "learn");
}

export const emptyQueues = () => [h("p", {}, "There is no queue yet. Programs declare the queues that they need, or declare one here."), tutorials(0)];

export const emptyConnections = () => [h("p", {}, "Nobody is connected."), tutorials(0)];
