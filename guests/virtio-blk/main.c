// A virtio disk: what is written is read again, in every way in which a request can be cut; what makes no sense is refused.
#include "virtio.h"

enum {
  SECTOR = 512,
  BLK_RO = 5,
  BLK_FLUSH = 9,
  BLK_DISCARD = 13,
  BLK_WRITE_ZEROES = 14,
  IN = 0,
  OUT = 1,
  FLUSH = 4,
  GET_ID = 8,
  DISCARD = 11,
  WRITE_ZEROES = 13,
  OK = 0,
  IOERR = 1,
  UNSUPP = 2,
  DEPTH = 16,
  MOST_BYTES = 65536,
  PER_REQUEST = 4,  // descriptors
};

enum { QUEUES = 4 };

static struct virtio_device device;
static uint64_t sectors;
static unsigned used_queue;

// All that the device has to see of the guest's memory.
static struct shared {
  struct virtio_queue queues[QUEUES];
  struct request {
    struct {
      uint32_t type, reserved;
      uint64_t sector;
    } header;
    volatile uint8_t status;
    uint8_t data[MOST_BYTES];
  } requests[DEPTH] __attribute__((aligned(4096)));
} own, *shared = &own;

#define queue (shared->queues[used_queue])
#define requests (shared->requests)

static void expect(const char *what, uint64_t found, uint64_t expected) {
  if (found != expected) fail("virtio-blk: %s gives 0x%lx, not 0x%lx", what, found, expected);
}

// `cut` bytes of the data are in a buffer of their own.
static void ask(unsigned slot, uint32_t type, uint64_t sector, uint32_t size, uint32_t cut) {
  struct request *request = &requests[slot];
  bool reads = type == IN || type == GET_ID;
  request->header.type = type;
  request->header.sector = sector;
  request->status = 0xee;
  struct virtio_buffer buffers[PER_REQUEST] = {{&request->header, 16, false}};
  unsigned count = 1;
  if (cut) buffers[count++] = (struct virtio_buffer){request->data, cut, reads};
  if (size > cut) buffers[count++] = (struct virtio_buffer){request->data + cut, size - cut, reads};
  buffers[count++] = (struct virtio_buffer){&request->status, 1, true};
  virtio_put(&queue, slot * PER_REQUEST, buffers, count);
}

static bool by_interrupt;
static volatile uint32_t interrupts;

__attribute__((interrupt)) static void on_device(struct interrupt_frame *frame) {
  (void)frame;
  if (virtio_interrupts(&device)) interrupts++;
  local_apic_eoi();
}

static unsigned take(uint32_t *written) {
  uint16_t head;
  disable_interrupts();
  while (!virtio_take(&queue, &head, written)) {
    if (!by_interrupt) pause();
    else if (virtio_want_interrupt(&queue)) wait_for_interrupt();
  }
  if (head % PER_REQUEST || head / PER_REQUEST >= DEPTH) fail("virtio-blk: request %u came back", head);
  return head / PER_REQUEST;
}

static uint8_t act(uint32_t type, uint64_t sector, uint32_t size, uint32_t cut) {
  uint16_t before = queue.available.index;
  uint32_t written;
  ask(0, type, sector, size, cut);
  virtio_notify(&device, &queue, used_queue, before);
  unsigned slot = take(&written);
  expect("the request that is done", slot, 0);
  bool reads = type == IN || type == GET_ID;
  if (requests[0].status == OK) expect("bytes written to a request", written, reads ? size + 1 : 1);
  return requests[0].status;
}

static uint32_t word_of(uint64_t sector, uint32_t index) { return (uint32_t)(sector * 2654435761u + index * 40503u + 17); }

static void fill(unsigned slot, uint64_t sector, uint32_t size) {
  uint32_t *words = (uint32_t *)requests[slot].data;
  for (uint32_t i = 0; i < size / SECTOR; i++) words[i * 128] = words[i * 128 + 127] = word_of(sector + i, i % 2);
}

static void check(unsigned slot, uint64_t sector, uint32_t size) {
  const uint32_t *words = (const uint32_t *)requests[slot].data;
  for (uint32_t i = 0; i < size / SECTOR; i++) {
    uint32_t expected = word_of(sector + i, i % 2);
    if (words[i * 128] != expected || words[i * 128 + 127] != expected) {
      fail("virtio-blk: sector %lu reads 0x%x, not 0x%x", sector + i, words[i * 128], expected);
    }
  }
}

// Sizes and cuts of all kinds, one after another.
static void check_sizes(void) {
  static const struct {
    uint32_t size, cut;
  } kinds[] = {{SECTOR, 0}, {SECTOR, 1}, {4096, 0}, {4096, 511}, {8192, 4096}, {MOST_BYTES, 0}, {MOST_BYTES, 12345}};
  for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    uint64_t sector = 8 + i * 2;
    fill(0, sector, kinds[i].size);
    expect("a write", act(OUT, sector, kinds[i].size, kinds[i].cut), OK);
    memset(requests[0].data, 0, kinds[i].size);
    expect("a read", act(IN, sector, kinds[i].size, kinds[i].cut), OK);
    check(0, sector, kinds[i].size);
    expect("a flush", act(FLUSH, 0, 0, 0), OK);
  }
}

// Many at a time, in any order of their ends.
static void check_depth(void) {
  uint32_t written;
  for (unsigned round = 0; round < 2; round++) {
    uint16_t before = queue.available.index;
    for (unsigned slot = 0; slot < DEPTH; slot++) {
      uint64_t sector = 256 + slot * 16;
      if (round == 0) fill(slot, sector, 8192);
      else memset(requests[slot].data, 0, 8192);
      ask(slot, round == 0 ? OUT : IN, sector, 8192, slot * 100);
    }
    virtio_notify(&device, &queue, used_queue, before);
    for (unsigned i = 0; i < DEPTH; i++) {
      unsigned slot = take(&written);
      expect("one of many requests", requests[slot].status, OK);
      if (round == 1) check(slot, 256 + slot * 16, 8192);
    }
  }
}

static void check_refused(void) {
  expect("a read behind the end", act(IN, sectors, SECTOR, 0), IOERR);
  expect("a read across the end", act(IN, sectors - 1, 2 * SECTOR, 0), IOERR);
  expect("a read far away", act(IN, 1ull << 60, SECTOR, 0), IOERR);
  expect("a read of half a sector", act(IN, 0, SECTOR / 2, 0), IOERR);
  expect("a request of no kind", act(99, 0, SECTOR, 0), UNSUPP);
}

static void check_ranges(void) {
  static const uint32_t kinds[] = {WRITE_ZEROES, DISCARD};
  for (unsigned i = 0; i < 2; i++) {
    unsigned feature = kinds[i] == DISCARD ? BLK_DISCARD : BLK_WRITE_ZEROES;
    if (!(device.features & 1ull << feature)) continue;
    fill(0, 512, 8192);
    expect("a write", act(OUT, 512, 8192, 0), OK);
    struct {
      uint64_t sector;
      uint32_t count, flags;
    } range = {514, 8, 0};
    memcpy(requests[0].data, &range, sizeof range);
    expect("zeroes, or a discard", act(kinds[i], 0, sizeof range, 0), OK);
    expect("a read", act(IN, 512, 8192, 0), OK);
    // What was discarded may read as anything.
    for (unsigned word = 2 * 128; kinds[i] == WRITE_ZEROES && word < 10 * 128; word++) {
      if (((uint32_t *)requests[0].data)[word]) fail("virtio-blk: word %u of a range of zeroes is not 0", word);
    }
    check(0, 512, 1024);
    memcpy(requests[0].data, requests[0].data + 10 * SECTOR, 6 * SECTOR);
    check(0, 522, 6 * SECTOR);
    range.sector = sectors;
    memcpy(requests[0].data, &range, sizeof range);
    expect("a range behind the end", act(kinds[i], 0, sizeof range, 0), IOERR);
  }
}

static void take_interrupts(void) {
  interrupts_init();
  interrupt_gate(0x35, on_device);
  struct interrupt_source source = {.pin = device.irq, .level = is_word(option("interrupts"), "level")};
  route_interrupt(source, 0x35);
  by_interrupt = true;
}

int main(void) {
  if (!virtio_find((unsigned)number_option("disk", 0), &device)) fail("virtio-blk: the command line names no such device");
  uint64_t wanted = 1ull << BLK_RO | 1ull << BLK_FLUSH | 1ull << BLK_DISCARD | 1ull << BLK_WRITE_ZEROES;
  if (!option("no-event-index")) wanted |= 1ull << VIRTIO_EVENT_INDEX;
  if (option("pool")) {
    shared = (struct shared *)number_option("pool", 0);
    wanted |= 1ull << VIRTIO_ACCESS_PLATFORM;
  }
  used_queue = (unsigned)number_option("queue", 0);
  if (used_queue >= QUEUES) fail("virtio-blk: there are %u queues at most", QUEUES);
  if (option("interrupts")) take_interrupts();
  virtio_begin(&device, VIRTIO_BLOCK, wanted, shared->queues, used_queue + 1);
  sectors = *(volatile uint64_t *)virtio_configuration(&device);
  expect("the disk's name", act(GET_ID, 0, 20, 0), OK);
  print("virtio-blk: %lu sectors of \"%s\"\n", sectors, (const char *)requests[0].data);
  check_refused();
  if (device.features & 1ull << BLK_RO) {
    expect("a write to what is to be read", act(OUT, 0, SECTOR, 0), IOERR);
    expect("a read", act(IN, 0, SECTOR, 0), OK);
    print("virtio-blk: to be read only; its first word is 0x%x\n", *(uint32_t *)requests[0].data);
    return 0;
  }
  check_sizes();
  check_depth();
  check_ranges();
  fill(0, 0, SECTOR);
  expect("the last write", act(OUT, 0, SECTOR, 0), OK);
  expect("the last flush", act(FLUSH, 0, 0, 0), OK);
  if (by_interrupt ? !interrupts : !virtio_interrupts(&device)) fail("virtio-blk: no interrupt for all that");
  print("virtio-blk: all that was written was read\n");
  return 0;
}
