// Xen's PV console: more output than its ring holds at once, then lines of input, which come back.
#include "guest.h"
#include "xen.h"

enum { INPUT_BYTES = 1024, OUTPUT_BYTES = 2048, LINE_BYTES = 256 };

// struct xencons_interface (Xen's public/io/console.h). The indices run free.
struct console_ring {
  volatile uint8_t input[INPUT_BYTES], output[OUTPUT_BYTES];
  volatile uint32_t input_consumer, input_producer, output_consumer, output_producer;
};

static struct console_ring *ring;
static struct shared_info *shared;
static uint32_t port;
static unsigned waits;

// Sleeps until the other end has sent an event since the last call. The caller looks at the ring before each.
static void wait_for_event(void) {
  if (xen_poll(&port, 1, 0) != 0) fail("pvconsole: SCHEDOP_poll fails");
  __atomic_and_fetch(&shared->pending[port / WORD_BITS], ~((word)1 << port % WORD_BITS), __ATOMIC_SEQ_CST);
}

// Nobody is told of it before the ring is full; flush() does.
static void write_bytes(const char *text, size_t size) {
  uint32_t producer = ring->output_producer;
  while (size > 0) {
    uint32_t room = OUTPUT_BYTES - (producer - ring->output_consumer);
    if (room > OUTPUT_BYTES) fail("pvconsole: more was taken than there was");
    if (room == 0) {
      waits++;
      event_send(port);
      wait_for_event();
      continue;
    }
    uint32_t at = producer % OUTPUT_BYTES, count = OUTPUT_BYTES - at;
    if (count > room) count = room;
    if (count > size) count = (uint32_t)size;
    memcpy((void *)(ring->output + at), text, count);
    ring->output_producer = producer += count;
    text += count;
    size -= count;
  }
}

static void flush(void) { event_send(port); }

static void write_text(const char *text) {
  write_bytes(text, length(text));
  flush();
}

static char read_byte(void) {
  uint32_t consumer = ring->input_consumer;
  while (ring->input_producer == consumer) wait_for_event();
  char byte = (char)ring->input[consumer % INPUT_BYTES];
  ring->input_consumer = consumer + 1;
  event_send(port);
  return byte;
}

// Without its newline, and with a zero at its end.
static size_t read_line(char *line) {
  size_t size = 0;
  for (;;) {
    char byte = read_byte();
    if (byte == '\n') break;
    if (size < LINE_BYTES - 1) line[size++] = byte;
  }
  line[size] = 0;
  return size;
}

// 64 bytes that tell which line it is, so that one that is lost or doubled is seen.
static void write_numbered_line(unsigned number) {
  char line[64];
  for (unsigned i = 0; i < 63; i++) line[i] = (char)('0' + (number + i) % 10);
  for (unsigned i = 0, rest = number; i < 5; i++, rest /= 10) line[4 - i] = (char)('0' + rest % 10);
  line[5] = ' ';
  line[63] = '\n';
  write_bytes(line, sizeof line);
}

int main(void) {
  unsigned lines = (unsigned)number_option("lines", 100);
  char line[LINE_BYTES];
  xen_init();
  shared = xen_map_shared_info();
  ring = (struct console_ring *)(hvm_param(HVM_PARAM_CONSOLE_PFN) << 12);
  port = (uint32_t)hvm_param(HVM_PARAM_CONSOLE_EVTCHN);
  write_text("pvconsole: by the ring\n");
  for (unsigned i = 0; i < lines; i++) write_numbered_line(i);
  flush();
  if (lines * 64 > 2 * OUTPUT_BYTES && waits == 0) fail("pvconsole: the ring was never full");
  for (;;) {
    write_text("> ");
    size_t size = read_line(line);
    if (is_word(line, "poweroff")) xen_shutdown(SHUTDOWN_POWEROFF);
    if (is_word(line, "reboot")) xen_shutdown(SHUTDOWN_REBOOT);
    if (is_word(line, "crash")) {
      write_text("pvconsole: told to crash\n");
      xen_shutdown(SHUTDOWN_CRASH);
    }
    const char *status = find_option(line, "quit");
    if (status != NULL) return (int)number(status);
    write_text("echo: ");
    write_bytes(line, size);
    write_text("\n");
  }
}
