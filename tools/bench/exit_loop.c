// The least that an exit can cost: KVM_RUN in a loop. The VM is as Xenolith makes its own, and the guest is the same
// one, loaded from a file that Xenolith's loader has planned.
//
//   exit_loop BOOT_FILE MEMORY_BYTES RIP RBX PORT
//
// The guest runs until it touches PORT; from then on every exit has to be one for that port.
#define _GNU_SOURCE
#include "boot_guest.h"
#include "rounds.h"

static void exits(uint64_t count) {
  while (count--) {
    if (ioctl(vcpu, KVM_RUN, 0) < 0 || run->exit_reason != KVM_EXIT_IO) err(1, "exit reason %u", run->exit_reason);
  }
}

int main(int argc, char **argv) {
  if (argc != 6) errx(64, "usage: exit_loop BOOT_FILE MEMORY_BYTES RIP RBX PORT");
  boot_guest(argv + 1, (uint16_t)strtoul(argv[5], 0, 0));
  return serve_rounds(exits);
}
