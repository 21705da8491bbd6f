// Pages that are given only when they are touched: they read as zero then, and keep what is written to them.
//
// Half of them is read first, half written first: by words, by bytes, by a string, across two pages. The same has to
// pass where all pages are there from the start.
#include "guest.h"
#include "xen.h"

enum { PAGE = 4096, LARGE_PAGE = 0x200000, BALLOONED = 64 };

extern uint8_t image_end[];

static uint64_t pages, step, start;

static uint8_t *page_at(uint64_t index) { return (uint8_t *)(start + index * step * PAGE); }

// One byte eight times, so that it can be written as bytes too.
static uint64_t value_of(uint64_t index) { return (index % 255 + 1) * 0x0101010101010101; }

// A second word, which no two pages share.
static volatile uint64_t *name_of(uint64_t index) { return (volatile uint64_t *)(page_at(index) + 1024); }

// The free RAM behind this image: from the first 2 MiB boundary to the end of that range.
static uint64_t find_ram(void) {
  const struct memory_range *range = (const struct memory_range *)start_info->memory_map;
  start = ((uint64_t)image_end + LARGE_PAGE - 1) & -(uint64_t)LARGE_PAGE;
  for (unsigned i = 0; i < start_info->memory_map_entries; i++, range++) {
    uint64_t end = range->address + range->size;
    if (range->type != MEMORY_RAM || range->address > start || end <= start) continue;
    // What the loader put there is not free: start information, its tables and modules.
    const struct module *module = (const struct module *)start_info->modules;
    for (uint32_t m = 0; m < start_info->module_count; m++) {
      if (module[m].address + module[m].size > start) fail("pod: a module lies in the RAM to use");
    }
    if ((uint64_t)start_info >= start && (uint64_t)start_info < end) fail("pod: the start information lies there");
    return end - start;
  }
  fail("pod: the memory map has no RAM behind this image");
}

static void expect(const volatile void *at, uint64_t found, uint64_t expected, const char *when) {
  if (found != expected) fail("pod: 0x%lx at 0x%lx %s, not 0x%lx", found, (uint64_t)at, when, expected);
}

// The first touch of a page is a read: of all of it for every eighth, and otherwise of a word, a byte, or the end.
static void read_first(uint64_t index) {
  volatile uint8_t *page = page_at(index);
  const uint64_t *words = (const uint64_t *)page;
  uint64_t count = PAGE / 8;
  bool empty;
  switch (index % 8) {
    case 0:
      asm volatile("repe scasq" : "+D"(words), "+c"(count), "=@ccz"(empty) : "a"(0ull) : "memory");
      if (!empty) expect(words - 1, words[-1], 0, "at first");
      break;
    case 1: expect(page + 5, page[5], 0, "at first"); break;
    case 2: expect(page + PAGE - 8, *(volatile uint64_t *)(page + PAGE - 8), 0, "at first"); break;
    default: expect(page + 8, *(volatile uint64_t *)(page + 8), 0, "at first");
  }
  *(volatile uint64_t *)page = value_of(index);
  *name_of(index) = index;
}

// The first touch of a page is a write.
static void write_first(uint64_t index) {
  volatile uint8_t *page = page_at(index);
  uint64_t value = value_of(index);
  switch (index % 4) {
    case 0: *(volatile uint64_t *)page = value; break;
    case 1:
      for (unsigned i = 0; i < 8; i++) page[i] = (uint8_t)value;
      break;
    case 2: memset((void *)page, (uint8_t)value, 8); break;
    default: __atomic_fetch_add((volatile uint64_t *)page, value, __ATOMIC_SEQ_CST);
  }
  *name_of(index) = index;
}

// Words that begin in one page and end in the next: the last four bytes of one, the first four of the other.
static void touch_across(uint64_t index) {
  volatile uint64_t *at = (volatile uint64_t *)(page_at(index) + PAGE - 4);
  if (index % 2 == 0) expect(at, *at, 0, "across two pages at first");
  *at = value_of(index);
}

static void check(uint64_t index) {
  const uint8_t *page = page_at(index);
  expect(page, *(const volatile uint64_t *)page, value_of(index), "afterwards");
  expect(name_of(index), *name_of(index), index, "afterwards");
  expect(page + 2048, *(const volatile uint64_t *)(page + 2048), 0, "afterwards");
}

static void print_reservation(const char *when) {
  if (has_memory_op()) print("pod: %lu pages %s\n", (uint64_t)reservation(XENMEM_CURRENT_RESERVATION), when);
}

// Gives away pages that were touched and pages that were not, and takes them back.
static void balloon(uint64_t untouched) {
  static word gfns[BALLOONED];
  uint64_t half = BALLOONED / 2;
  int64_t before = reservation(XENMEM_CURRENT_RESERVATION);
  for (uint64_t i = 0; i < half; i++) {
    gfns[i] = (uint64_t)page_at(i * pages / half) / PAGE;
    gfns[half + i] = untouched / PAGE + i;
  }
  int64_t done = reservation_op(XENMEM_DECREASE_RESERVATION, gfns, BALLOONED, 0, DOMID_SELF);
  if (done != BALLOONED) fail("pod: decrease_reservation gives 0x%lx, not 0x%x", (uint64_t)done, BALLOONED);
  int64_t between = reservation(XENMEM_CURRENT_RESERVATION);
  if (between != before - BALLOONED) fail("pod: %lu pages with %u out of %lu", between, BALLOONED, before);
  for (unsigned i = 0; i < BALLOONED; i++) {
    const volatile uint64_t *word = (const volatile uint64_t *)(gfns[i] * PAGE);
    expect(word, *word, UINT64_MAX, "while it is out");
  }
  done = reservation_op(XENMEM_POPULATE_PHYSMAP, gfns, BALLOONED, 0, DOMID_SELF);
  if (done != BALLOONED) fail("pod: populate_physmap gives 0x%lx, not 0x%x", (uint64_t)done, BALLOONED);
  for (unsigned i = 0; i < BALLOONED; i++) {
    volatile uint64_t *word = (volatile uint64_t *)(gfns[i] * PAGE);
    expect(word, *word, 0, "when it is in again");
    expect(word + 511, word[511], 0, "when it is in again");
    if (i >= half) continue;
    *word = value_of(i * pages / half);
    *name_of(i * pages / half) = i * pages / half;
  }
  int64_t after = reservation(XENMEM_CURRENT_RESERVATION);
  if (after != before) fail("pod: %lu pages with all in again, not %lu", after, before);
  print("pod: %u pages out and in\n", BALLOONED);
}

int main(void) {
  pages = number_option("pages", 1024);
  step = number_option("step", 2);
  bool ballooning = option("balloon");
  uint64_t available = find_ram() / PAGE, crossing = pages / 8, last = pages * step + 2 * crossing;
  if (pages < BALLOONED || step == 0) fail("pod: at least %u pages, and a step of at least 1", BALLOONED);
  if (last + BALLOONED > available) fail("pod: %lu pages are free, this needs %lu", available, last + BALLOONED);
  print_reservation("at first");

  for (uint64_t i = 0; i < pages / 2; i++) read_first(i);
  for (uint64_t i = pages / 2; i < pages; i++) write_first(i);
  for (uint64_t i = 0; i < pages; i++) check(i);
  print_reservation("with the first touched");

  // Pairs of their own, behind the others.
  uint64_t first = start, first_step = step;
  start += pages * step * PAGE;
  step = 2;
  for (uint64_t i = 0; i < crossing; i++) touch_across(i);
  for (uint64_t i = 0; i < crossing; i++) {
    const volatile uint64_t *at = (const volatile uint64_t *)(page_at(i) + PAGE - 4);
    expect(at, *at, value_of(i), "across two pages afterwards");
    expect(at - 1, at[-1], 0, "before it");
    expect(at + 1, at[1], 0, "behind it");
  }
  uint64_t behind = start + 2 * crossing * PAGE;
  start = first;
  step = first_step;

  if (ballooning) {
    if (!has_memory_op()) fail("pod: no memory_op at port 0x%x", HYPERCALL_PORT);
    balloon(behind);
  }
  for (uint64_t i = 0; i < pages; i++) check(i);
  print_reservation("at the end");
  print("pod: %lu pages touched\n", pages + 2 * crossing);
  return 0;
}
