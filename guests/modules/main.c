// What the loader hands over beside the image: a command line and modules, each with a command line of its own.
#include "guest.h"

enum { TEXT_BYTES = 32 };

int main(void) {
  print("command line: \"%s\"\n", command_line());
  print("modules: %u\n", start_info->module_count);
  const struct module *module = (const struct module *)start_info->modules;
  for (unsigned i = 0; i < start_info->module_count; i++, module++) {
    const void *bytes = (const void *)module->address;
    print("module %u: %lu bytes, sum 0x%08x, command line \"%s\", text \"", i, module->size,
          word_sum(bytes, module->size), module->command_line ? (const char *)module->command_line : "");
    print_text(bytes, module->size < TEXT_BYTES ? module->size : TEXT_BYTES);
    print("\"\n");
  }
  print("modules: all read\n");
  return 0;
}
