// What virtio forbids a device, seen from a driver that provokes it: a disk with two queues, and a source of entropy.
#include "virtio.h"
#include "virtio_registers.h"

enum {
  CONFIGURATION_CHANGED = 2,  // of the interrupt status
  BLK_FLUSH = 9,
  BLK_MQ = 12,
  OUT = 1,
  FLUSH = 4,
  GET_ID = 8,
  OK = 0,
  ASKED = 0xee,  // a status that no device gives
  BYTES = 512 * 1024,
  REQUESTS = 20,
  QUEUES = 2,
  MANY_LOOKS = 20000,
  NO_HEAD = 9999,
};

static struct virtio_device disk, entropy;
static struct virtio_queue queues[QUEUES];
static uint8_t data[BYTES];
static struct {
  struct {
    uint32_t type, reserved;
    uint64_t sector;
  } header;
  volatile uint8_t status;
} requests[REQUESTS];

static void expect(const char *what, uint64_t found, uint64_t expected) {
  if (found != expected) fail("virtio-rules: %s: %lu, not %lu", what, (unsigned long)found, (unsigned long)expected);
}

static void begin(void) { virtio_begin(&disk, VIRTIO_BLOCK, 1ull << BLK_FLUSH | 1ull << BLK_MQ, queues, QUEUES); }

static void ask(unsigned queue, unsigned slot, uint32_t type, uint32_t bytes, bool device_writes) {
  requests[slot].header.type = type;
  requests[slot].status = ASKED;
  struct virtio_buffer buffers[3] = {{&requests[slot].header, 16, false}};
  unsigned count = 1;
  if (bytes) buffers[count++] = (struct virtio_buffer){data, bytes, device_writes};
  buffers[count++] = (struct virtio_buffer){&requests[slot].status, 1, true};
  virtio_put(&queues[queue], 3 * slot, buffers, count);
}

// More than a device can do before anybody looks.
static void ask_much(unsigned queue) {
  for (unsigned slot = 0; slot < REQUESTS; slot++) {
    bool writes = slot < REQUESTS / 2;
    ask(queue, slot, writes ? OUT : FLUSH, writes ? BYTES : 0, false);
  }
  virtio_set_register(&disk, QUEUE_NOTIFY, queue);
}

static void await(unsigned queue, uint16_t index) {
  while (queues[queue].used.index != index) pause();
}

static unsigned unanswered(void) {
  unsigned count = 0;
  for (unsigned slot = 0; slot < REQUESTS; slot++) count += requests[slot].status == ASKED;
  return count;
}

static void look_for_long(void) {
  for (unsigned look = 0; look < MANY_LOOKS; look++) pause();
}

static void nothing_without_features(void) {
  virtio_set_register(&disk, STATUS, 0);
  virtio_set_register(&disk, STATUS, ACKNOWLEDGE | DRIVER);
  virtio_set_register(&disk, STATUS, ACKNOWLEDGE | DRIVER | DRIVER_OK);
  expect("a status with DRIVER_OK, without FEATURES_OK", virtio_register(&disk, STATUS), ACKNOWLEDGE | DRIVER);
}

static void status_stays(void) {
  begin();
  uint32_t status = virtio_register(&disk, STATUS);
  virtio_set_register(&disk, STATUS, ACKNOWLEDGE | DRIVER);
  expect("a status of which the driver takes a part back", virtio_register(&disk, STATUS), status);
}

// A queue that is not ready is not touched, whatever was under way; the same memory can be another queue then.
static void queue_taken_away(void) {
  begin();
  ask_much(0);
  virtio_set_register(&disk, QUEUE_SEL, 0);
  virtio_set_register(&disk, QUEUE_READY, 0);
  expect("QueueReady", virtio_register(&disk, QUEUE_READY), 0);
  unsigned left = unanswered();
  memset(&queues[0], 0, sizeof queues[0]);
  virtio_set_register(&disk, QUEUE_READY, 1);
  look_for_long();
  expect("answers in a queue without a request", queues[0].used.index, 0);
  expect("unanswered requests later", unanswered(), left);
  ask(0, 0, FLUSH, 0, false);
  virtio_set_register(&disk, QUEUE_NOTIFY, 0);
  await(0, 1);
  expect("a request's head", queues[0].used.ring[0].head, 0);
  expect("its status", requests[0].status, OK);
}

static void nothing_before_driver_ok(void) {
  begin();
  ask_much(0);
  virtio_set_register(&disk, STATUS, 0);
  expect("the status after a reset", virtio_register(&disk, STATUS), 0);
  unsigned left = unanswered();
  look_for_long();
  expect("unanswered requests after a reset", unanswered(), left);
  expect("interrupts after a reset", virtio_register(&disk, INTERRUPT_STATUS), 0);
}

// One queue makes no sense: the driver is told so, once, and the other one is not served either.
static void broken_once(void) {
  begin();
  uint32_t generation = virtio_register(&disk, CONFIG_GENERATION);
  ask_much(1);
  struct virtio_queue *queue = &queues[0];
  queue->available.ring[0] = NO_HEAD;
  asm volatile("" : : : "memory");
  queue->available.index = 1;
  virtio_set_register(&disk, QUEUE_NOTIFY, 0);
  while (!(virtio_register(&disk, STATUS) & VIRTIO_NEEDS_RESET)) pause();
  uint16_t answered = queues[1].used.index;
  if (!(virtio_interrupts(&disk) & CONFIGURATION_CHANGED)) fail("virtio-rules: no interrupt for a broken queue");
  virtio_set_register(&disk, QUEUE_NOTIFY, 1);
  look_for_long();
  expect("answers of a device that needs a reset", queues[1].used.index, answered);
  expect("changes of the configuration", (virtio_register(&disk, CONFIG_GENERATION) - generation) & 0xff, 1);
  expect("interrupts of a device that needs a reset", virtio_interrupts(&disk), 0);
}

static void identity_in_little_room(void) {
  begin();
  for (uint32_t room = 18; room < 22; room++) {
    uint16_t before = queues[0].used.index;
    ask(0, 0, GET_ID, room, true);
    virtio_set_register(&disk, QUEUE_NOTIFY, 0);
    await(0, (uint16_t)(before + 1));
    expect("bytes of an identity and its status", queues[0].used.ring[before % VIRTIO_QUEUE_SIZE].written,
           (room < 20 ? room : 20) + 1);
  }
}

// A request may have as many buffers as its queue has descriptors.
static void longest_chain(void) {
  virtio_begin(&entropy, VIRTIO_ENTROPY, 0, queues, 1);
  struct virtio_buffer buffers[VIRTIO_QUEUE_SIZE];
  for (unsigned i = 0; i < VIRTIO_QUEUE_SIZE; i++) buffers[i] = (struct virtio_buffer){data + i, 1, true};
  virtio_put(&queues[0], 0, buffers, VIRTIO_QUEUE_SIZE);
  virtio_set_register(&entropy, QUEUE_NOTIFY, 0);
  await(0, 1);
  expect("bytes in as many buffers", queues[0].used.ring[0].written, VIRTIO_QUEUE_SIZE);
}

int main(void) {
  if (!virtio_find(0, &disk) || !virtio_find(1, &entropy)) fail("virtio-rules: a disk and a source of entropy are needed");
  nothing_without_features();
  status_stays();
  queue_taken_away();
  nothing_before_driver_ok();
  broken_once();
  identity_in_little_room();
  longest_chain();
  print("virtio-rules: all of them hold\n");
  return 0;
}
