// A 32-bit guest of a Multiboot 1 loader: is everything there that the specification (0.6.96, chapter 3) promises?
#include "guest.h"

enum {
  LOADER_MAGIC = 0x2badb002,
  HAS_MEMORY = 1 << 0,
  HAS_COMMAND_LINE = 1 << 2,
  HAS_MODULES = 1 << 3,
  HAS_MAP = 1 << 6,
};

struct information {
  uint32_t flags, lower_kib, upper_kib, boot_device;
  const char *command_line;
  uint32_t module_count;
  const struct boot_module *modules;
  uint32_t symbols[4], map_bytes;
  const void *map;
};

struct boot_module {
  const uint8_t *start, *end;
  const char *command_line;
  uint32_t reserved;
};

struct map_entry {
  uint32_t size;  // of what follows it
  uint64_t address, bytes;
  uint32_t type;
} __attribute__((packed));

static void print_map(const struct information *information) {
  const uint8_t *at = information->map, *end = at + information->map_bytes;
  while (at < end) {
    const struct map_entry *entry = (const struct map_entry *)at;
    print("memory map: 0x%08lx%08lx, 0x%08lx%08lx bytes, type %u\n", (unsigned long)(entry->address >> 32),
          (unsigned long)entry->address, (unsigned long)(entry->bytes >> 32), (unsigned long)entry->bytes, entry->type);
    at += 4 + entry->size;
  }
}

int main(uint32_t magic, const struct information *information) {
  if (magic != LOADER_MAGIC) fail("multiboot: eax is 0x%08x at the entry", magic);
  uint32_t flags = information->flags;
  if (!(flags & HAS_MEMORY)) fail("multiboot: no memory sizes, flags 0x%x", flags);
  print("memory: %u KiB below 1 MiB, %u KiB above\n", information->lower_kib, information->upper_kib);
  if (flags & HAS_MAP) print_map(information);
  print("command line: \"%s\"\n", flags & HAS_COMMAND_LINE ? information->command_line : "");
  uint32_t count = flags & HAS_MODULES ? information->module_count : 0;
  print("modules: %u\n", count);
  for (uint32_t i = 0; i < count; i++) {
    const struct boot_module *module = &information->modules[i];
    uint32_t size = (uint32_t)(module->end - module->start);
    print("module %u: %u bytes, sum 0x%08x, command line \"%s\"\n", i, size, word_sum(module->start, size),
          module->command_line ? module->command_line : "");
  }
  print("multiboot: loaded as specified\n");
  return 0;
}
