// A window of a device model that behaves as memory: an access to it gives what the same access to memory gives.
//
// Every operation is done twice, in the window and on a copy of it in RAM. What an access touches outside the window
// is nobody's: it reads as ones, and what is written there is lost.
#include "guest.h"

enum { PAGE = 4096, WIDEST = 8, LEAST = 0x1010, MOST = 0x10000, ELEMENTS = 5 };

static uint64_t window, size;
static uint8_t copy[MOST];
static unsigned accesses;

static bool is_inside(int64_t offset, unsigned count) { return offset >= 0 && (uint64_t)offset + count <= size; }

// ---- Operations: one function for each of the widths of 1, 2, 4 and 8 bytes, which differ in the register's size

typedef uint64_t operation_function(void *at, uint64_t value);

struct operation {
  const char *name;
  operation_function *of_width[4];
};

// %0 is rax and the result, %1 the memory, %2 another register; both registers hold `value` before.
#define DEFINE(name, type, instructions)                                                                \
  static uint64_t name##_##type(void *at, uint64_t value) {                                             \
    type result = (type)value;                                                                          \
    asm volatile(instructions : "+a"(result), "+m"(*(type *)at) : "r"((type)value) : "cc", "memory");   \
    return result;                                                                                      \
  }
#define OPERATION(name, instructions)       \
  DEFINE(name, uint8_t, instructions)       \
  DEFINE(name, uint16_t, instructions)      \
  DEFINE(name, uint32_t, instructions)      \
  DEFINE(name, uint64_t, instructions)      \
  static const struct operation name = {#name, {name##_uint8_t, name##_uint16_t, name##_uint32_t, name##_uint64_t}};

OPERATION(read, "mov %1, %0")
OPERATION(write, "mov %2, %1")
OPERATION(add, "add %2, %1")
OPERATION(xchg, "xchg %0, %1")
OPERATION(xadd, "lock xadd %0, %1")
OPERATION(cmpxchg, "mov %1, %0\n\tlock cmpxchg %2, %1")  // compares with what it just read, so it does exchange

static const struct operation *const all[] = {&read, &write, &add, &xchg, &xadd, &cmpxchg};

// The same on the copy, in the manner of Xen: an access is cut at page boundaries and then into powers of two, and each
// piece goes to the device model if the whole of it lies in the window.
static uint64_t on_copy(const struct operation *operation, unsigned log, int64_t offset, uint64_t value) {
  uint8_t bytes[WIDEST];
  bool inside[WIDEST];
  unsigned width = 1 << log;
  for (unsigned at = 0, piece; at < width; at += piece) {
    unsigned room = PAGE - (window + (uint64_t)offset + at) % PAGE;
    for (piece = WIDEST; piece > width - at || piece > room;) piece /= 2;
    for (unsigned i = at; i < at + piece; i++) {
      inside[i] = is_inside(offset + at, piece);
      bytes[i] = inside[i] ? copy[offset + i] : 0xff;
    }
  }
  uint64_t result = operation->of_width[log](bytes, value);
  for (unsigned i = 0; i < width; i++) {
    if (inside[i]) copy[offset + i] = bytes[i];
  }
  accesses++;
  return result;
}

// ---- Comparing

static void expect(const char *what, unsigned log, int64_t offset, uint64_t found, uint64_t expected) {
  if (found == expected) return;
  uint64_t address = window + (uint64_t)offset;
  fail("ioreq-mmio: %s of %u bytes at 0x%lx gives 0x%lx, not 0x%lx", what, 1u << log, address, found, expected);
}

// Whether the window holds from `start` to `end` what the copy does; `what` was the last operation there.
static void compare(const char *what, unsigned log, int64_t offset, int64_t start, int64_t end) {
  for (int64_t at = start; at < end; at++) {
    if (is_inside(at, 8) && at % 8 == 0) {
      uint64_t found = *(volatile uint64_t *)(window + (uint64_t)at);
      if (found == *(uint64_t *)(copy + at)) {
        at += 7;
        continue;
      }
    }
    if (!is_inside(at, 1)) continue;
    uint8_t found = *(volatile uint8_t *)(window + (uint64_t)at);
    if (found == copy[at]) continue;
    fail("ioreq-mmio: %s of %u bytes at 0x%lx leaves 0x%02x at 0x%lx, not 0x%02x", what, 1u << log,
         window + (uint64_t)offset, found, window + (uint64_t)at, copy[at]);
  }
}

static void try(const struct operation *operation, unsigned log, int64_t offset) {
  uint64_t value = pseudo_random();
  uint64_t found = operation->of_width[log]((void *)(window + (uint64_t)offset), value);
  expect(operation->name, log, offset, found, on_copy(operation, log, offset, value));
  if (operation != &read) compare(operation->name, log, offset, (offset & -8) - 8, (offset & -8) + 24);
}

// All operations of all widths at the offsets from `first` to `last`.
static void try_all(int64_t first, int64_t last) {
  for (unsigned log = 0; log < 4; log++) {
    for (int64_t offset = first; offset <= last; offset++) {
      for (unsigned i = 0; i < sizeof all / sizeof *all; i++) try(all[i], log, offset);
    }
  }
}

// ---- Strings

#define REPEAT(log, instruction, operands, ...)                                      \
  do {                                                                               \
    switch (log) {                                                                   \
      case 0: asm volatile("rep " instruction "b" : operands __VA_ARGS__); break;    \
      case 1: asm volatile("rep " instruction "w" : operands __VA_ARGS__); break;    \
      case 2: asm volatile("rep " instruction "l" : operands __VA_ARGS__); break;    \
      default: asm volatile("rep " instruction "q" : operands __VA_ARGS__);          \
    }                                                                                \
  } while (0)
#define OPERANDS(...) __VA_ARGS__

static void rep_stos(unsigned log, void *to, uint64_t value, uint64_t count) {
  REPEAT(log, "stos", OPERANDS("+D"(to), "+c"(count)), : "a"(value) : "memory");
}

static void rep_movs(unsigned log, void *to, const void *from, uint64_t count) {
  REPEAT(log, "movs", OPERANDS("+D"(to), "+S"(from), "+c"(count)), : : "memory");
}

static void strings(unsigned log, int64_t offset) {
  unsigned width = 1 << log;
  uint8_t *at = (uint8_t *)(window + (uint64_t)offset), bytes[ELEMENTS * WIDEST];
  int64_t end = offset + ELEMENTS * width;

  uint64_t value = pseudo_random();
  rep_stos(log, at, value, ELEMENTS);
  for (int64_t element = offset; element < end; element += width) on_copy(&write, log, element, value);
  compare("rep stos", log, offset, offset - 8, end + 8);

  for (unsigned i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)pseudo_random();
  rep_movs(log, at, bytes, ELEMENTS);
  for (int64_t element = offset; element < end; element += width) {
    memcpy(&value, bytes + (element - offset), width);
    on_copy(&write, log, element, value);
  }
  compare("rep movs to the window", log, offset, offset - 8, end + 8);

  memset(bytes, 0, sizeof bytes);
  rep_movs(log, bytes, at, ELEMENTS);
  for (int64_t element = offset; element < end; element += width) {
    value = 0;
    memcpy(&value, bytes + (element - offset), width);
    expect("rep movs from the window", log, element, value, on_copy(&read, log, element, 0));
  }

  int64_t source = 16 + width / 2;
  rep_movs(log, at, (void *)(window + (uint64_t)source), ELEMENTS);
  for (unsigned i = 0; i < ELEMENTS; i++) {
    on_copy(&write, log, offset + i * width, on_copy(&read, log, source + i * width, 0));
  }
  compare("rep movs within the window", log, offset, offset - 8, end + 8);
}

int main(void) {
  window = number_option("address", 0xfd000000);
  size = number_option("size", 0x2000);
  if (size < LEAST || size > MOST) fail("ioreq-mmio: the window's size must be from 0x%x to 0x%x", LEAST, MOST);
  int64_t end = (int64_t)size, boundary = PAGE - (int64_t)(window % PAGE);

  // The simplest first, so that a window where nobody answers is not taken for anything worse.
  try(&write, 0, 0);
  try(&read, 0, 0);
  for (uint64_t offset = 0; offset + 8 <= size; offset += 8) *(uint64_t *)(copy + offset) = pseudo_random();
  rep_movs(0, (void *)window, copy, 8);
  rep_movs(3, (void *)(window + 8), copy + 8, size / 8 - 1);
  rep_stos(0, (void *)(window + size / 8 * 8), 0, size % 8);
  compare("rep movs", 3, 0, 0, end);
  print("ioreq-mmio: %lu bytes at 0x%lx\n", size, window);

  try_all(0, 7);
  print("ioreq-mmio: every alignment\n");
  try_all(boundary - 7, boundary);
  print("ioreq-mmio: across a page boundary\n");
  try_all(-8, -1);
  try_all(end - 7, end);
  print("ioreq-mmio: across both ends\n");
  for (unsigned log = 0; log < 4; log++) {
    int64_t width = 1 << log;
    strings(log, 64 + width / 2);
    strings(log, boundary - 2 * width - width / 2);
    strings(log, end - 2 * width - width / 2);
  }
  compare("some access", 0, 0, 0, end);
  print("ioreq-mmio: strings\nioreq-mmio: %u accesses, all as to memory\n", accesses);
  return 0;
}
