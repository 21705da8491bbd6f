// The protocol of tools/bench/c_program.ts: a count comes in, the work is done, both times go out in nanoseconds.
#pragma once

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

static inline uint64_t clock_ns(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static inline int serve_rounds(void (*work)(uint64_t count)) {
  uint64_t count;
  while (scanf("%" SCNu64, &count) == 1) {
    uint64_t cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID), wall = clock_ns(CLOCK_MONOTONIC);
    work(count);
    wall = clock_ns(CLOCK_MONOTONIC) - wall;
    cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    printf("%" PRIu64 " %" PRIu64 "\n", cpu, wall);
    fflush(stdout);
  }
  return 0;
}
