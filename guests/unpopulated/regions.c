#include "regions.h"

int regions_by_memory_op(struct gfn_range *regions) {
  struct xen_extended_region list[MAX_EXTENDED_REGIONS];
  struct xen_extended_regions argument = {.count = MAX_EXTENDED_REGIONS, .regions = (word)list};
  if (extended_regions_op(&argument, EXTENDED_REGIONS_GET) != 0) return -1;
  for (unsigned i = 0; i < argument.count; i++) regions[i] = (struct gfn_range){list[i].first_gfn, list[i].gfns};
  return (int)argument.count;
}

int regions_by_cpuid(struct gfn_range *regions) {
  struct cpuid found = cpuid(XENOLITH_CPUID_FIRST, 0);
  uint32_t leaf = XENOLITH_CPUID_FIRST + XENOLITH_CPUID_REGIONS;
  if (!equal(&found.ebx, "XenolithXeno", 12) || found.eax < leaf) return -1;
  struct cpuid head = cpuid(leaf, 0);
  if (head.eax != EXTENDED_REGIONS_VERSION || head.ebx > MAX_EXTENDED_REGIONS) return -1;
  for (uint32_t i = 0; i < head.ebx; i++) {
    found = cpuid(leaf, i + 1);
    regions[i].first = found.eax | (word)found.ebx << 32;
    regions[i].count = found.ecx | (word)found.edx << 32;
  }
  return (int)head.ebx;
}

int regions_by_memory_map(struct gfn_range *regions) {
  const struct memory_range *map = (const struct memory_range *)start_info->memory_map;
  int count = 0;
  for (unsigned i = 0; i < start_info->memory_map_entries && count < MAX_EXTENDED_REGIONS; i++) {
    if (map[i].type != MEMORY_UNUSABLE) continue;
    regions[count++] = (struct gfn_range){map[i].address / PAGE, map[i].size / PAGE};
  }
  return count;
}

// ---- The device tree (Devicetree Specification 0.4, chapter 5): the properties of /hypervisor, as far as it takes

enum { TREE_MAGIC = 0xd00dfeed, BEGIN_NODE = 1, END_NODE = 2, PROPERTY = 3, NOP = 4 };

static uint32_t cell(const uint8_t *at) { return (uint32_t)at[0] << 24 | at[1] << 16 | at[2] << 8 | at[3]; }

static word cells(const uint8_t *at) { return (word)cell(at) << 32 | cell(at + 4); }

static const uint8_t *find_tree(void) {
  const struct module *modules = (const struct module *)start_info->modules;
  for (unsigned i = 0; i < start_info->module_count; i++) {
    const char *name = (const char *)modules[i].command_line;
    const uint8_t *tree = (const uint8_t *)modules[i].address;
    if (name && is_word(name, "device-tree") && cell(tree) == TREE_MAGIC) return tree;
  }
  return NULL;
}

static bool same(const char *one, const char *other) {
  return length(one) == length(other) && equal(one, other, length(one));
}

// The reg of /hypervisor: the grant table's place, then the regions.
static const uint8_t *find_reg(const uint8_t *tree, uint32_t *size) {
  const uint8_t *at = tree + cell(tree + 8), *strings = tree + cell(tree + 12);
  bool inside = false;
  for (unsigned depth = 0;;) {
    uint32_t token = cell(at);
    at += 4;
    if (token == BEGIN_NODE) {
      inside = ++depth == 2 && same((const char *)at, "hypervisor");
      at += (length((const char *)at) + 4) & ~3ul;
    } else if (token == PROPERTY) {
      *size = cell(at);
      if (inside && depth == 2 && same((const char *)strings + cell(at + 4), "reg")) return at + 8;
      at += 8 + ((*size + 3) & ~3u);
    } else if (token == END_NODE) {
      if (--depth == 0) return NULL;
      inside = false;
    } else if (token != NOP) {
      return NULL;
    }
  }
}

int regions_by_device_tree(struct gfn_range *regions) {
  const uint8_t *tree = find_tree();
  uint32_t size = 0;
  const uint8_t *reg = tree ? find_reg(tree, &size) : NULL;
  if (!reg || size < 16 || size % 16 != 0 || size / 16 - 1 > MAX_EXTENDED_REGIONS) return -1;
  for (uint32_t i = 1; i < size / 16; i++) {
    regions[i - 1] = (struct gfn_range){cells(reg + i * 16) / PAGE, cells(reg + i * 16 + 8) / PAGE};
  }
  return (int)(size / 16 - 1);
}
