// A disk whose device model may go and come back at any moment: every request is done once, and what was written stays.
#include "virtio.h"

enum {
  SECTOR = 512,
  WORDS = SECTOR / 4,
  IN = 0,
  OUT = 1,
  OK = 0,
  DEPTH = 16,
  PER_REQUEST = 3,      // descriptors
  SECTORS_OF_SLOT = 8,  // of each request's own, so that what a sector holds is known
  PER_LINE = 200,
  LINE_STATUS = COM1 + 5,
  DATA_READY = 0x01,
  POISON = 0xeeeeeeee,
};

static struct virtio_device device;
static struct virtio_queue queue;

static struct request {
  struct {
    uint32_t type, reserved;
    uint64_t sector;
  } header;
  volatile uint8_t status;
  bool open;
  uint32_t generation[SECTORS_OF_SLOT];  // what was last written; 0: nothing yet
  uint32_t data[WORDS];
} requests[DEPTH] __attribute__((aligned(4096)));

static uint32_t random_state = 12345;

static uint32_t random(void) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 17;
  return random_state ^= random_state << 5;
}

static uint32_t word_of(uint64_t sector, uint32_t generation) { return (uint32_t)sector * 2654435761u + generation; }

static void ask(unsigned slot) {
  struct request *request = &requests[slot];
  unsigned own = random() % SECTORS_OF_SLOT;
  request->header.sector = slot * SECTORS_OF_SLOT + own;
  request->header.type = request->generation[own] == 0 || random() % 2 ? OUT : IN;
  uint32_t word = POISON;
  if (request->header.type == OUT) word = word_of(request->header.sector, ++request->generation[own]);
  for (unsigned i = 0; i < WORDS; i += 16) request->data[i] = word;
  request->status = 0xee;
  request->open = true;
  struct virtio_buffer buffers[PER_REQUEST] = {{&request->header, 16, false},
                                               {request->data, SECTOR, request->header.type == IN},
                                               {&request->status, 1, true}};
  uint16_t before = queue.available.index;
  virtio_put(&queue, slot * PER_REQUEST, buffers, PER_REQUEST);
  virtio_notify(&device, &queue, 0, before);
}

static unsigned take(void) {
  uint16_t head;
  uint32_t written;
  while (!virtio_take(&queue, &head, &written)) pause();
  unsigned slot = head / PER_REQUEST;
  if (head % PER_REQUEST || slot >= DEPTH || !requests[slot].open) fail("virtio-held: %u was not asked for, or done twice", head);
  struct request *request = &requests[slot];
  request->open = false;
  if (request->status != OK) fail("virtio-held: status %u", request->status);
  uint64_t sector = request->header.sector;
  uint32_t expected = word_of(sector, request->generation[sector % SECTORS_OF_SLOT]);
  for (unsigned i = 0; request->header.type == IN && i < WORDS; i += 16) {
    if (request->data[i] != expected) fail("virtio-held: sector %lu reads 0x%x, not 0x%x", sector, request->data[i], expected);
  }
  return slot;
}

int main(void) {
  if (!virtio_find(0, &device)) fail("virtio-held: the command line names no such device");
  virtio_begin(&device, VIRTIO_BLOCK, option("no-event-index") ? 0 : 1ull << VIRTIO_EVENT_INDEX, &queue, 1);
  for (unsigned slot = 0; slot < DEPTH; slot++) ask(slot);
  uint32_t done = 0;
  for (bool ends = false; !ends;) {
    ask(take());
    if (++done % PER_LINE) continue;
    print("virtio-held: %u\n", done);
    ends = in8(LINE_STATUS) & DATA_READY;
  }
  for (unsigned slot = 0; slot < DEPTH; slot++, done++) take();
  if (queue.seen != queue.used.index) fail("virtio-held: more is done than was asked for");
  print("virtio-held: %u requests, each done once\n", done);
  return 0;
}
