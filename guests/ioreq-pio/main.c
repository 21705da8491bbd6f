// Ports of a device model that behave as memory: an access gives what the same access to memory gives.
//
// An access that leaves the range is nobody's, as a whole: it reads as ones, and what is written is lost.
#include "guest.h"

enum { LEAST = 4, MOST = 256, BESIDE = 4, ELEMENTS = 3, LONGEST = 3000 };

static uint16_t first;
static int count;
static uint8_t copy[MOST], string[LONGEST], answer[LONGEST];
static unsigned accesses;

static uint16_t port_at(int offset) { return (uint16_t)(first + offset); }

static bool is_inside(int offset, unsigned width) { return offset >= 0 && offset + (int)width <= count; }

static uint32_t on_copy_read(int offset, unsigned width) {
  uint32_t value = (uint32_t)low_bytes(UINT32_MAX, width);
  if (is_inside(offset, width)) memcpy(&value, copy + offset, width);
  return value;
}

static void on_copy_write(int offset, unsigned width, uint32_t value) {
  if (is_inside(offset, width)) memcpy(copy + offset, &value, width);
}

static void expect(const char *what, unsigned width, uint16_t port, uint32_t found, uint32_t expected) {
  accesses++;
  if (found == expected) return;
  fail("ioreq-pio: %s of %u bytes at port 0x%x gives 0x%x, not 0x%x", what, width, port, found, expected);
}

// Whether each port holds what the copy does; `what` was the last access.
static void compare(const char *what, unsigned width, int offset) {
  for (int at = 0; at < count; at++) {
    uint8_t found = in8(port_at(at));
    if (found == copy[at]) continue;
    fail("ioreq-pio: %s of %u bytes to port 0x%x leaves 0x%02x at port 0x%x, not 0x%02x", what, width,
         port_at(offset), found, port_at(at), copy[at]);
  }
}

static void rep_out(uint16_t port, unsigned width, const void *from, uint64_t elements) {
  switch (width) {
    case 1: asm volatile("rep outsb" : "+S"(from), "+c"(elements) : "d"(port) : "memory"); break;
    case 2: asm volatile("rep outsw" : "+S"(from), "+c"(elements) : "d"(port) : "memory"); break;
    default: asm volatile("rep outsl" : "+S"(from), "+c"(elements) : "d"(port) : "memory");
  }
}

static void rep_in(uint16_t port, unsigned width, void *to, uint64_t elements) {
  switch (width) {
    case 1: asm volatile("rep insb" : "+D"(to), "+c"(elements) : "d"(port) : "memory"); break;
    case 2: asm volatile("rep insw" : "+D"(to), "+c"(elements) : "d"(port) : "memory"); break;
    default: asm volatile("rep insl" : "+D"(to), "+c"(elements) : "d"(port) : "memory");
  }
}

static void single(unsigned width, int offset) {
  uint32_t value = (uint32_t)pseudo_random();
  port_write(port_at(offset), width, value);
  on_copy_write(offset, width, value);
  expect("in", width, port_at(offset), port_read(port_at(offset), width), on_copy_read(offset, width));
  compare("out", width, offset);
}

// At ports that are memory the last element stays, and each element that is read is the same.
static void repeated(unsigned width, int offset) {
  uint32_t values[ELEMENTS];
  for (unsigned i = 0; i < ELEMENTS; i++) values[i] = (uint32_t)pseudo_random();
  uint8_t *bytes = (uint8_t *)values;
  rep_out(port_at(offset), width, bytes, ELEMENTS);
  for (unsigned i = 0; i < ELEMENTS; i++) {
    uint32_t value = 0;
    memcpy(&value, bytes + i * width, width);
    on_copy_write(offset, width, value);
  }
  compare("rep outs", width, offset);
  memset(values, 0, sizeof values);
  rep_in(port_at(offset), width, bytes, ELEMENTS);
  for (unsigned i = 0; i < ELEMENTS; i++) {
    uint32_t value = 0;
    memcpy(&value, bytes + i * width, width);
    expect("rep ins", width, port_at(offset), value, on_copy_read(offset, width));
  }
}

// Through the queue: what went in by one width comes out by another, in the same order.
static void queue(uint16_t port, unsigned in_width, unsigned out_width, unsigned size) {
  memset(answer, 0, size);
  rep_out(port, in_width, string, size / in_width);
  rep_in(port, out_width, answer, size / out_width);
  accesses += size / in_width + size / out_width;
  for (unsigned i = 0; i < size; i++) {
    if (answer[i] == string[i]) continue;
    fail("ioreq-pio: %u bytes through the queue, in by %u and out by %u: byte %u is 0x%02x, not 0x%02x", size, in_width,
         out_width, i, answer[i], string[i]);
  }
}

int main(void) {
  uint64_t ports = number_option("count", 16), port = number_option("port", 0x600), fifo = number_option("queue", 0);
  if (ports < LEAST || ports > MOST) fail("ioreq-pio: the count must be from %u to %u", LEAST, MOST);
  if (port < BESIDE || port + ports + 2 * BESIDE > 0x10000) fail("ioreq-pio: port 0x%lx is too near to an end", port);
  count = (int)ports;
  first = (uint16_t)port;

  // The simplest first, so that a range where nobody answers is not taken for anything worse.
  for (int at = 0; at < count; at++) {
    copy[at] = (uint8_t)pseudo_random();
    out8(port_at(at), copy[at]);
    expect("in", 1, port_at(at), in8(port_at(at)), copy[at]);
  }
  print("ioreq-pio: %u ports from 0x%x\n", count, first);
  for (unsigned width = 1; width <= 4; width *= 2) {
    for (int offset = -BESIDE; offset < count + BESIDE; offset++) single(width, offset);
  }
  print("ioreq-pio: in and out\n");
  for (unsigned width = 1; width <= 4; width *= 2) {
    for (int offset = -BESIDE; offset < count + BESIDE; offset++) repeated(width, offset);
  }
  print("ioreq-pio: rep ins and rep outs\n");
  if (fifo) {
    for (unsigned i = 0; i < LONGEST; i++) string[i] = (uint8_t)pseudo_random();
    for (unsigned in = 1; in <= 4; in *= 2) {
      for (unsigned out = 1; out <= 4; out *= 2) {
        queue((uint16_t)fifo, in, out, 8);
        queue((uint16_t)fifo, in, out, LONGEST);
      }
    }
    print("ioreq-pio: strings through a queue at port 0x%lx\n", fifo);
  }
  print("ioreq-pio: %u accesses, all as to memory\n", accesses);
  return 0;
}
