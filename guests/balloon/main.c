// What a guest gives away is gone, and what it takes back is empty: Xen's memory_op.
//
// The pages lie in one block of RAM. Every second one, and one run of neighbours, go out and come in again, several
// times over; the others keep what they hold.
#include "guest.h"
#include "xen.h"

enum { PAGE = 4096, LARGE_PAGE = 0x200000, LARGE_ORDER = 9, LARGE_PAGES = 512, MOST = 8192, NO_MEMORY_OP = 2 };

static const uint64_t ONES = UINT64_MAX;

extern uint8_t image_end[];

static word gfns[MOST];
static uint64_t start, ram_end;
static unsigned pages;
static bool writing;

// Where the RAM that holds this image ends.
static uint64_t end_of_ram(void) {
  const struct memory_range *range = (const struct memory_range *)start_info->memory_map;
  for (unsigned i = 0; i < start_info->memory_map_entries; i++, range++) {
    uint64_t end = range->address + range->size;
    if (range->type == MEMORY_RAM && range->address < (uint64_t)image_end && end > (uint64_t)image_end) return end;
  }
  fail("balloon: the memory map has no RAM where this image is");
}

// ---- What a page holds: a word at its start, one in the middle and one at its end

static volatile uint64_t *words_of(uint64_t gfn) { return (volatile uint64_t *)(gfn * PAGE); }

static void fill(uint64_t gfn, uint64_t value) {
  volatile uint64_t *words = words_of(gfn);
  words[0] = value;
  words[255] = value + 1;
  words[511] = value + 2;
}

static void expect_words(uint64_t gfn, uint64_t first, uint64_t step, const char *when) {
  volatile uint64_t *words = words_of(gfn);
  uint64_t found[] = {words[0], words[255], words[511]};
  for (unsigned i = 0; i < 3; i++) {
    if (found[i] == first + i * step) continue;
    fail("balloon: gfn 0x%lx reads 0x%lx %s, not 0x%lx", gfn, found[i], when, first + i * step);
  }
}

static void expect_empty(uint64_t gfn) {
  const uint64_t *words = (const uint64_t *)(gfn * PAGE);
  uint64_t count = PAGE / 8;
  bool empty;
  asm volatile("repe scasq" : "+D"(words), "+c"(count), "=@ccz"(empty) : "a"(0ull) : "memory");
  if (!empty) fail("balloon: gfn 0x%lx reads 0x%lx when it is back, not 0", gfn, words[-1]);
}

static uint64_t value_of(uint64_t gfn, unsigned round) { return gfn << 32 | round << 8; }

// ---- Calls and what they give

static void expect_result(const char *call, int64_t found, int64_t expected) {
  if (found == expected) return;
  fail("balloon: %s gives 0x%lx, not 0x%lx", call, (uint64_t)found, (uint64_t)expected);
}

static int64_t out(const word *list, word count, uint32_t order) {
  return reservation_op(XENMEM_DECREASE_RESERVATION, list, count, order, DOMID_SELF);
}

static int64_t in(const word *list, word count, uint32_t order) {
  return reservation_op(XENMEM_POPULATE_PHYSMAP, list, count, order, DOMID_SELF);
}

static void expect_reservation(int64_t expected, const char *when) {
  int64_t found = reservation(XENMEM_CURRENT_RESERVATION);
  if (found != expected) fail("balloon: the reservation is %lu pages %s, not %lu", found, when, expected);
}

// ---- Rounds

// The scattered half lies at every second place, its other places stay; then comes a run, and a page that stays.
static bool is_out(unsigned place) { return place >= pages || place % 2 == 1; }

static void round_trip(unsigned round, int64_t reserved) {
  unsigned places = pages + pages / 2;
  uint64_t first = start / PAGE;
  for (unsigned place = 0; place <= places; place++) fill(first + place, value_of(first + place, round));

  expect_result("decrease_reservation", out(gfns, pages, 0), pages);
  expect_reservation(reserved - pages, "while pages are out");
  for (unsigned i = 0; i < pages; i++) {
    expect_words(gfns[i], ONES, 0, "while it is out");
    if (!writing || i % 4 != 0) continue;
    fill(gfns[i], value_of(gfns[i], round));
    expect_words(gfns[i], ONES, 0, "after a write while it is out");
  }
  for (unsigned place = 0; place <= places; place++) {
    if (place < places && is_out(place)) continue;
    expect_words(first + place, value_of(first + place, round), 1, "next to pages that are out");
  }

  // In again in another order than out: the last half first.
  unsigned half = pages / 2;
  expect_result("populate_physmap", in(gfns + half, pages - half, 0), pages - half);
  expect_reservation(reserved - half, "with half of the pages in again");
  expect_words(gfns[0], ONES, 0, "while others are in again");
  expect_result("populate_physmap", in(gfns, half, 0), half);
  expect_reservation(reserved, "with all pages in again");
  for (unsigned i = 0; i < pages; i++) {
    expect_empty(gfns[i]);
    fill(gfns[i], ~value_of(gfns[i], round));
  }
  for (unsigned i = 0; i < pages; i++) expect_words(gfns[i], ~value_of(gfns[i], round), 1, "after a write to it");
  for (unsigned place = 0; place <= places; place++) {
    if (place < places && is_out(place)) continue;
    expect_words(first + place, value_of(first + place, round), 1, "next to pages that are in again");
  }
}

static void large_extent(int64_t reserved) {
  word large = (start + LARGE_PAGE - 1) & -(uint64_t)LARGE_PAGE, gfn = large / PAGE;
  fill(gfn - 1, 1000);
  fill(gfn, 2000);
  fill(gfn + LARGE_PAGES - 1, 3000);
  fill(gfn + LARGE_PAGES, 4000);
  expect_result("decrease_reservation of order 9", out(&gfn, 1, LARGE_ORDER), 1);
  expect_reservation(reserved - LARGE_PAGES, "while an extent of order 9 is out");
  expect_words(gfn - 1, 1000, 1, "before an extent that is out");
  expect_words(gfn, ONES, 0, "while it is out");
  expect_words(gfn + LARGE_PAGES - 1, ONES, 0, "while it is out");
  expect_words(gfn + LARGE_PAGES, 4000, 1, "after an extent that is out");
  expect_result("populate_physmap of order 9", in(&gfn, 1, LARGE_ORDER), 1);
  expect_reservation(reserved, "with the extent of order 9 in again");
  for (unsigned i = 0; i < LARGE_PAGES; i += 73) expect_empty(gfn + i);
  expect_empty(gfn + LARGE_PAGES - 1);
  expect_words(gfn - 1, 1000, 1, "before an extent that is in again");
  expect_words(gfn + LARGE_PAGES, 4000, 1, "after an extent that is in again");
}

// What cannot be done stops a call, and the result counts what was done before it.
static void bad_arguments(int64_t reserved) {
  word gfn = start / PAGE, absent = 1ull << 40;
  fill(gfn, 5000);

  word with_absent[] = {gfn + 1, gfn + 3, absent, gfn + 5};
  expect_result("decrease_reservation with an absent gfn third", out(with_absent, 4, 0), 2);
  expect_reservation(reserved - 2, "after two of four");
  expect_result("decrease_reservation of what is out already", out(with_absent, 2, 0), 0);
  expect_result("populate_physmap with an absent gfn third", in(with_absent, 4, 0), 2);
  expect_reservation(reserved, "after two of four came in again");

  expect_result("decrease_reservation of an extent of order 10", out(&gfn, 1, LARGE_ORDER + 1), 0);
  expect_result("decrease_reservation of nothing", out(&gfn, 0, 0), 0);

  // Of a list Xen says how many extents it did, whatever was wrong.
  expect_result("decrease_reservation for another domain",
                reservation_op(XENMEM_DECREASE_RESERVATION, &gfn, 1, 0, 1234), 0);
  uint16_t other = 1234;
  int64_t result = port_hypercall2(HYPERCALL_MEMORY_OP, XENMEM_CURRENT_RESERVATION, (word)&other);
  if (result != -ESRCH && result != -EPERM) expect_result("current_reservation of another domain", result, -ESRCH);

  const void *nowhere = (const void *)0xe0000000ull;
  expect_result("decrease_reservation with a bad pointer", port_hypercall2(HYPERCALL_MEMORY_OP, XENMEM_DECREASE_RESERVATION, (word)nowhere), 0);
  expect_result("decrease_reservation with a bad list", out(nowhere, 1, 0), 0);
  expect_result("current_reservation with a bad pointer", port_hypercall2(HYPERCALL_MEMORY_OP, XENMEM_CURRENT_RESERVATION, (word)nowhere), -EFAULT);

  expect_reservation(reserved, "after bad arguments");
  expect_words(gfn, 5000, 1, "after bad arguments");
}

int main(void) {
  pages = (unsigned)number_option("pages", 256);
  unsigned rounds = (unsigned)number_option("rounds", 4);
  writing = option("writes");
  start = ((uint64_t)image_end + LARGE_PAGE - 1) & -(uint64_t)LARGE_PAGE;
  start += 16 * PAGE;  // not at a 2 MiB boundary: all sides of the pages have neighbours
  ram_end = end_of_ram();
  if (pages < 8 || pages > MOST || pages % 2) fail("balloon: an even number of pages, from 8 to %u", MOST);
  if (start + (uint64_t)pages * 2 * PAGE + 2 * LARGE_PAGE > ram_end) fail("balloon: this needs more RAM");
  if (!has_memory_op()) {
    print("balloon: no memory_op at port 0x%x\n", HYPERCALL_PORT);
    return NO_MEMORY_OP;
  }
  int64_t reserved = reservation(XENMEM_CURRENT_RESERVATION), most = reservation(XENMEM_MAXIMUM_RESERVATION);
  if (most < reserved) fail("balloon: the maximum is %lu pages, the reservation %lu", most, reserved);

  for (unsigned i = 0; i < pages / 2; i++) {
    gfns[i] = start / PAGE + 2 * i + 1;
    gfns[pages / 2 + i] = start / PAGE + pages + i;
  }
  for (unsigned round = 0; round < rounds; round++) round_trip(round, reserved);
  print("balloon: scattered and contiguous\n");
  large_extent(reserved);
  print("balloon: an extent of 2 MiB\n");
  bad_arguments(reserved);
  print("balloon: bad arguments\n");
  print("balloon: %u pages out and in, %u rounds\n", pages, rounds);
  return 0;
}
