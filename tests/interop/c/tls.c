/* librabbitmq over TLS: it looks at the broker's certificate, and shows one of its own. */

#include <amqp.h>
#include <amqp_framing.h>
#include <amqp_ssl_socket.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

static const struct timeval patience = {5, 0};
static amqp_connection_state_t connection;
static const char *wrong; /* what did not come out as it should have; NULL while all did */

#define ENSURE(condition)    \
  do {                       \
    if (!(condition)) {      \
      wrong = #condition;    \
      return;                \
    }                        \
  } while (0)

static const char *certificate(const char *name) {
  static char paths[3][512];
  static int next;
  char *path = paths[next++ % 3];
  snprintf(path, sizeof paths[0], "%s/%s", getenv("INTEROP_TLS"), name);
  return path;
}

/* The status of the socket after its handshake. The library compares the name alone, so it must not be an address. */
static int connect_trusting(const char *authority, int with_certificate) {
  connection = amqp_new_connection();
  amqp_socket_t *socket = amqp_ssl_socket_new(connection);
  amqp_ssl_socket_set_verify_peer(socket, 1);
  amqp_ssl_socket_set_verify_hostname(socket, 1);
  int status = amqp_ssl_socket_set_cacert(socket, certificate(authority));
  if (status == AMQP_STATUS_OK && with_certificate) {
    status = amqp_ssl_socket_set_key(socket, certificate("client.pem"), certificate("client.key"));
  }
  if (status != AMQP_STATUS_OK) return status;
  return amqp_socket_open_noblock(socket, "localhost", atoi(getenv("AMQPS_PORT")), &patience);
}

static int confirmed(amqp_bytes_t queue, const amqp_basic_properties_t *properties, amqp_bytes_t body) {
  amqp_frame_t frame;
  return amqp_basic_publish(connection, 1, amqp_empty_bytes, queue, 0, 0, properties, body) == AMQP_STATUS_OK &&
         amqp_simple_wait_frame_noblock(connection, &frame, &patience) == AMQP_STATUS_OK &&
         frame.payload.method.id == AMQP_BASIC_ACK_METHOD;
}

static int same(amqp_bytes_t got, amqp_bytes_t wanted) {
  return got.len == wanted.len && memcmp(got.bytes, wanted.bytes, got.len) == 0;
}

static void exchange(const char *user) {
  ENSURE(amqp_channel_open(connection, 1) && amqp_confirm_select(connection, 1));
  amqp_queue_declare_ok_t *declared = amqp_queue_declare(connection, 1, amqp_empty_bytes, 0, 0, 1, 0, amqp_empty_table);
  ENSURE(declared);
  amqp_bytes_t queue = amqp_bytes_malloc_dup(declared->queue), large = amqp_bytes_malloc(1024 * 1024);
  for (size_t i = 0; i < large.len; i++) ((unsigned char *)large.bytes)[i] = (unsigned char)((i * 31) >> 3);
  amqp_basic_properties_t properties = {0};
  if (user) {
    properties._flags = AMQP_BASIC_USER_ID_FLAG;
    properties.user_id = amqp_cstring_bytes(user);
  }
  ENSURE(confirmed(queue, &properties, amqp_cstring_bytes("got")));
  amqp_message_t got;
  ENSURE(amqp_basic_get(connection, 1, queue, 1).reply.id == AMQP_BASIC_GET_OK_METHOD);
  ENSURE(amqp_read_message(connection, 1, &got, 0).reply_type == AMQP_RESPONSE_NORMAL);
  ENSURE(same(got.body, amqp_cstring_bytes("got")));
  amqp_destroy_message(&got);
  ENSURE(confirmed(queue, &properties, large)); /* many records of TLS */
  ENSURE(amqp_basic_consume(connection, 1, queue, amqp_empty_bytes, 0, 1, 0, amqp_empty_table));
  amqp_envelope_t delivered;
  ENSURE(amqp_consume_message(connection, &delivered, &patience, 0).reply_type == AMQP_RESPONSE_NORMAL);
  ENSURE(same(delivered.message.body, large));
  amqp_destroy_envelope(&delivered);
  amqp_bytes_free(large);
  amqp_bytes_free(queue);
  ENSURE(amqp_connection_close(connection, AMQP_REPLY_SUCCESS).reply_type == AMQP_RESPONSE_NORMAL);
}

static void confirm_get_and_consume(void) {
  ENSURE(connect_trusting("authority.pem", 0) == AMQP_STATUS_OK);
  amqp_rpc_reply_t reply = amqp_login(connection, "/", 0, AMQP_DEFAULT_FRAME_SIZE, 0, AMQP_SASL_METHOD_PLAIN, "guest", "guest");
  ENSURE(reply.reply_type == AMQP_RESPONSE_NORMAL);
  exchange(NULL);
}

static void stranger(void) { ENSURE(connect_trusting("stranger.pem", 0) == AMQP_STATUS_SSL_PEER_VERIFY_FAILED); }

static void external(void) {
  ENSURE(connect_trusting("authority.pem", 1) == AMQP_STATUS_OK);
  /* The identity is nothing that a broker looks at, but the library takes none that is empty. */
  amqp_rpc_reply_t reply =
      amqp_login(connection, "/", 0, AMQP_DEFAULT_FRAME_SIZE, 0, AMQP_SASL_METHOD_EXTERNAL, "nobody");
  ENSURE(reply.reply_type == AMQP_RESPONSE_NORMAL);
  exchange("guest");
}

static const struct {
  const char *name;
  void (*run)(void);
} checks[] = {
    {"confirm, get and consume", confirm_get_and_consume},
    {"a stranger's certificate is refused", stranger},
    {"external", external},
};

int main(void) {
  int failed = 0, count = sizeof checks / sizeof *checks;
  time_t started = time(NULL);
  for (int i = 0; i < count; i++) {
    fprintf(stderr, "check %s\n", checks[i].name);
    wrong = NULL;
    checks[i].run();
    amqp_destroy_connection(connection);
    if (wrong) {
      failed = 1;
      printf("FAIL librabbitmq-tls: %s: %s\n", checks[i].name, wrong);
    }
  }
  if (!failed) printf("ok librabbitmq-tls %s (%d checks, %lds)\n", amqp_version(), count, (long)(time(NULL) - started));
  return failed;
}
