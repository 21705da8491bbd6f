// The least that a virtio disk's back end can do for reads of 4 KiB: follow a split queue (virtio 1.2, 2.7), have io_uring
// read from the file into the guest's memory, give the requests back. The driver's half is here, too, and does as little.
//
//   block_backend FILE DEPTH direct|table
//
// Requests are in the queue's own descriptors, or each in a table of its own (VIRTIO_F_INDIRECT_DESC).
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
#include "rounds.h"

enum { QUEUE_SIZE = 256, MOST_BUFFERS = 128, REQUESTS = 128, SECTOR = 512, READ_BYTES = 4096, MEMORY_BYTES = 4 << 20 };
enum { NEXT = 1, WRITE = 2, INDIRECT = 4 };

struct descriptor {
  volatile uint64_t address;
  volatile uint32_t length;
  volatile uint16_t flags, next;
};

struct available {
  volatile uint16_t flags, index, ring[QUEUE_SIZE], used_event;
};

struct used {
  volatile uint16_t flags, index;
  struct {
    volatile uint32_t head, written;
  } ring[QUEUE_SIZE];
  volatile uint16_t available_event;
};

struct header {
  uint32_t type, reserved;
  uint64_t sector;
};

// Where the driver has what, in the guest's memory: as block_backend_loop.ts has it.
enum { DESCRIPTORS = 0x1000, AVAILABLE = 0x2000, USED = 0x3000, HEADERS = 0x4000, STATUSES = 0x5000, TABLES = 0x6000, DATA = 0x100000 };

static char *memory;
static int file, event;
static uint64_t sectors;
static unsigned depth;
static bool tables;

// A guest's address in this process; nothing that is not the guest's.
static void *locate(uint64_t address, uint64_t size) {
  return address < MEMORY_BYTES && size <= MEMORY_BYTES - address ? memory + address : NULL;
}

// The device.

struct request {
  uint16_t head;
  unsigned count, readable;
  uint64_t readable_bytes, writable_bytes;
  struct {
    uint64_t address;
    uint32_t length;
  } buffers[MOST_BUFFERS];
  struct iovec ranges[MOST_BUFFERS];
};

static struct request requests[REQUESTS];
static unsigned free_requests[REQUESTS], free_count;
static struct descriptor *descriptors;
static struct available *available;
static struct used *used;
static uint16_t next_available, next_used, signalled;
static bool wants_notifications = true;
static uint64_t interrupts;

static struct {
  int descriptor;
  uint32_t *sq_tail, *cq_head, *cq_tail, sq_mask, cq_mask, *array, unsubmitted;
  struct io_uring_sqe *entries;
  struct io_uring_cqe *completions;
} ring;

static bool add(struct request *request, uint64_t address, uint32_t length, uint16_t flags) {
  if (request->count == MOST_BUFFERS) return false;
  if (!(flags & WRITE) && request->count > request->readable) return false;
  request->buffers[request->count].address = address;
  request->buffers[request->count++].length = length;
  if (flags & WRITE) request->writable_bytes += length;
  else request->readable++, request->readable_bytes += length;
  return request->readable_bytes + request->writable_bytes < 1ull << 32;
}

static bool collect_from(struct request *request, const struct descriptor *table, uint32_t size, uint32_t index) {
  for (uint32_t steps = 0; steps < size; steps++) {
    if (index >= size) return false;
    const struct descriptor *at = &table[index];
    uint64_t address = at->address;
    uint32_t length = at->length;
    uint16_t flags = at->flags;
    if (flags & INDIRECT) {
      if (table != descriptors || flags & NEXT || length % sizeof *at || length == 0) return false;
      const struct descriptor *other = locate(address, length);
      return other && collect_from(request, other, length / sizeof *at, 0);
    }
    if (!add(request, address, length, flags)) return false;
    if (!(flags & NEXT)) return true;
    index = at->next;
  }
  return false;
}

static void ask_for_notification(void) { __atomic_store_n(&used->available_event, next_available, __ATOMIC_SEQ_CST); }

static bool has_request(void) {
  uint16_t waiting = __atomic_load_n(&available->index, __ATOMIC_ACQUIRE) - next_available;
  if (waiting > QUEUE_SIZE) errx(1, "a broken queue");
  return waiting > 0;
}

static void give(struct request *request, uint8_t status, uint32_t written) {
  uint64_t last = request->writable_bytes - 1;
  for (unsigned i = request->readable; i < request->count; i++) {
    if (last < request->buffers[i].length) {
      uint8_t *byte = locate(request->buffers[i].address + last, 1);
      if (byte) *byte = status;
      break;
    }
    last -= request->buffers[i].length;
  }
  used->ring[next_used % QUEUE_SIZE].head = request->head;
  used->ring[next_used % QUEUE_SIZE].written = written + 1;
  __atomic_store_n(&used->index, ++next_used, __ATOMIC_SEQ_CST);
}

static bool read_header(const struct request *request, struct header *header) {
  size_t done = 0;
  for (unsigned i = 0; i < request->readable && done < sizeof *header; i++) {
    size_t size = request->buffers[i].length < sizeof *header - done ? request->buffers[i].length : sizeof *header - done;
    const char *bytes = locate(request->buffers[i].address, size);
    if (!bytes) return false;
    memcpy((char *)header + done, bytes, size);
    done += size;
  }
  return done == sizeof *header;
}

static void begin(unsigned number) {
  struct request *request = &requests[number];
  struct header header;
  uint64_t size = request->writable_bytes - 1, left = size;
  if (request->writable_bytes == 0 || !read_header(request, &header)) errx(1, "a bad request");
  if (header.type != 0 || size % SECTOR || header.sector > sectors || size / SECTOR > sectors - header.sector) {
    errx(1, "a bad request");
  }
  unsigned count = 0;
  for (unsigned i = request->readable; i < request->count && left > 0; i++) {
    uint64_t part = request->buffers[i].length < left ? request->buffers[i].length : left;
    request->ranges[count].iov_base = locate(request->buffers[i].address, part);
    if (!request->ranges[count].iov_base) errx(1, "a buffer that is no memory");
    request->ranges[count++].iov_len = part;
    left -= part;
  }
  uint32_t tail = *ring.sq_tail, index = tail & ring.sq_mask;
  struct io_uring_sqe *entry = &ring.entries[index];
  memset(entry, 0, sizeof *entry);
  entry->opcode = IORING_OP_READV;
  entry->fd = file;
  entry->off = header.sector * SECTOR;
  entry->addr = (uintptr_t)request->ranges;
  entry->len = count;
  entry->user_data = number;
  ring.array[index] = index;
  __atomic_store_n(ring.sq_tail, tail + 1, __ATOMIC_RELEASE);
  ring.unsubmitted++;
}

static bool take(void) {
  if (!has_request()) return false;
  unsigned number = free_requests[free_count - 1];
  struct request *request = &requests[number];
  request->head = available->ring[next_available % QUEUE_SIZE];
  request->count = request->readable = 0;
  request->readable_bytes = request->writable_bytes = 0;
  if (!collect_from(request, descriptors, QUEUE_SIZE, request->head)) errx(1, "a broken queue");
  free_count--;
  next_available++;
  if (wants_notifications) ask_for_notification();
  begin(number);
  return true;
}

static void notified(void) {
  wants_notifications = false;
  do {
    while (free_count > 0 && take()) {}
    if (!wants_notifications) wants_notifications = true, ask_for_notification();
  } while (free_count > 0 && has_request());
  while (ring.unsubmitted > 0) {
    long taken = syscall(SYS_io_uring_enter, ring.descriptor, ring.unsubmitted, 0, 0, NULL, 0);
    if (taken < 0) err(1, "io_uring_enter");
    ring.unsubmitted -= (uint32_t)taken;
  }
  uint16_t before = signalled, wanted = available->used_event;
  signalled = next_used;
  if ((uint16_t)(next_used - wanted - 1) < (uint16_t)(next_used - before)) interrupts++;
}

static void completed(void) {
  uint64_t ignored;
  if (read(event, &ignored, sizeof ignored) != sizeof ignored) err(1, "eventfd");
  for (uint32_t head = *ring.cq_head; head != __atomic_load_n(ring.cq_tail, __ATOMIC_ACQUIRE);) {
    struct io_uring_cqe done = ring.completions[head & ring.cq_mask];
    __atomic_store_n(ring.cq_head, ++head, __ATOMIC_RELEASE);
    struct request *request = &requests[done.user_data];
    bool good = done.res == (int64_t)request->writable_bytes - 1;
    give(request, good ? 0 : 1, good ? (uint32_t)done.res : 0);
    free_requests[free_count++] = (unsigned)done.user_data;
  }
  notified();
}

// The driver.

static uint16_t seen;
// Where it reads, one after the other.
enum { SECTORS = 65536 };
static uint32_t reads[SECTORS], next_read;

// As block_backend_loop.ts does: a linear congruential generator (Numerical Recipes).
static void choose_sectors(void) {
  uint32_t state = 1;
  for (unsigned i = 0; i < SECTORS; i++) {
    state = state * 1664525u + 1013904223u;
    reads[i] = (uint32_t)((sectors / 8 * state) >> 32) * 8;
  }
}

static void describe(struct descriptor *at, uint64_t address, uint32_t length, uint16_t flags, uint16_t next) {
  at->address = address;
  at->length = length;
  at->flags = flags;
  at->next = next;
}

static void describe_request(unsigned n) {
  unsigned first = tables ? 0 : n * 3;
  uint64_t table = TABLES + n * 3 * sizeof(struct descriptor);
  struct descriptor *at = tables ? locate(table, 3 * sizeof *at) : &descriptors[first];
  describe(at, HEADERS + n * sizeof(struct header), sizeof(struct header), NEXT, (uint16_t)(first + 1));
  describe(at + 1, DATA + n * READ_BYTES, READ_BYTES, NEXT | WRITE, (uint16_t)(first + 2));
  describe(at + 2, STATUSES + n, 1, WRITE, 0);
  if (tables) describe(&descriptors[n], table, 3 * sizeof *at, INDIRECT, 0);
}

static void batch(void) {
  struct header *headers = locate(HEADERS, depth * sizeof *headers);
  volatile uint8_t *statuses = locate(STATUSES, depth);
  uint16_t index = available->index;
  for (unsigned n = 0; n < depth; n++) {
    headers[n].sector = reads[next_read++ % SECTORS];
    statuses[n] = 0xff;
    available->ring[index++ % QUEUE_SIZE] = (uint16_t)(tables ? n : n * 3);
  }
  available->used_event = index - 1;
  __atomic_store_n(&available->index, index, __ATOMIC_SEQ_CST);
  notified();
  while (__atomic_load_n(&used->index, __ATOMIC_ACQUIRE) != (uint16_t)(seen + depth)) completed();
  seen += depth;
  for (unsigned n = 0; n < depth; n++) if (statuses[n] != 0) errx(1, "a read has failed");
}

static void work(uint64_t count) {
  for (uint64_t done = 0; done < count; done += depth) batch();
}

static void open_ring(void) {
  struct io_uring_params parameters = {0};
  ring.descriptor = (int)syscall(SYS_io_uring_setup, REQUESTS, &parameters);
  if (ring.descriptor < 0) err(1, "io_uring_setup");
  size_t cqes = parameters.cq_off.cqes + parameters.cq_entries * sizeof(struct io_uring_cqe);
  size_t array = parameters.sq_off.array + parameters.sq_entries * sizeof(uint32_t);
  int protection = PROT_READ | PROT_WRITE;
  char *rings = mmap(NULL, cqes > array ? cqes : array, protection, MAP_SHARED, ring.descriptor, IORING_OFF_SQ_RING);
  size_t entries = parameters.sq_entries * sizeof *ring.entries;
  ring.entries = mmap(NULL, entries, protection, MAP_SHARED, ring.descriptor, (off_t)IORING_OFF_SQES);
  if (rings == MAP_FAILED || ring.entries == MAP_FAILED) err(1, "mmap of the io_uring");
  ring.sq_tail = (uint32_t *)(rings + parameters.sq_off.tail);
  ring.sq_mask = *(uint32_t *)(rings + parameters.sq_off.ring_mask);
  ring.array = (uint32_t *)(rings + parameters.sq_off.array);
  ring.cq_head = (uint32_t *)(rings + parameters.cq_off.head);
  ring.cq_tail = (uint32_t *)(rings + parameters.cq_off.tail);
  ring.cq_mask = *(uint32_t *)(rings + parameters.cq_off.ring_mask);
  ring.completions = (struct io_uring_cqe *)(rings + parameters.cq_off.cqes);
  event = eventfd(0, EFD_CLOEXEC);
  if (event < 0 || syscall(SYS_io_uring_register, ring.descriptor, IORING_REGISTER_EVENTFD, &event, 1) < 0) {
    err(1, "eventfd");
  }
}

int main(int argc, char **argv) {
  if (argc != 4) errx(64, "usage: block_backend FILE DEPTH direct|table");
  file = open(argv[1], O_RDWR | O_CLOEXEC);
  struct stat status;
  if (file < 0 || fstat(file, &status) < 0) err(1, "%s", argv[1]);
  sectors = (uint64_t)status.st_size / SECTOR;
  depth = (unsigned)atoi(argv[2]);
  tables = strcmp(argv[3], "table") == 0;
  int bank = memfd_create("guest", MFD_CLOEXEC);
  if (bank < 0 || ftruncate(bank, MEMORY_BYTES) < 0) err(1, "memory file");
  memory = mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, bank, 0);
  if (memory == MAP_FAILED) err(1, "mmap of the guest's memory");
  descriptors = locate(DESCRIPTORS, QUEUE_SIZE * sizeof *descriptors);
  available = locate(AVAILABLE, sizeof *available);
  used = locate(USED, sizeof *used);
  choose_sectors();
  for (unsigned n = 0; n < depth; n++) describe_request(n);
  while (free_count < REQUESTS) {
    free_requests[free_count] = free_count;
    free_count++;
  }
  open_ring();
  return serve_rounds(work);
}
