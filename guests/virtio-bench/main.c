// Reads of a virtio disk, as many as there is time for: one by one, many at a time, and large ones one after the other.
#include "disk.h"
#include "map.h"
#include "user.h"

enum {
  SECTOR = 512,
  DEPTH = 32,
  SMALL = 4096,
  LARGE = 1 << 20,
  LARGE_DEPTH = 4,
  INDIRECT = 4,
  NEXT = 1,
  WRITE = 2,
  FLAGS_CLEAR = 2,
};

static struct disk disk;

static struct {
  uint32_t type, reserved;
  uint64_t sector;
} headers[DEPTH] __attribute__((aligned(4096)));
static struct virtio_descriptor tables[DEPTH][3] __attribute__((aligned(16)));
static volatile uint8_t statuses[DEPTH];
static uint8_t data[LARGE_DEPTH * LARGE] __attribute__((aligned(4096)));

// What is to be measured, and what came of it.
static struct {
  uint64_t count, ticks, wrong;
  uint32_t size, depth;
  bool random;
} run;

static uint64_t next_place;  // in units of the size

static uint64_t ticks_now(void) {
  uint32_t low, high;
  asm volatile("lfence\n\trdtsc" : "=a"(low), "=d"(high) : : "memory");
  return (uint64_t)high << 32 | low;
}

static void describe(unsigned slot) {
  tables[slot][0] = (struct virtio_descriptor){(uintptr_t)&headers[slot], sizeof headers[slot], NEXT, 1};
  tables[slot][1] = (struct virtio_descriptor){(uintptr_t)data + slot * (uint64_t)run.size, run.size, NEXT | WRITE, 2};
  tables[slot][2] = (struct virtio_descriptor){(uintptr_t)&statuses[slot], 1, WRITE, 0};
  disk.queue.descriptors[slot] = (struct virtio_descriptor){(uintptr_t)tables[slot], sizeof tables[slot], INDIRECT, 0};
}

static void ask(unsigned slot) {
  struct virtio_queue *queue = &disk.queue;
  uint64_t places = disk.sectors * SECTOR / run.size;
  if (run.random) next_place = next_place * 6364136223846793005u + 1442695040888963407u;  // Knuth's MMIX
  headers[slot].sector = (run.random ? (next_place >> 33) % places : next_place++ % places) * (run.size / SECTOR);
  statuses[slot] = 0xff;
  queue->available.ring[queue->available.index % VIRTIO_QUEUE_SIZE] = (uint16_t)slot;
  asm volatile("" : : : "memory");
  queue->available.index++;
}

static void notify(uint16_t before) {
  asm volatile("mfence" : : : "memory");
  struct virtio_queue *queue = &disk.queue;
  uint16_t now = queue->available.index;
  if ((uint16_t)(now - queue->used.available_event - 1) >= (uint16_t)(now - before)) return;
  if (disk.is_pci) *(volatile uint16_t *)disk.doorbell = 0;
  else *(volatile uint32_t *)disk.doorbell = 0;
}

// At CPL3, where code runs on the processor itself even if KVM is software.
static void read_all(uint64_t unused) {
  (void)unused;
  struct virtio_queue *queue = &disk.queue;
  uint64_t begun = 0, done = 0, start = ticks_now();
  uint16_t before = queue->available.index;
  while (begun < run.depth && begun < run.count) ask((unsigned)begun++);
  notify(before);
  while (done < run.count) {
    uint16_t head;
    uint32_t written;
    before = queue->available.index;
    while (virtio_take(queue, &head, &written)) {
      if (statuses[head] != 0 || written != run.size + 1) run.wrong++;
      done++;
      if (begun++ < run.count) ask(head);
    }
    // Nobody needs an interrupt: its place is one that the device has passed.
    queue->available.used_event = (uint16_t)(queue->seen - 1);
    if (queue->available.index != before) notify(before);
    else pause();
  }
  run.ticks = ticks_now() - start;
}

static void measure(const char *name, struct user_context *user, uint32_t size, uint32_t depth, bool random) {
  run.count = number_option(name, 0);
  if (!run.count) return;
  if (disk.sectors < size / SECTOR) fail("virtio-bench: %lu sectors are too few for %s", disk.sectors, name);
  run.size = size;
  run.depth = depth;
  run.random = random;
  for (unsigned slot = 0; slot < depth; slot++) describe(slot);
  user_call(read_all, 0, user, FLAGS_CLEAR);
  if (run.wrong) fail("virtio-bench: %lu reads of %s went wrong", run.wrong, name);
  print("%s %lu %lu\n", name, run.count, run.ticks);
}

uint8_t *map_for_all(uint64_t address, uint64_t size) {
  uint8_t *mapped = user_map(address, size);
  if (!mapped) fail("virtio-bench: nothing can be seen at 0x%lx", address);
  return mapped;
}

void user_invalid_instruction(uint64_t at) { fail("virtio-bench: an invalid instruction at 0x%lx", at); }

int main(void) {
  static struct user_context user;
  enum { PAGE = 4096, MMIO_NOTIFY = 0x50 };
  uint64_t wanted = 1ull << VIRTIO_INDIRECT | 1ull << VIRTIO_EVENT_INDEX;
  if (virtio_find(0, &disk.device)) {
    disk.doorbell = map_for_all((uintptr_t)disk.device.registers, PAGE) + MMIO_NOTIFY;
    virtio_begin(&disk.device, VIRTIO_BLOCK, wanted, &disk.queue, 1);
    disk.sectors = *(volatile uint64_t *)virtio_configuration(&disk.device);
  } else if (!pci_begin(&disk, wanted)) {
    fail("virtio-bench: no disk");
  }
  if ((disk.device.features & wanted) != wanted) fail("virtio-bench: the device has too few features");
  user_init(&user);
  print("virtio-bench: %lu sectors over %s\n", disk.sectors, disk.is_pci ? "PCI" : "MMIO");
  for (uint64_t round = number_option("rounds", 1); round; round--) {
    measure("qd1", &user, SMALL, 1, true);
    measure("qd32", &user, SMALL, DEPTH, true);
    measure("seq", &user, LARGE, LARGE_DEPTH, false);
  }
  print("virtio-bench: done\n");
  return 0;
}
