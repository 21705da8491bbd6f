// A device model in C that shows its memory in a window, after docs/device-model-protocol.md and docs/retry.md: the
// device of guests/retry.
//
//   window SOCKET ADDRESS BYTES PORT fault|exit
//
// Pages are mapped when they are asked for. Writing to PORT revokes all of them and restores their contents; writing to
// PORT + 4 only revokes.
#define NAME "window"
#include "client.h"

#include <fcntl.h>

enum { MAP = 1, REVOKE = 2, RETRY = 4, COMMANDS = 256 };

static uint8_t *bytes;
static uint64_t first, size, port;
static uint32_t memory;
static int pager;

static void restore(void) {
  for (uint64_t at = 0; at < size; at++) bytes[at] = (uint8_t)(at * 167 + (at >> 8) * 13 + 5);
}

static uint16_t make_window(bool by_fault) {
  uint16_t id = create_server();
  int file = memfd_create("window", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (file < 0 || ftruncate(file, size) < 0 || fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK) < 0) die("memfd");
  struct packet add = { .op = ADD_MEMORY, .u.add = { .id = id, .bytes = size } };
  call_with("ADD_MEMORY", &add, file, NULL, 0);
  memory = add.u.add.memory;
  bytes = map(file, size);
  restore();
  struct packet window = { .op = MAP_WINDOW, .u.window = { id, by_fault, 0, first / PAGE, size / PAGE } };
  call("MAP_WINDOW", &window, NULL, 0);
  struct packet ask = { .op = PAGER, .u.pager.id = id };
  call("PAGER", &ask, &pager, 1);
  return id;
}

static void ring_pager(void) {
  const uint64_t one = 1;
  if (__atomic_exchange_n(&area->pager_asleep, 0, __ATOMIC_SEQ_CST) == 0) return;
  if (write(pager, &one, sizeof one) != sizeof one) die("eventfd");
}

// There is always room: answers are one command each, and a revocation is waited for.
static uint32_t push(uint8_t op, uint64_t gfn, uint32_t pages, uint32_t frame) {
  uint32_t index = area->pushed;
  area->commands[index % COMMANDS] = (struct command){ .op = op, .memory = memory, .pages = pages, .gfn = gfn, .frame = frame };
  __atomic_store_n(&area->pushed, index + 1, __ATOMIC_SEQ_CST);
  return index;
}

static void revoke_all(void) {
  uint32_t index = push(REVOKE, first / PAGE, size / PAGE, 0);
  struct pollfd poll_set = { doorbell, POLLIN, 0 };
  uint64_t rung;
  ring_pager();
  for (;;) {
    __atomic_store_n(&area->asleep, 1, __ATOMIC_SEQ_CST);
    if ((int32_t)(__atomic_load_n(&area->taken, __ATOMIC_SEQ_CST) - index) > 0) break;
    poll(&poll_set, 1, -1);
    if (read(doorbell, &rung, sizeof rung) < 0 && errno != EAGAIN) die("doorbell");
  }
  __atomic_store_n(&area->asleep, 0, __ATOMIC_SEQ_CST);
  if (area->commands[index % COMMANDS].result != 0) errno = -area->commands[index % COMMANDS].result, die("revoke");
}

static void map_page(uint64_t address) {
  push(MAP, address / PAGE, 1, (address - first) / PAGE);
}

static void fault(uint32_t number) {
  struct ioreq *slot = &area->faults[number];
  uint8_t begun = begin(slot);
  if (begun == 0) return;
  map_page(slot->addr);
  answer(slot, begun, RETRY);
  ring_pager();
}

static void handle(uint32_t vcpu) {
  struct ioreq *slot = &slots[vcpu];
  uint8_t begun = begin(slot);
  if (begun == 0) return;
  if (slot->type == IOREQ_TYPE_COPY && slot->addr >= first && slot->addr < first + size) {
    map_page(slot->addr);
    answer(slot, begun, RETRY);
  } else {
    if (slot->type == IOREQ_TYPE_PIO && slot->dir == IOREQ_WRITE) {
      revoke_all();
      if (slot->addr == port) restore();
    }
    answer(slot, begun, STATE_IORESP_READY);
  }
  wake(vcpu);
}

static void drain(void) {}  // nothing of it is buffered

int main(int argc, char **argv) {
  if (argc != 6 || (strcmp(argv[5], "fault") != 0 && strcmp(argv[5], "exit") != 0)) {
    fprintf(stderr, "usage: window SOCKET ADDRESS BYTES PORT fault|exit\n");
    return 64;
  }
  first = strtoull(argv[2], NULL, 0);
  size = strtoull(argv[3], NULL, 0);
  port = strtoull(argv[4], NULL, 0);
  connect_to(argv[1]);
  uint16_t id = make_window(strcmp(argv[5], "fault") == 0);
  range("map_io_range", MAP_RANGE, id, PORTS, port, 8);
  serve(id);
  return 0;
}
