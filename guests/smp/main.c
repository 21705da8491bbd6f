// All vCPUs come up, by INIT and SIPI, and each says so.
#include "guest.h"

enum {
  // How many may be on their way at a time. A thousand that wait for one lock would keep the host's few processors
  // from running the one that holds it.
  AT_ONCE = 8,
  PATIENCE_US = 5000000,
  STEP_US = 100,
};

static struct lock console;
static unsigned count, up;

static void report(unsigned vcpu) {
  lock_take(&console);
  print("vCPU %u of %u up\n", vcpu, count);
  __atomic_store_n(&up, up + 1, __ATOMIC_RELEASE);
  lock_release(&console);
}

// Waits until that many are up; ends the run if for a while none has come.
static void wait_for(unsigned wanted) {
  unsigned seen = 0;
  for (unsigned waited_us = 0; waited_us < PATIENCE_US; waited_us += STEP_US) {
    unsigned now = __atomic_load_n(&up, __ATOMIC_ACQUIRE);
    if (now >= wanted) return;
    if (now != seen) waited_us = 0;
    seen = now;
    pit_wait_us(STEP_US);
  }
  lock_take(&console);
  fail("smp: only %u of %u vCPUs are up", up, count);
}

int main(void) {
  count = vcpu_count();
  unsigned self = prepare_vcpus(report), started = 1;
  report(self);
  for (unsigned vcpu = 0; vcpu < count; vcpu++) {
    if (vcpu == self) continue;
    start_vcpu(vcpu);
    started++;
    if (started > AT_ONCE) wait_for(started - AT_ONCE);
  }
  wait_for(count);
  lock_take(&console);  // the last one may still hold it
  print("all %u vCPUs are up\n", count);
  return 0;
}
