// The clocks that Xen gives a guest: system time, the time of day, timers, and what vCPUs did with their time.
//
// Nothing here says how long something takes, but that it is not over before its time, and that time does not go back.
#include "guest.h"
#include "xen.h"

enum {
  PAGE = 4096,
  VECTOR = 0x40,
  READS = 300,
  PERIODS = 8,
  NS_PER_MS = 1000000,
  SLACK_NS = 20 * NS_PER_MS,  // between two ways to ask for the same time
};

static const uint64_t NS_PER_S = 1000000000, PATIENCE_NS = 20000000000;

static struct shared_info *shared;
static uint32_t timer_port;
static volatile unsigned timer_events, other_events;

static uint64_t now(void) { return xen_clock_ns(&shared->vcpus[0].time); }

static void expect(const char *what, long found, long expected) {
  if (found != expected) fail("clock: %s gives 0x%lx, not 0x%lx", what, (word)found, (word)expected);
}

static void expect_order(const char *what, uint64_t earlier, uint64_t later) {
  if (earlier > later) fail("clock: %s: %lu ns is later than %lu ns", what, earlier, later);
}

static uint64_t get_time(void) {
  uint64_t time = 0;
  expect("HVMOP_get_time", hvm_op(HVMOP_GET_TIME, &time), 0);
  return time;
}

// ---- System time and the time of day

static void check_system_time(void) {
  const struct vcpu_time_info *time = &shared->vcpus[0].time;
  if (time->version == 0 || time->tsc_to_system_mul == 0) fail("clock: vcpu_info has no time");
  uint64_t last = 0;
  for (unsigned i = 0; i < READS; i++) {
    uint64_t next = now();
    expect_order("system time", last, next);
    last = next;
  }
  for (unsigned i = 0; i < 10; i++) {
    uint64_t before = now(), called = get_time(), after = now();
    expect_order("HVMOP_get_time after a look at the clock", before, called + SLACK_NS);
    expect_order("HVMOP_get_time before a look at the clock", called, after + SLACK_NS);
  }
  print("clock: system time\n");
}

// Seconds since 1970 when system time was 0.
static uint64_t start_seconds(void) {
  for (;;) {
    uint32_t version = shared->clock_version;
    if (version & 1) continue;
    uint64_t seconds = (uint64_t)shared->clock_seconds_high << 32 | shared->clock_seconds;
    if (shared->clock_nanoseconds >= NS_PER_S) fail("clock: %u ns of the time of day", shared->clock_nanoseconds);
    if (shared->clock_version == version) return seconds;
  }
}

static void check_wall_clock(void) {
  static const uint64_t year_2024 = 1704067200, year_2100 = 4102444800, hour = 3600;
  uint64_t seconds = start_seconds() + now() / NS_PER_S, given = number_option("now", 0);
  if (seconds < year_2024 || seconds > year_2100) fail("clock: the time of day is %lu s after 1970", seconds);
  if (given && (seconds + hour < given || seconds > given + hour)) {
    fail("clock: the time of day is %lu s after 1970, and was to be %lu", seconds, given);
  }
  print("clock: the time of day\n");
}

// ---- Timers

__attribute__((interrupt)) static void on_upcall(struct interrupt_frame *frame) {
  (void)frame;
  shared->vcpus[0].upcall_pending = 0;
  for (long port; (port = event_next(shared, 0)) >= 0;) {
    if (port == timer_port) timer_events++;
    else other_events++;
  }
  local_apic_eoi();
}

static long set_singleshot(uint64_t at, uint32_t flags) {
  struct vcpu_set_singleshot_timer timer = {at, flags};
  return vcpu_op(VCPUOP_SET_SINGLESHOT_TIMER, 0, &timer);
}

static void wait_for_timer(unsigned events) {
  while (timer_events < events) wait_for_interrupt();
}

// Sleeps, by a poll of no port.
static void sleep_ns(uint64_t ns) { expect("SCHEDOP_poll of no port", xen_poll(NULL, 0, now() + ns), 0); }

static void check_singleshot(void) {
  for (unsigned i = 0; i < 4; i++) {
    uint64_t at = now() + (i == 3 ? 0 : 10 * NS_PER_MS);
    timer_events = 0;
    expect("VCPUOP_set_singleshot_timer", set_singleshot(at, i == 1 ? SINGLESHOT_FUTURE : 0), 0);
    wait_for_timer(1);
    expect_order("a timer", at, now() + SLACK_NS / 10);
  }
  expect("VCPUOP_set_singleshot_timer for what is past", set_singleshot(now() / 2, SINGLESHOT_FUTURE), -ETIME);

  timer_events = 0;
  expect("VCPUOP_set_singleshot_timer", set_singleshot(now() + 20 * NS_PER_MS, 0), 0);
  expect("VCPUOP_stop_singleshot_timer", vcpu_op(VCPUOP_STOP_SINGLESHOT_TIMER, 0, NULL), 0);
  enable_interrupts();
  for (unsigned i = 0; i < 4; i++) sleep_ns(10 * NS_PER_MS);
  disable_interrupts();
  expect("a timer that was stopped", timer_events, 0);

  uint64_t at = now() + 10 * NS_PER_MS;
  expect("set_timer_op", hypercall2(HYPERCALL_SET_TIMER_OP, at, 0), 0);
  wait_for_timer(1);
  expect_order("set_timer_op's timer", at, now() + SLACK_NS / 10);
  print("clock: a timer that fires once\n");
}

static void check_periodic(void) {
  uint64_t period = 5 * NS_PER_MS, start = now();
  timer_events = 0;
  expect("VCPUOP_set_periodic_timer", vcpu_op(VCPUOP_SET_PERIODIC_TIMER, 0, &period), 0);
  wait_for_timer(PERIODS);
  expect_order("a periodic timer", start + (PERIODS - 1) * period, now());
  expect("VCPUOP_stop_periodic_timer", vcpu_op(VCPUOP_STOP_PERIODIC_TIMER, 0, NULL), 0);
  enable_interrupts();
  sleep_ns(2 * period);  // one may be on its way
  unsigned events = timer_events;
  for (unsigned i = 0; i < 4; i++) sleep_ns(2 * period);
  disable_interrupts();
  expect("a periodic timer that was stopped", timer_events, events);
  print("clock: a periodic timer\n");
}

// ---- Waiting

static bool is_pending(uint32_t port) { return shared->pending[port / WORD_BITS] >> port % WORD_BITS & 1; }

static void check_poll(void) {
  long port = event_bind_ipi(0);
  if (port <= 0) fail("clock: no port: 0x%lx", (word)port);
  uint32_t ports[] = {(uint32_t)port, timer_port};

  uint64_t until = now() + 20 * NS_PER_MS;
  expect("SCHEDOP_poll", xen_poll(ports, 1, until), 0);
  expect_order("a poll", until, now() + SLACK_NS / 10);
  expect("an event after a poll that waited in vain", is_pending(ports[0]), false);

  expect("EVTCHNOP_send", event_send(ports[0]), 0);  // the port is masked: nobody is interrupted
  expect("SCHEDOP_poll of a pending port", xen_poll(ports, 1, 0), 0);
  expect("SCHEDOP_poll of a pending port among others", xen_poll(ports, 2, 0), 0);
  expect("the event", is_pending(ports[0]), true);
  __atomic_and_fetch(&shared->pending[port / WORD_BITS], ~(1ul << port % WORD_BITS), __ATOMIC_SEQ_CST);

  // An event that comes while it waits: of a port that is masked, too.
  __atomic_or_fetch(&shared->mask[timer_port / WORD_BITS], 1ul << timer_port % WORD_BITS, __ATOMIC_SEQ_CST);
  for (unsigned i = 1; i <= 2; i++) {
    uint64_t at = now() + 10 * NS_PER_MS;
    expect("VCPUOP_set_singleshot_timer", set_singleshot(at, 0), 0);
    expect("SCHEDOP_poll of the timer's port", xen_poll(ports + 2 - i, i, now() + PATIENCE_NS), 0);
    expect_order("the end of a poll", at, now() + SLACK_NS / 10);
    expect_order("what ended a poll", now(), at + PATIENCE_NS / 2);
    expect("the timer's event", is_pending(timer_port), true);
    __atomic_and_fetch(&shared->pending[timer_port / WORD_BITS], ~(1ul << timer_port % WORD_BITS), __ATOMIC_SEQ_CST);
  }
  expect("EVTCHNOP_unmask", event_unmask(timer_port), 0);
  expect("EVTCHNOP_close", event_close(ports[0]), 0);
  print("clock: polls\n");
}

static void check_block(void) {
  timer_events = 0;
  uint64_t at = now() + 10 * NS_PER_MS;
  expect("VCPUOP_set_singleshot_timer", set_singleshot(at, 0), 0);
  enable_interrupts();
  while (timer_events == 0) expect("SCHEDOP_block", sched_op(SCHEDOP_BLOCK, NULL), 0);
  disable_interrupts();
  expect_order("the end of a block", at, now() + SLACK_NS / 10);
  print("clock: a block\n");
}

// ---- What a vCPU did with its time

static uint64_t sum(const struct vcpu_runstate_info *info) {
  uint64_t total = 0;
  for (unsigned state = 0; state < RUNSTATES; state++) total += info->time[state];
  return total;
}

static void check_runstate(void) {
  static struct vcpu_runstate_info area, before, after;
  static uint64_t address = (uint64_t)&area;
  expect("VCPUOP_get_runstate_info", vcpu_op(VCPUOP_GET_RUNSTATE_INFO, 0, &before), 0);
  uint64_t start = now();
  expect("a runstate", before.state, RUNSTATE_RUNNING);
  expect_order("the time of all states", sum(&before), start + SLACK_NS);
  expect_order("the time of all states, and now", start, sum(&before) + SLACK_NS + NS_PER_S);
  for (unsigned i = 0; i < 3; i++) sleep_ns(10 * NS_PER_MS);
  expect("VCPUOP_get_runstate_info", vcpu_op(VCPUOP_GET_RUNSTATE_INFO, 0, &after), 0);
  uint64_t passed = sum(&after) - sum(&before);
  expect_order("30 ms of sleep", 30 * NS_PER_MS, passed + SLACK_NS / 10);
  for (unsigned state = 0; state < RUNSTATES; state++) {
    expect_order("a state's time", before.time[state], after.time[state]);
  }
  if (after.time[RUNSTATE_BLOCKED] == before.time[RUNSTATE_BLOCKED]) fail("clock: a vCPU that slept was not blocked");

  area.state = ~0u;
  expect("VCPUOP_register_runstate_memory_area", vcpu_op(VCPUOP_REGISTER_RUNSTATE_AREA, 0, &address), 0);
  expect("the state in a runstate area", area.state, RUNSTATE_RUNNING);
  expect_order("the time in a runstate area", sum(&after), sum(&area) + SLACK_NS);
  uint64_t registered = sum(&area);
  expect("vm_assist", hypercall2(HYPERCALL_VM_ASSIST, 0, 5), 0);
  sleep_ns(10 * NS_PER_MS);
  sleep_ns(10 * NS_PER_MS);
  expect("the mark of an area that is being written", area.entry_time >> 63, 0);
  expect_order("a runstate area's time", registered + 1, sum(&area));
  expect_order("a runstate area's time, and now", sum(&area), now() + SLACK_NS);
  address = 0;
  expect("VCPUOP_register_runstate_memory_area of 0", vcpu_op(VCPUOP_REGISTER_RUNSTATE_AREA, 0, &address), 0);
  registered = sum(&area);
  sleep_ns(10 * NS_PER_MS);
  expect("a runstate area that is none any more", (long)sum(&area), (long)registered);
  address = 0x800000000000;
  expect("VCPUOP_register_runstate_memory_area of nowhere", vcpu_op(VCPUOP_REGISTER_RUNSTATE_AREA, 0, &address), 0);
  sleep_ns(NS_PER_MS);
  print("clock: runstates\n");
}

static void check_time_area(void) {
  static struct vcpu_time_info area;
  uint64_t address = (uint64_t)&area;
  expect("VCPUOP_register_vcpu_time_memory_area", vcpu_op(VCPUOP_REGISTER_TIME_AREA, 0, &address), 0);
  if (area.version == 0 || area.tsc_to_system_mul == 0) fail("clock: nothing is in a time area");
  for (unsigned i = 0; i < 3; i++) {
    uint64_t before = now(), there = xen_clock_ns(&area), after = now();
    expect_order("a time area, after vcpu_info", before, there + SLACK_NS);
    expect_order("a time area, before vcpu_info", there, after + SLACK_NS);
    sleep_ns(5 * NS_PER_MS);
  }
  print("clock: a time area\n");
}

// ---- vcpu_info elsewhere

static void check_vcpu_info(void) {
  static uint8_t page[PAGE] __attribute__((aligned(PAGE)));
  struct vcpu_info *info = (struct vcpu_info *)(page + 192);
  struct vcpu_register_vcpu_info argument = {(uint64_t)page / PAGE, 192, 0};
  uint64_t before = now();
  disable_interrupts();
  expect("VCPUOP_register_vcpu_info", vcpu_op(VCPUOP_REGISTER_VCPU_INFO, 0, &argument), 0);
  expect_order("the clock of another vcpu_info", before, xen_clock_ns(&info->time));
  expect_order("the clock of another vcpu_info, and HVMOP_get_time", xen_clock_ns(&info->time), get_time() + SLACK_NS);
  expect("VCPUOP_register_vcpu_info for a second time", vcpu_op(VCPUOP_REGISTER_VCPU_INFO, 0, &argument), -EINVAL);
  expect("upcall_pending of another vcpu_info", info->upcall_pending, 1);  // so that no event is lost
  print("clock: vcpu_info at another place\n");
}

// ---- Several vCPUs

static struct lock lock;
static uint64_t latest;
static unsigned up, done, vcpus;
static const char *wrong;

// No vCPU sees a time that is before one that another has seen, and each sleeps until its own time.
static void tell_time(unsigned vcpu) {
  const struct vcpu_time_info *time = &shared->vcpus[vcpu].time;
  if (vcpu_op(VCPUOP_IS_UP, vcpu, NULL) != 1) wrong = "a vCPU that runs is not up";
  if (time->tsc_to_system_mul == 0) wrong = "a vCPU has no time";
  __atomic_fetch_add(&up, 1, __ATOMIC_SEQ_CST);
  while (__atomic_load_n(&up, __ATOMIC_SEQ_CST) < vcpus) pause();
  for (unsigned i = 0; i < READS && !wrong; i++) {
    lock_take(&lock);
    uint64_t next = xen_clock_ns(time);
    if (next < latest) wrong = "the time of one vCPU is before that of another";
    latest = next;
    lock_release(&lock);
  }
  uint64_t until = xen_clock_ns(time) + (vcpu + 1) * 5 * NS_PER_MS;
  if (!wrong && xen_poll(NULL, 0, until) != 0) wrong = "a vCPU cannot sleep";
  if (!wrong && xen_clock_ns(time) + SLACK_NS / 10 < until) wrong = "a vCPU slept too short";
  __atomic_fetch_add(&done, 1, __ATOMIC_SEQ_CST);
}

static void check_vcpus(void) {
  start_all_vcpus(tell_time);
  tell_time(0);
  uint64_t start = now();
  while (__atomic_load_n(&done, __ATOMIC_SEQ_CST) < vcpus) {
    if (now() > start + PATIENCE_NS) fail("clock: %u of %u vCPUs have told their time, %u are up", done, vcpus, up);
    sleep_ns(NS_PER_MS);
  }
  if (wrong) fail("clock: %s", wrong);
  struct vcpu_runstate_info info;
  for (unsigned vcpu = 0; vcpu < vcpus; vcpu++) {
    expect("VCPUOP_get_runstate_info of any vCPU", vcpu_op(VCPUOP_GET_RUNSTATE_INFO, vcpu, &info), 0);
    expect_order("the time of all states of any vCPU", sum(&info), now() + SLACK_NS);
  }
  print("clock: %u vCPUs with one time\n", vcpus);
}

int main(void) {
  xen_init();
  vcpus = vcpu_count();
  shared = xen_map_shared_info();
  interrupts_init();
  interrupt_gate(VECTOR, on_upcall);
  expect("HVMOP_set_evtchn_upcall_vector", set_upcall_vector(0, VECTOR), 0);
  long port = event_bind_virq(VIRQ_TIMER, 0);
  if (port <= 0) fail("clock: no port for VIRQ_TIMER: 0x%lx", (word)port);
  timer_port = (uint32_t)port;
  expect("EVTCHNOP_unmask", event_unmask(timer_port), 0);

  check_system_time();
  check_wall_clock();
  check_singleshot();
  check_periodic();
  check_poll();
  check_block();
  check_runstate();
  check_time_area();
  if (vcpus > 1) check_vcpus();
  check_vcpu_info();
  expect("events of other ports", other_events, 0);
  print("clock: all as in Xen\n");
  return 0;
}
