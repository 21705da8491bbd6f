// All vCPUs use the pages of a window while a device model takes them back and gives them again, all the time.
//
// The contents are the device model's memory and survive, so nothing may be lost, go backwards or be torn. Each vCPU
// knows what it has written itself, and what it has seen of the others; the sum of all is known at the end.
#include "guest.h"
#include "user.h"

enum {
  PAGE = 4096,
  MOST_VCPUS = 256,
  MOST_PAIRS = 0x10000,  // of a vCPU and a page
  VISITS_PER_TICK = 256,
  PATIENCE_SECONDS = 20,
  MIXED = 99,
};

struct page {
  uint64_t shared;                  // incremented by all, with lock xadd
  uint64_t unused[7];
  uint64_t first, second;           // the page's writer writes the same to both, in this order
  uint64_t halves;                  // and here a number with its complement above it
  uint64_t own[MOST_VCPUS];         // of each vCPU: incremented by it alone
};

// What a vCPU knows of a page.
struct memory {
  uint32_t own, second, shared;
};

static uint8_t *pages;
static uint64_t window;
static unsigned page_count, count, rounds, level, finished, visits;
static uint16_t port;
static struct memory memories[MOST_PAIRS];

// A vCPU at work. It does a few hundred visits at CPL3 or CPL0, and from CPL0 then writes to the port.
struct worker {
  struct user_context user;
  uint64_t random;
  unsigned visit, page;    // the last one, from 1 on
  const char *wrong;       // what was seen at that visit, if anything was
  uint64_t found, expected;
};
static struct worker workers[MOST_VCPUS];

static volatile struct page *page_at(unsigned page) { return (volatile struct page *)(pages + page * PAGE); }

// Lets the caller print, if nothing has failed before: one line says what was wrong.
static void first_to_fail(void) {
  static bool failed;
  if (__atomic_exchange_n(&failed, true, __ATOMIC_RELAXED)) halt();
}

static bool wrong(struct worker *worker, const char *what, uint64_t found, uint64_t expected) {
  worker->wrong = what;
  worker->found = found;
  worker->expected = expected;
  return false;
}

static bool visit_page(struct worker *worker, unsigned vcpu) {
  volatile struct page *at = page_at(worker->page);
  struct memory *memory = &memories[vcpu * page_count + worker->page];

  uint64_t own = at->own[vcpu];
  if (own != memory->own) return wrong(worker, "a value was lost: its own word", own, memory->own);
  at->own[vcpu] = ++memory->own;

  uint64_t halves = at->halves, second = at->second, first = at->first;
  if ((uint32_t)halves != (uint32_t)~(halves >> 32)) {
    return wrong(worker, "a value is torn", halves, (uint32_t)halves | ~halves << 32);
  }
  if (second > first) return wrong(worker, "a stale value: the first of two", first, second);
  if (second < memory->second) return wrong(worker, "a stale value: the second of two", second, memory->second);
  memory->second = (uint32_t)second;
  if (worker->page % count == vcpu) {
    uint32_t next = (uint32_t)first + 1;
    if (first != second) return wrong(worker, "a value was lost: the second of two", second, first);
    at->first = next;
    at->second = next;
    at->halves = (uint64_t)~next << 32 | next;
  }

  uint64_t shared = 1;
  asm volatile("lock xadd %0, %1" : "+r"(shared), "+m"(at->shared) : : "memory");
  if (shared < memory->shared) return wrong(worker, "a stale value: the shared word", shared, memory->shared);
  memory->shared = (uint32_t)shared + 1;
  return true;
}

// As many visits as there are between two writes to the port, or until something is wrong.
static void visit_some(uint64_t vcpu) {
  struct worker *worker = &workers[vcpu];
  do {
    worker->random = worker->random * 6364136223846793005 + 1442695040888963407;
    worker->page = (unsigned)((worker->random >> 32) * page_count >> 32);
    worker->visit++;
    if (!visit_page(worker, (unsigned)vcpu)) return;
  } while (worker->visit % VISITS_PER_TICK != 0 && worker->visit != rounds);
}

void user_invalid_instruction(uint64_t at) { fail("revoke: an invalid instruction at 0x%lx", at); }

static void work(unsigned vcpu) {
  struct worker *worker = &workers[vcpu];
  bool at_cpl3 = level == MIXED ? vcpu % 2 == 0 : level == 3;
  worker->random = vcpu;
  if (at_cpl3) user_init(&worker->user);
  while (worker->visit != rounds) {
    unsigned before = worker->visit;
    if (at_cpl3) user_call(visit_some, vcpu, &worker->user, 2);
    else visit_some(vcpu);
    if (worker->wrong) {
      first_to_fail();
      fail("revoke: vCPU %u, page %u, visit %u: %s is 0x%lx, not 0x%lx", vcpu, worker->page, worker->visit,
           worker->wrong, worker->found, worker->expected);
    }
    __atomic_fetch_add(&visits, worker->visit - before, __ATOMIC_RELAXED);
    if (worker->visit % VISITS_PER_TICK == 0) out32(port, worker->visit);
  }
  __atomic_fetch_add(&finished, 1, __ATOMIC_RELEASE);
}

// Sleeps from tick to tick until all have finished; gives up when for long enough none has come on.
static void wait_for_all(void) {
  unsigned seen = 0, since = ticks;
  while (__atomic_load_n(&finished, __ATOMIC_ACQUIRE) < count) {
    wait_for_interrupt();
    unsigned now = __atomic_load_n(&visits, __ATOMIC_RELAXED);
    if (now != seen) {
      seen = now;
      since = ticks;
    }
    if (ticks - since < PATIENCE_SECONDS * TICK_HZ) continue;
    first_to_fail();
    fail("revoke: only %u of %u vCPUs have finished, after %u visits", finished, count, now);
  }
}

// What all pages hold at the end: nobody writes any more.
static void check_sums(void) {
  uint64_t sum = 0;
  for (unsigned page = 0; page < page_count; page++) {
    volatile struct page *at = page_at(page);
    uint64_t owned = 0, shared = at->shared;
    for (unsigned vcpu = 0; vcpu < count; vcpu++) {
      uint64_t own = at->own[vcpu];
      if (own != memories[vcpu * page_count + page].own) {
        fail("revoke: page %u at the end: the word of vCPU %u is 0x%lx, not 0x%x", page, vcpu, own,
             memories[vcpu * page_count + page].own);
      }
      owned += own;
    }
    if (shared != owned) fail("revoke: page %u at the end: the shared word is 0x%lx, not 0x%lx", page, shared, owned);
    sum += shared;
  }
  uint64_t expected = (uint64_t)rounds * count;
  if (sum != expected) fail("revoke: %lu visits in the window, not %lu", sum, expected);
}

int main(void) {
  window = number_option("address", 0xfd000000);
  uint64_t size = number_option("size", 0x10000);
  port = (uint16_t)number_option("port", 0x510);
  rounds = (unsigned)number_option("rounds", 5000);
  level = (unsigned)number_option("cpl", MIXED);
  count = vcpu_count();
  page_count = (unsigned)(size / PAGE);
  if (count > MOST_VCPUS) fail("revoke: at most %u vCPUs", MOST_VCPUS);
  if (window % PAGE || size % PAGE || !size) fail("revoke: the window must be pages");
  if (page_count * count > MOST_PAIRS) fail("revoke: at most %u pages times vCPUs", MOST_PAIRS);
  pages = user_map(window, size);
  if (!pages) fail("revoke: the window must not cross a boundary of 1 GiB");
  for (unsigned page = 0; page < page_count; page++) {
    volatile struct page *at = page_at(page);
    memset((void *)at, 0, sizeof *at);
    at->halves = (uint64_t)UINT32_MAX << 32;
  }
  print("revoke: %u vCPUs, %u pages at 0x%lx\n", count, page_count, window);
  unsigned self = start_all_vcpus(work);
  ticks_start();
  work(self);
  wait_for_all();
  check_sums();
  print("revoke: %u vCPUs, %u visits, nothing lost, stale or torn\n", count, visits);
  return 0;
}
