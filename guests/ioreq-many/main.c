// Every vCPU talks to a register of its own, all at the same time, and gets the answers that are meant for it.
#include "guest.h"

enum { REGISTER_BYTES = 8, PATIENCE_SECONDS = 20 };
static const uint32_t FACTOR = 0x9e3779b1;

static uint64_t base;
static unsigned rounds, progress, finished;
static uint32_t sum;
static uint16_t steps[MAX_VCPUS];  // of each vCPU: 1 when it has come up, and 1 more for each round

// Lets the caller print, if nothing has failed before: one line says what was wrong, not a thousand.
static void first_to_fail(void) {
  static bool failed;
  if (__atomic_exchange_n(&failed, true, __ATOMIC_RELAXED)) halt();
}

static void work(unsigned vcpu) {
  volatile uint32_t *number = (volatile uint32_t *)(base + REGISTER_BYTES * vcpu), *answer = number + 1;
  uint32_t expected = vcpu * FACTOR, total = 0;
  steps[vcpu] = 1;
  for (unsigned round = 0; round < rounds; round++, expected++) {
    *number = vcpu;
    uint32_t found = *answer;
    if (found != expected) {
      first_to_fail();
      fail("ioreq-many: vCPU %u, round %u: the answer is 0x%x, not 0x%x", vcpu, round, found, expected);
    }
    total += found;
    steps[vcpu]++;
    __atomic_fetch_add(&progress, 1, __ATOMIC_RELAXED);
  }
  __atomic_fetch_add(&sum, total, __ATOMIC_RELAXED);
  __atomic_fetch_add(&finished, 1, __ATOMIC_RELEASE);
}

// Sleeps from tick to tick until all have finished; gives up when for long enough none has come on.
static void wait_for(unsigned count) {
  unsigned seen = 0, since = ticks;
  while (__atomic_load_n(&finished, __ATOMIC_ACQUIRE) < count) {
    wait_for_interrupt();
    unsigned now = __atomic_load_n(&progress, __ATOMIC_RELAXED);
    if (now != seen) {
      seen = now;
      since = ticks;
    }
    if (ticks - since < PATIENCE_SECONDS * TICK_HZ) continue;
    first_to_fail();
    unsigned vcpu = 0;
    while (steps[vcpu] == rounds + 1) vcpu++;
    if (!steps[vcpu]) fail("ioreq-many: vCPU %u did not come up", vcpu);
    fail("ioreq-many: vCPU %u stopped after %u of %u rounds", vcpu, steps[vcpu] - 1u, rounds);
  }
}

int main(void) {
  base = number_option("address", 0xfd000000);
  rounds = (unsigned)number_option("rounds", 20);
  if (rounds >= UINT16_MAX) fail("ioreq-many: at most %u rounds", UINT16_MAX - 1);
  unsigned self = start_all_vcpus(work);
  ticks_start();
  work(self);
  wait_for(vcpu_count());
  print("ioreq-many: %u vCPUs, %u rounds, all right, sum 0x%08x\n", vcpu_count(), rounds, sum);
  return 0;
}
