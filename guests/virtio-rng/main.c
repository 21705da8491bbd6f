// A virtio source of entropy: fills buffers of several sizes, and no two alike.
#include "virtio.h"

enum { LARGEST = 2048, ROUNDS = 8 };

static struct virtio_device device;
static struct virtio_queue queue;
static uint8_t bytes[ROUNDS][LARGEST];

static uint32_t get(uint8_t *to, uint32_t size) {
  struct virtio_buffer buffers[] = {{to, size / 2, true}, {to + size / 2, size - size / 2, true}};
  uint16_t before = queue.available.index, head;
  uint32_t written;
  virtio_put(&queue, 4, buffers, 2);
  virtio_notify(&device, &queue, 0, before);
  while (!virtio_take(&queue, &head, &written)) pause();
  if (head != 4) fail("virtio-rng: request %u came back, not 4", head);
  return written;
}

int main(void) {
  if (!virtio_find(0, &device)) fail("virtio-rng: the command line names no device");
  virtio_begin(&device, VIRTIO_ENTROPY, 1ull << VIRTIO_EVENT_INDEX, &queue, 1);
  unsigned total = 0, ones = 0;
  for (unsigned round = 0; round < ROUNDS; round++) {
    uint32_t size = LARGEST >> (round % 4), written = get(bytes[round], size);
    if (written != size) fail("virtio-rng: %u bytes of %u", written, size);
    for (uint32_t i = 0; i < size; i++) for (unsigned bit = 0; bit < 8; bit++) ones += bytes[round][i] >> bit & 1;
    total += size;
    for (unsigned other = 0; other < round; other++) {
      if (equal(bytes[round], bytes[other], LARGEST / 8)) fail("virtio-rng: rounds %u and %u are alike", other, round);
    }
  }
  // Half of all bits, and a tenth of that for chance: less likely than anything else that could go wrong.
  if (ones < total * 4 * 9 / 10 || ones > total * 4 * 11 / 10) fail("virtio-rng: %u ones in %u bytes", ones, total);
  if (!(virtio_interrupts(&device) & 1)) fail("virtio-rng: no interrupt for what was given back");
  print("virtio-rng: %u bytes, no two rounds alike\n", total);
  return 0;
}
