// The least that an event can cost which a device model's thread sends to a halted vCPU, and which the guest answers with
// a write to a port: KVM_SIGNAL_MSI, the vCPU's thread wakes, the handler's exit, and that thread wakes the sender.
//
//   event_loop BOOT_FILE MEMORY_BYTES RIP RBX PORT VECTOR PAUSE_US futex|eventfd
//
// Between two events the sender sleeps for PAUSE_US by a timer. What a round took is its median times its count: a
// preemption is not what is measured.
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include "boot_guest.h"
#include "rounds.h"

enum { MOST_SAMPLES = 1 << 16, LOCAL_APIC = 0xfee00000 };

static int vm, timer, doorbell;
static bool by_futex;
static uint32_t answers;
static uint16_t port;
static struct kvm_msi message = {.address_lo = LOCAL_APIC};
static struct itimerspec interval;

static void *run_guest(void *unused) {
  (void)unused;
  for (;;) {
    if (ioctl(vcpu, KVM_RUN, 0) < 0 || run->exit_reason != KVM_EXIT_IO) err(1, "exit reason %u", run->exit_reason);
    if (run->io.port != port) errx(1, "an access to port 0x%x", run->io.port);
    if (by_futex) {
      __atomic_add_fetch(&answers, 1, __ATOMIC_SEQ_CST);
      syscall(SYS_futex, &answers, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    } else {
      uint64_t one = 1;
      if (write(doorbell, &one, sizeof one) != sizeof one) err(1, "write to an eventfd");
    }
  }
  return NULL;
}

// Until there are more answers than `seen`.
static void await(uint32_t seen) {
  if (!by_futex) {
    uint64_t rings;
    if (read(doorbell, &rings, sizeof rings) != sizeof rings) err(1, "read of an eventfd");
    return;
  }
  while (__atomic_load_n(&answers, __ATOMIC_SEQ_CST) == seen) {
    syscall(SYS_futex, &answers, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
  }
}

static void pause_by_timer(void) {
  uint64_t expirations;
  require(timerfd_settime(timer, 0, &interval, NULL), "timerfd_settime");
  if (read(timer, &expirations, sizeof expirations) != sizeof expirations) err(1, "read of a timerfd");
}

static int by_size(const void *one, const void *other) {
  uint64_t a = *(const uint64_t *)one, b = *(const uint64_t *)other;
  return a < b ? -1 : a > b;
}

static uint64_t median_ns(uint64_t count) {
  static uint64_t samples[MOST_SAMPLES];
  if (count == 0 || count > MOST_SAMPLES) errx(64, "a round has 1 to %d events", MOST_SAMPLES);
  for (uint64_t i = 0; i < count; i++) {
    pause_by_timer();
    uint32_t seen = __atomic_load_n(&answers, __ATOMIC_SEQ_CST);
    uint64_t start = clock_ns(CLOCK_MONOTONIC);
    require(ioctl(vm, KVM_SIGNAL_MSI, &message), "KVM_SIGNAL_MSI");
    await(seen);
    samples[i] = clock_ns(CLOCK_MONOTONIC) - start;
  }
  qsort(samples, count, sizeof samples[0], by_size);
  return samples[count / 2];
}

int main(int argc, char **argv) {
  if (argc != 9) errx(64, "usage: event_loop BOOT_FILE MEMORY_BYTES RIP RBX PORT VECTOR PAUSE_US futex|eventfd");
  port = (uint16_t)strtoul(argv[5], 0, 0);
  message.data = (uint32_t)strtoul(argv[6], 0, 0);
  long pause_us = strtol(argv[7], 0, 0);
  interval.it_value = (struct timespec){pause_us / 1000000, pause_us % 1000000 * 1000};
  by_futex = strcmp(argv[8], "futex") == 0;
  doorbell = eventfd(0, EFD_CLOEXEC);
  timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
  require(doorbell, "eventfd");
  require(timer, "timerfd_create");
  vm = boot_guest(argv + 1, port);
  pthread_t thread;
  if (pthread_create(&thread, NULL, run_guest, NULL) != 0) errx(1, "pthread_create");
  uint64_t count;
  while (scanf("%" SCNu64, &count) == 1) {
    printf("0 %" PRIu64 "\n", median_ns(count) * count);
    fflush(stdout);
  }
  _exit(0);  // and with it the guest, which halts
}
