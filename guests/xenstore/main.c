// The xenstore, by the wire protocol on its ring: what it says of this domain, what a guest may do, and what it may not.
#include "guest.h"
#include "xen.h"

enum { RING_BYTES = 1024, PAYLOAD_MAX = 4096, EVENTS = 16, TOKEN_BYTES = 32 };

enum {
  CONTROL = 0,
  DIRECTORY = 1,
  READ = 2,
  GET_PERMS = 3,
  WATCH = 4,
  UNWATCH = 5,
  TRANSACTION_START = 6,
  TRANSACTION_END = 7,
  INTRODUCE = 8,
  GET_DOMAIN_PATH = 10,
  WRITE = 11,
  MKDIR = 12,
  RM = 13,
  SET_PERMS = 14,
  WATCH_EVENT = 15,
  ERROR = 16,
  RESET_WATCHES = 21,
};

enum { CONNECTED = 0, RECONNECT = 1, ERROR_PROTOCOL = 3 };

// struct xenstore_domain_interface (Xen's public/io/xs_wire.h). The indices run free.
struct store_ring {
  volatile uint8_t requests[RING_BYTES], replies[RING_BYTES];
  volatile uint32_t request_consumer, request_producer, reply_consumer, reply_producer;
  volatile uint32_t features, connection, error;
};

struct message {
  uint32_t type, request, transaction, size;
};

static struct store_ring *ring;
static struct shared_info *shared;
static uint32_t port, last_request;
static char reply[PAYLOAD_MAX + 1];
static size_t reply_size;

// The tokens of events that came, in their order, and how many of them were looked at.
static char tokens[EVENTS][TOKEN_BYTES];
static unsigned events, events_seen;

// ---- Bytes

// Sleeps until the store has sent an event since the last call. The caller looks at the ring before each.
static void wait_for_event(void) {
  if (xen_poll(&port, 1, 0) != 0) fail("xenstore: SCHEDOP_poll fails");
  __atomic_and_fetch(&shared->pending[port / WORD_BITS], ~((word)1 << port % WORD_BITS), __ATOMIC_SEQ_CST);
}

static void send(const void *bytes, size_t size) {
  const uint8_t *next = bytes;
  while (size > 0) {
    uint32_t producer = ring->request_producer, room = RING_BYTES - (producer - ring->request_consumer);
    if (room == 0) {
      wait_for_event();
      continue;
    }
    uint32_t at = producer % RING_BYTES, count = RING_BYTES - at;
    if (count > room) count = room;
    if (count > size) count = (uint32_t)size;
    memcpy((void *)(ring->requests + at), next, count);
    ring->request_producer = producer + count;
    event_send(port);
    next += count;
    size -= count;
  }
}

static void receive(void *bytes, size_t size) {
  uint8_t *next = bytes;
  while (size > 0) {
    uint32_t consumer = ring->reply_consumer, filled = ring->reply_producer - consumer;
    if (filled > RING_BYTES) fail("xenstore: the ring has %u bytes", filled);
    if (filled == 0) {
      wait_for_event();
      continue;
    }
    uint32_t at = consumer % RING_BYTES, count = RING_BYTES - at;
    if (count > filled) count = filled;
    if (count > size) count = (uint32_t)size;
    memcpy(next, (const void *)(ring->replies + at), count);
    ring->reply_consumer = consumer + count;
    event_send(port);
    next += count;
    size -= count;
  }
}

// ---- Messages

static void send_message(uint32_t type, uint32_t transaction, const void *payload, size_t size) {
  struct message header = {type, ++last_request, transaction, (uint32_t)size};
  send(&header, sizeof header);
  send(payload, size);
}

// The next message's header; its payload is in `reply`, followed by a zero.
static struct message receive_message(void) {
  struct message header;
  receive(&header, sizeof header);
  if (header.size > PAYLOAD_MAX) fail("xenstore: a reply of %u bytes", header.size);
  receive(reply, header.size);
  reply[reply_size = header.size] = 0;
  if (header.type != WATCH_EVENT) return header;
  const char *token = reply + length(reply) + 1;
  if (events == EVENTS || length(token) >= TOKEN_BYTES) fail("xenstore: too many events, or too long ones");
  memcpy(tokens[events++], token, length(token) + 1);
  return header;
}

// The type of what comes in return; events that come before are kept.
static uint32_t request(uint32_t type, uint32_t transaction, const void *payload, size_t size) {
  send_message(type, transaction, payload, size);
  for (;;) {
    struct message header = receive_message();
    if (header.type == WATCH_EVENT) continue;
    if (header.request != last_request || header.transaction != transaction) fail("xenstore: another request's reply");
    return header.type;
  }
}

static void expect_reply(const char *what, uint32_t found, uint32_t type, const char *payload, size_t size) {
  if (found == type && reply_size == size && equal(reply, payload, size)) return;
  print("xenstore: %s gives message %u, \"", what, found);
  print_text(reply, reply_size);
  print("\", not %u, \"", type);
  print_text(payload, size);
  fail("\"");
}

// Payloads are string literals: what a macro takes of them is all but the zero at their end.
#define SIZE(literal) (sizeof(literal) - 1)
#define GIVES_IN(type, transaction, payload, expected) \
  expect_reply(#type " " payload, request(type, transaction, payload, SIZE(payload)), type, expected, SIZE(expected))
#define GIVES(type, payload, expected) GIVES_IN(type, 0, payload, expected)
#define REFUSED_IN(type, transaction, payload, name) \
  expect_reply(#type " " payload, request(type, transaction, payload, SIZE(payload)), ERROR, name "\0", SIZE(name "\0"))
#define REFUSED(type, payload, name) REFUSED_IN(type, 0, payload, name)

// The next event has this token.
static void expect_event(const char *token) {
  while (events_seen == events) receive_message();
  const char *found = tokens[events_seen++];
  if (length(found) != length(token) || !equal(found, token, length(token))) {
    fail("xenstore: an event of %s, not of %s", found, token);
  }
}

static void expect_no_event(const char *when) {
  GIVES(READ, "domid\0", "1");  // whatever was to come has come before this
  if (events_seen != events) fail("xenstore: an event of %s %s", tokens[events_seen], when);
}

// ---- What there is to see

static void about_this_domain(void) {
  GIVES(GET_DOMAIN_PATH, "1\0", "/local/domain/1\0");
  GIVES(READ, "domid\0", "1");
  if (request(READ, 0, "name\0", SIZE("name\0")) != READ) fail("xenstore: no name");
  print("xenstore: name %s\n", reply);
  if (request(READ, 0, "memory/target\0", SIZE("memory/target\0")) != READ) fail("xenstore: no memory/target");
  print("xenstore: memory/target %s\n", reply);
  GIVES(READ, "/local/domain/1/cpu/0/availability\0", "online");
  GIVES(READ, "control/shutdown\0", "");
  REFUSED(READ, "no/such/node\0", "ENOENT");
}

static void nodes(void) {
  GIVES(WRITE, "data/one\0first", "OK\0");
  GIVES(READ, "data/one\0", "first");
  GIVES(WRITE, "data/one\0\0\0", "OK\0");
  GIVES(READ, "data/one\0", "\0\0");
  GIVES(MKDIR, "data/two\0", "OK\0");
  GIVES(MKDIR, "data/two\0", "OK\0");
  GIVES(WRITE, "data/two/a/b\0x", "OK\0");
  GIVES(WRITE, "data/two/c\0y", "OK\0");
  GIVES(DIRECTORY, "data/two\0", "a\0c\0");
  GIVES(DIRECTORY, "data/two/a/b\0", "");
  GIVES(RM, "data/two/a\0", "OK\0");
  REFUSED(READ, "data/two/a/b\0", "ENOENT");
  GIVES(DIRECTORY, "/local/domain/1/data\0", "one\0two\0");
  GIVES(RM, "data/two/a\0", "OK\0");
  REFUSED(RM, "data/three/a\0", "ENOENT");
  GIVES(GET_PERMS, "data/one\0", "n1\0");
  GIVES(SET_PERMS, "data/one\0r1\0b0\0", "OK\0");
  GIVES(GET_PERMS, "data/one\0", "r1\0b0\0");

  // More than the ring holds, both ways.
  static char payload[9 + 1900] = "data/big";
  memset(payload + 9, 'z', 1900);
  expect_reply("WRITE of 1900 bytes", request(WRITE, 0, payload, sizeof payload), WRITE, "OK\0", 3);
  expect_reply("READ of 1900 bytes", request(READ, 0, payload, 9), READ, payload + 9, 1900);
  print("xenstore: nodes\n");
}

static void refusals(void) {
  REFUSED(WRITE, "name\0other", "EACCES");
  REFUSED(WRITE, "new\0x", "EACCES");
  REFUSED(WRITE, "/local/domain/0/new\0x", "EACCES");
  REFUSED(MKDIR, "/tool\0", "EACCES");
  REFUSED(RM, "memory/target\0", "EACCES");
  REFUSED(SET_PERMS, "name\0b1\0", "EACCES");
  REFUSED(SET_PERMS, "data/one\0x1\0", "EINVAL");
  REFUSED(INTRODUCE, "1\0001\0001\0", "EACCES");
  REFUSED(CONTROL, "help\0", "EACCES");

  REFUSED(READ, "domid", "EINVAL");
  REFUSED(READ, "", "EINVAL");
  REFUSED(READ, "domid\0name\0", "EINVAL");
  REFUSED(READ, "data//one\0", "EINVAL");
  REFUSED(READ, "data/one/\0", "EINVAL");
  REFUSED(READ, "data/o ne\0", "EINVAL");
  REFUSED(WRITE, "data/one", "EINVAL");
  REFUSED(TRANSACTION_END, "T\0", "ENOENT");
  REFUSED_IN(READ, 77, "domid\0", "ENOENT");
  expect_reply("message 99", request(99, 0, "", 0), ERROR, "ENOSYS\0", 7);
  expect_reply("message 2^32 - 1", request(UINT32_MAX, 0, "x", 1), ERROR, "ENOSYS\0", 7);
  expect_reply("a watch event", request(WATCH_EVENT, 0, "a\0b\0", 4), ERROR, "ENOSYS\0", 7);
  print("xenstore: refusals\n");
}

static void watches(void) {
  GIVES(WATCH, "data\0all\0", "OK\0");
  expect_event("all");
  GIVES(WATCH, "data/one\0one\0", "OK\0");
  expect_event("one");
  REFUSED(WATCH, "data\0all\0", "EEXIST");
  GIVES(WRITE, "data/one\0again", "OK\0");
  expect_event("all");
  expect_event("one");
  GIVES(WRITE, "data/two\0x", "OK\0");
  expect_event("all");
  GIVES(UNWATCH, "data\0all\0", "OK\0");
  REFUSED(UNWATCH, "data\0all\0", "ENOENT");
  GIVES(WRITE, "data/two\0y", "OK\0");
  GIVES(RM, "data/one\0", "OK\0");
  expect_event("one");
  GIVES(WATCH, "@releaseDomain\0gone\0", "OK\0");
  expect_event("gone");
  GIVES(RESET_WATCHES, "\0", "OK\0");
  GIVES(WRITE, "data/one\0x", "OK\0");
  expect_no_event("after RESET_WATCHES");
  print("xenstore: watches\n");
}

static uint32_t start_transaction(void) {
  if (request(TRANSACTION_START, 0, "\0", 1) != TRANSACTION_START) fail("xenstore: no transaction: %s", reply);
  uint32_t id = (uint32_t)number(reply);
  if (id == 0) fail("xenstore: a transaction without a number");
  return id;
}

static void transactions(void) {
  uint32_t id = start_transaction();
  GIVES_IN(WRITE, id, "data/one\0inside", "OK\0");
  GIVES_IN(READ, id, "data/one\0", "inside");
  GIVES(READ, "data/one\0", "x");
  GIVES_IN(TRANSACTION_END, id, "T\0", "OK\0");
  GIVES(READ, "data/one\0", "inside");
  REFUSED_IN(TRANSACTION_END, id, "T\0", "ENOENT");

  id = start_transaction();
  GIVES_IN(WRITE, id, "data/one\0dropped", "OK\0");
  GIVES_IN(TRANSACTION_END, id, "F\0", "OK\0");
  GIVES(READ, "data/one\0", "inside");

  id = start_transaction();
  GIVES_IN(READ, id, "data/one\0", "inside");
  GIVES(WRITE, "data/one\0meanwhile", "OK\0");
  GIVES_IN(WRITE, id, "data/two\0late", "OK\0");
  REFUSED_IN(TRANSACTION_END, id, "T\0", "EAGAIN");
  GIVES(READ, "data/two\0", "y");
  print("xenstore: transactions\n");
}

// A payload that is longer than any may be ends the connection; another one can be had.
static void reconnection(void) {
  if (!(ring->features & 1)) fail("xenstore: no reconnection");
  struct message header = {WRITE, ++last_request, 0, PAYLOAD_MAX + 1};
  send(&header, sizeof header);
  while (ring->error == 0) wait_for_event();
  if (ring->error != ERROR_PROTOCOL) fail("xenstore: error %u of the connection", ring->error);
  ring->connection = RECONNECT;
  event_send(port);
  while (ring->connection != CONNECTED) wait_for_event();
  if (ring->error != 0) fail("xenstore: error %u of a new connection", ring->error);
  GIVES(READ, "data/one\0", "meanwhile");
  print("xenstore: connected again\n");
}

static void clean_up(void) {
  GIVES(RM, "data/one\0", "OK\0");
  GIVES(RM, "data/two\0", "OK\0");
  GIVES(RM, "data/big\0", "OK\0");
  events = events_seen = 0;
}

// What the tool stack asks for it gets, once the guest has said that it has heard.
_Noreturn static void obey(void) {
  GIVES(WATCH, "control/shutdown\0shutdown\0", "OK\0");
  print("xenstore: waiting for control/shutdown\n");
  for (;;) {
    expect_event("shutdown");
    events = events_seen = 0;
    if (request(READ, 0, "control/shutdown\0", SIZE("control/shutdown\0")) != READ) fail("xenstore: no control/shutdown");
    if (reply_size == 0) continue;
    bool is_poweroff = is_word(reply, "poweroff"), is_reboot = is_word(reply, "reboot");
    print("xenstore: told to %s\n", reply);
    GIVES(WRITE, "control/shutdown\0", "OK\0");
    if (is_poweroff) xen_shutdown(SHUTDOWN_POWEROFF);
    if (is_reboot) xen_shutdown(SHUTDOWN_REBOOT);
  }
}

int main(void) {
  xen_init();
  if (xen_domid() != 1) fail("xenstore: this guest knows what domain 1 is to see, not %u", xen_domid());
  shared = xen_map_shared_info();
  ring = (struct store_ring *)(hvm_param(HVM_PARAM_STORE_PFN) << 12);
  port = (uint32_t)hvm_param(HVM_PARAM_STORE_EVTCHN);
  if (option("wait")) obey();
  about_this_domain();
  for (uint64_t round = number_option("rounds", 1); round > 0; round--) {
    nodes();
    refusals();
    watches();
    transactions();
    reconnection();
    clean_up();
  }
  print("xenstore: all answers right\n");
  return 0;
}
