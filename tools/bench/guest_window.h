// A window in C: a KVM slot over a memory file, whose missing pages are waited for (userfaultfd).
#pragma once

#include <errno.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "boot_guest.h"

enum { PAGE_BYTES = 4096, WINDOW_SLOT = 1 };

static int userfault, memory_file;
static uint8_t *window, *memory;  // what the guest sees; all frames
static uint64_t window_bytes;

// Has accesses to missing pages wait. A new mapping needs that anew.
static inline void register_pages(uint8_t *at, uint64_t bytes) {
  struct uffdio_register range = {.range = {(uintptr_t)at, bytes},
                                  .mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR};
  require(ioctl(userfault, UFFDIO_REGISTER, &range), "UFFDIO_REGISTER");
}

// Maps what the file has there, and wakes who waits.
static inline void continue_pages(uint8_t *at, uint64_t bytes) {
  struct uffdio_continue range = {.range = {(uintptr_t)at, bytes}};
  if (ioctl(userfault, UFFDIO_CONTINUE, &range) < 0 && errno != EEXIST) err(1, "UFFDIO_CONTINUE");
}

// Shows `frames` pages of the file from page `frame` on.
static inline void place_pages(uint8_t *at, uint64_t frame, uint64_t frames) {
  int flags = MAP_SHARED | MAP_FIXED | MAP_NORESERVE;
  void *placed = mmap(at, frames * PAGE_BYTES, PROT_READ | PROT_WRITE, flags, memory_file,
                      (off_t)(frame * PAGE_BYTES));
  if (placed == MAP_FAILED) err(1, "mmap of a page");
}

// A window of which nothing is mapped, and a file of twice its size, with memory behind all of it.
static inline void open_window(int vm, uint64_t address, uint64_t bytes) {
  window_bytes = bytes;
  memory_file = memfd_create("window", MFD_CLOEXEC);
  require(memory_file, "memfd_create");
  require(ftruncate(memory_file, (off_t)(2 * bytes)), "ftruncate");
  memory = mmap(NULL, 2 * bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory_file, 0);
  window = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, memory_file, 0);
  if (memory == MAP_FAILED || window == MAP_FAILED) err(1, "mmap of the window");
  memset(memory, 0, 2 * bytes);
  userfault = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
  require(userfault, "userfaultfd");
  struct uffdio_api api = {.api = UFFD_API,
                           .features = UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MINOR_SHMEM | UFFD_FEATURE_THREAD_ID};
  require(ioctl(userfault, UFFDIO_API, &api), "UFFDIO_API");
  register_pages(window, bytes);
  struct kvm_userspace_memory_region region = {
      .slot = WINDOW_SLOT, .guest_phys_addr = address, .memory_size = bytes, .userspace_addr = (uintptr_t)window};
  require(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region), "KVM_SET_USER_MEMORY_REGION");
}

// The page of the window that somebody waits for. Blocks until there is one.
static inline uint64_t next_fault(void) {
  struct uffd_msg message;
  struct pollfd set = {.fd = userfault, .events = POLLIN};
  ssize_t taken;
  do {
    if (poll(&set, 1, -1) != 1) err(1, "poll");
    taken = read(userfault, &message, sizeof message);
    if (taken < 0 && errno != EAGAIN) err(1, "read of the userfaultfd");  // it was mapped meanwhile
  } while (taken != sizeof message || message.event != UFFD_EVENT_PAGEFAULT);
  return (message.arg.pagefault.address - (uintptr_t)window) / PAGE_BYTES;
}

// Whoever waits goes on: a process whose threads wait for pages might not end.
static inline void close_window(void) {
  struct uffdio_range range = {(uintptr_t)window, window_bytes};
  require(ioctl(userfault, UFFDIO_UNREGISTER, &range), "UFFDIO_UNREGISTER");
}
