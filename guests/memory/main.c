// The RAM that the memory map promises is there, every page of it, and no two pages are one.
//
// Each page gets its own address as a value, in a first pass over all of them; a second pass reads them back. One word
// for a page, because an instruction may cost a microsecond.
#include "guest.h"

enum { PAGE = 4096, LARGE_PAGE = 0x200000, MAX_RANGES = 64, WINDOW_FLAGS = 0x83, TABLE_FLAGS = 0x03 };

static const uint64_t GIB = 1ull << 30, MAPPED_END = 4ull << 30;

extern uint8_t image_start[], image_end[];
extern uint64_t page_map[];

// A copy: the loader's own may lie in RAM that is about to be overwritten.
static struct memory_range ranges[MAX_RANGES];
static unsigned range_count;

static const char *type_name(uint32_t type) {
  static const char *const names[] = {
      "unknown", "RAM", "reserved", "ACPI", "NVS", "unusable", "disabled", "persistent",
  };
  return names[type < sizeof names / sizeof *names ? type : 0];
}

static void read_map(void) {
  range_count = start_info->memory_map_entries;
  if (range_count > MAX_RANGES) fail("memory: %u entries in the memory map", range_count);
  memcpy(ranges, (const void *)start_info->memory_map, range_count * sizeof *ranges);
  for (unsigned i = 0; i < range_count; i++) {
    print("memory map: 0x%016lx, 0x%016lx bytes, %s\n", ranges[i].address, ranges[i].size, type_name(ranges[i].type));
  }
}

// Makes the GiB at `address` accessible and returns where. All beyond the first 4 GiB is seen through one window.
static uint64_t map_gib(uint64_t address) {
  static uint64_t window[512] __attribute__((aligned(PAGE)));
  if (address < MAPPED_END) return address;
  for (unsigned i = 0; i < 512; i++) window[i] = (address + i * (uint64_t)LARGE_PAGE) | WINDOW_FLAGS;
  uint64_t *page_pointers = (uint64_t *)(page_map[0] & ~0xfffull);
  page_pointers[4] = (uint64_t)window | TABLE_FLAGS;
  asm volatile("mov %0, %%cr3" : : "r"(page_map) : "memory");
  return MAPPED_END;
}

static void fill(uint64_t at, uint64_t end, uint64_t value) {
#pragma GCC unroll 8
  for (; at < end; at += PAGE, value += PAGE) *(volatile uint64_t *)at = value;
}

static void check(uint64_t at, uint64_t end, uint64_t value) {
#pragma GCC unroll 8
  for (; at < end; at += PAGE, value += PAGE) {
    uint64_t found = *(volatile uint64_t *)at;
    if (found != value) fail("memory: 0x%016lx reads 0x%016lx", value, found);
  }
}

typedef void pass(uint64_t at, uint64_t end, uint64_t value);

// Applies `step` to the whole pages of [start, end), a GiB at a time. Returns how many there are.
static uint64_t visit(pass *step, uint64_t start, uint64_t end) {
  uint64_t pages = 0;
  start = (start + PAGE - 1) & -(uint64_t)PAGE;
  end &= -(uint64_t)PAGE;
  while (start < end) {
    uint64_t gib = start & -GIB, part_end = end < gib + GIB ? end : gib + GIB;
    uint64_t bias = map_gib(gib) - gib;
    step(start + bias, part_end + bias, start);
    pages += (part_end - start) / PAGE;
    start = part_end;
  }
  return pages;
}

// Applies `step` to all RAM but this image.
static uint64_t visit_all(pass *step) {
  uint64_t pages = 0, image = (uint64_t)image_start, after = (uint64_t)image_end;
  for (unsigned i = 0; i < range_count; i++) {
    uint64_t start = ranges[i].address, end = start + ranges[i].size;
    if (ranges[i].type != MEMORY_RAM) continue;
    if (start < after && image < end) {
      pages += visit(step, start, image);
      pages += visit(step, after, end);
    } else {
      pages += visit(step, start, end);
    }
  }
  return pages;
}

int main(void) {
  read_map();
  uint64_t pages = visit_all(fill);
  visit_all(check);
  print("memory: %lu KiB tested\n", pages * (PAGE / 1024));
  return 0;
}
