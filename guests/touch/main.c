// Touches the pages of a window one after another, for ever: what a violation or a revocation costs, others measure.
#include "guest.h"
#include "user.h"

enum { PAGE = 4096, ALL_FLAGS_CLEAR = 2 };

static uint8_t *pages;
static uint64_t size, stride, dwell;
static bool reads;

static void touch(uint64_t offset) {
  volatile uint64_t *at = (volatile uint64_t *)(pages + offset);
  if (reads) (void)*at;
  else *at += 1;
}

static void touch_all(uint64_t passes) {
  for (; passes; passes--) {
    for (uint64_t offset = 0; offset < size; offset += stride) touch(offset);
    for (uint64_t left = dwell; left; left--) touch(size - stride);
  }
}

void user_invalid_instruction(uint64_t at) { fail("touch: an invalid instruction at 0x%lx", at); }

int main(void) {
  static struct user_context user;
  uint64_t address = number_option("address", 0xfd000000), count = number_option("count", 1000);
  uint64_t batch = number_option("batch", 1);
  uint16_t port = (uint16_t)number_option("port", 0x510);
  unsigned level = (unsigned)number_option("cpl", 0);
  size = number_option("size", 0x10000);
  stride = number_option("stride", PAGE);
  dwell = number_option("dwell", 0);
  const char *op = option("op");
  reads = op && is_word(op, "read");
  if (op && !reads && !is_word(op, "write")) fail("touch: op must be read or write");
  if (!size || !stride || !batch || size % stride || stride % PAGE) fail("touch: the window must be pages");
  if (level != 0 && level != 3) fail("touch: cpl must be 0 or 3");
  pages = user_map(address, size);
  if (!pages) fail("touch: the window must not cross a boundary of 1 GiB");
  if (level == 3) user_init(&user);
  print("touch: %lu pages at 0x%lx, %lu times\n", size / stride, address, count);
  for (uint64_t pass = 0; pass < count; pass += batch) {
    out32(port, (uint32_t)pass);
    if (level == 3) user_call(touch_all, batch, &user, ALL_FLAGS_CLEAR);
    else touch_all(batch);
  }
  print("touch: %lu passes done\n", count);
  return 0;
}
