import com.rabbitmq.client.AMQP;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.ConnectionFactory;
import com.rabbitmq.client.Delivery;
import com.rabbitmq.client.DefaultSaslConfig;
import com.rabbitmq.client.impl.ClientVersion;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.Random;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLHandshakeException;
import javax.net.ssl.TrustManagerFactory;

/** RabbitMQ's Java client over TLS: it looks at the broker's certificate and name, and shows one of its own. */
final class TlsClient {
    private static final Path CERTIFICATES = Path.of(System.getenv().getOrDefault("INTEROP_TLS", ""));
    /** Of client.p12; see lib/certificates.sh. */
    private static final char[] PASSWORD = "hare".toCharArray();

    public static void main(String[] arguments) {
        Harness harness = new Harness();
        harness.check("confirm, get and consume", () -> exchange(factory("authority.pem", false).newConnection(), null));
        harness.check("a stranger's certificate is refused", () ->
                Harness.rejection(SSLHandshakeException.class, () -> factory("stranger.pem", false).newConnection()));
        harness.check("external", () -> {
            ConnectionFactory factory = factory("authority.pem", true);
            factory.setSaslConfig(DefaultSaslConfig.EXTERNAL);
            exchange(factory.newConnection(), "guest");
        });
        harness.runAll("java-client-tls", ClientVersion.VERSION);
    }

    private static ConnectionFactory factory(String authority, boolean withCertificate) throws Exception {
        KeyStore trusted = KeyStore.getInstance(KeyStore.getDefaultType());
        trusted.load(null, null);
        try (InputStream pem = Files.newInputStream(CERTIFICATES.resolve(authority))) {
            trusted.setCertificateEntry("authority", CertificateFactory.getInstance("X.509").generateCertificate(pem));
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(trusted);
        KeyManagerFactory own = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
        KeyStore keys = KeyStore.getInstance("PKCS12");
        keys.load(null, null);
        if (withCertificate) {
            try (InputStream file = Files.newInputStream(CERTIFICATES.resolve("client.p12"))) {
                keys.load(file, PASSWORD);
            }
        }
        own.init(keys, PASSWORD);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(own.getKeyManagers(), trust.getTrustManagers(), null);
        ConnectionFactory factory = new ConnectionFactory();
        factory.setHost(Harness.HOST);
        factory.setPort(Integer.parseInt(System.getenv("AMQPS_PORT")));
        factory.setAutomaticRecoveryEnabled(false);
        factory.useSslProtocol(context);
        factory.enableHostnameVerification();
        return factory;
    }

    private static void exchange(Connection connection, String user) throws Exception {
        try (connection; Channel channel = connection.createChannel()) {
            channel.confirmSelect();
            String queue = channel.queueDeclare(Harness.unique("tls"), false, true, false, null).getQueue();
            AMQP.BasicProperties properties = new AMQP.BasicProperties.Builder().userId(user).build();
            byte[] large = new byte[1 << 20]; // many records of TLS
            new Random(7).nextBytes(large);
            channel.basicPublish("", queue, properties, "got".getBytes(StandardCharsets.UTF_8));
            channel.waitForConfirmsOrDie(5_000);
            Harness.equal("got", new String(channel.basicGet(queue, true).getBody(), StandardCharsets.UTF_8));
            BlockingQueue<Delivery> inbox = new LinkedBlockingQueue<>();
            channel.basicConsume(queue, true, (tag, delivery) -> inbox.add(delivery), tag -> {});
            channel.basicPublish("", queue, properties, large);
            channel.waitForConfirmsOrDie(5_000);
            Harness.equal(large, Harness.next(inbox).getBody());
        }
    }
}
