// A guest that never ends: what a time-out has to deal with.
#include "guest.h"

int main(void) {
  if (option("spin")) {
    print("hang: spinning\n");
    for (;;) asm volatile("");
  }
  print("hang: halted with interrupts off\n");
  halt();
}
