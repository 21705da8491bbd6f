// A virtio console with several ports: prints a line on its console port, and echoes what comes on its named one, until
// it ends with a line "bye". On a console alone, which has no control messages, it prints and echoes there.
#include "virtio.h"

enum {
  MULTIPORT = 1,  // a feature, by the number of its bit

  DEVICE_READY = 0,  // events
  PORT_ADD = 1,
  PORT_READY = 3,
  CONSOLE_PORT = 4,
  PORT_OPEN = 6,
  PORT_NAME = 7,

  RECEIVE = 0,  // queues
  TRANSMIT = 1,
  CONTROL_RECEIVE = 2,
  CONTROL_TRANSMIT = 3,
  OTHERS = 4,

  MOST_PORTS = 2,
  QUEUES = OTHERS + 2 * (MOST_PORTS - 1),
  BUFFERS = 4,
  BUFFER_BYTES = 512,
  MAX_PORTS_AT = 4,
};

struct control {
  uint32_t id;
  uint16_t event, value;
};

// What a queue's buffers hold: control messages are smaller than a port's bytes.
struct buffer {
  uint8_t bytes[BUFFER_BYTES];
};

static struct virtio_device device;
static struct virtio_queue queues[QUEUES];
static struct buffer buffers[QUEUES][BUFFERS];
static int console_port = -1, named_port = -1;
static unsigned echoed;

static unsigned receive_queue(unsigned port) { return port == 0 ? RECEIVE : OTHERS + 2 * (port - 1); }

static void offer(unsigned queue, unsigned n) {
  struct virtio_buffer buffer = {buffers[queue][n].bytes, BUFFER_BYTES, true};
  uint16_t before = queues[queue].available.index;
  virtio_put(&queues[queue], n, &buffer, 1);
  virtio_notify(&device, &queues[queue], queue, before);
}

static void send(unsigned queue, const void *bytes, uint32_t length) {
  struct virtio_buffer buffer = {bytes, length, false};
  uint16_t before = queues[queue].available.index, head;
  uint32_t written;
  virtio_put(&queues[queue], 0, &buffer, 1);
  virtio_notify(&device, &queues[queue], queue, before);
  while (!virtio_take(&queues[queue], &head, &written)) pause();
}

static void tell(uint32_t port, uint16_t event, uint16_t value) {
  struct control control = {port, event, value};
  send(CONTROL_TRANSMIT, &control, sizeof control);
}

static void say(unsigned port, const char *text) {
  uint32_t length = 0;
  while (text[length]) length++;
  send(receive_queue(port) + 1, text, length);
}

// What the device says of its ports.
static void hear(const struct control *control, const uint8_t *name, uint32_t name_bytes) {
  uint32_t port = control->id;
  if (port >= MOST_PORTS) fail("virtio-console: there is no port %u", port);
  if (control->event == PORT_ADD) {
    tell(port, PORT_READY, 1);
  } else if (control->event == CONSOLE_PORT) {
    console_port = (int)port;
    tell(port, PORT_OPEN, 1);
    say(port, "virtio-console: this is the console port\n");
  } else if (control->event == PORT_NAME) {
    named_port = (int)port;
    print("virtio-console: port %u is named ", port);
    for (uint32_t i = 0; i < name_bytes; i++) put((char)name[i]);
    print("\n");
    tell(port, PORT_OPEN, 1);
  } else if (control->event == PORT_OPEN && (int)port == named_port) {
    print("virtio-console: somebody has %s\n", control->value ? "come" : "gone");
  }
}

static void listen(void) {
  uint16_t head;
  uint32_t written;
  while (virtio_take(&queues[CONTROL_RECEIVE], &head, &written)) {
    const uint8_t *bytes = buffers[CONTROL_RECEIVE][head].bytes;
    if (written < sizeof(struct control)) fail("virtio-console: a message of %u bytes", written);
    hear((const struct control *)bytes, bytes + sizeof(struct control), written - sizeof(struct control));
    offer(CONTROL_RECEIVE, head);
  }
}

// Whether all that has come so far ends with a line "bye".
static bool has_said_bye(const uint8_t *bytes, uint32_t length) {
  static uint8_t last[5] = {'\n', '\n', '\n', '\n', '\n'};
  for (uint32_t i = length > sizeof last ? length - sizeof last : 0; i < length; i++) {
    for (unsigned at = 0; at + 1 < sizeof last; at++) last[at] = last[at + 1];
    last[sizeof last - 1] = bytes[i];
  }
  return equal(last, "\nbye\n", sizeof last);
}

// Sends back what has come. False: that was all.
static bool echo(unsigned port) {
  unsigned queue = receive_queue(port);
  uint16_t head;
  uint32_t written;
  while (virtio_take(&queues[queue], &head, &written)) {
    const uint8_t *bytes = buffers[queue][head].bytes;
    send(queue + 1, bytes, written);
    echoed += written;
    if (has_said_bye(bytes, written)) return false;
    offer(queue, head);
  }
  return true;
}

int main(void) {
  if (!virtio_find(0, &device)) fail("virtio-console: the command line names no device");
  bool has_ports = virtio_offers(&device, MULTIPORT);
  unsigned ports = 1;
  if (has_ports) ports = *(volatile uint32_t *)((volatile uint8_t *)virtio_configuration(&device) + MAX_PORTS_AT);
  if (ports > MOST_PORTS) fail("virtio-console: %u ports are too many", ports);
  unsigned count = has_ports ? OTHERS + 2 * (ports - 1) : 2;
  virtio_begin(&device, VIRTIO_CONSOLE, 1ull << MULTIPORT | 1ull << VIRTIO_EVENT_INDEX, queues, count);
  for (unsigned n = 0; n < BUFFERS; n++) {
    for (unsigned port = 0; port < ports; port++) offer(receive_queue(port), n);
    if (has_ports) offer(CONTROL_RECEIVE, n);
  }
  if (has_ports) {
    tell(0, DEVICE_READY, 1);
  } else {
    console_port = named_port = 0;
    say(0, "virtio-console: this is the console\n");
  }
  for (;;) {
    if (has_ports) listen();
    if (named_port >= 0 && !echo((unsigned)named_port)) break;
    pause();
  }
  if (!(virtio_interrupts(&device) & 1)) fail("virtio-console: no interrupt for what came");
  if (console_port >= 0) say((unsigned)console_port, "virtio-console: the console port has heard bye\n");
  print("virtio-console: %u bytes echoed\n", echoed);
  return 0;
}
