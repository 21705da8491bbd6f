// Reads a port over and over, and says what it reads: for what changes while a guest runs.
#include "guest.h"

enum { LINE_STATUS = COM1 + 5, RECEIVE = COM1, DATA_READY = 0x01 };

enum { NOBODYS = 0x500 };

static uint16_t port;
static unsigned width;
static volatile uint32_t rounds[MAX_VCPUS];
static struct lock console;

// The others read as fast as they can, from who answers and from who does not: a load under which nothing may get lost.
static void load(unsigned vcpu) {
  for (;; rounds[vcpu]++) {
    port_read(port, width);
    uint32_t read = port_read(NOBODYS, 4);
    if (read == 0xffffffff) continue;
    lock_take(&console);
    fail("watch: nobody's port reads 0x%x", read);
  }
}

int main(void) {
  port = (uint16_t)number_option("port", COM1 + 7);
  width = (unsigned)number_option("width", 1);
  if (width != 1 && width != 2 && width != 4) fail("watch: no access has %u bytes", width);
  unsigned self = start_all_vcpus(load), count = vcpu_count();
  static uint32_t before[MAX_VCPUS];
  for (unsigned line = 0;; line++) {
    for (unsigned vcpu = 0; vcpu < count; vcpu++) {
      while (vcpu != self && rounds[vcpu] == before[vcpu]) pause();
      before[vcpu] = rounds[vcpu];
    }
    uint32_t value = port_read(port, width);
    lock_take(&console);
    print("%u 0x%x\n", line, value);
    lock_release(&console);
    if (in8(LINE_STATUS) & DATA_READY) break;
  }
  in8(RECEIVE);
  return 0;
}
