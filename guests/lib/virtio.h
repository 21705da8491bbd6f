// Virtio over MMIO, the driver's side: as little as guests need (virtio 1.2, 2.7 and 4.2). Nothing here uses interrupts
// by itself: whoever wants them looks at virtio_interrupts().
#pragma once

#include "guest.h"

enum {
  VIRTIO_NET = 1,
  VIRTIO_BLOCK = 2,
  VIRTIO_CONSOLE = 3,
  VIRTIO_ENTROPY = 4,
  VIRTIO_INDIRECT = 28,  // features, by the number of their bit
  VIRTIO_EVENT_INDEX = 29,
  VIRTIO_VERSION_1 = 32,
  VIRTIO_ACCESS_PLATFORM = 33,
  VIRTIO_QUEUE_SIZE = 64,
  VIRTIO_LEGACY_ALIGN = 64,  // where a legacy device looks for its ring, behind the driver's
  VIRTIO_NEEDS_RESET = 64,
};

// A buffer of a request.
struct virtio_buffer {
  const volatile void *address;
  uint32_t length;
  bool device_writes;
};

struct virtio_descriptor {
  volatile uint64_t address;
  volatile uint32_t length;
  volatile uint16_t flags, next;
};

struct virtio_queue {
  struct virtio_descriptor descriptors[VIRTIO_QUEUE_SIZE];
  struct {
    volatile uint16_t flags, index, ring[VIRTIO_QUEUE_SIZE], used_event;
  } available;
  struct {
    volatile uint16_t flags, index;
    struct {
      volatile uint32_t head, written;
    } ring[VIRTIO_QUEUE_SIZE];
    volatile uint16_t available_event;
  } used __attribute__((aligned(VIRTIO_LEGACY_ALIGN)));
  uint16_t seen;  // of the device's ring
} __attribute__((aligned(4096)));  // so legacy devices count

struct virtio_device {
  volatile uint8_t *registers;
  uint64_t features;  // that both sides take
  uint32_t irq;
  bool legacy;  // as before virtio 1.0
};

// The n-th device that the command line names, as Linux has it: virtio_mmio.device=SIZE@ADDRESS:IRQ. False: there is none.
bool virtio_find(unsigned n, struct virtio_device *device);

// Resets the device, takes those of its features that are wanted, besides version 1, and makes its queues live.
// Fails if it is of another type.
void virtio_begin(struct virtio_device *device, uint32_t type, uint64_t wanted, struct virtio_queue *queues,
                  unsigned count);

// Whether the device has a feature, by the number of its bit.
bool virtio_offers(const struct virtio_device *device, unsigned feature);

uint32_t virtio_register(const struct virtio_device *device, uint32_t offset);
void virtio_set_register(const struct virtio_device *device, uint32_t offset, uint32_t value);
volatile void *virtio_configuration(const struct virtio_device *device);

// Puts a request into a queue, in the descriptors from `first` on, which nobody uses; so that is its head. The device
// hears of it by virtio_notify().
void virtio_put(struct virtio_queue *queue, unsigned first, const struct virtio_buffer *buffers, unsigned count);

// Tells the device what was put there since its index was `before`, if it wants to be told.
void virtio_notify(const struct virtio_device *device, struct virtio_queue *queue, unsigned index, uint16_t before);

// Takes back a request that is done. False: there is none yet.
bool virtio_take(struct virtio_queue *queue, uint16_t *head, uint32_t *written);

// Has the device interrupt when the next request is done. False: it is done already.
bool virtio_want_interrupt(struct virtio_queue *queue);

// What the device has interrupted for since the last time; and it need not again for that.
uint32_t virtio_interrupts(const struct virtio_device *device);
