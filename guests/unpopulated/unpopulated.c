#include "unpopulated.h"

enum { MAX_SECTIONS = 64 };

static const word SECTION_PAGES = (128ul << 20) / PAGE;

static struct unpopulated_counts counts;

// ---- RAM

void *ram_pages(word count) {
  extern uint8_t image_end[];
  static word next;
  const struct memory_range *map = (const struct memory_range *)start_info->memory_map;
  const struct module *modules = (const struct module *)start_info->modules;
  if (!next) {
    next = (word)image_end;
    for (unsigned i = 0; i < start_info->module_count; i++) {
      if (modules[i].address + modules[i].size > next) next = modules[i].address + modules[i].size;
    }
    next = (next + PAGE - 1) / PAGE * PAGE;
  }
  for (unsigned i = 0; i < start_info->memory_map_entries; i++) {
    bool is_here = map[i].type == MEMORY_RAM && next >= map[i].address;
    if (!is_here || next + count * PAGE > map[i].address + map[i].size) continue;
    void *pages = (void *)next;
    next += count * PAGE;
    return pages;
  }
  fail("unpopulated: %lu pages of RAM are not there", count);
}

#ifdef UNPOPULATED_BALLOON

void unpopulated_init(const struct gfn_range *ranges, unsigned count) {
  (void)ranges;
  (void)count;
}

// Pages that were given back and got again.
static word spare[16384];

long unpopulated_alloc(unsigned count, word *gfns) {
  for (unsigned i = 0; i < count; i++) {
    if (counts.free) gfns[i] = spare[--counts.free];
    else gfns[i] = (word)ram_pages(1) / PAGE;
  }
  long done = reservation_op(XENMEM_DECREASE_RESERVATION, gfns, count, 0, DOMID_SELF);
  if (done < 0) done = 0;
  counts.ram_given_up += (word)done;
  if ((unsigned)done == count) return 0;
  for (unsigned i = (unsigned)done; i < count; i++) spare[counts.free++] = gfns[i];
  unpopulated_free((unsigned)done, gfns);
  return -ENOMEM;
}

void unpopulated_free(unsigned count, const word *gfns) {
  long done = reservation_op(XENMEM_POPULATE_PHYSMAP, gfns, count, 0, DOMID_SELF);
  if (done != (long)count) fail("unpopulated: %u pages given back, and %lu got again", count, (word)done);
  counts.ram_given_up -= count;
  while (count > 0) spare[counts.free++] = gfns[--count];
}

#else

// ---- Sections, each with the number of the next free page for each of its pages

enum { NONE = UINT32_MAX };

static struct section {
  struct gfn_range gfns;
  uint32_t first_page;  // the number of its first page among those of all sections
  uint32_t *next;
} sections[MAX_SECTIONS];

static struct gfn_range resource[MAX_EXTENDED_REGIONS];
static unsigned ranges;
static uint32_t free_list = NONE;

void unpopulated_init(const struct gfn_range *given, unsigned count) {
  if (count > MAX_EXTENDED_REGIONS) fail("unpopulated: %u ranges", count);
  for (ranges = 0; ranges < count; ranges++) resource[ranges] = given[ranges];
}

static struct section *section_of(uint32_t page) {
  for (unsigned i = 0; i < counts.sections; i++) {
    if (page - sections[i].first_page < sections[i].gfns.count) return &sections[i];
  }
  fail("unpopulated: page %u is in no section", page);
}

static uint32_t page_of(word gfn) {
  for (unsigned i = 0; i < counts.sections; i++) {
    if (gfn - sections[i].gfns.first < sections[i].gfns.count) {
      return sections[i].first_page + (uint32_t)(gfn - sections[i].gfns.first);
    }
  }
  fail("unpopulated: gfn 0x%lx is in no section", gfn);
}

static void push(uint32_t page) {
  struct section *section = section_of(page);
  section->next[page - section->first_page] = free_list;
  free_list = page;
  counts.free++;
}

// 128 MiB of the first range that has any left; of the last one, what there is.
static bool add_section(void) {
  for (unsigned i = 0; i < ranges; i++) {
    struct gfn_range *left = &resource[i];
    if (left->count == 0) continue;
    if (counts.sections == MAX_SECTIONS) return false;
    struct section *section = &sections[counts.sections];
    word count = left->count < SECTION_PAGES ? left->count : SECTION_PAGES;
    section->gfns = (struct gfn_range){left->first, count};
    section->first_page = (uint32_t)counts.pages;
    section->next = ram_pages((count * sizeof *section->next + PAGE - 1) / PAGE);
    left->first += count;
    left->count -= count;
    counts.sections++;
    counts.pages += count;
    for (word page = count; page > 0; page--) push(section->first_page + (uint32_t)page - 1);
    return true;
  }
  return false;
}

long unpopulated_alloc(unsigned count, word *gfns) {
  while (counts.free < count) {
    if (!add_section()) return -ENOMEM;
  }
  for (unsigned i = 0; i < count; i++) {
    struct section *section = section_of(free_list);
    uint32_t index = free_list - section->first_page;
    gfns[i] = section->gfns.first + index;
    free_list = section->next[index];
  }
  counts.free -= count;
  return 0;
}

void unpopulated_free(unsigned count, const word *gfns) {
  while (count > 0) push(page_of(gfns[--count]));
}

#endif

struct unpopulated_counts unpopulated_counts(void) { return counts; }
