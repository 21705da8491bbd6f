// The least that taking pages back can cost, with a guest that uses them: MADV_DONTNEED, of all with one system call
// where the kernel has that for the caller itself (Linux 6.13), else in a loop.
//
//   revoke_loop BOOT_FILE MEMORY_BYTES RIP RBX PORT ADDRESS SIZE STRIDE idle|spinning
//
// The guest adds 1 to the first word of every STRIDE bytes. "idle": it never runs. What a round took is its median times
// its count: a preemption is not what is measured.
#define _GNU_SOURCE
#include <pthread.h>
#include <stdbool.h>
#include <sys/uio.h>
#include "guest_window.h"
#include "rounds.h"

enum { MOST_PAGES = 1024, MOST_SAMPLES = 1 << 16 };

static struct iovec list[MOST_PAGES];
static unsigned pages;
static uint64_t stride;
static int pidfd = -1;
static bool spinning;

static void *run_guest(void *unused) {
  (void)unused;
  for (;;) {
    if (ioctl(vcpu, KVM_RUN, 0) < 0 || run->exit_reason != KVM_EXIT_IO) err(1, "exit reason %u", run->exit_reason);
  }
  return NULL;
}

// Nobody answers but who maps all pages again.
static void *take_faults(void *unused) {
  (void)unused;
  for (;;) next_fault();
  return NULL;
}

static void map_all(void) {
  for (unsigned i = 0; i < pages; i++) continue_pages(list[i].iov_base, PAGE_BYTES);
}

static void wait_for_touches(uint64_t offset, uint64_t touches) {
  volatile uint64_t *word = (volatile uint64_t *)(memory + offset);
  for (uint64_t seen = *word; *word < seen + touches;) __builtin_ia32_pause();
}

// Until the guest has touched all pages since they were mapped, and stays at the last one for a while.
static void wait_for_guest(void) {
  wait_for_touches(0, 1);
  wait_for_touches((pages - 1) * stride, 3);
}

static void revoke_all(void) {
  if (pidfd >= 0) {
    if (syscall(SYS_process_madvise, pidfd, list, pages, MADV_DONTNEED, 0) != (long)pages * PAGE_BYTES) {
      err(1, "process_madvise");
    }
    return;
  }
  for (unsigned i = 0; i < pages; i++) {
    if (madvise(list[i].iov_base, PAGE_BYTES, MADV_DONTNEED) < 0) err(1, "madvise");
  }
}

// For one page the plain call; else whatever takes the whole list.
static void open_list(void) {
  for (unsigned i = 0; i < pages; i++) list[i] = (struct iovec){window + i * stride, PAGE_BYTES};
  if (pages == 1) return;
  pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
  if (pidfd >= 0 && syscall(SYS_process_madvise, pidfd, list, 1, MADV_DONTNEED, 0) != PAGE_BYTES) pidfd = -1;
}

static int by_size(const void *one, const void *other) {
  uint64_t a = *(const uint64_t *)one, b = *(const uint64_t *)other;
  return a < b ? -1 : a > b;
}

// One revocation of all pages, many times.
static uint64_t median_ns(uint64_t count) {
  static uint64_t samples[MOST_SAMPLES];
  if (count == 0 || count > MOST_SAMPLES) errx(64, "a round has 1 to %d revocations", MOST_SAMPLES);
  for (uint64_t i = 0; i < count; i++) {
    map_all();
    if (spinning) wait_for_guest();
    uint64_t start = clock_ns(CLOCK_MONOTONIC);
    revoke_all();
    samples[i] = clock_ns(CLOCK_MONOTONIC) - start;
  }
  qsort(samples, count, sizeof samples[0], by_size);
  return samples[count / 2];
}

static void start(void *(*work)(void *)) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, work, NULL) != 0) errx(1, "pthread_create");
}

int main(int argc, char **argv) {
  if (argc != 10) errx(64, "usage: revoke_loop BOOT_FILE MEMORY_BYTES RIP RBX PORT ADDRESS SIZE STRIDE idle|spinning");
  uint64_t bytes = strtoull(argv[7], 0, 0);
  stride = strtoull(argv[8], 0, 0);
  pages = (unsigned)(bytes / stride);
  if (pages > MOST_PAGES) errx(64, "at most %d pages", MOST_PAGES);
  spinning = strcmp(argv[9], "spinning") == 0;
  int vm = boot_guest(argv + 1, (uint16_t)strtoul(argv[5], 0, 0));
  open_window(vm, strtoull(argv[6], 0, 0), bytes);
  open_list();
  start(take_faults);
  if (spinning) start(run_guest);
  uint64_t count;
  while (scanf("%" SCNu64, &count) == 1) {
    printf("0 %" PRIu64 "\n", median_ns(count) * count);
    fflush(stdout);
  }
  close_window();
  _exit(0);  // and with it the guest, wherever it is
}
