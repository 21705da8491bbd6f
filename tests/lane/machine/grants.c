// Grants pages of this guest's own to itself, and maps them by the kernel's drivers: what they write is what is read there.
// Prints the free memory before and after the mapping, in KiB, and waits for a line before it ends.

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

// What Linux's gntdev.h takes from Xen's headers, which need not be there.
typedef uint32_t grant_ref_t;
typedef uint16_t domid_t;

#include <linux/types.h>
#include <xen/gntalloc.h>
#include <xen/gntdev.h>

enum { PAGE = 4096, OWN_DOMAIN = 1 };

static void *must(const char *what, void *result) {
  if (result != NULL && result != MAP_FAILED) return result;
  perror(what);
  exit(1);
}

static int opened(const char *path) {
  int fd = open(path, O_RDWR);
  if (fd >= 0) return fd;
  perror(path);
  exit(1);
}

static void command(const char *what, int fd, unsigned long request, void *argument) {
  if (ioctl(fd, request, argument) == 0) return;
  perror(what);
  exit(1);
}

static long free_kib(void) {
  char line[128];
  long kib = -1;
  FILE *file = must("/proc/meminfo", fopen("/proc/meminfo", "r"));
  while (kib < 0 && fgets(line, sizeof line, file)) sscanf(line, "MemFree: %ld", &kib);
  fclose(file);
  return kib;
}

int main(int argc, char **argv) {
  uint32_t count = argc > 1 ? (uint32_t)atoi(argv[1]) : 1000;
  int giver = opened("/dev/xen/gntalloc"), taker = opened("/dev/xen/gntdev");
  struct ioctl_gntalloc_alloc_gref *grants = must("calloc", calloc(1, sizeof *grants + count * sizeof(uint32_t)));
  grants->domid = OWN_DOMAIN;
  grants->flags = GNTALLOC_FLAG_WRITABLE;
  grants->count = count;
  command("IOCTL_GNTALLOC_ALLOC_GREF", giver, IOCTL_GNTALLOC_ALLOC_GREF, grants);
  uint8_t *own = must("mmap of gntalloc", mmap(NULL, (size_t)count * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, giver, (off_t)grants->index));
  for (uint32_t i = 0; i < count; i++) *(uint32_t *)(own + (size_t)i * PAGE) = i + 1;

  size_t list = sizeof(struct ioctl_gntdev_map_grant_ref) + count * sizeof(struct ioctl_gntdev_grant_ref);
  struct ioctl_gntdev_map_grant_ref *map = must("calloc", calloc(1, list));
  map->count = count;
  for (uint32_t i = 0; i < count; i++) {
    map->refs[i].domid = OWN_DOMAIN;
    map->refs[i].ref = grants->gref_ids[i];
  }
  long before = free_kib();
  command("IOCTL_GNTDEV_MAP_GRANT_REF", taker, IOCTL_GNTDEV_MAP_GRANT_REF, map);
  uint8_t *there = must("mmap of gntdev", mmap(NULL, (size_t)count * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, taker, (off_t)map->index));
  for (uint32_t i = 0; i < count; i++) {
    uint32_t *word = (uint32_t *)(there + (size_t)i * PAGE);
    if (*word != i + 1) {
      printf("grants: page %u reads %u\n", i, *word);
      return 1;
    }
    *word = ~i;
    if (*(uint32_t *)(own + (size_t)i * PAGE) != ~i) {
      printf("grants: what is written to page %u is not in it\n", i);
      return 1;
    }
  }
  printf("grants: %u pages, free before %ld KiB, after %ld KiB\n", count, before, free_kib());
  fflush(stdout);
  getchar();
  munmap(there, (size_t)count * PAGE);
  close(taker);
  printf("grants: unmapped, free %ld KiB\n", free_kib());
  return 0;
}
