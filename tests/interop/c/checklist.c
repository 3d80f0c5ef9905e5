/* The common checklist through librabbitmq, in one thread: what a small C program does with a broker.
   Every check opens its own connection; a failed one is a verdict line, and the next goes on. */

#include <amqp.h>
#include <amqp_framing.h>
#include <amqp_tcp_socket.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const char *reason; /* why the running check failed; NULL while it has not */
static char reason_text[512];
static amqp_connection_state_t connection;

#define ENSURE(condition)                                                                             \
  do {                                                                                                \
    if (!(condition)) {                                                                               \
      snprintf(reason_text, sizeof reason_text, "line %d: %s", __LINE__, #condition);                 \
      reason = reason_text;                                                                           \
      return;                                                                                         \
    }                                                                                                 \
  } while (0)

static const struct timeval patience = {5, 0};

static int is(amqp_bytes_t bytes, const char *text) {
  return bytes.len == strlen(text) && memcmp(bytes.bytes, text, bytes.len) == 0;
}

static int begins(amqp_bytes_t bytes, const char *text) {
  return bytes.len >= strlen(text) && memcmp(bytes.bytes, text, strlen(text)) == 0;
}

static int ok(void) { return amqp_get_rpc_reply(connection).reply_type == AMQP_RESPONSE_NORMAL; }

static amqp_rpc_reply_t log_in(const char *vhost, const char *password, int heartbeat_s) {
  const char *host = getenv("AMQP_HOST");
  connection = amqp_new_connection();
  amqp_socket_t *socket = amqp_tcp_socket_new(connection);
  if (amqp_socket_open(socket, host ? host : "127.0.0.1", atoi(getenv("AMQP_PORT"))) != AMQP_STATUS_OK) {
    fprintf(stderr, "cannot connect\n");
    exit(1);
  }
  return amqp_login(connection, vhost, 0, AMQP_DEFAULT_FRAME_SIZE, heartbeat_s, AMQP_SASL_METHOD_PLAIN, "guest",
                    password);
}

static void log_out(void) {
  amqp_connection_close(connection, AMQP_REPLY_SUCCESS);
  amqp_destroy_connection(connection);
}

/* The broker names an exclusive queue; the name stays valid until the connection is closed. */
static amqp_bytes_t temporary_queue(amqp_channel_t channel) {
  amqp_queue_declare_ok_t *declared =
      amqp_queue_declare(connection, channel, amqp_empty_bytes, 0, 0, 1, 0, amqp_empty_table);
  return declared ? amqp_bytes_malloc_dup(declared->queue) : amqp_empty_bytes;
}

static int send_to(amqp_bytes_t queue, amqp_bytes_t body, const amqp_basic_properties_t *properties) {
  return amqp_basic_publish(connection, 1, amqp_empty_bytes, queue, 0, 0, properties, body) == AMQP_STATUS_OK;
}

static int receive(amqp_envelope_t *envelope) {
  amqp_maybe_release_buffers(connection);
  return amqp_consume_message(connection, envelope, &patience, 0).reply_type == AMQP_RESPONSE_NORMAL;
}

static void properties_and_headers(void) {
  amqp_bytes_t queue = temporary_queue(1);
  amqp_table_entry_t entries[3];
  memset(entries, 0, sizeof entries);
  entries[0].key = amqp_cstring_bytes("text");
  entries[0].value.kind = AMQP_FIELD_KIND_UTF8;
  entries[0].value.value.bytes = amqp_cstring_bytes("hare");
  entries[1].key = amqp_cstring_bytes("u32");
  entries[1].value.kind = AMQP_FIELD_KIND_U32;
  entries[1].value.value.u32 = 4000000000u;
  entries[2].key = amqp_cstring_bytes("i8");
  entries[2].value.kind = AMQP_FIELD_KIND_I8;
  entries[2].value.value.i8 = -8;
  amqp_basic_properties_t sent = {0};
  sent._flags = AMQP_BASIC_CONTENT_TYPE_FLAG | AMQP_BASIC_DELIVERY_MODE_FLAG | AMQP_BASIC_PRIORITY_FLAG |
                AMQP_BASIC_TIMESTAMP_FLAG | AMQP_BASIC_HEADERS_FLAG | AMQP_BASIC_CORRELATION_ID_FLAG;
  sent.content_type = amqp_cstring_bytes("text/plain");
  sent.delivery_mode = 2;
  sent.priority = 7;
  sent.timestamp = 1700000000;
  sent.correlation_id = amqp_cstring_bytes("42");
  sent.headers.num_entries = 3;
  sent.headers.entries = entries;
  ENSURE(send_to(queue, amqp_cstring_bytes("body"), &sent));
  amqp_basic_consume(connection, 1, queue, amqp_empty_bytes, 0, 1, 0, amqp_empty_table);
  ENSURE(ok());
  amqp_envelope_t envelope;
  ENSURE(receive(&envelope));
  amqp_basic_properties_t *got = &envelope.message.properties;
  ENSURE(is(envelope.message.body, "body"));
  ENSURE(got->_flags == sent._flags);
  ENSURE(is(got->content_type, "text/plain") && is(got->correlation_id, "42"));
  ENSURE(got->delivery_mode == 2 && got->priority == 7 && got->timestamp == 1700000000);
  ENSURE(got->headers.num_entries == 3);
  ENSURE(got->headers.entries[0].value.kind == AMQP_FIELD_KIND_UTF8 && is(got->headers.entries[0].value.value.bytes, "hare"));
  ENSURE(got->headers.entries[1].value.value.i64 == 4000000000 || got->headers.entries[1].value.value.u32 == 4000000000u);
  ENSURE(got->headers.entries[2].value.kind == AMQP_FIELD_KIND_I8 && got->headers.entries[2].value.value.i8 == -8);
  amqp_destroy_envelope(&envelope);
}

static void acknowledgement(void) {
  amqp_bytes_t queue = temporary_queue(1);
  const char *bodies[] = {"a", "b", "c"};
  for (int i = 0; i < 3; i++) ENSURE(send_to(queue, amqp_cstring_bytes(bodies[i]), NULL));
  ENSURE(amqp_basic_qos(connection, 1, 0, 1, 0) != NULL);
  amqp_basic_consume(connection, 1, queue, amqp_empty_bytes, 0, 0, 0, amqp_empty_table);
  ENSURE(ok());
  amqp_envelope_t envelope;
  ENSURE(receive(&envelope) && is(envelope.message.body, "a") && !envelope.redelivered);
  amqp_basic_nack(connection, 1, envelope.delivery_tag, 0, 1);
  amqp_destroy_envelope(&envelope);
  ENSURE(receive(&envelope) && is(envelope.message.body, "a") && envelope.redelivered);
  amqp_basic_ack(connection, 1, envelope.delivery_tag, 0);
  amqp_destroy_envelope(&envelope);
  ENSURE(receive(&envelope) && is(envelope.message.body, "b"));
  amqp_basic_reject(connection, 1, envelope.delivery_tag, 0);
  amqp_destroy_envelope(&envelope);
  ENSURE(receive(&envelope) && is(envelope.message.body, "c") && envelope.delivery_tag == 4);
  amqp_destroy_envelope(&envelope);
}

static void confirms_and_returns(void) {
  amqp_frame_t frame;
  ENSURE(amqp_confirm_select(connection, 1) != NULL);
  amqp_basic_publish(connection, 1, amqp_cstring_bytes("amq.direct"), amqp_cstring_bytes("interop nowhere"), 1, 0,
                     NULL, amqp_cstring_bytes("x"));
  ENSURE(amqp_simple_wait_frame_noblock(connection, &frame, &patience) == AMQP_STATUS_OK);
  ENSURE(frame.payload.method.id == AMQP_BASIC_RETURN_METHOD);
  amqp_basic_return_t *returned = frame.payload.method.decoded;
  ENSURE(returned->reply_code == 312 && is(returned->reply_text, "NO_ROUTE"));
  amqp_message_t message;
  ENSURE(amqp_read_message(connection, 1, &message, 0).reply_type == AMQP_RESPONSE_NORMAL);
  ENSURE(is(message.body, "x"));
  amqp_destroy_message(&message);
  ENSURE(amqp_simple_wait_frame_noblock(connection, &frame, &patience) == AMQP_STATUS_OK);
  ENSURE(frame.payload.method.id == AMQP_BASIC_ACK_METHOD);
  ENSURE(((amqp_basic_ack_t *)frame.payload.method.decoded)->delivery_tag == 1);
}

static void transactions(void) {
  amqp_bytes_t queue = temporary_queue(1);
  ENSURE(amqp_tx_select(connection, 1) != NULL);
  ENSURE(send_to(queue, amqp_cstring_bytes("lost"), NULL));
  ENSURE(amqp_tx_rollback(connection, 1) != NULL);
  ENSURE(send_to(queue, amqp_cstring_bytes("kept"), NULL));
  ENSURE(amqp_tx_commit(connection, 1) != NULL);
  amqp_queue_declare_ok_t *found = amqp_queue_declare(connection, 1, queue, 1, 0, 1, 0, amqp_empty_table);
  ENSURE(found && found->message_count == 1);
}

static void refusal_closes_the_channel_alone(void) {
  amqp_queue_declare(connection, 1, amqp_cstring_bytes("interop.missing"), 1, 0, 0, 0, amqp_empty_table);
  amqp_rpc_reply_t reply = amqp_get_rpc_reply(connection);
  ENSURE(reply.reply_type == AMQP_RESPONSE_SERVER_EXCEPTION && reply.reply.id == AMQP_CHANNEL_CLOSE_METHOD);
  amqp_channel_close_t *close = reply.reply.decoded;
  ENSURE(close->reply_code == 404 && is(close->reply_text, "NOT_FOUND - no queue 'interop.missing' in vhost '/'"));
  ENSURE(close->class_id == 50 && close->method_id == 10);
  amqp_channel_close_ok_t close_ok;
  ENSURE(amqp_send_method(connection, 1, AMQP_CHANNEL_CLOSE_OK_METHOD, &close_ok) == AMQP_STATUS_OK);
  ENSURE(amqp_channel_open(connection, 2) != NULL);
}

static void get_and_get_empty(void) {
  amqp_bytes_t queue = temporary_queue(1);
  ENSURE(amqp_basic_get(connection, 1, queue, 1).reply.id == AMQP_BASIC_GET_EMPTY_METHOD);
  ENSURE(send_to(queue, amqp_empty_bytes, NULL));
  ENSURE(amqp_basic_get(connection, 1, queue, 1).reply.id == AMQP_BASIC_GET_OK_METHOD);
  amqp_message_t message;
  ENSURE(amqp_read_message(connection, 1, &message, 0).reply_type == AMQP_RESPONSE_NORMAL);
  ENSURE(message.body.len == 0);
  amqp_destroy_message(&message);
}

static void large_body(void) {
  amqp_bytes_t queue = temporary_queue(1), body = amqp_bytes_malloc(1024 * 1024);
  for (size_t i = 0; i < body.len; i++) ((unsigned char *)body.bytes)[i] = (unsigned char)(i * 31);
  ENSURE(send_to(queue, body, NULL));
  amqp_basic_consume(connection, 1, queue, amqp_empty_bytes, 0, 1, 0, amqp_empty_table);
  ENSURE(ok());
  amqp_envelope_t envelope;
  ENSURE(receive(&envelope));
  ENSURE(envelope.message.body.len == body.len && memcmp(envelope.message.body.bytes, body.bytes, body.len) == 0);
  amqp_destroy_envelope(&envelope);
  amqp_bytes_free(body);
}

/* librabbitmq does not offer consumer_cancel_notify, so the broker must not surprise it with a basic.cancel. */
static void no_cancel_notification(void) {
  amqp_bytes_t queue = temporary_queue(1);
  amqp_basic_consume(connection, 1, queue, amqp_cstring_bytes("untold"), 0, 1, 0, amqp_empty_table);
  ENSURE(ok());
  ENSURE(amqp_channel_open(connection, 2) != NULL);
  ENSURE(amqp_queue_delete(connection, 2, queue, 0, 0) != NULL);
  ENSURE(amqp_basic_qos(connection, 1, 0, 1, 0) != NULL); /* a round trip: a cancel would have come before its reply */
  ENSURE(!amqp_frames_enqueued(connection));
}

static void heartbeat(void) {
  log_out();
  ENSURE(log_in("/", "guest", 1).reply_type == AMQP_RESPONSE_NORMAL);
  ENSURE(amqp_get_heartbeat(connection) == 1);
  /* Three intervals: the time itself is under test. The library sends and checks heartbeats while it waits. */
  struct timeval idle = {3, 500000};
  amqp_frame_t frame;
  ENSURE(amqp_simple_wait_frame_noblock(connection, &frame, &idle) == AMQP_STATUS_TIMEOUT);
  ENSURE(amqp_channel_open(connection, 1) != NULL);
}

static void refused_logins(void) {
  log_out();
  amqp_rpc_reply_t reply = log_in("/", "wrong", 0);
  ENSURE(reply.reply_type == AMQP_RESPONSE_SERVER_EXCEPTION && reply.reply.id == AMQP_CONNECTION_CLOSE_METHOD);
  amqp_connection_close_t *close = reply.reply.decoded;
  ENSURE(close->reply_code == 403);
  ENSURE(begins(close->reply_text, "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN"));
  amqp_destroy_connection(connection);
  reply = log_in("nowhere", "guest", 0);
  ENSURE(reply.reply_type == AMQP_RESPONSE_SERVER_EXCEPTION && reply.reply.id == AMQP_CONNECTION_CLOSE_METHOD);
  close = reply.reply.decoded;
  ENSURE(close->reply_code == 530 && is(close->reply_text, "NOT_ALLOWED - vhost nowhere not found"));
  amqp_destroy_connection(connection);
  log_in("/", "guest", 0); /* and connects again */
  ENSURE(amqp_channel_open(connection, 1) != NULL);
}

static const struct {
  const char *name;
  void (*run)(void);
} checks[] = {
    {"properties and headers come back as sent", properties_and_headers},
    {"ack, nack and reject with prefetch 1", acknowledgement},
    {"mandatory return, then confirm", confirms_and_returns},
    {"transactions", transactions},
    {"404 closes only the channel", refusal_closes_the_channel_alone},
    {"get, and get from an empty queue", get_and_get_empty},
    {"a body of 1 MiB", large_body},
    {"no cancel notification that was not asked for", no_cancel_notification},
    {"heartbeats keep an idle connection alive", heartbeat},
    {"a wrong password and an unknown vhost are refused", refused_logins},
};

int main(void) {
  int failed = 0, count = sizeof checks / sizeof *checks;
  time_t started = time(NULL);
  if (!getenv("AMQP_PORT")) setenv("AMQP_PORT", "5672", 1);
  for (int i = 0; i < count; i++) {
    fprintf(stderr, "check %s\n", checks[i].name);
    reason = NULL;
    if (log_in("/", "guest", 0).reply_type != AMQP_RESPONSE_NORMAL || !amqp_channel_open(connection, 1)) {
      reason = "cannot log in";
    } else {
      checks[i].run();
    }
    if (reason) {
      failed = 1;
      printf("FAIL librabbitmq: %s: %s\n", checks[i].name, reason);
      amqp_destroy_connection(connection);
    } else {
      log_out();
    }
  }
  if (!failed) printf("ok librabbitmq %s (%d checks, %lds)\n", amqp_version(), count, (long)(time(NULL) - started));
  return failed;
}
