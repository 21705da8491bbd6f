// The least that an answer from another thread can cost: two threads that wake each other by a futex, without spinning.
//
//   futex_round_trip [apart]
//
// "apart" gives each thread a processor of its own, where the scheduler may put both on one.
#define _GNU_SOURCE
#include <err.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "rounds.h"

// Whose turn it is: even the asking thread's, odd the answering one's.
static uint32_t turn;

static void wait_while(uint32_t value) {
  while (__atomic_load_n(&turn, __ATOMIC_ACQUIRE) == value) {
    syscall(SYS_futex, &turn, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
  }
}

static void pass_on(uint32_t value) {
  __atomic_store_n(&turn, value, __ATOMIC_RELEASE);
  syscall(SYS_futex, &turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void *answer(void *unused) {
  (void)unused;
  for (uint32_t mine = 1;; mine += 2) {
    wait_while(mine - 1);
    pass_on(mine + 1);
  }
  return NULL;
}

static void round_trips(uint64_t count) {
  static uint32_t mine = 0;
  for (; count--; mine += 2) {
    pass_on(mine + 1);
    wait_while(mine + 1);
  }
}

static void pin(pthread_t thread, int processor) {
  cpu_set_t processors;
  CPU_ZERO(&processors);
  CPU_SET(processor, &processors);
  if (pthread_setaffinity_np(thread, sizeof processors, &processors) != 0) errx(1, "no processor %d", processor);
}

int main(int argc, char **argv) {
  (void)argv;
  pthread_t thread;
  if (pthread_create(&thread, NULL, answer, NULL) != 0) errx(1, "pthread_create");
  if (argc > 1) {
    pin(pthread_self(), 0);
    pin(thread, 1);
  }
  exit(serve_rounds(round_trips));  // and with it the thread that waits
}
