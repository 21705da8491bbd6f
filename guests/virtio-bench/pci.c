// Virtio over PCI (virtio 1.2, 4.1): as much as one queue without interrupts needs.
#include "disk.h"
#include "map.h"

enum {
  CONFIG_ADDRESS = 0xcf8,
  CONFIG_DATA = 0xcfc,
  ENABLED = 1u << 31,
  ID = 0x00,
  COMMAND = 0x04,
  BARS = 0x10,
  CAPABILITIES = 0x34,
  DECODE_AND_MASTER = 6,
  BAR_64 = 4,
  VIRTIO_DISK = 0x10421af4,  // device 0x1040 + 2 of vendor 0x1af4
  VENDOR_SPECIFIC = 9,
  COMMON = 1,  // kinds of virtio's capabilities
  NOTIFY = 2,
  DEVICE = 4,
  ACKNOWLEDGE = 1,
  DRIVER = 2,
  DRIVER_OK = 4,
  FEATURES_OK = 8,
};

struct common {
  volatile uint32_t device_feature_select, device_feature, driver_feature_select, driver_feature;
  volatile uint16_t config_vector, queues;
  volatile uint8_t status, generation;
  volatile uint16_t queue, size, vector, enable, notify_offset;
  volatile uint32_t descriptors[2], available[2], used[2];
};

static uint32_t config_read(unsigned function, unsigned offset) {
  out32(CONFIG_ADDRESS, ENABLED | function << 8 | (offset & 0xfc));
  return in32(CONFIG_DATA);
}

static uint8_t config_byte(unsigned function, unsigned offset) {
  return (uint8_t)(config_read(function, offset) >> 8 * (offset & 3));
}

static uint64_t bar_address(unsigned function, unsigned bar) {
  uint32_t low = config_read(function, BARS + bar * 4);
  uint64_t high = low & BAR_64 ? config_read(function, BARS + bar * 4 + 4) : 0;
  return high << 32 | (low & ~15u);
}

static void set_address(volatile uint32_t *registers, const volatile void *address) {
  registers[0] = (uint32_t)(uintptr_t)address;
  registers[1] = (uint32_t)((uint64_t)(uintptr_t)address >> 32);
}

static void begin(struct disk *disk, struct common *common, uint64_t wanted) {
  struct virtio_queue *queue = &disk->queue;
  common->status = 0;
  while (common->status) pause();
  common->status = ACKNOWLEDGE | DRIVER;
  uint64_t offered = 0;
  for (unsigned word = 0; word < 2; word++) {
    common->device_feature_select = word;
    offered |= (uint64_t)common->device_feature << 32 * word;
  }
  disk->device.features = offered & (wanted | 1ull << VIRTIO_VERSION_1);
  for (unsigned word = 0; word < 2; word++) {
    common->driver_feature_select = word;
    common->driver_feature = (uint32_t)(disk->device.features >> 32 * word);
  }
  common->status = ACKNOWLEDGE | DRIVER | FEATURES_OK;
  if (!(common->status & FEATURES_OK)) fail("virtio-bench: the device does not take its own features");
  common->queue = 0;
  if (common->size < VIRTIO_QUEUE_SIZE) fail("virtio-bench: the queue is too small");
  common->size = VIRTIO_QUEUE_SIZE;
  set_address(common->descriptors, queue->descriptors);
  set_address(common->available, &queue->available);
  set_address(common->used, &queue->used);
  common->enable = 1;
  common->status = ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK;
}

static void begin_function(unsigned function, struct disk *disk, uint64_t wanted) {
  struct {
    unsigned bar;
    uint32_t offset;
  } places[DEVICE + 1] = {0};
  uint32_t multiplier = 0;
  for (unsigned at = config_byte(function, CAPABILITIES) & 0xfc; at; at = config_byte(function, at + 1) & 0xfc) {
    unsigned kind = config_byte(function, at + 3);
    if (config_byte(function, at) != VENDOR_SPECIFIC || kind > DEVICE || places[kind].offset) continue;
    places[kind].bar = config_byte(function, at + 4);
    places[kind].offset = config_read(function, at + 8);
    if (kind == NOTIFY) multiplier = config_read(function, at + 16);
  }
  if (places[NOTIFY].bar != places[COMMON].bar || places[DEVICE].bar != places[COMMON].bar) {
    fail("virtio-bench: a disk in more than one BAR");
  }
  uint64_t address = bar_address(function, places[COMMON].bar);
  if (!address) fail("virtio-bench: the disk's BAR is nowhere");
  out32(CONFIG_ADDRESS, ENABLED | function << 8 | COMMAND);
  out16(CONFIG_DATA, (uint16_t)in32(CONFIG_DATA) | DECODE_AND_MASTER);
  enum { BAR_BYTES = 0x4000 };
  uint8_t *registers = map_for_all(address, BAR_BYTES);
  struct common *common = (struct common *)(registers + places[COMMON].offset);
  begin(disk, common, wanted);
  disk->doorbell = registers + places[NOTIFY].offset + common->notify_offset * multiplier;
  disk->sectors = *(volatile uint64_t *)(registers + places[DEVICE].offset);
  disk->is_pci = true;
}

bool pci_begin(struct disk *disk, uint64_t wanted) {
  for (unsigned function = 0; function < 32 * 8; function++) {
    if (config_read(function, ID) != VIRTIO_DISK) continue;
    begin_function(function, disk, wanted);
    return true;
  }
  return false;
}
