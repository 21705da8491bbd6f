// Frames of others in address space without RAM: the guest's own grants, the grant table, shared_info, a device's
// pages. No RAM is given up for them, and nothing that belongs to somebody else is touched. With UNPOPULATED_BALLOON
// it is RAM that goes.
#include "unpopulated.h"

#include "regions.h"

enum { OWN_DOMAIN = 1, FIRST_REF = GNTTAB_RESERVED_ENTRIES, ENTRIES_V1 = PAGE / 8, BATCH = 64, MAX_PAGES = 16384 };

static const uint64_t ONES = UINT64_MAX;

static struct gfn_range regions[MAX_EXTENDED_REGIONS];
static int region_count;

static word gfns[MAX_PAGES], again[MAX_PAGES];
static uint32_t handles[MAX_PAGES];
static uint8_t *granted;  // the guest's own memory
static volatile struct grant_entry_v1 *table;
static uint64_t map_ticks, unmap_ticks;

static void expect(const char *what, long found, long expected) {
  if (found != expected) fail("unpopulated: %s gives 0x%lx, not 0x%lx", what, (word)found, (word)expected);
}

static long reserved(void) { return reservation(XENMEM_CURRENT_RESERVATION); }

// ---- Looking at any address: the first 4 GiB are mapped from the start, the rest is as it is needed

enum { TABLES = 48, PRESENT_WRITABLE = 3, LARGE = 0x80 };

static uint64_t *below(uint64_t *entry) {
  static uint64_t tables[TABLES][512] __attribute__((aligned(PAGE)));
  static unsigned used;
  if (!*entry) {
    if (used == TABLES) fail("unpopulated: more addresses than %u page tables", TABLES);
    *entry = (uint64_t)tables[used++] | PRESENT_WRITABLE;
  }
  return (uint64_t *)(*entry & -(uint64_t)PAGE);
}

static volatile uint64_t *at(word gfn) {
  extern uint64_t page_map[];
  word address = gfn * PAGE;
  uint64_t *directories = below(&page_map[address >> 39 & 511]);
  uint64_t *directory = below(&directories[address >> 30 & 511]), *entry = &directory[address >> 21 & 511];
  if (!*entry) *entry = (address & -(word)(2 << 20)) | PRESENT_WRITABLE | LARGE;
  return (volatile uint64_t *)address;
}

// A word at the start of the page, and one at its end.
static void expect_page(const char *what, word gfn, uint64_t expected) {
  volatile uint64_t *page = at(gfn);
  uint64_t first = page[0], last = page[511];
  if (first == expected && last == expected) return;
  fail("unpopulated: %s: gfn 0x%lx reads 0x%lx and 0x%lx, not 0x%lx", what, gfn, first, last, expected);
}

// ---- The regions

static void expect_alike(const char *way, const struct gfn_range *found, int count) {
  expect(way, count, region_count);
  for (int i = 0; i < count; i++) {
    if (found[i].first == regions[i].first && found[i].count == regions[i].count) continue;
    fail("unpopulated: region %u is 0x%lx + 0x%lx by %s", i, found[i].first, found[i].count, way);
  }
}

static void find_regions(void) {
  struct gfn_range found[MAX_EXTENDED_REGIONS];
  word pages = 0;
  region_count = regions_by_memory_op(regions);
  if (region_count < 0) fail("unpopulated: memory_op tells of no regions");
  for (int i = 0; i < region_count; i++) pages += regions[i].count;
  expect_alike("CPUID", found, regions_by_cpuid(found));
  expect_alike("the memory map", found, regions_by_memory_map(found));
  int by_tree = regions_by_device_tree(found);
  if (by_tree >= 0) expect_alike("the device tree", found, by_tree);
  print("unpopulated: %u region%s, %lu MiB; memory_op, CPUID%s memory map%s say the same\n", (unsigned)region_count,
        region_count == 1 ? "" : "s",
        pages * PAGE >> 20, by_tree < 0 ? " and" : ",", by_tree < 0 ? "" : " and device tree");
}

// Without regions: what is behind all that the memory map tells, and hopefully nobody's.
static struct gfn_range own_unused_space(void) {
  const struct memory_range *map = (const struct memory_range *)start_info->memory_map;
  const word gib = 1ul << 30;
  word end = 4 * gib;
  for (unsigned i = 0; i < start_info->memory_map_entries; i++) {
    if (map[i].address + map[i].size > end) end = map[i].address + map[i].size;
  }
  return (struct gfn_range){(end + gib - 1) / gib * gib / PAGE, gib / PAGE};
}

#ifndef UNPOPULATED_BALLOON

// What the hypervisor says stands in all regions together.
static struct xen_extended_region in_regions(void) {
  static struct xen_extended_region list[MAX_EXTENDED_REGIONS];
  struct xen_extended_regions argument = {.count = MAX_EXTENDED_REGIONS, .regions = (word)list};
  struct xen_extended_region sum = {0};
  expect("extended_regions", extended_regions_op(&argument, EXTENDED_REGIONS_GET), 0);
  for (unsigned i = 0; i < argument.count; i++) {
    sum.grants += list[i].grants;
    sum.special += list[i].special;
    sum.device += list[i].device;
    sum.lent += list[i].lent;
  }
  return sum;
}

static void expect_in_regions(const char *when, word grants, word special) {
  if (region_count == 0) return;
  struct xen_extended_region found = in_regions();
  if (found.grants == grants && found.special == special && found.device == 0) return;
  fail("unpopulated: %s the hypervisor counts %lu, %lu and %lu pages, not %lu, %lu and 0", when, found.grants,
       found.special, found.device, grants, special);
}

#else

// What is ballooned out of RAM is in no region.
static void expect_in_regions(const char *when, word grants, word special) { (void)when, (void)grants, (void)special; }

#endif

// ---- What is mapped

static void map_shared_info(word gfn) {
  expect("shared_info", add_to_physmap(XENMAPSPACE_SHARED_INFO, 0, gfn), 0);
  if (((struct shared_info *)at(gfn))->clock_seconds == 0) fail("unpopulated: shared_info has no time of day");
}

// A grant of version 2, with its status frame among what is unpopulated, too.
static void check_version_2(word status_gfn, word gfn) {
  uint32_t version = 2;
  uint64_t *page = ram_pages(1);
  expect("set_version", grant_table_op(GNTTABOP_SET_VERSION, &version, 1), 0);
  expect("the status frame", add_to_physmap(XENMAPSPACE_GRANT_TABLE, XENMAPIDX_GRANT_TABLE_STATUS, status_gfn), 0);
  volatile uint64_t *entry = (volatile uint64_t *)table + FIRST_REF * 2;
  volatile uint16_t *status = (volatile uint16_t *)at(status_gfn) + FIRST_REF;
  page[0] = page[511] = 77;
  entry[1] = (word)page / PAGE;
  entry[0] = GTF_PERMIT_ACCESS | OWN_DOMAIN << 16;
  struct gnttab_map_grant_ref map = {gfn * PAGE, GNTMAP_HOST_MAP, FIRST_REF, OWN_DOMAIN, 1, 0, 0};
  expect("map_grant_ref", grant_table_op(GNTTABOP_MAP_GRANT_REF, &map, 1), 0);
  expect("the status of a grant", map.status, GNTST_OKAY);
  expect_page("a grant of version 2", gfn, 77);
  expect("its status", *status, GTF_READING | GTF_WRITING);
  struct gnttab_unmap_grant_ref unmap = {gfn * PAGE, 0, map.handle, 1};
  expect("unmap_grant_ref", grant_table_op(GNTTABOP_UNMAP_GRANT_REF, &unmap, 1), 0);
  entry[0] = entry[1] = 0;
  version = 1;
  expect("set_version back", grant_table_op(GNTTABOP_SET_VERSION, &version, 1), 0);
  expect_page("where the status frame was", status_gfn, ONES);
}

static void map_grants(unsigned count) {
  static struct gnttab_map_grant_ref list[BATCH];
  for (unsigned done = 0; done < count;) {
    unsigned size = count - done < BATCH ? count - done : BATCH;
    for (unsigned i = 0; i < size; i++) {
      word place = gfns[done + i] * PAGE;
      list[i] = (struct gnttab_map_grant_ref){place, GNTMAP_HOST_MAP, FIRST_REF + done + i, OWN_DOMAIN, 1, 0, 0};
    }
    uint64_t start = read_tsc();
    long result = grant_table_op(GNTTABOP_MAP_GRANT_REF, list, size);
    map_ticks += read_tsc() - start;
    expect("map_grant_ref", result, 0);
    for (unsigned i = 0; i < size; i++) {
      if (list[i].status != GNTST_OKAY) fail("unpopulated: grant %u has status -%lu", done + i, -(word)list[i].status);
      handles[done + i] = list[i].handle;
    }
    done += size;
  }
}

static void unmap_grants(unsigned count) {
  static struct gnttab_unmap_grant_ref list[BATCH];
  for (unsigned done = 0; done < count;) {
    unsigned size = count - done < BATCH ? count - done : BATCH;
    for (unsigned i = 0; i < size; i++) {
      list[i] = (struct gnttab_unmap_grant_ref){gfns[done + i] * PAGE, 0, handles[done + i], 1};
    }
    uint64_t start = read_tsc();
    long result = grant_table_op(GNTTABOP_UNMAP_GRANT_REF, list, size);
    unmap_ticks += read_tsc() - start;
    expect("unmap_grant_ref", result, 0);
    for (unsigned i = 0; i < size; i++) expect("the status of an unmapping", list[i].status, GNTST_OKAY);
    done += size;
  }
}

// Every page is seen and written through both places.
static void check_grants(unsigned count) {
  for (unsigned i = 0; i < count; i++) {
    volatile uint64_t *own = (volatile uint64_t *)(granted + (word)i * PAGE), *there = at(gfns[i]);
    if (there[0] != i + 1 || there[511] != ~(uint64_t)i) {
      fail("unpopulated: grant %u at gfn 0x%lx reads 0x%lx and 0x%lx", i, gfns[i], there[0], there[511]);
    }
    there[1] = i + 7;
    if (own[1] != i + 7) fail("unpopulated: what is written to grant %u at gfn 0x%lx is not in its page", i, gfns[i]);
  }
}

static void grant_all(unsigned count) {
  granted = ram_pages(count);
  for (unsigned i = 0; i < count; i++) {
    uint64_t *page = (uint64_t *)(granted + (word)i * PAGE);
    page[0] = i + 1;
    page[511] = ~(uint64_t)i;
    table[FIRST_REF + i].domain = OWN_DOMAIN;
    table[FIRST_REF + i].frame = (uint32_t)((word)page / PAGE);
    table[FIRST_REF + i].flags = GTF_PERMIT_ACCESS;
  }
}

#ifndef UNPOPULATED_BALLOON

// A grant to be read is there, and what is written to it does not come to the page; if the guest lives on.
static void check_read_only(word gfn) {
  struct gnttab_map_grant_ref map = {gfn * PAGE, GNTMAP_HOST_MAP | GNTMAP_READONLY, FIRST_REF, OWN_DOMAIN, 1, 0, 0};
  expect("map_grant_ref", grant_table_op(GNTTABOP_MAP_GRANT_REF, &map, 1), 0);
  expect("the status of a grant to be read", map.status, GNTST_OKAY);
  volatile uint64_t *own = (volatile uint64_t *)granted, *there = at(gfn);
  own[0] = 99;
  expect("a grant to be read", (long)there[0], 99);
  print("unpopulated: a grant to be read, and written to\n");
  there[0] = 100;
  expect("a page that was granted to be read", (long)own[0], 99);
  struct gnttab_unmap_grant_ref unmap = {gfn * PAGE, 0, map.handle, 1};
  expect("unmap_grant_ref", grant_table_op(GNTTABOP_UNMAP_GRANT_REF, &unmap, 1), 0);
}

// ---- A device that shows its pages where the guest asks it to (a model of the test's)

enum { DEVICE_GFN = 0, DEVICE_PAGES = 4, DEVICE_DO = 8, DO_MAP = 1, DO_UNMAP = 2, DO_CLAIM = 3, DO_UNCLAIM = 4 };

static int device_do(uint16_t port, word gfn, uint32_t pages, uint32_t what) {
  out32(port + DEVICE_GFN, (uint32_t)gfn);
  out32(port + DEVICE_PAGES, pages);
  out32(port + DEVICE_DO, what);
  return (int)in32(port + DEVICE_DO);
}

// What stands at the device's page `index`, which the guest has not seen yet: it has to be asked for.
static uint64_t device_word(word index) { return 0xdec0de00 + index; }

static void check_device(uint16_t port) {
  struct xen_extended_regions loan = {0};
  expect("extended_regions", extended_regions_op(&loan, EXTENDED_REGIONS_GET), 0);
  loan.gfns = loan.granularity;
  struct gfn_range last = regions[region_count - 1];
  loan.first_gfn = last.first + (last.count - 1) / loan.gfns * loan.gfns;
  if (loan.first_gfn + loan.gfns > last.first + last.count) loan.gfns = last.first + last.count - loan.first_gfn;
  word first = loan.first_gfn + 8;
  const uint32_t pages = 32;
  expect("a window where nothing was lent", device_do(port, first, pages, DO_MAP), -EBUSY);
  expect("memory of a device where nothing was lent", device_do(port, first, pages, DO_CLAIM), -EBUSY);
  expect("a loan", extended_regions_op(&loan, EXTENDED_REGIONS_LEND), 0);
  expect("a loan of what is lent", extended_regions_op(&loan, EXTENDED_REGIONS_LEND), -EBUSY);
  expect("a grant's place that is lent", add_to_physmap(XENMAPSPACE_SHARED_INFO, 0, first), -EBUSY);
  expect("a window that is lent", device_do(port, first, pages, DO_MAP), 0);
  for (word i = 0; i < pages; i++) expect_page("a device's page", first + i, device_word(i));
  for (word i = 0; i < pages; i++) at(first + i)[0] = i;
  for (word i = 0; i < pages; i++) expect("a device's page that was written to", (long)at(first + i)[0], (long)i);
  expect("the pages of a device", (long)in_regions().device, pages);
  expect("the end of a loan that is used", extended_regions_op(&loan, EXTENDED_REGIONS_RECLAIM), -EBUSY);
  expect("the window's end", device_do(port, first, pages, DO_UNMAP), 0);
  expect_page("where a window was", first, ONES);
  expect("memory of a device in a loan", device_do(port, first, pages, DO_CLAIM), 0);
  expect("a device's register", *(volatile uint32_t *)at(first), 0x1234);
  expect("the end of a loan that is claimed", extended_regions_op(&loan, EXTENDED_REGIONS_RECLAIM), -EBUSY);
  expect("the claim's end", device_do(port, first, pages, DO_UNCLAIM), 0);
  expect("the end of a loan", extended_regions_op(&loan, EXTENDED_REGIONS_RECLAIM), 0);
  expect("a window after the loan", device_do(port, first, pages, DO_MAP), -EBUSY);
  print("unpopulated: %u pages of a device, asked for one by one\n", pages);
}

// ---- What does not belong there, and the end of all pages

static void check_kept_free(void) {
  word *page = ram_pages(1), gfn = regions[0].first;
  *page = 5;
  expect("RAM in a region", add_to_physmap(XENMAPSPACE_GMFN, (word)page / PAGE, gfn), -EBUSY);
  expect("RAM that stayed", (long)*page, 5);
  expect("RAM populated in a region", reservation_op(XENMEM_POPULATE_PHYSMAP, &gfn, 1, 0, DOMID_SELF), 0);
}

static void check_exhausted(word total) {
  static word list[BATCH];
  struct unpopulated_counts before = unpopulated_counts();
  word left = total - (before.pages - before.free);
  for (; left >= BATCH; left -= BATCH) expect("pages that there are", unpopulated_alloc(BATCH, list), 0);
  unsigned rest = (unsigned)left;
  expect("more pages than there are", unpopulated_alloc(rest + 1, again), -ENOMEM);
  expect("pages that were not given", (long)unpopulated_counts().free, rest);
  expect("the last pages", unpopulated_alloc(rest, again), 0);
  expect("one page more", unpopulated_alloc(1, again + rest), -ENOMEM);
  expect("all pages", (long)unpopulated_counts().pages, (long)total);
  unpopulated_free(rest, again);
  expect("pages again", unpopulated_alloc(rest, gfns), 0);
  for (unsigned i = 0; i < rest; i++) expect("a page again", (long)gfns[i], (long)again[i]);
  print("unpopulated: all %lu pages taken, and not one more\n", total);
}

#endif

int main(void) {
  xen_init();
  unsigned count = (unsigned)number_option("count", 1000);
  if (count > MAX_PAGES - 64) fail("unpopulated: count=%u is more than %u", count, MAX_PAGES - 64);
  find_regions();
  struct gfn_range own = own_unused_space();
  unpopulated_init(region_count > 0 ? regions : &own, region_count > 0 ? (unsigned)region_count : 1);
  long before = reserved();

  unsigned frames = (FIRST_REF + count + ENTRIES_V1 - 1) / ENTRIES_V1, special = 1 + frames;
  word places[64 + 3];
  long result = unpopulated_alloc(special + 2, places);
  if (result != 0) {
    expect("the reservation", reserved(), before);
    fail("unpopulated: no %u pages: -%lu", special + 2, -(word)result);
  }
  map_shared_info(places[0]);
  for (unsigned i = 0; i < frames; i++) {
    expect("a frame of the grant table", add_to_physmap(XENMAPSPACE_GRANT_TABLE, i, places[1 + i]), 0);
  }
  for (unsigned i = 1; i < frames; i++) {
    // The table has to be one piece to the guest: it is, as long as its pages come from one section.
    expect("the next page for the grant table", (long)places[1 + i], (long)places[1] + i);
  }
  table = (volatile struct grant_entry_v1 *)at(places[1]);
  for (unsigned i = 1; i < frames; i++) at(places[1 + i]);
  check_version_2(places[special], places[special + 1]);
  unpopulated_free(2, places + special);
  expect_in_regions("with grant table and shared_info", 0, special);
  print("unpopulated: shared_info, %u frames of the grant table and one of its status\n", frames);

  grant_all(count);
  result = unpopulated_alloc(count, gfns);
  if (result != 0) {
    expect_in_regions("after a refusal", 0, special);
    expect("the reservation after a refusal", reserved(), before);
    fail("unpopulated: no %u pages: -%lu", count, -(word)result);
  }
  for (uint64_t round = number_option("rounds", 1); round > 1; round--) {
    map_grants(count);
    unmap_grants(count);
  }
  map_ticks = unmap_ticks = 0;
  map_grants(count);
  check_grants(count);
  expect_in_regions("with all grants", count, special);
  long given_up = before - reserved();
  expect("RAM given up", given_up, (long)unpopulated_counts().ram_given_up);
  unmap_grants(count);
  expect_in_regions("without grants", 0, special);
  expect_page("where a grant was", gfns[count - 1], ONES);
  unpopulated_free(count, gfns);
  unsigned sections = unpopulated_counts().sections;
  expect("the same pages again", unpopulated_alloc(count, again), 0);
  for (unsigned i = 0; i < count; i++) {
    if (again[i] != gfns[i]) fail("unpopulated: page %u is gfn 0x%lx, and was 0x%lx", i, again[i], gfns[i]);
  }
  expect("sections for the same pages", unpopulated_counts().sections, sections);
  unpopulated_free(count, again);
  uint64_t khz = cpuid(xen_find() + XEN_CPUID_TIME, 2).eax;
  print("unpopulated: %u pages mapped, %lu ns each, and unmapped, %lu ns each\n", count,
        map_ticks * 1000000 / khz / count, unmap_ticks * 1000000 / khz / count);

#ifndef UNPOPULATED_BALLOON
  if (region_count > 0) check_kept_free();
  if (option("read-only")) check_read_only(gfns[0]);
  if (option("device")) check_device((uint16_t)number_option("device", 0));
  word total = 0;
  for (int i = 0; i < region_count; i++) total += regions[i].count;
  if (option("exhaust")) check_exhausted(region_count > 0 ? total : own.count);
  expect("the reservation at the end", reserved(), before);
#endif
  print("unpopulated: %lu pages of RAM given up for %u pages\n", (word)given_up, count);
  return 0;
}
