import com.rabbitmq.client.*;
import com.rabbitmq.client.impl.ClientVersion;
import com.rabbitmq.client.impl.LongStringHelper;
import java.io.IOException;
import java.math.BigDecimal;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Date;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;

/** The common checklist through RabbitMQ's Java client, with its automatic recovery of connection and topology. */
final class JavaClient {
    public static void main(String[] arguments) {
        Harness harness = new Harness();
        harness.check("declare", JavaClient::declare);
        harness.check("properties and headers come back as sent", JavaClient::propertiesAndHeaders);
        harness.check("ack, nack and reject", JavaClient::acknowledgement);
        harness.check("a closed channel puts its messages back in order", JavaClient::requeueOnClose);
        harness.check("prefetch 1 is fair dispatch", JavaClient::fairDispatch);
        harness.check("global prefetch counts the channel", JavaClient::globalPrefetch);
        harness.check("confirms", JavaClient::confirms);
        harness.check("mandatory returns come before the ack", JavaClient::mandatory);
        harness.check("transactions", JavaClient::transactions);
        harness.check("404, 405 and 406 close only the channel", JavaClient::refusals);
        harness.check("exchange types route", JavaClient::exchanges);
        harness.check("consumers hear of a deleted queue", JavaClient::cancelNotification);
        harness.check("get, and get from an empty queue", JavaClient::get);
        harness.check("direct reply-to", JavaClient::directReplyTo);
        harness.check("bodies of 1 MiB and of nothing", JavaClient::bodySizes);
        harness.check("heartbeats keep an idle connection alive", JavaClient::heartbeat);
        harness.check("topology recovery after the socket is cut", JavaClient::recovery);
        harness.check("a wrong password and an unknown vhost are refused", JavaClient::refusedLogins);
        harness.runAll("java-client", ClientVersion.VERSION);
    }

    private static ConnectionFactory factory() {
        ConnectionFactory factory = new ConnectionFactory();
        factory.setHost(Harness.HOST);
        factory.setPort(Harness.PORT);
        factory.setAutomaticRecoveryEnabled(false);
        return factory;
    }

    private static Connection connect() throws Exception {
        return factory().newConnection();
    }

    private static String temporaryQueue(Channel channel) throws IOException {
        return channel.queueDeclare(Harness.unique("q"), false, true, false, null).getQueue();
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    private static String text(Delivery delivery) {
        return new String(delivery.getBody(), StandardCharsets.UTF_8);
    }

    private static void send(Channel channel, String queue, String... bodies) throws IOException {
        for (String body : bodies) channel.basicPublish("", queue, null, bytes(body));
    }

    private static BlockingQueue<Delivery> consume(Channel channel, String queue, boolean autoAck) throws IOException {
        BlockingQueue<Delivery> inbox = new LinkedBlockingQueue<>();
        channel.basicConsume(queue, autoAck, (tag, delivery) -> inbox.add(delivery), tag -> {});
        return inbox;
    }

    private static List<Delivery> expect(BlockingQueue<Delivery> inbox, boolean redelivered, String... bodies)
            throws InterruptedException {
        List<Delivery> taken = new ArrayList<>();
        for (String body : bodies) {
            Delivery delivery = Harness.next(inbox);
            Harness.equal(body, text(delivery));
            Harness.equal(redelivered, delivery.getEnvelope().isRedeliver());
            taken.add(delivery);
        }
        return taken;
    }

    private static long tag(Delivery delivery) {
        return delivery.getEnvelope().getDeliveryTag();
    }

    /** The code and text with which the broker closed a channel or a connection. */
    private static String closedWith(ShutdownSignalException signal) {
        if (signal.getReason() instanceof AMQP.Channel.Close close) return close.getReplyCode() + " " + close.getReplyText();
        if (signal.getReason() instanceof AMQP.Connection.Close close) return close.getReplyCode() + " " + close.getReplyText();
        return String.valueOf(signal.getReason());
    }

    private static void refused(String wanted, Harness.Check call) throws Exception {
        IOException error = Harness.rejection(IOException.class, call);
        String got = closedWith((ShutdownSignalException) error.getCause());
        Harness.holds(got.startsWith(wanted), "got " + got + ", want " + wanted);
    }

    private static void declare() throws Exception {
        try (Connection connection = connect(); Channel channel = connection.createChannel()) {
            String named = Harness.unique("named");
            AMQP.Queue.DeclareOk declared = channel.queueDeclare(named, true, false, false, null);
            Harness.equal(List.of(named, 0, 0),
                    List.of(declared.getQueue(), declared.getMessageCount(), declared.getConsumerCount()));
            Harness.equal(named, channel.queueDeclarePassive(named).getQueue());
            Harness.equal(0, channel.queueDelete(named).getMessageCount());
            Harness.holds(channel.queueDeclare().getQueue().startsWith("amq.gen-"), "the broker names queues amq.gen-");
            String fleeting = channel.queueDeclare(Harness.unique("auto-delete"), false, false, true, null).getQueue();
            channel.basicCancel(channel.basicConsume(fleeting, new DefaultConsumer(channel)));
            refused("404 NOT_FOUND - no queue '" + fleeting + "' in vhost '/'",
                    () -> connection.createChannel().queueDeclarePassive(fleeting));
        }
    }

    private static void propertiesAndHeaders() throws Exception {
        try (Connection connection = connect(); Channel channel = connection.createChannel()) {
            String queue = temporaryQueue(channel);
            Map<String, Object> headers = new HashMap<>();
            headers.put("boolean", true);
            headers.put("byte", (byte) -8);
            headers.put("short", (short) -30_000);
            headers.put("int", -2_000_000_000);
            headers.put("long", Long.MIN_VALUE);
            headers.put("float", 0.5f);
            headers.put("double", 0.1);
            headers.put("decimal", new BigDecimal("123.45"));
            headers.put("string", LongStringHelper.asLongString("žluťoučký"));
            headers.put("date", new Date(1_700_000_001_000L));
            headers.put("void", null);
            headers.put("array", List.of(1, LongStringHelper.asLongString("two"), List.of(3), Map.of("four", 4)));
            headers.put("table", Map.of("nested", Map.of("deeper", 1)));
            byte[] raw = {0, 1, -1};
            Map<String, Object> all = new HashMap<>(headers);
            all.put("bytes", raw);
            AMQP.BasicProperties.Builder builder = new AMQP.BasicProperties.Builder()
                    .contentType("application/json").contentEncoding("utf-8").deliveryMode(2).priority(7)
                    .correlationId("correlation").replyTo("reply").expiration("60000").messageId("id")
                    .timestamp(new Date(1_700_000_000_000L)).type("type").userId("guest").appId("app");
            channel.basicPublish("", queue, builder.headers(all).build(), bytes("{}"));
            GetResponse response = channel.basicGet(queue, true);
            Map<String, Object> got = new HashMap<>(response.getProps().getHeaders());
            Harness.equal(raw, got.remove("bytes")); // arrays have no equality of their own
            Harness.equal(headers, got);
            Harness.equal(builder.headers(null).build(), response.getProps().builder().headers(null).build());
            Harness.equal(List.of("", queue, false), List.of(response.getEnvelope().getExchange(),
                    response.getEnvelope().getRoutingKey(), response.getEnvelope().isRedeliver()));
        }
    }

    private static void acknowledgement() throws Exception {
        try (Connection connection = connect(); Channel channel = connection.createChannel()) {
            String queue = temporaryQueue(channel);
            send(channel, queue, "a", "b", "c", "d", "e");
            BlockingQueue<Delivery> inbox = new LinkedBlockingQueue<>();
            String consumer = channel.basicConsume(queue, (tag, delivery) -> inbox.add(delivery), tag -> {});
            List<Delivery> first = expect(inbox, false, "a", "b", "c", "d", "e");
            channel.basicCancel(consumer);
            channel.basicAck(tag(first.get(0)), false);
            channel.basicReject(tag(first.get(1)), false);
            channel.basicNack(tag(first.get(4)), true, true); // c, d and e go back
            Harness.eventually("requeued", () -> channel.messageCount(queue) == 3);
            List<Delivery> again = expect(consume(channel, queue, false), true, "c", "d", "e");
            channel.basicAck(tag(again.get(2)), true);
            Harness.equal(0L, channel.messageCount(queue));
        }
    }

    private static void requeueOnClose() throws Exception {
        try (Connection connection = connect(); Channel channel = connection.createChannel()) {
            String queue = temporaryQueue(channel);
            send(channel, queue, "1", "2", "3");
            Channel reader = connection.createChannel();
            expect(consume(reader, queue, false), false, "1", "2", "3");
            reader.close();
            expect(consume(channel, queue, false), true, "1", "2", "3");
        }
    }

    private static void fairDispatch() throws Exception {
        try (Connection connection = connect(); Channel channel = connection.createChannel()) {
            String queue = temporaryQueue(channel);
            channel.basicQos(1);
            BlockingQueue<Delivery> slow = consume(channel, queue, false);
            BlockingQueue<Delivery> quick = consume(channel, queue, false);
            send(channel, queue, "1", "2", "3", "4");
            expect(slow, false, "1"); // never acknowledged, so the rest goes to the other consumer
            for (String body : List.of("2", "3", "4")) channel.basicAck(tag(expect(quick, false, body).get(0)), false);
        }
    }

    private static void globalPrefetch() throws Exception {
        try (Connection connection = connect(); Channel channel = connection.createChannel()) {
            String queue = temporaryQueue(channel);
            channel.basicQos(3, true);
            consume(channel, queue, false);
            consume(channel, queue, false);
            send(channel, queue, "1", "2", "3", "4", "5");
            Harness.eventually("three are out", () -> channel.messageCount(queue) == 2);
            channel.basicAck(3, true);
            Harness.eventually("all are out", () -> channel.messageCount(queue) == 0);
        }
    }

    private static void confirms() throws Exception {
        try (Connection connection = connect(); Channel channel = connection.createChannel()) {
            String queue = temporaryQueue(channel);
            channel.confirmSelect();
            send(channel, queue, "one");
            channel.waitForConfirmsOrDie(5_000);
            for (int i = 0; i < 1000; i++) send(channel, queue, "x");
            channel.waitForConfirmsOrDie(5_000);
            Harness.equal(1001L, channel.messageCount(queue));
        }
    }

    private static void mandatory() throws Exception {
        try (Connection connection = connect(); Channel channel = connection.createChannel()) {
            BlockingQueue<String> events = new LinkedBlockingQueue<>();
            channel.addReturnListener(lost -> events.add(lost.getReplyCode() + " " + lost.getReplyText()));
            channel.addConfirmListener((tag, multiple) -> events.add("ack " + tag), (tag, multiple) -> events.add("nack"));
            channel.confirmSelect();
            channel.basicPublish("amq.direct", Harness.unique("nowhere"), true, null, bytes("x"));
            Harness.equal("312 NO_ROUTE", Harness.next(events));
            Harness.equal("ack 1", Harness.next(events));
        }
    }

    private static void transactions() throws Exception {
        try (Connection connection = connect(); Channel channel = connection.createChannel()) {
            String queue = temporaryQueue(channel);
            Channel watcher = connection.createChannel();
            channel.txSelect();
            send(channel, queue, "lost");
            channel.txRollback();
            send(channel, queue, "kept");
            Harness.equal(0L, watcher.messageCount(queue));
            channel.txCommit();
            Harness.equal("kept", new String(watcher.basicGet(queue, true).getBody(), StandardCharsets.UTF_8));
            Harness.equal(null, watcher.basicGet(queue, true));
        }
    }

    private static void refusals() throws Exception {
        try (Connection first = connect(); Connection second = connect()) {
            String missing = Harness.unique("missing");
            refused("404 NOT_FOUND - no queue '" + missing + "' in vhost '/'",
                    () -> first.createChannel().queueDeclarePassive(missing));
            refused("406 PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'amq.direct' in vhost '/': "
                    + "received 'fanout' but current is 'direct'",
                    () -> first.createChannel().exchangeDeclare("amq.direct", "fanout", true));
            String queue = temporaryQueue(first.createChannel());
            refused("405 RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '" + queue + "' in vhost '/'",
                    () -> second.createChannel().queueDeclarePassive(queue));
            BlockingQueue<ShutdownSignalException> closed = new LinkedBlockingQueue<>();
            Channel channel = first.createChannel();
            channel.addShutdownListener(closed::add);
            channel.basicAck(99, false);
            Harness.equal("406 PRECONDITION_FAILED - unknown delivery tag 99", closedWith(Harness.next(closed)));
            first.createChannel().close(); // both connections outlived their channels
            second.createChannel().close();
        }
    }

    private static String bound(Channel channel, String source, String key, Map<String, Object> arguments) throws IOException {
        String queue = temporaryQueue(channel);
        channel.queueBind(queue, source, key, arguments);
        return queue;
    }

    private static void arrives(Channel channel, String queue, boolean wanted) throws IOException {
        Harness.equal(wanted, channel.basicGet(queue, true) != null);
    }

    private static String exchange(Channel channel, String type) throws IOException {
        String name = Harness.unique(type);
        channel.exchangeDeclare(name, type, false, true, null);
        return name;
    }

    private static void exchanges() throws Exception {
        try (Connection connection = connect(); Channel channel = connection.createChannel()) {
            String direct = exchange(channel, "direct");
            String one = bound(channel, direct, "one", null);
            String two = bound(channel, direct, "two", null);
            channel.basicPublish(direct, "one", null, bytes("x"));
            arrives(channel, one, true);
            arrives(channel, two, false);
            channel.queueUnbind(one, direct, "one");
            channel.basicPublish(direct, "one", null, bytes("x"));
            arrives(channel, one, false);

            String fanout = exchange(channel, "fanout");
            String left = bound(channel, fanout, "", null);
            String right = bound(channel, fanout, "ignored", null);
            channel.basicPublish(fanout, "any", null, bytes("x"));
            arrives(channel, left, true);
            arrives(channel, right, true);

            String topic = exchange(channel, "topic");
            String star = bound(channel, topic, "a.*.c", null);
            String hash = bound(channel, topic, "a.#", null);
            for (String key : List.of("a.b.c", "a", "b")) channel.basicPublish(topic, key, null, bytes(key));
            arrives(channel, star, true);
            arrives(channel, star, false);
            Harness.eventually("a.# took two", () -> channel.messageCount(hash) == 2);

            String headers = exchange(channel, "headers");
            String all = bound(channel, headers, "", Map.of("x-match", "all", "colour", "red", "size", 3));
            String any = bound(channel, headers, "", Map.of("x-match", "any", "colour", "red", "size", 3));
            channel.basicPublish(headers, "", new AMQP.BasicProperties.Builder().headers(Map.of("size", 3)).build(), bytes("x"));
            arrives(channel, all, false);
            arrives(channel, any, true);

            String source = exchange(channel, "fanout");
            channel.exchangeBind(direct, source, "");
            channel.basicPublish(source, "two", null, bytes("x"));
            arrives(channel, two, true);
            channel.exchangeUnbind(direct, source, "");
        }
    }

    private static void cancelNotification() throws Exception {
        try (Connection connection = connect(); Channel channel = connection.createChannel()) {
            String queue = temporaryQueue(channel);
            BlockingQueue<String> cancelled = new LinkedBlockingQueue<>();
            String tag = channel.basicConsume(queue, (consumer, delivery) -> {}, cancelled::add);
            channel.queueDelete(queue);
            Harness.equal(tag, Harness.next(cancelled));
        }
    }

    private static void get() throws Exception {
        try (Connection connection = connect(); Channel channel = connection.createChannel()) {
            String queue = temporaryQueue(channel);
            Harness.equal(null, channel.basicGet(queue, false));
            send(channel, queue, "x", "y");
            GetResponse response = channel.basicGet(queue, false);
            Harness.equal(1, response.getMessageCount());
            channel.basicNack(response.getEnvelope().getDeliveryTag(), false, true);
            response = channel.basicGet(queue, false);
            Harness.equal(bytes("x"), response.getBody());
            Harness.equal(true, response.getEnvelope().isRedeliver());
            Harness.equal(1, channel.queuePurge(queue).getMessageCount());
        }
    }

    private static void directReplyTo() throws Exception {
        try (Connection connection = connect(); Channel client = connection.createChannel()) {
            Channel server = connection.createChannel();
            String queue = temporaryQueue(server);
            BlockingQueue<Delivery> requests = consume(server, queue, true);
            try (RpcClient rpc = new RpcClient(new RpcClientParams().channel(client).exchange("").routingKey(queue).timeout(5_000))) {
                new Thread(() -> answer(server, requests)).start();
                Harness.equal("hare", rpc.stringCall("hare")); // its default reply queue is amq.rabbitmq.reply-to
            }
        }
    }

    private static void answer(Channel server, BlockingQueue<Delivery> requests) {
        try {
            Delivery request = Harness.next(requests);
            Harness.holds(request.getProperties().getReplyTo().startsWith("amq.rabbitmq.reply-to."), "a direct reply-to");
            AMQP.BasicProperties properties = new AMQP.BasicProperties.Builder()
                    .correlationId(request.getProperties().getCorrelationId()).build();
            server.basicPublish("", request.getProperties().getReplyTo(), properties, request.getBody());
        } catch (Exception error) {
            error.printStackTrace(); // the call times out and fails the check
        }
    }

    private static void bodySizes() throws Exception {
        try (Connection connection = connect(); Channel channel = connection.createChannel()) {
            String queue = temporaryQueue(channel);
            byte[] big = new byte[1024 * 1024];
            new Random(1).nextBytes(big);
            channel.basicPublish("", queue, null, big);
            channel.basicPublish("", queue, null, new byte[0]);
            BlockingQueue<Delivery> inbox = consume(channel, queue, true);
            Harness.equal(big, Harness.next(inbox).getBody());
            Harness.equal(new byte[0], Harness.next(inbox).getBody());
        }
    }

    private static void heartbeat() throws Exception {
        ConnectionFactory factory = factory();
        factory.setRequestedHeartbeat(1);
        try (Connection connection = factory.newConnection()) {
            Harness.equal(1, connection.getHeartbeat());
            Thread.sleep(3_500); // three intervals: the time itself is under test
            Harness.holds(connection.isOpen(), "the idle connection was closed");
            connection.createChannel().close();
        }
    }

    private static void recovery() throws Exception {
        List<Socket> sockets = new ArrayList<>();
        ConnectionFactory factory = factory();
        factory.setAutomaticRecoveryEnabled(true);
        factory.setNetworkRecoveryInterval(50);
        factory.setSocketConfigurator(sockets::add);
        BlockingQueue<Boolean> recovered = new LinkedBlockingQueue<>();
        try (Connection connection = factory.newConnection()) {
            ((Recoverable) connection).addRecoveryListener(new RecoveryListener() {
                @Override
                public void handleRecovery(Recoverable which) {
                    recovered.add(true);
                }

                @Override
                public void handleRecoveryStarted(Recoverable which) {}
            });
            Channel channel = connection.createChannel();
            String exchange = exchange(channel, "topic");
            String queue = channel.queueDeclare().getQueue(); // gets another name when it is declared again
            channel.queueBind(queue, exchange, "a.#");
            BlockingQueue<Delivery> inbox = consume(channel, queue, true);
            sockets.get(0).close();
            Harness.next(recovered);
            channel.basicPublish(exchange, "a.b", null, bytes("after"));
            expect(inbox, false, "after");
        }
    }

    private static void refusedLogins() throws Exception {
        ConnectionFactory wrong = factory();
        wrong.setPassword("wrong");
        AuthenticationFailureException login = Harness.rejection(AuthenticationFailureException.class, wrong::newConnection);
        Harness.holds(login.getMessage().startsWith("ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN"),
                login.getMessage());
        ConnectionFactory nowhere = factory();
        nowhere.setVirtualHost("nowhere");
        refused("530 NOT_ALLOWED - vhost nowhere not found", nowhere::newConnection);
        connect().close(); // and connects again
    }
}
