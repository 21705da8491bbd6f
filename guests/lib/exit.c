// How a guest ends.
#include "guest.h"

enum { EXIT_PORT = 0xf4 };

void exit(int status) {
  out8(EXIT_PORT, (uint8_t)status);
  halt();
}

void halt(void) {
  for (;;) asm volatile("cli\n\thlt");
}

void fail(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  print_arguments(format, arguments);
  va_end(arguments);
  put('\n');
  exit(1);
}
