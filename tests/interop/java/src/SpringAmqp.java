import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.springframework.amqp.core.BindingBuilder;
import org.springframework.amqp.core.Queue;
import org.springframework.amqp.core.TopicExchange;
import org.springframework.amqp.rabbit.connection.CachingConnectionFactory;
import org.springframework.amqp.rabbit.connection.CorrelationData;
import org.springframework.amqp.rabbit.core.RabbitAdmin;
import org.springframework.amqp.rabbit.core.RabbitTemplate;
import org.springframework.amqp.rabbit.listener.SimpleMessageListenerContainer;
import org.springframework.amqp.rabbit.listener.adapter.MessageListenerAdapter;

/** What a Spring application does first: declare with RabbitAdmin, send with RabbitTemplate, listen in a container. */
final class SpringAmqp {
    public static void main(String[] arguments) {
        CachingConnectionFactory connections = new CachingConnectionFactory(Harness.HOST, Harness.PORT);
        connections.setPublisherConfirmType(CachingConnectionFactory.ConfirmType.CORRELATED);
        connections.setPublisherReturns(true);
        RabbitAdmin admin = new RabbitAdmin(connections);
        RabbitTemplate template = new RabbitTemplate(connections);
        template.setMandatory(true);
        template.setReplyTimeout(5_000);

        Queue queue = new Queue(Harness.unique("spring"), false, false, false);
        TopicExchange exchange = new TopicExchange(Harness.unique("spring"), false, true);

        Harness harness = new Harness();
        harness.check("declare, send and receive", () -> {
            admin.declareQueue(queue);
            admin.declareExchange(exchange);
            admin.declareBinding(BindingBuilder.bind(queue).to(exchange).with("a.#"));
            template.convertAndSend(exchange.getName(), "a.b", "hare");
            Harness.equal("hare", template.receiveAndConvert(queue.getName(), 5_000));
        });
        harness.check("correlated confirm and return", () -> {
            CorrelationData confirmed = new CorrelationData();
            template.convertAndSend(exchange.getName(), "a.b", "kept", confirmed);
            Harness.holds(confirmed.getFuture().get(5, TimeUnit.SECONDS).isAck(), "an ack was expected");
            Harness.equal(null, confirmed.getReturned());
            CorrelationData lost = new CorrelationData();
            template.convertAndSend(exchange.getName(), "b", "lost", lost);
            Harness.holds(lost.getFuture().get(5, TimeUnit.SECONDS).isAck(), "an ack was expected");
            Harness.equal("NO_ROUTE", lost.getReturned().getReplyText());
            Harness.equal("kept", template.receiveAndConvert(queue.getName(), 5_000));
        });
        List<String> words = List.of("one", "two", "three");
        harness.check("listener container and request-reply", () -> {
            BlockingQueue<String> heard = new LinkedBlockingQueue<>();
            SimpleMessageListenerContainer container = new SimpleMessageListenerContainer(connections);
            container.setQueueNames(queue.getName());
            container.setPrefetchCount(1);
            container.setMessageListener(new MessageListenerAdapter(new Listener(heard), "hear"));
            container.start();
            // Within `invoke` the template keeps to one channel; order is promised for no more than that.
            template.invoke(sender -> {
                for (String word : words) sender.convertAndSend(exchange.getName(), "a", word);
                return null;
            });
            for (String word : words) Harness.equal(word, Harness.next(heard));
            Harness.equal("HARE", template.convertSendAndReceive(exchange.getName(), "a", "hare"));
            container.stop();
            admin.deleteQueue(queue.getName());
            connections.destroy();
        });
        String version = RabbitTemplate.class.getPackage().getImplementationVersion();
        harness.runAll("spring-amqp", version == null ? "unknown" : version);
    }

    /** The adapter calls `hear`; what it returns is the reply, when the message asks for one. */
    public static final class Listener {
        private final BlockingQueue<String> heard;

        Listener(BlockingQueue<String> heard) {
            this.heard = heard;
        }

        public String hear(String word) {
            heard.add(word);
            return word.equals("hare") ? "HARE" : null;
        }
    }
}
