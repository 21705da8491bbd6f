// The first guest to read: one line from 64-bit code.
#include "guest.h"

int main(void) {
  print("Hello from Xenolith, in 64-bit long mode\n");
  return 0;
}
