#include "virtio.h"

#include "virtio_registers.h"

enum {
  VIRTIO_MAGIC = 0x74726976,
  LEGACY = 1,
  MODERN = 2,
  PAGE = 4096,
  NEXT = 1,
  WRITE = 2,
};

uint32_t virtio_register(const struct virtio_device *device, uint32_t offset) {
  return *(volatile uint32_t *)(device->registers + offset);
}

void virtio_set_register(const struct virtio_device *device, uint32_t offset, uint32_t value) {
  *(volatile uint32_t *)(device->registers + offset) = value;
}

volatile void *virtio_configuration(const struct virtio_device *device) { return device->registers + CONFIG; }

static const char *after(const char *text, char wanted) {
  while (*text && *text != ' ' && *text != wanted) text++;
  return *text == wanted ? text + 1 : NULL;
}

bool virtio_find(unsigned n, struct virtio_device *device) {
  const char *text = command_line();
  for (;; text++) {
    text = find_option(text, "virtio_mmio.device");
    if (!text) return false;
    if (n-- == 0) break;
  }
  const char *address = after(text, '@'), *irq = address ? after(address, ':') : NULL;
  if (!irq) return false;
  *device = (struct virtio_device){(volatile uint8_t *)number(address), 0, (uint32_t)number(irq), false};
  return true;
}

static void set_address(const struct virtio_device *device, uint32_t offset, const volatile void *address) {
  virtio_set_register(device, offset, (uint32_t)(uintptr_t)address);
  virtio_set_register(device, offset + 4, (uint32_t)((uint64_t)(uintptr_t)address >> 32));
}

static void place_queue(const struct virtio_device *device, const struct virtio_queue *queue) {
  if (device->legacy) {
    virtio_set_register(device, QUEUE_ALIGN, VIRTIO_LEGACY_ALIGN);
    virtio_set_register(device, QUEUE_PFN, (uint32_t)((uintptr_t)queue / PAGE));
    return;
  }
  set_address(device, QUEUE_DESC, queue->descriptors);
  set_address(device, QUEUE_DRIVER, &queue->available);
  set_address(device, QUEUE_DEVICE, &queue->used);
  virtio_set_register(device, QUEUE_READY, 1);
}

bool virtio_offers(const struct virtio_device *device, unsigned feature) {
  virtio_set_register(device, DEVICE_FEATURES_SEL, feature / 32);
  return virtio_register(device, DEVICE_FEATURES) >> feature % 32 & 1;
}

void virtio_begin(struct virtio_device *device, uint32_t type, uint64_t wanted, struct virtio_queue *queues,
                  unsigned count) {
  uint32_t version = virtio_register(device, VERSION);
  if (virtio_register(device, MAGIC) != VIRTIO_MAGIC || (version != LEGACY && version != MODERN)) {
    fail("virtio: no device at 0x%lx", (unsigned long)device->registers);
  }
  device->legacy = version == LEGACY;
  if (virtio_register(device, DEVICE_ID) != type) {
    fail("virtio: a device of type %u, not %u", virtio_register(device, DEVICE_ID), type);
  }
  virtio_set_register(device, STATUS, 0);
  virtio_set_register(device, STATUS, ACKNOWLEDGE | DRIVER);
  uint64_t offered = 0;
  for (unsigned word = 0; word < 2; word++) {
    virtio_set_register(device, DEVICE_FEATURES_SEL, word);
    offered |= (uint64_t)virtio_register(device, DEVICE_FEATURES) << 32 * word;
  }
  device->features = offered & (wanted | 1ull << VIRTIO_VERSION_1);
  for (unsigned word = 0; word < 2; word++) {
    virtio_set_register(device, DRIVER_FEATURES_SEL, word);
    virtio_set_register(device, DRIVER_FEATURES, (uint32_t)(device->features >> 32 * word));
  }
  uint32_t status = ACKNOWLEDGE | DRIVER;
  if (device->legacy) {
    virtio_set_register(device, GUEST_PAGE_SIZE, PAGE);
  } else {
    virtio_set_register(device, STATUS, status |= FEATURES_OK);
    if (!(virtio_register(device, STATUS) & FEATURES_OK)) fail("virtio: the device does not take its own features");
  }
  for (unsigned i = 0; i < count; i++) {
    struct virtio_queue *queue = &queues[i];
    memset(queue, 0, sizeof *queue);
    virtio_set_register(device, QUEUE_SEL, i);
    if (virtio_register(device, QUEUE_NUM_MAX) < VIRTIO_QUEUE_SIZE) fail("virtio: queue %u is too small", i);
    virtio_set_register(device, QUEUE_NUM, VIRTIO_QUEUE_SIZE);
    place_queue(device, queue);
  }
  virtio_set_register(device, STATUS, status | DRIVER_OK);
  if (virtio_register(device, STATUS) & VIRTIO_NEEDS_RESET) fail("virtio: the device does not take its queues");
}

void virtio_put(struct virtio_queue *queue, unsigned first, const struct virtio_buffer *buffers, unsigned count) {
  for (unsigned i = 0; i < count; i++) {
    struct virtio_descriptor *descriptor = &queue->descriptors[first + i];
    descriptor->address = (uintptr_t)buffers[i].address;
    descriptor->length = buffers[i].length;
    descriptor->flags = (i + 1 < count ? NEXT : 0) | (buffers[i].device_writes ? WRITE : 0);
    descriptor->next = (uint16_t)(first + i + 1);
  }
  queue->available.ring[queue->available.index % VIRTIO_QUEUE_SIZE] = (uint16_t)first;
  asm volatile("" : : : "memory");
  queue->available.index++;
}

void virtio_notify(const struct virtio_device *device, struct virtio_queue *queue, unsigned index, uint16_t before) {
  asm volatile("mfence" : : : "memory");
  uint16_t now = queue->available.index;
  bool wanted = device->features & 1ull << VIRTIO_EVENT_INDEX
                    ? (uint16_t)(now - queue->used.available_event - 1) < (uint16_t)(now - before)
                    : !(queue->used.flags & 1);
  if (wanted) virtio_set_register(device, QUEUE_NOTIFY, index);
}

bool virtio_take(struct virtio_queue *queue, uint16_t *head, uint32_t *written) {
  if (queue->seen == queue->used.index) return false;
  asm volatile("" : : : "memory");
  *head = (uint16_t)queue->used.ring[queue->seen % VIRTIO_QUEUE_SIZE].head;
  *written = queue->used.ring[queue->seen % VIRTIO_QUEUE_SIZE].written;
  queue->seen++;
  return true;
}

bool virtio_want_interrupt(struct virtio_queue *queue) {
  queue->available.used_event = queue->seen;
  asm volatile("mfence" : : : "memory");
  return queue->seen == queue->used.index;
}

uint32_t virtio_interrupts(const struct virtio_device *device) {
  uint32_t status = virtio_register(device, INTERRUPT_STATUS);
  if (status) virtio_set_register(device, INTERRUPT_ACK, status);
  return status;
}
