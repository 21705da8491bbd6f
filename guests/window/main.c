// Draws a moving picture on the surfaces of a framebuffer that shows one of them at a time in its window, and that moves
// their pages about meanwhile.
//
// Each vCPU draws its own columns, so that all of them are on the same pages. Each pixel is written once, changed in
// place, and read back by another vCPU; the device's digest of each frame has to be what the vCPUs have read.
#include "guest.h"
#include "user.h"

enum {
  PAGE = 4096,
  WIDTH = 512,
  ROWS_PER_BAND = 16,  // drawn at CPL3, before the device gets an occasion to move pages
  MOST_VCPUS = 64,
  MOST_SURFACES = 64,
};

// The device's registers, from its first port on.
enum { ID = 0, WINDOW = 4, PAGES = 8, SURFACES = 12, SELECT = 16, FLIP = 20, DIGEST = 24, MIGRATE = 28 };
enum { DEVICE_ID = 0x58574246 };

static uint16_t port;
static volatile uint32_t *pixels;  // of the surface in the window, as this guest sees it
static unsigned count, rows, frames, surfaces;
static uint32_t digest;

// What is drawn or looked at now: all vCPUs do the same, between two meetings.
static unsigned frame, surface;

struct worker {
  struct user_context user;
  unsigned first, end, row;  // its columns, and the row that is next
  uint32_t digest;           // of what it has read
  bool wrong;
  unsigned x;                // of the pixel that was
  uint32_t found;
};
static struct worker workers[MOST_VCPUS];

static uint32_t device(unsigned at) { return in32((uint16_t)(port + at)); }
static void tell(unsigned at, uint32_t value) { out32((uint16_t)(port + at), value); }

// ---- The picture

// The waves of two stones thrown into water, which move apart and together.
static unsigned wave(int dx, int dy) {
  unsigned height = (unsigned)(dx * dx + dy * dy) >> 7 & 0x1ff;
  return height < 0x100 ? height : 0x1ff - height;
}

static unsigned shade(unsigned of, unsigned x, unsigned y) {
  int way = (int)(of * 24 % WIDTH), apart = way < WIDTH / 2 ? way : WIDTH - way;
  int dx = (int)x - WIDTH / 2, dy = (int)(2 * y) - (int)rows;
  return (wave(dx - apart / 2, dy) + wave(dx + apart / 2, dy)) / 2;
}

// No two pixels of a frame are alike, nor the same pixel in two frames.
static uint32_t pixel(unsigned of, unsigned x, unsigned y) {
  return shade(of, x, y) << 24 | ((y * WIDTH + x + of * 0x31415) & 0xffffff);
}

// The last frame that was drawn on a surface.
static unsigned last_frame(unsigned on) { return (frames - 1 - on) / surfaces * surfaces + on; }

// ---- Work at CPL3: one band of rows, in the columns of one vCPU

static unsigned band_end(const struct worker *worker) {
  unsigned end = worker->row + ROWS_PER_BAND;
  return end < rows ? end : rows;
}

static void draw(uint64_t vcpu) {
  struct worker *worker = &workers[vcpu];
  for (unsigned end = band_end(worker); worker->row < end; worker->row++) {
    volatile uint32_t *row = pixels + worker->row * WIDTH;
    for (unsigned x = worker->first; x < worker->end; x++) row[x] = ~pixel(frame, x, worker->row);
  }
}

static void turn(uint64_t vcpu) {
  struct worker *worker = &workers[vcpu];
  for (unsigned end = band_end(worker); worker->row < end; worker->row++) {
    volatile uint32_t *row = pixels + worker->row * WIDTH;
    for (unsigned x = worker->first; x < worker->end; x++) asm volatile("notl %0" : "+m"(row[x]));
  }
}

// The columns of the next vCPU: what others have written arrives, too.
static void check(uint64_t vcpu) {
  struct worker *worker = &workers[vcpu], *next = &workers[(vcpu + 1) % count];
  for (unsigned end = band_end(worker); worker->row < end; worker->row++) {
    volatile uint32_t *row = pixels + worker->row * WIDTH;
    for (unsigned x = next->first; x < next->end; x++) {
      uint32_t found = row[x];
      if (found != pixel(frame, x, worker->row)) {
        worker->wrong = true;
        worker->x = x;
        worker->found = found;
        return;
      }
      worker->digest += found * (2 * (worker->row * WIDTH + x) + 1);
    }
  }
}

void user_invalid_instruction(uint64_t at) { fail("window: an invalid instruction at 0x%lx", at); }

// ---- Meetings

enum { MEETING_VECTOR = 0x40, ALL_BUT_SELF = 3 << 18, ASSERT = 1 << 14 };

static unsigned arrived, meetings;

__attribute__((interrupt)) static void on_meeting(struct interrupt_frame *interrupted) {
  (void)interrupted;
  local_apic_eoi();
}

// Returns when all vCPUs have come: the last one wakes the others.
static void meet(void) {
  unsigned seen = __atomic_load_n(&meetings, __ATOMIC_ACQUIRE);
  if (__atomic_add_fetch(&arrived, 1, __ATOMIC_ACQ_REL) < count) {
    while (__atomic_load_n(&meetings, __ATOMIC_ACQUIRE) == seen) wait_for_interrupt();
    return;
  }
  arrived = 0;
  __atomic_fetch_add(&meetings, 1, __ATOMIC_RELEASE);
  if (count > 1) local_apic_command(0, ALL_BUT_SELF | ASSERT | MEETING_VECTOR);
}

// ---- What all vCPUs do

// Lets the caller print, if nothing has failed before: one line says what was wrong.
static void first_to_fail(void) {
  static bool failed;
  if (__atomic_exchange_n(&failed, true, __ATOMIC_RELAXED)) halt();
}

// All rows of this vCPU's columns. After each band the device may move pages that others are drawing on.
static void all_rows(unsigned vcpu, void (*work)(uint64_t)) {
  struct worker *worker = &workers[vcpu];
  for (worker->row = 0; worker->row < rows;) {
    user_call(work, vcpu, &worker->user, 2);
    if (worker->wrong) {
      first_to_fail();
      fail("window: frame %u on surface %u: pixel %u, %u is 0x%08x, not 0x%08x", frame, surface, worker->x,
           worker->row, worker->found, pixel(frame, worker->x, worker->row));
    }
    tell(MIGRATE, 0);
  }
}

static void begin(unsigned of, unsigned on) {
  frame = of;
  surface = on;
  digest = 0;
  tell(SELECT, on);
}

// Reads the surface in the window, and compares; then the device displays it, and its digest has to be the same.
static void compare(unsigned vcpu, bool leads) {
  workers[vcpu].digest = 0;
  all_rows(vcpu, check);
  __atomic_fetch_add(&digest, workers[vcpu].digest, __ATOMIC_RELAXED);
  meet();
  if (!leads) return;
  tell(FLIP, surface);
  uint32_t displayed = device(DIGEST);
  if (displayed == digest) return;
  first_to_fail();
  fail("window: frame %u on surface %u: the device's digest is 0x%08x, not 0x%08x", frame, surface, displayed, digest);
}

static void work_as(unsigned vcpu, bool leads) {
  user_init(&workers[vcpu].user);
  for (unsigned next = 0; next < frames; next++) {
    if (leads) begin(next, next % surfaces);
    meet();
    all_rows(vcpu, draw);
    all_rows(vcpu, turn);
    meet();
    compare(vcpu, leads);
  }
  // Surfaces that were not in the window, and frames that were drawn long ago.
  for (unsigned next = 0; next < surfaces; next++) {
    if (leads) begin(last_frame(next), next);
    meet();
    compare(vcpu, leads);
  }
}

static void work(unsigned vcpu) { work_as(vcpu, false); }

// ---- The rest

// The surface in the window, in characters.
static void print_picture(void) {
  enum { COLUMNS = 64, LINES = 24 };
  static const char shades[] = " .:-=+*#%@";
  unsigned lines = rows < LINES ? rows : LINES;
  for (unsigned line = 0; line < lines; line++) {
    for (unsigned column = 0; column < COLUMNS; column++) {
      unsigned value = pixels[line * rows / lines * WIDTH + column * WIDTH / COLUMNS] >> 24;
      put(shades[value * (sizeof shades - 1) >> 8]);
    }
    put('\n');
  }
}

int main(void) {
  port = (uint16_t)number_option("port", 0x510);
  if (device(ID) != DEVICE_ID) fail("window: no framebuffer at port 0x%x", port);
  uint64_t address = (uint64_t)device(WINDOW) * PAGE, size = (uint64_t)device(PAGES) * PAGE;
  surfaces = (unsigned)number_option("surfaces", device(SURFACES));
  frames = (unsigned)number_option("frames", 24);
  count = vcpu_count();
  rows = (unsigned)(size / (WIDTH * sizeof *pixels));
  if (count > MOST_VCPUS) fail("window: at most %u vCPUs", MOST_VCPUS);
  if (surfaces == 0 || surfaces > device(SURFACES)) fail("window: the device has %u surfaces", device(SURFACES));
  if (frames < surfaces) fail("window: less frames than surfaces");
  pixels = (volatile uint32_t *)user_map(address, size);
  if (!pixels) fail("window: the window must not cross a boundary of 1 GiB");
  for (unsigned vcpu = 0; vcpu < count; vcpu++) {
    workers[vcpu].first = vcpu * WIDTH / count;
    workers[vcpu].end = (vcpu + 1) * WIDTH / count;
  }
  print("window: %u x %u pixels at 0x%lx, drawn by %u vCPU%s\n", WIDTH, rows, address, count, count == 1 ? "" : "s");
  interrupt_gate(MEETING_VECTOR, on_meeting);
  uint32_t moves = device(MIGRATE);
  work_as(start_all_vcpus(work), true);
  if (option("picture")) print_picture();
  if (option("moves")) print("window: %u pages have changed places\n", device(MIGRATE) - moves);
  print("window: %u frames on %u surfaces, every pixel right\n", frames, surfaces);
  return 0;
}
