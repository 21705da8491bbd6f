// An exception without a handler, and no handler for that: the processor shuts down.
#include "guest.h"

int main(void) {
  struct {
    uint16_t limit;
    uint64_t base;
  } __attribute__((packed)) nothing = {0, 0};
  print("triplefault: an invalid instruction without an interrupt table\n");
  asm volatile("lidt %0\n\tud2" : : "m"(nothing));
  print("triplefault: still here\n");
  return 1;
}
