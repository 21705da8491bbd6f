// A device model in C, after docs/device-model-protocol.md and <xen/hvm/ioreq.h>: memory at ports or addresses.
//
//   model SOCKET port|memory FIRST BYTES [COUNTERS]
//
// With COUNTERS, writes to it go through the buffered ring where they fit, and 8 ports from COUNTERS on read how many
// there were (4 bytes) and a checksum of them in their order (4 bytes): the device of guests/buffered.
#define NAME "model"
#include "client.h"

static uint8_t *bytes;
static uint64_t first, size, counters;
static int range_type;
static uint32_t written, checksum;

static void count(uint64_t offset, uint32_t width, uint64_t value) {
  if (width == 8) {
    count(offset, 4, (uint32_t)value);
    return count(offset + 4, 4, value >> 32);
  }
  written++;
  checksum = ((checksum << 5 | checksum >> 27) ^ (uint32_t)value) + (uint32_t)offset * 8 + width;
}

static void store(uint64_t address, uint32_t width, uint64_t value) {
  if (address < first || address + width > first + size) return;
  memcpy(bytes + (address - first), &value, width);
  if (counters != 0) count(address - first, width, width == 8 ? value : value & ((1ull << width * 8) - 1));
}

static uint64_t load(int type, uint64_t address, uint32_t width) {
  uint64_t value = ~0ull;
  if (counters != 0 && type == IOREQ_TYPE_PIO && (address & ~4ull) == counters && width == 4) {
    return address == counters ? written : checksum;
  }
  if (address >= first && address + width <= first + size) memcpy(&value, bytes + (address - first), width);
  return value;
}

static void drain(void) {
  for (;;) {
    uint32_t read = __atomic_load_n(&ring->read_pointer, __ATOMIC_SEQ_CST);
    uint32_t write = __atomic_load_n(&ring->write_pointer, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&ring->read_pointer, __ATOMIC_SEQ_CST) != read) continue;
    if (read == write) return;
    struct buf_ioreq entry = ring->buf_ioreq[read % RING_ENTRIES];
    uint64_t high = entry.size == 3 ? ring->buf_ioreq[(read + 1) % RING_ENTRIES].data : 0;
    store(entry.addr, 1u << entry.size, high << 32 | entry.data);
    __atomic_fetch_add(&ring->read_pointer, entry.size == 3 ? 2 : 1, __ATOMIC_SEQ_CST);
  }
}

static void handle(uint32_t vcpu) {
  struct ioreq *slot = &slots[vcpu];
  uint8_t begun = begin(slot);
  if (begun == 0) return;
  if (slot->type == IOREQ_TYPE_PIO || slot->type == IOREQ_TYPE_COPY) {
    if (slot->dir == IOREQ_READ) slot->data = load(slot->type, slot->addr, slot->size);
    else store(slot->addr, slot->size, slot->data);
  }
  answer(slot, begun, STATE_IORESP_READY);
  wake(vcpu);
}

static void fault(uint32_t slot) { (void)slot; }  // it has no windows

int main(int argc, char **argv) {
  if (argc < 5 || (strcmp(argv[2], "port") != 0 && strcmp(argv[2], "memory") != 0)) {
    fprintf(stderr, "usage: model SOCKET port|memory FIRST BYTES [COUNTERS]\n");
    return 64;
  }
  range_type = strcmp(argv[2], "port") == 0 ? PORTS : MEMORY;
  first = strtoull(argv[3], NULL, 0);
  size = strtoull(argv[4], NULL, 0);
  counters = argc > 5 ? strtoull(argv[5], NULL, 0) : 0;
  bytes = calloc(size, 1);
  connect_to(argv[1]);
  uint16_t id = create_server();
  range("map_io_range", MAP_RANGE, id, range_type, first, size);
  if (counters != 0) {
    range("map_io_range", MAP_RANGE, id, PORTS, counters, 8);
    range("BUFFER_IO_RANGE", BUFFER_RANGE, id, range_type, first, size);
  }
  serve(id);
  return 0;
}
