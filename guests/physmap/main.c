// What stands at which gfn: shared_info, the grant table, the guest's own memory and what is granted of it, placed in
// RAM and where there was nothing, moved, taken away, and seen through every place.
#include "guest.h"
#include "xen.h"

enum {
  PAGE = 4096,
  OWN_DOMAIN = 1,
  HOLE = 0xe0000,        // gfns where nothing is, below 4 GiB
  FIRST_REF = GNTTAB_RESERVED_ENTRIES,
  ENTRIES_V1 = PAGE / 8,
};

static const uint64_t ONES = UINT64_MAX, MARK = 0x6b72616d736968, FAR = 8ull << 30, FAR_WINDOW = 4ull << 30;

extern uint8_t image_end[];
static word ram;  // the first of the pages

// ---- Looking

// A page by its gfn; those from 8 GiB on are seen through the fifth GiB.
static volatile uint64_t *at(word gfn) {
  word address = gfn * PAGE;
  return (volatile uint64_t *)(address >= FAR ? address - FAR + FAR_WINDOW : address);
}

static void map_far(void) {
  enum { PRESENT_WRITABLE_LARGE = 0x83, LARGE_PAGE = 0x200000 };
  static uint64_t directory[512] __attribute__((aligned(PAGE)));
  extern uint64_t page_map[];
  for (unsigned i = 0; i < 8; i++) directory[i] = (FAR + i * (uint64_t)LARGE_PAGE) | PRESENT_WRITABLE_LARGE;
  ((uint64_t *)(page_map[0] & -(uint64_t)PAGE))[4] = (uint64_t)directory | 3;
  asm volatile("mov %0, %%cr3" : : "r"(page_map) : "memory");
}

static void expect(const char *what, long found, long expected) {
  if (found != expected) fail("physmap: %s gives 0x%lx, not 0x%lx", what, (word)found, (word)expected);
}

// A word at the start of the page, and one at its end.
static void expect_page(const char *what, word gfn, uint64_t expected) {
  volatile uint64_t *page = at(gfn);
  uint64_t first = page[0], last = page[511];
  if (first == expected && last == expected) return;
  fail("physmap: %s: gfn 0x%lx reads 0x%lx and 0x%lx, not 0x%lx", what, gfn, first, last, expected);
}

static void fill(word gfn, uint64_t value) {
  at(gfn)[0] = value;
  at(gfn)[511] = value;
}

static long reserved(void) { return reservation(XENMEM_CURRENT_RESERVATION); }

static long populate(word gfn) { return reservation_op(XENMEM_POPULATE_PHYSMAP, &gfn, 1, 0, DOMID_SELF); }

// RAM that was put out of its gfn comes again, empty.
static void expect_populated(word gfn) {
  expect_page("a gfn that nothing stands at", gfn, ONES);
  expect("populate_physmap", populate(gfn), 1);
  expect_page("a gfn that was populated", gfn, 0);
  fill(gfn, gfn);
  expect_page("a gfn that was populated, after a write", gfn, gfn);
}

// ---- shared_info

static volatile uint64_t *mark_in(word gfn) { return (volatile uint64_t *)((struct shared_info *)at(gfn))->arch; }

static void expect_shared(const char *what, word gfn) {
  uint64_t found = *mark_in(gfn);
  if (found != MARK) fail("physmap: shared_info %s, gfn 0x%lx: 0x%lx", what, gfn, found);
}

static void check_shared_info(void) {
  word far = FAR / PAGE + 5;
  long before = reserved();
  fill(ram, 1);
  fill(ram + 1, 2);
  expect("shared_info in RAM", add_to_physmap(XENMAPSPACE_SHARED_INFO, 0, ram), 0);
  expect("the reservation with shared_info in RAM", reserved(), before - 1);
  *mark_in(ram) = MARK;
  expect("shared_info where it is", add_to_physmap(XENMAPSPACE_SHARED_INFO, 0, ram), 0);
  expect_shared("where it was", ram);
  expect_page("the page behind it", ram + 1, 2);

  expect("shared_info elsewhere in RAM", add_to_physmap(XENMAPSPACE_SHARED_INFO, 0, ram + 1), 0);
  expect_shared("elsewhere in RAM", ram + 1);
  expect_populated(ram);
  expect("shared_info where nothing was", add_to_physmap(XENMAPSPACE_SHARED_INFO, 0, HOLE), 0);
  expect_shared("where nothing was", HOLE);
  expect_page("behind shared_info", HOLE + 1, ONES);
  expect_populated(ram + 1);
  expect("shared_info above 4 GiB", add_to_physmap(XENMAPSPACE_SHARED_INFO, 0, far), 0);
  expect_shared("above 4 GiB", far);
  expect_page("where shared_info was", HOLE, ONES);
  expect("the reservation with all RAM populated", reserved(), before);

  word highest = (word)reservation(XENMEM_MAXIMUM_GPFN);
  if (highest < far) fail("physmap: the highest gfn is 0x%lx, and shared_info is at 0x%lx", highest, far);
  expect("remove_from_physmap of shared_info", remove_from_physmap(far), 0);
  expect_page("where shared_info was", far, ONES);
  expect("remove_from_physmap of nothing", remove_from_physmap(far), -ENOENT);
  expect("shared_info again", add_to_physmap(XENMAPSPACE_SHARED_INFO, 0, HOLE), 0);
  expect_shared("again", HOLE);
  if (((struct shared_info *)at(HOLE))->clock_seconds == 0) fail("physmap: shared_info has no time of day");
  print("physmap: shared_info\n");
}

// ---- The guest's own memory

static void check_moves(void) {
  word from = ram + 2, to = HOLE + 2;
  long before = reserved();
  fill(from, 11);
  expect("a page of RAM where nothing was", add_to_physmap(XENMAPSPACE_GMFN, from, to), 0);
  expect_page("RAM at another gfn", to, 11);
  expect_page("where it was", from, ONES);
  expect("the reservation with a page elsewhere", reserved(), before);
  fill(to, 12);
  expect("RAM where it came from", add_to_physmap(XENMAPSPACE_GMFN, to, from), 0);
  expect_page("RAM where it came from", from, 12);
  expect_page("where it was meanwhile", to, ONES);

  fill(from + 1, 13);
  expect("RAM in place of other RAM", add_to_physmap(XENMAPSPACE_GMFN, from, from + 1), 0);
  expect_page("RAM in place of other RAM", from + 1, 12);
  expect("the reservation with a page in place of another", reserved(), before - 1);
  expect("that RAM taken away", remove_from_physmap(from + 1), 0);
  expect_page("RAM that was taken away", from + 1, ONES);
  expect_populated(from);
  expect_populated(from + 1);

  for (word i = 0; i < 3; i++) fill(from + i, 20 + i);
  struct xen_add_to_physmap range = {DOMID_SELF, 3, XENMAPSPACE_GMFN_RANGE, from, FAR / PAGE + 8};
  expect("three pages above 4 GiB", memory_op(XENMEM_ADD_TO_PHYSMAP, &range), 0);
  for (word i = 0; i < 3; i++) expect_page("RAM above 4 GiB", range.gfn + i, 20 + i);
  range = (struct xen_add_to_physmap){DOMID_SELF, 3, XENMAPSPACE_GMFN_RANGE, FAR / PAGE + 8, from};
  expect("three pages back", memory_op(XENMEM_ADD_TO_PHYSMAP, &range), 0);
  for (word i = 0; i < 3; i++) expect_page("RAM that came back", from + i, 20 + i);

  word lists[2][4] = {{from, 1ul << 40, HOLE + 20, from + 2}, {HOLE + 4, HOLE + 5, HOLE + 6, HOLE + 7}};
  int errors[4] = {1, 1, 1, 1};
  struct xen_add_to_physmap_batch batch = {DOMID_SELF,      XENMAPSPACE_GMFN, 4, 0, (word)lists[0], (word)lists[1],
                                           (word)errors};
  expect("a batch", memory_op(XENMEM_ADD_TO_PHYSMAP_BATCH, &batch), 0);
  static const int expected[] = {0, -EINVAL, -EINVAL, 0};
  for (unsigned i = 0; i < 4; i++) expect("a page of a batch", errors[i], expected[i]);
  expect_page("the first page of a batch", HOLE + 4, 20);
  expect_page("the last page of a batch", HOLE + 7, 22);
  expect_page("a page of a batch that failed", HOLE + 5, ONES);
  expect("a page of RAM back", add_to_physmap(XENMAPSPACE_GMFN, HOLE + 4, from), 0);
  expect("a page of RAM back", add_to_physmap(XENMAPSPACE_GMFN, HOLE + 7, from + 2), 0);
  expect("the reservation after all moves", reserved(), before);
  expect("the local APIC's page", add_to_physmap(XENMAPSPACE_GMFN, from, 0xfee00) < 0, true);
  expect_page("RAM that stayed", from, 20);
  print("physmap: RAM at other gfns\n");
}

// ---- What the guest is told

static void check_map(void) {
  static struct xen_memory_map_entry entries[64];
  const struct memory_range *ranges = (const struct memory_range *)start_info->memory_map;
  struct xen_memory_map map = {0, 0};
  expect("memory_map without a buffer", memory_op(XENMEM_MEMORY_MAP, &map), 0);
  uint32_t count = map.count;
  expect("entries of the memory map", count, start_info->memory_map_entries);
  map = (struct xen_memory_map){1, (word)entries};
  expect("memory_map of one entry", memory_op(XENMEM_MEMORY_MAP, &map), 0);
  expect("entries that there was room for", map.count, 1);
  expect("the entry behind them", (long)entries[1].size, 0);
  map = (struct xen_memory_map){64, (word)entries};
  expect("memory_map", memory_op(XENMEM_MEMORY_MAP, &map), 0);
  expect("entries of the memory map", map.count, count);
  uint64_t pages = 0, highest = 0;
  for (unsigned i = 0; i < count; i++) {
    expect("an entry's address", (long)entries[i].address, (long)ranges[i].address);
    expect("an entry's size", (long)entries[i].size, (long)ranges[i].size);
    expect("an entry's type", entries[i].type, (long)ranges[i].type);
    if (entries[i].type != MEMORY_RAM) continue;
    pages += entries[i].size / PAGE;
    highest = (entries[i].address + entries[i].size) / PAGE - 1;
  }
  long has = reserved(), most = reservation(XENMEM_MAXIMUM_RESERVATION);
  if ((uint64_t)has < pages || most < has) fail("physmap: %lu of %lu pages, and %lu of RAM", has, most, pages);
  if ((uint64_t)reservation(XENMEM_MAXIMUM_GPFN) < highest) fail("physmap: the highest gfn is below 0x%lx", highest);
  if ((uint64_t)memory_op(XENMEM_MAXIMUM_RAM_PAGE, NULL) < highest) fail("physmap: machine frames end in RAM");
  print("physmap: the memory map and reservations\n");
}

// ---- The grant table and what is granted

static volatile struct grant_entry_v1 *table;

static void grant(unsigned ref, uint16_t flags, word gfn) {
  table[ref].domain = OWN_DOMAIN;
  table[ref].frame = (uint32_t)gfn;
  table[ref].flags = flags;
}

static void check_table(void) {
  struct gnttab_query_size size = {.domain = DOMID_SELF};
  expect("query_size", grant_table_op(GNTTABOP_QUERY_SIZE, &size, 1), 0);
  expect("frames of the grant table", size.frames, 1);
  if (size.status != GNTST_OKAY || size.most < 4) fail("physmap: query_size gives at most %u frames", size.most);
  expect("the grant table where nothing was", add_to_physmap(XENMAPSPACE_GRANT_TABLE, 0, HOLE + 8), 0);
  table = (volatile struct grant_entry_v1 *)at(HOLE + 8);
  grant(ENTRIES_V1 - 1, GTF_PERMIT_ACCESS, 0x1234);
  expect("a second frame of the grant table, in RAM", add_to_physmap(XENMAPSPACE_GRANT_TABLE, 1, ram + 6), 0);
  expect_page("a new frame of the grant table", ram + 6, 0);
  expect("query_size", grant_table_op(GNTTABOP_QUERY_SIZE, &size, 1), 0);
  expect("frames of the grown grant table", size.frames, 2);

  word list[2] = {0};
  struct gnttab_setup_table setup = {DOMID_SELF, 2, 1, (word)list};
  expect("setup_table", grant_table_op(GNTTABOP_SETUP_TABLE, &setup, 1), 0);
  expect("setup_table's status", setup.status, GNTST_OKAY);
  expect("the gfn of frame 0", (long)list[0], HOLE + 8);
  expect("the gfn of frame 1", (long)list[1], (long)(ram + 6));
  setup.frames = 100000;
  expect("setup_table", grant_table_op(GNTTABOP_SETUP_TABLE, &setup, 1), 0);
  expect("setup_table's status of too many frames", setup.status, GNTST_GENERAL_ERROR);

  expect("the grant table moved", add_to_physmap(XENMAPSPACE_GRANT_TABLE, 0, FAR / PAGE + 12), 0);
  table = (volatile struct grant_entry_v1 *)at(FAR / PAGE + 12);
  expect("an entry of the table that was moved", table[ENTRIES_V1 - 1].frame, 0x1234);
  expect_page("where it was", HOLE + 8, ONES);
  grant(ENTRIES_V1 - 1, 0, 0);
  print("physmap: the grant table\n");
}

static int map_ref(unsigned ref, word gfn, uint32_t flags, uint16_t domain, uint32_t *handle) {
  struct gnttab_map_grant_ref map = {gfn * PAGE, flags, ref, domain, 1, 0, 0};
  expect("map_grant_ref", grant_table_op(GNTTABOP_MAP_GRANT_REF, &map, 1), 0);
  *handle = map.handle;
  return map.status;
}

static int unmap_ref(uint32_t handle, word gfn) {
  struct gnttab_unmap_grant_ref unmap = {gfn * PAGE, 0, handle, 1};
  expect("unmap_grant_ref", grant_table_op(GNTTABOP_UNMAP_GRANT_REF, &unmap, 1), 0);
  return unmap.status;
}

static void check_grants(void) {
  const word page = ram + 8, other = ram + 9, places[] = {HOLE + 10, FAR / PAGE + 20, ram + 10};
  uint32_t handle, second;
  fill(page, 31);
  grant(FIRST_REF, GTF_PERMIT_ACCESS, page);
  for (unsigned i = 0; i < 3; i++) {
    word there = places[i];
    long before = reserved();
    expect("a grant", map_ref(FIRST_REF, there, GNTMAP_HOST_MAP, OWN_DOMAIN, &handle), GNTST_OKAY);
    expect("the reservation with a grant", reserved(), i == 2 ? before - 1 : before);
    expect("the flags of a grant in use", table[FIRST_REF].flags, GTF_PERMIT_ACCESS | GTF_READING | GTF_WRITING);
    expect_page("a grant", there, 31 + i);
    fill(there, 100);
    expect_page("granted memory, after a write to the grant", page, 100);
    fill(page, 200);
    expect_page("the grant, after a write to the memory", there, 200);
    if (i == 0) {
      expect("a grant twice", map_ref(FIRST_REF, HOLE + 11, GNTMAP_HOST_MAP, OWN_DOMAIN, &second), GNTST_OKAY);
      expect_page("a grant's second place", HOLE + 11, 200);
      expect("unmap_grant_ref elsewhere than it is", unmap_ref(second, HOLE + 10 + 5), GNTST_GENERAL_ERROR);
      expect("unmap_grant_ref of one of two", unmap_ref(second, HOLE + 11), GNTST_OKAY);
      expect_page("the other one", there, 200);
    }
    expect("unmap_grant_ref", unmap_ref(handle, there), GNTST_OKAY);
    expect("the flags of a grant that was", table[FIRST_REF].flags, GTF_PERMIT_ACCESS);
    expect("unmap_grant_ref twice", unmap_ref(handle, there), GNTST_BAD_HANDLE);
    expect_page("where a grant was", there, ONES);
    fill(page, 32 + i);
  }
  expect_populated(places[2]);

  expect("a grant to be read", map_ref(FIRST_REF, HOLE + 10, GNTMAP_HOST_MAP | GNTMAP_READONLY, OWN_DOMAIN, &handle),
         GNTST_OKAY);
  expect("the flags of a grant that is read", table[FIRST_REF].flags, GTF_PERMIT_ACCESS | GTF_READING);
  expect_page("a grant to be read", HOLE + 10, 34);
  expect("unmap_grant_ref", unmap_ref(handle, HOLE + 10), GNTST_OKAY);

  grant(FIRST_REF + 1, GTF_PERMIT_ACCESS | GTF_READONLY, other);
  grant(FIRST_REF + 2, GTF_PERMIT_ACCESS, HOLE + 50);
  grant(FIRST_REF + 3, GTF_PERMIT_ACCESS, other);
  table[FIRST_REF + 3].domain = 7;
  static const struct {
    const char *name;
    uint32_t ref, flags;
    uint16_t domain;
    int status;
  } bad[] = {
      {"a grant that is none", FIRST_REF + 4, GNTMAP_HOST_MAP, OWN_DOMAIN, GNTST_GENERAL_ERROR},
      {"a reference beyond the table", 1u << 20, GNTMAP_HOST_MAP, OWN_DOMAIN, GNTST_BAD_GNTREF},
      {"a grant to be written that is to be read", FIRST_REF + 1, GNTMAP_HOST_MAP, OWN_DOMAIN, GNTST_GENERAL_ERROR},
      {"a grant of no memory", FIRST_REF + 2, GNTMAP_HOST_MAP, OWN_DOMAIN, GNTST_BAD_PAGE},
      {"a grant to another domain", FIRST_REF + 3, GNTMAP_HOST_MAP, OWN_DOMAIN, GNTST_GENERAL_ERROR},
      {"a grant of no domain", FIRST_REF, GNTMAP_HOST_MAP, 77, GNTST_BAD_DOMAIN},
      {"a grant of DOMID_SELF", FIRST_REF, GNTMAP_HOST_MAP, DOMID_SELF, GNTST_BAD_DOMAIN},
      {"a grant neither for the host nor for a device", FIRST_REF, GNTMAP_READONLY, OWN_DOMAIN, GNTST_BAD_GNTREF},
  };
  for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
    expect(bad[i].name, map_ref(bad[i].ref, HOLE + 10, bad[i].flags, bad[i].domain, &handle), bad[i].status);
    expect_page("where a grant was refused", HOLE + 10, ONES);
  }
  expect("unmap_grant_ref of no handle", unmap_ref(12345, HOLE + 10), GNTST_BAD_HANDLE);
  print("physmap: grants mapped\n");
}

// Granted memory that loses its gfn stays with whoever has mapped it, and no longer.
static void check_held(void) {
  const word page = ram + 16, there = HOLE + 12, elsewhere = HOLE + 13;
  uint32_t handle;
  long before = reserved();
  for (unsigned i = 0; i < 3; i++) {
    fill(page, 61 + i);
    grant(FIRST_REF, GTF_PERMIT_ACCESS, page);
    expect("a grant", map_ref(FIRST_REF, there, GNTMAP_HOST_MAP, OWN_DOMAIN, &handle), GNTST_OKAY);
    if (i == 0) expect("decrease_reservation", reservation_op(XENMEM_DECREASE_RESERVATION, &page, 1, 0, DOMID_SELF), 1);
    else if (i == 1) expect("remove_from_physmap", remove_from_physmap(page), 0);
    else expect("the page at another gfn", add_to_physmap(XENMAPSPACE_GMFN, page, elsewhere), 0);
    expect_page("granted memory without its gfn", there, 61 + i);
    expect_page("the gfn of memory that was granted", page, ONES);
    fill(there, 71 + i);
    if (i == 2) expect_page("granted memory at another gfn", elsewhere, 71 + i);
    // In Xen the gfn gets another frame at once; here it has to wait for its own.
    bool populated = populate(page) == 1;
    if (populated) fill(page, 81);
    expect_page("granted memory, after its old gfn was populated", there, 71 + i);
    expect("unmap_grant_ref", unmap_ref(handle, there), GNTST_OKAY);
    expect_page("where a grant was", there, ONES);
    if (i == 2) {
      expect_page("granted memory at another gfn", elsewhere, 71 + i);
      expect("remove_from_physmap", remove_from_physmap(elsewhere), 0);
    }
    if (populated) expect_page("a gfn that was populated", page, 81);
    else expect_populated(page);
  }
  expect("the reservation", reserved(), before);
  print("physmap: grants of memory that moved\n");
}

static void check_copies(void) {
  const word from = ram + 8, to = ram + 12;
  fill(from, 41);
  grant(FIRST_REF, GTF_PERMIT_ACCESS, from);
  grant(FIRST_REF + 1, GTF_PERMIT_ACCESS | GTF_READONLY, from);
  grant(FIRST_REF + 5, GTF_PERMIT_ACCESS, to);
  const struct gnttab_copy_end memory = {from, DOMID_SELF, 0}, target = {to, DOMID_SELF, 0};
  const struct gnttab_copy_end ref = {FIRST_REF, OWN_DOMAIN, 0}, read_only = {FIRST_REF + 1, OWN_DOMAIN, 0};
  const struct gnttab_copy_end target_ref = {FIRST_REF + 5, OWN_DOMAIN, 0}, end = {to, DOMID_SELF, PAGE - 8};
  struct gnttab_copy copies[] = {
      {memory, target, 8, 0, 1},
      {ref, target_ref, 8, GNTCOPY_SOURCE_GREF | GNTCOPY_DEST_GREF, 1},
      {memory, end, 8, 0, 1},
      {memory, end, 9, 0, 1},
      {memory, {HOLE + 50, DOMID_SELF, 0}, 8, 0, 1},
      {memory, {to, OWN_DOMAIN, 0}, 8, 0, 1},
      {memory, read_only, 8, GNTCOPY_DEST_GREF, 1},
      {{FIRST_REF + 4, OWN_DOMAIN, 0}, target, 8, GNTCOPY_SOURCE_GREF, 1},
      {{FIRST_REF, 77, 0}, target, 8, GNTCOPY_SOURCE_GREF, 1},
      {read_only, target, PAGE, GNTCOPY_SOURCE_GREF, 1},
  };
  static const int expected[] = {GNTST_OKAY,          GNTST_OKAY,     GNTST_OKAY,
                                 GNTST_BAD_COPY_ARG,  GNTST_BAD_PAGE, GNTST_PERMISSION_DENIED,
                                 GNTST_GENERAL_ERROR, GNTST_GENERAL_ERROR, GNTST_BAD_DOMAIN,
                                 GNTST_OKAY};
  unsigned count = sizeof copies / sizeof *copies;
  fill(to, 0);
  expect("copy", grant_table_op(GNTTABOP_COPY, copies, count), 0);
  for (unsigned i = 0; i < count; i++) {
    if (copies[i].status != expected[i]) fail("physmap: copy %u: status -%u", i, (unsigned)-copies[i].status);
  }
  expect_page("a copy of a whole page", to, 41);
  expect("the flags of a grant that was copied from", table[FIRST_REF].flags, GTF_PERMIT_ACCESS);
  expect("the flags of a grant that was copied to", table[FIRST_REF + 5].flags, GTF_PERMIT_ACCESS);
  print("physmap: grants copied\n");
}

static void check_version_2(void) {
  uint32_t version = 2, handle;
  const word page = ram + 14;
  fill(page, 51);
  expect("a grant", map_ref(FIRST_REF, HOLE + 10, GNTMAP_HOST_MAP, OWN_DOMAIN, &handle), GNTST_OKAY);
  expect("set_version with a grant in use", grant_table_op(GNTTABOP_SET_VERSION, &version, 1), -EBUSY);
  expect("the version that stays", version, 1);
  expect("unmap_grant_ref", unmap_ref(handle, HOLE + 10), GNTST_OKAY);
  version = 2;
  expect("set_version", grant_table_op(GNTTABOP_SET_VERSION, &version, 1), 0);
  struct gnttab_get_version get = {DOMID_SELF, 0, 0};
  expect("get_version", grant_table_op(GNTTABOP_GET_VERSION, &get, 1), 0);
  expect("the version", get.version, 2);
  expect("the status frame", add_to_physmap(XENMAPSPACE_GRANT_TABLE, XENMAPIDX_GRANT_TABLE_STATUS, HOLE + 9), 0);

  volatile uint64_t *entry = (volatile uint64_t *)table + FIRST_REF * 2;
  volatile uint16_t *status = (volatile uint16_t *)at(HOLE + 9) + FIRST_REF;
  entry[1] = page;
  entry[0] = GTF_PERMIT_ACCESS | OWN_DOMAIN << 16;
  expect("a grant of version 2", map_ref(FIRST_REF, HOLE + 10, GNTMAP_HOST_MAP, OWN_DOMAIN, &handle), GNTST_OKAY);
  expect_page("a grant of version 2", HOLE + 10, 51);
  expect("its status", *status, GTF_READING | GTF_WRITING);
  expect("unmap_grant_ref", unmap_ref(handle, HOLE + 10), GNTST_OKAY);
  expect("its status afterwards", *status, 0);
  version = 1;
  expect("set_version back", grant_table_op(GNTTABOP_SET_VERSION, &version, 1), 0);
  expect_page("where the status frame was", HOLE + 9, ONES);
  print("physmap: grants of version 2\n");
}

int main(void) {
  xen_init();
  map_far();
  ram = (word)image_end / PAGE + 16;
  check_map();
  check_shared_info();
  check_moves();
  check_table();
  check_grants();
  check_held();
  check_copies();
  check_version_2();
  print("physmap: all as in Xen\n");
  return 0;
}
