import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.UUID;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;

/** Runs named checks and prints the verdict. Knows nothing of any client. */
final class Harness {
    static final String HOST = System.getenv().getOrDefault("AMQP_HOST", "127.0.0.1");
    static final int PORT = Integer.parseInt(System.getenv().getOrDefault("AMQP_PORT", "5672"));
    private static final int CHECK_DEADLINE_S = 20;
    private static final int MESSAGE_DEADLINE_S = 5;

    interface Check {
        void run() throws Exception;
    }

    interface Condition {
        boolean holds() throws Exception;
    }

    private final Map<String, Check> checks = new LinkedHashMap<>();

    void check(String name, Check check) {
        checks.put(name, check);
    }

    void runAll(String client, String version) {
        long started = System.nanoTime();
        boolean failed = false;
        for (var entry : checks.entrySet()) {
            System.err.println("check " + entry.getKey());
            try {
                CompletableFuture.runAsync(() -> {
                    try {
                        entry.getValue().run();
                    } catch (Exception error) {
                        throw new IllegalStateException(error);
                    }
                }, task -> new Thread(task).start()).get(CHECK_DEADLINE_S, TimeUnit.SECONDS);
            } catch (Exception error) {
                failed = true;
                error.printStackTrace();
                Throwable cause = error;
                while (cause.getCause() != null) cause = cause.getCause();
                String reason = cause.toString().replace('\n', ' ');
                System.out.println("FAIL " + client + ": " + entry.getKey() + ": " + reason);
            }
        }
        double seconds = (System.nanoTime() - started) / 1e9;
        if (!failed) {
            System.out.printf(Locale.ROOT, "ok %s %s (%d checks, %.1fs)%n", client, version, checks.size(), seconds);
        }
        System.exit(failed ? 1 : 0);
    }

    /** A name no other run uses, so that a killed run cannot disturb the next one. */
    static String unique(String what) {
        return "interop.java." + what + "." + UUID.randomUUID();
    }

    static void equal(Object wanted, Object got) {
        if (!Objects.deepEquals(wanted, got)) throw new AssertionError("got " + got + ", want " + wanted);
    }

    static void holds(boolean condition, String what) {
        if (!condition) throw new AssertionError(what);
    }

    static <T> T next(BlockingQueue<T> from) throws InterruptedException {
        T value = from.poll(MESSAGE_DEADLINE_S, TimeUnit.SECONDS);
        holds(value != null, "nothing within " + MESSAGE_DEADLINE_S + " s");
        return value;
    }

    static void eventually(String what, Condition condition) throws Exception {
        for (long end = System.nanoTime() + 5_000_000_000L; System.nanoTime() < end; Thread.sleep(5)) {
            if (condition.holds()) return;
        }
        throw new AssertionError(what + ": not so within 5 s");
    }

    static <E extends Exception> E rejection(Class<E> kind, Check call) throws Exception {
        try {
            call.run();
        } catch (Exception error) {
            if (kind.isInstance(error)) return kind.cast(error);
            throw error;
        }
        throw new AssertionError(kind.getSimpleName() + " was expected, but the call succeeded");
    }
}
