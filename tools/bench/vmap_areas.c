// The least that vmap can cost: the bare mmap calls that show frames of several memory files in a row, behind a guard
// page each, and the one call an area that makes it address space without access again.
//
//   vmap_areas scattered|contiguous FRAMES_PER_AREA BANKS FRAMES_PER_BANK
//
// Rounds take turns: the first maps as many areas as it is told, the next one unmaps them.
#define _GNU_SOURCE
#include <err.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "rounds.h"

#define PAGE 4096ull

static uint64_t frames, frames_per_bank;
static int contiguous, mapped, banks, *files;
static char *arena;

// As vmap_areas.ts does: a linear congruential generator (Numerical Recipes).
static uint32_t state = 1;

static uint64_t below(uint64_t bound) {
  state = state * 1664525u + 1013904223u;
  return (bound * state) >> 32;
}

static void place(char *at, uint64_t pages, int file, uint64_t frame) {
  int flags = MAP_SHARED | MAP_FIXED | MAP_NORESERVE;
  void *result = mmap(at, pages * PAGE, PROT_READ | PROT_WRITE, flags, file, (off_t)(frame * PAGE));
  if (result == MAP_FAILED) err(1, "mmap of a frame");
}

static void map(char *at) {
  if (contiguous) {
    int file = files[below(banks)];
    place(at, frames, file, below(frames_per_bank - frames));
    return;
  }
  for (uint64_t page = 0; page < frames; page++) {
    int file = files[below(banks)];
    place(at + page * PAGE, 1, file, below(frames_per_bank));
  }
}

static void unmap(char *at) {
  int flags = MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS | MAP_NORESERVE;
  if (mmap(at, frames * PAGE, PROT_NONE, flags, -1, 0) == MAP_FAILED) err(1, "mmap of nothing");
}

static void work(uint64_t areas) {
  for (uint64_t area = 0; area < areas; area++) {
    char *at = arena + area * (frames + 1) * PAGE + PAGE;
    if (mapped) unmap(at);
    else map(at);
  }
  mapped = !mapped;
}

int main(int argc, char **argv) {
  if (argc != 5) errx(64, "usage: vmap_areas scattered|contiguous FRAMES_PER_AREA BANKS FRAMES_PER_BANK");
  contiguous = strcmp(argv[1], "contiguous") == 0;
  frames = strtoull(argv[2], 0, 0);
  banks = atoi(argv[3]);
  frames_per_bank = strtoull(argv[4], 0, 0);
  files = calloc((size_t)banks, sizeof *files);
  for (int bank = 0; bank < banks; bank++) {
    files[bank] = memfd_create("bank", MFD_CLOEXEC);
    if (files[bank] < 0 || ftruncate(files[bank], (off_t)(frames_per_bank * PAGE)) < 0) err(1, "memory file");
    int flags = MAP_SHARED | MAP_NORESERVE;
    void *directmap = mmap(0, frames_per_bank * PAGE, PROT_READ | PROT_WRITE, flags, files[bank], 0);
    if (directmap == MAP_FAILED) err(1, "mmap of a bank");
  }
  int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  arena = mmap(0, 1ull << 36, PROT_NONE, flags, -1, 0);
  if (arena == MAP_FAILED) err(1, "mmap of the arena");
  return serve_rounds(work);
}
