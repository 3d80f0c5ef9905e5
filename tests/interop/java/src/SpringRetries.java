import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.springframework.amqp.AmqpRejectAndDontRequeueException;
import org.springframework.amqp.core.BindingBuilder;
import org.springframework.amqp.core.DirectExchange;
import org.springframework.amqp.core.Message;
import org.springframework.amqp.core.MessageListener;
import org.springframework.amqp.core.Queue;
import org.springframework.amqp.core.QueueBuilder;
import org.springframework.amqp.rabbit.config.RetryInterceptorBuilder;
import org.springframework.amqp.rabbit.connection.CachingConnectionFactory;
import org.springframework.amqp.rabbit.connection.CorrelationData;
import org.springframework.amqp.rabbit.core.RabbitAdmin;
import org.springframework.amqp.rabbit.core.RabbitTemplate;
import org.springframework.amqp.rabbit.listener.DirectMessageListenerContainer;
import org.springframework.amqp.rabbit.listener.SimpleMessageListenerContainer;
import org.springframework.amqp.rabbit.retry.RejectAndDontRequeueRecoverer;
import org.springframework.amqp.rabbit.retry.RepublishMessageRecoverer;

/** What Spring applications build on RabbitMQ's arguments: retries, dead letters, limits, one active consumer. */
final class SpringRetries {
    private static final CachingConnectionFactory CONNECTIONS = new CachingConnectionFactory(Harness.HOST, Harness.PORT);
    private static final RabbitAdmin ADMIN = new RabbitAdmin(CONNECTIONS);
    private static final RabbitTemplate TEMPLATE = new RabbitTemplate(CONNECTIONS);
    private static final int PATIENCE_MS = 5_000;

    public static void main(String[] arguments) {
        CONNECTIONS.setPublisherConfirmType(CachingConnectionFactory.ConfirmType.CORRELATED);
        CONNECTIONS.setPublisherReturns(true);
        TEMPLATE.setMandatory(true);
        Harness harness = new Harness();
        harness.check("retries in the listener, then the dead letter queue", SpringRetries::retriesThenDeadLetter);
        harness.check("a recoverer publishes what failed with its reason", SpringRetries::recovererRepublishes);
        harness.check("delayed retries counted by x-death", SpringRetries::delayedRetries);
        harness.check("a quorum queue's delivery limit", SpringRetries::deliveryLimit);
        harness.check("a full queue's nack", SpringRetries::nackOfAFullQueue);
        harness.check("priorities", SpringRetries::priorities);
        harness.check("a single active consumer and its successor", SpringRetries::singleActiveConsumer);
        if ("1".equals(System.getenv("INTEROP_REFERENCE"))) {
            System.out.println("SKIP spring-amqp-retries: a delayed exchange: not there: the delayed message plugin");
        } else {
            if ("1".equals(System.getenv("INTEROP_REFERENCE"))) {
            System.out.println("SKIP spring-amqp-retries: a delayed exchange: not there: the delayed message plugin");
        } else {
            harness.check("a delayed exchange", SpringRetries::delayedExchange);
        }
        }
        String version = RabbitTemplate.class.getPackage().getImplementationVersion();
        harness.runAll("spring-amqp-retries", version == null ? "unknown" : version);
    }

    private static Queue declare(QueueBuilder builder) {
        Queue queue = builder.build();
        ADMIN.declareQueue(queue);
        return queue;
    }

    private static void delete(Queue... queues) {
        for (Queue queue : queues) ADMIN.deleteQueue(queue.getName());
    }

    private static String text(Message message) {
        return new String(message.getBody(), StandardCharsets.UTF_8);
    }

    private static Message receive(Queue queue) {
        Message message = TEMPLATE.receive(queue.getName(), PATIENCE_MS);
        Harness.holds(message != null, "nothing in " + queue.getName());
        return message;
    }

    private static int count(Queue queue) {
        return ADMIN.getQueueInfo(queue.getName()).getMessageCount();
    }

    /** The newest of a message's deaths. */
    private static Map<String, ?> death(Message message) {
        return message.getMessageProperties().getXDeathHeader().get(0);
    }

    private static SimpleMessageListenerContainer container(Queue queue, MessageListener listener) {
        SimpleMessageListenerContainer container = new SimpleMessageListenerContainer(CONNECTIONS);
        container.setQueueNames(queue.getName());
        container.setPrefetchCount(1);
        container.setMessageListener(listener);
        container.setReceiveTimeout(100);
        return container;
    }

    /** A listener that hears everything and can bear nothing. */
    private static MessageListener failing(BlockingQueue<Message> heard) {
        return message -> {
            heard.add(message);
            throw new IllegalStateException("cannot bear " + text(message));
        };
    }

    private static void retriesThenDeadLetter() throws Exception {
        Queue dead = declare(QueueBuilder.durable(Harness.unique("dead")));
        Queue work = declare(QueueBuilder.durable(Harness.unique("work")).deadLetterExchange("").deadLetterRoutingKey(dead.getName()));
        BlockingQueue<Message> heard = new LinkedBlockingQueue<>();
        SimpleMessageListenerContainer container = container(work, failing(heard));
        container.setAdviceChain(RetryInterceptorBuilder.stateless().maxAttempts(3).backOffOptions(10, 2, 50)
                .recoverer(new RejectAndDontRequeueRecoverer()).build());
        container.start();
        TEMPLATE.convertAndSend(work.getName(), "job");
        Message message = receive(dead);
        container.stop();
        Harness.equal(3, heard.size());
        Harness.equal("job", text(message));
        Map<String, ?> death = death(message);
        Harness.equal(List.of("rejected", work.getName(), "", List.of(work.getName()), 1L), List.of(death.get("reason"),
                death.get("queue"), death.get("exchange"), death.get("routing-keys"), death.get("count")));
        Map<String, Object> headers = message.getMessageProperties().getHeaders();
        Harness.equal(work.getName(), headers.get("x-first-death-queue"));
        Harness.equal(0, count(work));
        delete(work, dead);
    }

    private static void recovererRepublishes() throws Exception {
        DirectExchange errors = new DirectExchange(Harness.unique("errors"), false, true);
        ADMIN.declareExchange(errors);
        Queue failed = declare(QueueBuilder.durable(Harness.unique("failed")));
        Queue work = declare(QueueBuilder.durable(Harness.unique("work")));
        ADMIN.declareBinding(BindingBuilder.bind(failed).to(errors).with("error." + work.getName()));
        SimpleMessageListenerContainer container = container(work, failing(new LinkedBlockingQueue<>()));
        container.setAdviceChain(RetryInterceptorBuilder.stateless().maxAttempts(1)
                .recoverer(new RepublishMessageRecoverer(TEMPLATE, errors.getName())).build());
        container.start();
        TEMPLATE.convertAndSend(work.getName(), "job");
        Message message = receive(failed);
        container.stop();
        Map<String, Object> headers = message.getMessageProperties().getHeaders();
        Harness.equal(work.getName(), headers.get(RepublishMessageRecoverer.X_ORIGINAL_ROUTING_KEY));
        Harness.equal("cannot bear job", headers.get(RepublishMessageRecoverer.X_EXCEPTION_MESSAGE));
        Harness.equal(0, count(work));
        delete(work, failed);
    }

    private static void delayedRetries() throws Exception {
        String name = Harness.unique("work");
        Queue wait = declare(QueueBuilder.durable(name + ".wait").ttl(50).deadLetterExchange("").deadLetterRoutingKey(name));
        Queue parking = declare(QueueBuilder.durable(name + ".parking"));
        Queue work = declare(QueueBuilder.durable(name).deadLetterExchange("").deadLetterRoutingKey(wait.getName()));
        BlockingQueue<Long> tries = new LinkedBlockingQueue<>();
        SimpleMessageListenerContainer container = container(work, message -> {
            List<Map<String, ?>> deaths = message.getMessageProperties().getXDeathHeader();
            long rejected = deaths == null ? 0 : deaths.stream()
                    .filter(death -> death.get("queue").equals(name) && death.get("reason").equals("rejected"))
                    .mapToLong(death -> (Long) death.get("count")).sum();
            tries.add(rejected);
            if (rejected < 3) throw new AmqpRejectAndDontRequeueException("later");
            TEMPLATE.send(parking.getName(), message);
        });
        container.start();
        TEMPLATE.convertAndSend(name, "job");
        Message message = receive(parking);
        container.stop();
        Harness.equal(List.of(0L, 1L, 2L, 3L), List.copyOf(tries));
        Harness.equal(List.of("expired", wait.getName(), 3L),
                List.of(death(message).get("reason"), death(message).get("queue"), death(message).get("count")));
        delete(work, wait, parking);
    }

    private static void deliveryLimit() throws Exception {
        Queue dead = declare(QueueBuilder.durable(Harness.unique("dead")).quorum());
        Queue work = declare(QueueBuilder.durable(Harness.unique("work")).quorum().deliveryLimit(3).deadLetterExchange("")
                .deadLetterRoutingKey(dead.getName()));
        BlockingQueue<Message> heard = new LinkedBlockingQueue<>();
        SimpleMessageListenerContainer container = container(work, failing(heard));
        container.start(); // what fails goes back, as containers do unless they are told otherwise
        TEMPLATE.convertAndSend(work.getName(), "job");
        Message message = receive(dead);
        container.stop();
        Harness.equal(4, heard.size());
        Harness.equal("delivery_limit", death(message).get("reason"));
        Harness.equal(work.getName(), death(message).get("queue"));
        for (long returns = 0; returns < 4; returns++) {
            Object header = Harness.next(heard).getMessageProperties().getHeaders().get("x-delivery-count");
            Harness.equal(returns, header == null ? 0L : ((Number) header).longValue());
        }
        delete(work, dead);
    }

    private static void nackOfAFullQueue() throws Exception {
        Queue small = declare(QueueBuilder.durable(Harness.unique("small")).maxLength(2L).overflow(QueueBuilder.Overflow.rejectPublish));
        for (boolean accepted : new boolean[] {true, true, false}) {
            CorrelationData sent = new CorrelationData();
            TEMPLATE.convertAndSend("", small.getName(), "job", sent);
            Harness.equal(accepted, sent.getFuture().get(PATIENCE_MS, TimeUnit.MILLISECONDS).isAck());
            Harness.equal(null, sent.getReturned());
        }
        receive(small);
        CorrelationData sent = new CorrelationData();
        TEMPLATE.convertAndSend("", small.getName(), "again", sent);
        Harness.holds(sent.getFuture().get(PATIENCE_MS, TimeUnit.MILLISECONDS).isAck(), "there is room again");
        Harness.equal(2, count(small));
        delete(small);
    }

    private static void priorities() throws Exception {
        Queue queue = declare(QueueBuilder.durable(Harness.unique("priorities")).maxPriority(5));
        int[] levels = {1, 5, 0, 5, 200, 3};
        for (int index = 0; index < levels.length; index++) {
            int level = levels[index];
            CorrelationData sent = new CorrelationData();
            TEMPLATE.convertAndSend("", queue.getName(), "" + index, message -> {
                message.getMessageProperties().setPriority(level);
                return message;
            }, sent);
            sent.getFuture().get(PATIENCE_MS, TimeUnit.MILLISECONDS);
        }
        for (String wanted : List.of("1", "3", "4", "5", "0", "2")) Harness.equal(wanted, text(receive(queue)));
        delete(queue);
    }

    private static void singleActiveConsumer() throws Exception {
        Queue queue = declare(QueueBuilder.durable(Harness.unique("one")).singleActiveConsumer());
        BlockingQueue<String> first = new LinkedBlockingQueue<>();
        BlockingQueue<String> second = new LinkedBlockingQueue<>();
        DirectMessageListenerContainer active = direct(queue, first);
        DirectMessageListenerContainer waiting = direct(queue, second);
        active.start();
        Harness.eventually("the first one consumes", () -> ADMIN.getQueueInfo(queue.getName()).getConsumerCount() == 1);
        waiting.start();
        Harness.eventually("both are there", () -> ADMIN.getQueueInfo(queue.getName()).getConsumerCount() == 2);
        for (String word : List.of("a", "b", "c")) {
            TEMPLATE.convertAndSend(queue.getName(), word);
            Harness.equal(word, Harness.next(first));
        }
        Harness.equal(0, second.size());
        active.stop();
        TEMPLATE.convertAndSend(queue.getName(), "d");
        Harness.equal("d", Harness.next(second));
        waiting.stop();
        delete(queue);
    }

    private static DirectMessageListenerContainer direct(Queue queue, BlockingQueue<String> heard) {
        DirectMessageListenerContainer container = new DirectMessageListenerContainer(CONNECTIONS);
        container.setQueueNames(queue.getName());
        container.setMessageListener(message -> heard.add(text(message)));
        return container;
    }

    private static void delayedExchange() throws Exception {
        DirectExchange delayed = new DirectExchange(Harness.unique("delayed"), true, false);
        delayed.setDelayed(true);
        ADMIN.declareExchange(delayed);
        Queue queue = declare(QueueBuilder.durable(Harness.unique("delayed")));
        ADMIN.declareBinding(BindingBuilder.bind(queue).to(delayed).with("key"));
        long started = System.nanoTime();
        for (long delay : new long[] {400, 200}) {
            TEMPLATE.convertAndSend(delayed.getName(), "key", "" + delay, message -> {
                message.getMessageProperties().setDelayLong(delay);
                return message;
            });
        }
        for (long delay : new long[] {200, 400}) {
            Message message = receive(queue);
            Harness.equal("" + delay, text(message));
            long elapsed = (System.nanoTime() - started) / 1_000_000;
            Harness.holds(elapsed >= delay - 5, delay + " ms came after " + elapsed);
            // The broker hands the delay on, negated, as what has been waited for.
            Harness.equal(delay, Math.abs(message.getMessageProperties().getReceivedDelayLong()));
        }
        ADMIN.deleteExchange(delayed.getName());
        delete(queue);
    }
}
