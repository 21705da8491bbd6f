// The least that a violation can cost that a device model in another process answers: the fault's event, a futex round
// trip to that process, the page mapped, the guest goes on.
//
//   violation_loop BOOT_FILE MEMORY_BYTES RIP RBX PORT ADDRESS SIZE same|other
//
// The guest touches every page, then writes to PORT, and all pages are taken back. "same": a page shows the frame that it
// had before, and only has to be made present; "other": it gets another frame each time.
#define _GNU_SOURCE
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include "guest_window.h"
#include "rounds.h"

enum { ALL_PAGES = UINT32_MAX };

// What both processes see. An odd turn is the other one's.
struct request {
  uint32_t turn, page, frame;
};
static struct request *request;
static uint64_t pages;
static bool other_frames;

static void wait_while(uint32_t turn) {
  while (__atomic_load_n(&request->turn, __ATOMIC_ACQUIRE) == turn) {
    syscall(SYS_futex, &request->turn, FUTEX_WAIT, turn, NULL, NULL, 0);
  }
}

static void pass_on(void) {
  __atomic_add_fetch(&request->turn, 1, __ATOMIC_RELEASE);
  syscall(SYS_futex, &request->turn, FUTEX_WAKE, 1, NULL, NULL, 0);
}

// The device model: which frame a page is to show. It has two sets of them, and takes the other one after each pass.
static void answer_for_ever(void) {
  bool second = false;
  for (uint32_t turn = 0;; turn += 2) {
    wait_while(turn);
    if (request->page == ALL_PAGES) second = other_frames && !second;
    else request->frame = request->page + (second ? (uint32_t)pages : 0);
    pass_on();
  }
}

static uint32_t ask(uint32_t page) {
  uint32_t turn = request->turn + 1;
  request->page = page;
  pass_on();
  wait_while(turn);
  return request->frame;
}

static void start_model(void) {
  request = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (request == MAP_FAILED) err(1, "mmap of the request");
  pid_t self = getpid(), child = fork();
  require(child, "fork");
  if (child > 0) return;
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != self) _exit(1);
  answer_for_ever();
}

static void *run_guest(void *unused) {
  (void)unused;
  for (;;) {
    if (ioctl(vcpu, KVM_RUN, 0) < 0 || run->exit_reason != KVM_EXIT_IO) err(1, "exit reason %u", run->exit_reason);
    ask(ALL_PAGES);
    if (madvise(window, window_bytes, MADV_DONTNEED) < 0) err(1, "madvise");
  }
  return NULL;
}

static void violations(uint64_t count) {
  while (count--) {
    uint64_t page = next_fault();
    uint32_t frame = ask((uint32_t)page);
    uint8_t *at = window + page * PAGE_BYTES;
    if (other_frames) {
      place_pages(at, frame, 1);
      register_pages(at, PAGE_BYTES);
    }
    continue_pages(at, PAGE_BYTES);
  }
}

int main(int argc, char **argv) {
  if (argc != 9) errx(64, "usage: violation_loop BOOT_FILE MEMORY_BYTES RIP RBX PORT ADDRESS SIZE same|other");
  uint64_t bytes = strtoull(argv[7], 0, 0);
  pages = bytes / PAGE_BYTES;
  other_frames = strcmp(argv[8], "other") == 0;
  start_model();
  int vm = boot_guest(argv + 1, (uint16_t)strtoul(argv[5], 0, 0));
  open_window(vm, strtoull(argv[6], 0, 0), bytes);
  pthread_t thread;
  if (pthread_create(&thread, NULL, run_guest, NULL) != 0) errx(1, "pthread_create");
  int status = serve_rounds(violations);
  close_window();
  _exit(status);  // and with it the guest, wherever it is
}
