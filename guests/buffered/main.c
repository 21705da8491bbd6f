// Writes to VGA memory, which a hypervisor may buffer: the device sees all of them in order, and before anything else.
#include "guest.h"

enum { WINDOW = 0xa0000, WINDOW_BYTES = 0x20000, SPACING = 16, PAGE = 4096, STRING = 600 };

static uint16_t port;

// What the device should have seen: how many writes, of at most 4 bytes each, and their checksum.
static uint32_t seen, checksum;

static void see(uint32_t offset, unsigned width, uint32_t value) {
  checksum = ((checksum << 5 | checksum >> 27) ^ value) + offset * 8 + width;
  seen++;
}

static struct {
  uint32_t offset;
  unsigned width;
  uint64_t value;
} last;

// Write number `index`: all widths take turns, at all alignments, all over the window but never across a page.
static void write(uint32_t index) {
  unsigned width = 1 << index % 4;
  uint32_t offset = index * (PAGE + SPACING) % WINDOW_BYTES / SPACING * SPACING + index / 4 % 8;
  uint64_t value = low_bytes(pseudo_random(), width);
  void *at = (void *)(uintptr_t)(WINDOW + offset);
  switch (width) {
    case 1: *(volatile uint8_t *)at = (uint8_t)value; break;
    case 2: *(volatile uint16_t *)at = (uint16_t)value; break;
    case 4: *(volatile uint32_t *)at = (uint32_t)value; break;
    default: *(volatile uint64_t *)at = value;
  }
  see(offset, width < 4 ? width : 4, (uint32_t)value);
  if (width == 8) see(offset + 4, 4, (uint32_t)(value >> 32));
  last.offset = offset;
  last.width = width;
  last.value = value;
}

// Reads what was written last. A read is synchronous, and must not overtake the writes.
static void check_memory(void) {
  uint64_t found = low_bytes(*(volatile uint64_t *)(uintptr_t)(WINDOW + last.offset), last.width);
  if (found == last.value) return;
  fail("buffered: 0x%x reads 0x%lx after write %u, which was 0x%lx", WINDOW + last.offset, found, seen, last.value);
}

static void check_device(void) {
  uint32_t found = in32(port);
  if (found != seen) fail("buffered: the device saw %u writes, not %u", found, seen);
  found = in32(port + 4);
  if (found != checksum) fail("buffered: the checksum of %u writes is 0x%08x, not 0x%08x", seen, found, checksum);
}

int main(void) {
  uint32_t count = (uint32_t)number_option("count", 4000), bursts = 0, longest = 0;
  port = (uint16_t)number_option("port", 0x600);
  seen = in32(port);  // goes on from whatever came before
  checksum = in32(port + 4);

  // Bursts of 1, 3, 7, 15 and so on: the longer ones than 511 fill a ring, and what follows takes another way.
  for (uint32_t index = 0, burst = 1; index < count; burst = burst * 2 + 1, bursts++) {
    uint32_t size = burst < count - index ? burst : count - index;
    for (uint32_t end = index + size; index < end; index++) write(index);
    if (bursts % 2) check_memory();
    check_device();
    if (size > longest) longest = size;
  }
  print("buffered: %u values in %u bursts, the longest of %u\n", count, bursts, longest);

  uint64_t left = STRING;
  uint32_t value = (uint32_t)pseudo_random();
  void *to = (void *)WINDOW;
  asm volatile("rep stosl" : "+D"(to), "+c"(left) : "a"(value) : "memory");
  for (uint32_t i = 0; i < STRING; i++) see(i * 4, 4, value);
  check_device();
  print("buffered: %u values by one instruction\nbuffered: %u writes, all in order\n", STRING, seen);
  return 0;
}
