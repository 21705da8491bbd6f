// What device models in C have in common, after docs/device-model-protocol.md and <xen/hvm/ioreq.h>: a connection, a
// server with its memory, waking vCPUs, the loop. A model defines NAME, handle() and, if it wants them, drain() and fault().
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <xen/xen.h>
#include <xen/hvm/ioreq.h>

enum { PAGE = 4096, SLOT_STATE = 30, STATE_BITS = 15, RING_ENTRIES = 511, MAX_FDS = 250, FAULT_SLOTS = 128 };
enum { CREATE = 1, MAP_RANGE = 3, SET_STATE = 5, HELLO = 0x100, ACQUIRE = 0x101, SERVER_MEMORY = 0x103, WAITERS = 0x104,
       BUFFER_RANGE = 0x106, ADD_MEMORY = 0x107, MAP_WINDOW = 0x109, PAGER = 0x10b };
enum { PORTS = 0, MEMORY = 1, ATOMIC = 2 };

struct packet {
  uint32_t op;
  int32_t result;
  union {
    struct { uint8_t handling, zero[3]; uint16_t id; } create;
    struct { uint16_t id, zero; uint32_t type; uint64_t start, end; } range;
    struct { uint16_t id; uint8_t enabled, zero; } state;
    struct { uint32_t version, vcpus, vcpus_per_waiter, waiters; } hello;
    struct { uint16_t id, zero; uint32_t frame, frames; } acquire;
    struct { uint16_t id, zero; uint32_t bytes; } memory;
    struct { uint32_t first, total; } waiters;
    struct { uint16_t id, zero; uint32_t memory; uint64_t bytes; } add;
    struct { uint16_t id, transport; uint32_t zero; uint64_t gfn, pages; } window;
    struct { uint16_t id, zero; } pager;
    uint8_t bytes[24];
  } u;
};

static struct area {
  uint32_t released, asleep, pager_asleep, unused[13], pending[1008];
  uint32_t flags[1024];
  uint8_t waiter_asleep[4096];
  uint8_t device_state[65536];
  struct ioreq faults[FAULT_SLOTS];
  uint32_t pushed, taken, unused_too[14];
  struct command {
    uint8_t op, read_only;
    uint16_t memory;
    uint32_t pages;
    uint64_t gfn;
    uint32_t frame;
    int32_t result;
    uint64_t unused;
  } commands[256];
} *area;
_Static_assert(offsetof(struct area, device_state) == 12288, "the notification area up to the device state");
_Static_assert(offsetof(struct area, faults) == 77824, "the violations");
_Static_assert(offsetof(struct area, commands) == 81984, "the commands");

static int hypervisor, doorbell, *waiters;
static uint32_t vcpus, vcpus_per_waiter;
static struct ioreq *slots;
static struct buffered_iopage *ring;

static void die(const char *what) {
  fprintf(stderr, NAME ": %s: %s\n", what, strerror(errno));
  exit(69);
}

static void *map(int fd, size_t length) {
  void *at = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (at == MAP_FAILED) die("mmap");
  close(fd);
  return at;
}

static void send_packet(const char *what, struct packet *packet, int with) {
  char control[CMSG_SPACE(sizeof(int))] = { 0 };
  struct iovec vector = { packet, sizeof *packet };
  struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1 };
  if (with >= 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &with, sizeof(int));
  }
  if (sendmsg(hypervisor, &message, MSG_NOSIGNAL) < 0) die(what);
}

// One request, `with` a descriptor if that is not negative, and its reply, with as many descriptors as there have to be; `count` < 0: as many as come.
static int call_with(const char *what, struct packet *packet, int with, int *fds, int count) {
  char control[CMSG_SPACE(MAX_FDS * sizeof(int))];
  struct iovec vector = { packet, sizeof *packet };
  struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
  send_packet(what, packet, with);
  ssize_t length = recvmsg(hypervisor, &message, MSG_CMSG_CLOEXEC);
  if (length < 8) die(what);
  if (packet->result != 0) {
    errno = -packet->result;
    die(what);
  }
  packet->result = 0;
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  int got = header == NULL ? 0 : (int)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
  if ((count >= 0 && got != count) || (message.msg_flags & MSG_CTRUNC)) errno = EPROTO, die(what);
  if (got > 0) memcpy(fds, CMSG_DATA(header), got * sizeof(int));
  return got;
}

static int call(const char *what, struct packet *packet, int *fds, int count) {
  return call_with(what, packet, -1, fds, count);
}

static void connect_to(const char *path) {
  struct sockaddr_un address = { .sun_family = AF_UNIX };
  strncpy(address.sun_path, path, sizeof address.sun_path - 1);
  hypervisor = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  while (connect(hypervisor, (struct sockaddr *)&address, sizeof address) < 0) {
    if (errno != ENOENT && errno != ECONNREFUSED) die(path);
    usleep(10000);
  }
  struct packet hello = { .op = HELLO, .u.hello.version = 1 };
  call("HELLO", &hello, NULL, 0);
  vcpus = hello.u.hello.vcpus;
  vcpus_per_waiter = hello.u.hello.vcpus_per_waiter;
  waiters = calloc(hello.u.hello.waiters + MAX_FDS, sizeof(int));
  for (uint32_t have = 0; have < hello.u.hello.waiters;) {
    struct packet packet = { .op = WAITERS, .u.waiters.first = have };
    have += call("WAITERS", &packet, waiters + have, -1);
  }
}

static uint16_t create_server(void) {
  struct packet create = { .op = CREATE, .u.create.handling = ATOMIC };
  call("create_ioreq_server", &create, NULL, 0);
  uint16_t id = create.u.create.id;
  int fds[MAX_FDS], pages = (vcpus + 127) / 128;
  struct packet acquire = { .op = ACQUIRE, .u.acquire = { .id = id, .frame = 0, .frames = 1 + pages } };
  call("ACQUIRE_RESOURCE", &acquire, fds, 1 + pages);
  ring = map(fds[0], PAGE);
  slots = mmap(NULL, pages * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  for (int page = 0; page < pages; page++) {
    void *at = (char *)slots + page * PAGE;
    if (mmap(at, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fds[1 + page], 0) != at) die("mmap");
    close(fds[1 + page]);
  }
  struct packet memory = { .op = SERVER_MEMORY, .u.memory.id = id };
  call("SERVER_MEMORY", &memory, fds, 2);
  area = map(fds[0], memory.u.memory.bytes);
  doorbell = fds[1];
  return id;
}

static void range(const char *what, int op, uint16_t id, int type, uint64_t start, uint64_t length) {
  struct packet packet = { .op = op, .u.range = { id, 0, type, start, start + length - 1 } };
  call(what, &packet, NULL, 0);
}

// From READY to INPROCESS, unless it is somebody else's already. Returns the state byte, 0 if it was not READY.
static uint8_t begin(struct ioreq *slot) {
  uint8_t *state = (uint8_t *)slot + SLOT_STATE, byte = __atomic_load_n(state, __ATOMIC_SEQ_CST);
  uint8_t begun = (byte & ~STATE_BITS) | STATE_IOREQ_INPROCESS;
  if ((byte & STATE_BITS) != STATE_IOREQ_READY) return 0;
  return __atomic_compare_exchange_n(state, &byte, begun, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST) ? begun : 0;
}

static void answer(struct ioreq *slot, uint8_t begun, int state) {
  __atomic_store_n((uint8_t *)slot + SLOT_STATE, (begun & ~STATE_BITS) | state, __ATOMIC_SEQ_CST);
}

static void wake(uint32_t vcpu) {
  const uint64_t one = 1;
  uint32_t waiter = vcpu / vcpus_per_waiter;
  __atomic_fetch_or(&area->flags[vcpu / 32], 1u << vcpu % 32, __ATOMIC_SEQ_CST);
  if (__atomic_exchange_n(&area->waiter_asleep[waiter], 0, __ATOMIC_SEQ_CST) == 0) return;
  if (write(waiters[waiter], &one, sizeof one) != sizeof one) die("eventfd");
}

static void handle(uint32_t vcpu);
static void drain(void);
static void fault(uint32_t slot);

static bool serve_pending(void) {
  bool any = false;
  for (uint32_t word = 0; word < (vcpus + 2 + FAULT_SLOTS + 31) / 32; word++) {
    if (__atomic_load_n(&area->pending[word], __ATOMIC_SEQ_CST) == 0) continue;
    any = true;
    uint32_t bits = __atomic_exchange_n(&area->pending[word], 0, __ATOMIC_SEQ_CST);
    for (; bits != 0; bits &= bits - 1) {
      uint32_t port = word * 32 + __builtin_ctz(bits);
      drain();
      if (port >= 1 && port <= vcpus) handle(port - 1);
      if (port >= vcpus + 2 && port < vcpus + 2 + FAULT_SLOTS) fault(port - vcpus - 2);
    }
  }
  return any;
}

// Enables the server, and serves until the domain ends.
static void serve(uint16_t id) {
  struct packet enable = { .op = SET_STATE, .u.state = { id, 1, 0 } };
  call("set_ioreq_server_state", &enable, NULL, 0);
  uint64_t rung;
  struct pollfd poll_set[2] = { { doorbell, POLLIN, 0 }, { hypervisor, 0, 0 } };
  while (!__atomic_load_n(&area->released, __ATOMIC_SEQ_CST)) {
    if (serve_pending()) continue;
    __atomic_store_n(&area->asleep, 1, __ATOMIC_SEQ_CST);
    if (!serve_pending() && !__atomic_load_n(&area->released, __ATOMIC_SEQ_CST)) poll(poll_set, 2, -1);
    __atomic_store_n(&area->asleep, 0, __ATOMIC_SEQ_CST);
    if ((poll_set[0].revents & POLLIN) && read(doorbell, &rung, sizeof rung) < 0) die("doorbell");
    if (poll_set[1].revents != 0 && !area->released) errno = EPIPE, die("the hypervisor is gone");
    poll_set[0].revents = poll_set[1].revents = 0;
  }
  serve_pending();
}
