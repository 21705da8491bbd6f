// Where nothing answers, reads give all ones and writes vanish: at ports and in memory, in every width.
#include "guest.h"

enum { PORT = 0x500, HOLE = 0xd0000, PAGE = 4096, LOWEST_DEVICE = 0xfec00000 };

static unsigned checks;

static void expect_ones(const char *what, uint64_t where, unsigned width, uint64_t value) {
  uint64_t ones = width == 8 ? UINT64_MAX : (1ull << width * 8) - 1;
  if (value != ones) fail("unclaimed: %s of %u bytes at 0x%lx gives 0x%lx", what, width, where, value);
  checks++;
}

static void ports(uint16_t port) {
  for (unsigned round = 0; round < 2; round++) {
    expect_ones("in", port, 1, in8(port));
    expect_ones("in", port, 2, in16(port));
    expect_ones("in", port, 4, in32(port));
    out8(port, 0);
    out16(port, 0x1234);
    out32(port, 0x12345678);
  }
  uint8_t bytes[4] = {0};
  void *to = bytes;
  uint64_t count = sizeof bytes;
  asm volatile("rep insb" : "+D"(to), "+c"(count) : "d"(port) : "memory");
  expect_ones("rep insb", port, 4, *(uint32_t *)bytes);
  print("unclaimed: port 0x%x\n", port);
}

#define ACCESS(type) ((volatile type *)address)

static void memory(uint64_t address) {
  for (unsigned round = 0; round < 2; round++) {
    expect_ones("read", address, 1, *ACCESS(uint8_t));
    expect_ones("read", address, 2, *ACCESS(uint16_t));
    expect_ones("read", address, 4, *ACCESS(uint32_t));
    expect_ones("read", address, 8, *ACCESS(uint64_t));
    *ACCESS(uint8_t) = 0;
    *ACCESS(uint16_t) = 0x1234;
    *ACCESS(uint32_t) = 0x12345678;
    *ACCESS(uint64_t) = 0x123456789abcdef0;
  }
  // One access that is cut in two by a page boundary, one that reads and writes, and a string.
  uint64_t crossing = address + PAGE - 3;
  expect_ones("read across pages", crossing, 8, *(volatile uint64_t *)crossing);
  uint32_t old = 0x12345678;
  asm volatile("xchg %0, %1" : "+r"(old), "+m"(*ACCESS(uint32_t)));
  expect_ones("xchg", address, 4, old);
  uint64_t copy[2] = {0};
  memcpy(copy, (const void *)address, sizeof copy);
  expect_ones("rep movsb", address, 8, copy[0]);
  expect_ones("rep movsb", address + 8, 8, copy[1]);
  print("unclaimed: memory 0x%lx\n", address);
}

// The first address above the RAM below 4 GiB, or 0 if there is no room before the platform's own devices.
static uint64_t above_ram(void) {
  const struct memory_range *range = (const struct memory_range *)start_info->memory_map;
  uint64_t end = 0;
  for (unsigned i = 0; i < start_info->memory_map_entries; i++, range++) {
    uint64_t range_end = range->address + range->size;
    if (range->type == MEMORY_UNUSABLE) continue;  // an extended region
    if (range->address < LOWEST_DEVICE && range_end > end) end = range_end;
  }
  return end + 2 * PAGE <= LOWEST_DEVICE ? end : 0;
}

int main(void) {
  ports(PORT);
  ports(0xfff0);
  memory(HOLE);
  uint64_t above = above_ram();
  if (above) memory(above);
  print("unclaimed: %u accesses gave all ones\n", checks);
  return 0;
}
