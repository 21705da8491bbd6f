#include "net.h"

enum {
  NET_VECTOR = 0x31,
  RECEIVE = 0,
  TRANSMIT = 1,
  BUFFERS = 16,
  PER_BUFFER = 2,  // descriptors
  LEGACY_HEADER = 10,
  HEADER = 12,
  MOST_FRAME = 1514,
  LEAST_FRAME = 14,
  RETRY_TICKS = TICK_HZ / 4,
  IP_HEADER = 20,
};

enum { NET_MAC = 5, NET_STATUS = 16, NET_MTU = 3, LINK_UP = 1, TYPE_IP = 0x0800, TYPE_ARP = 0x0806 };

struct __attribute__((packed)) arp {
  uint8_t to[6], from[6];
  uint16_t type;
  uint16_t hardware, protocol;
  uint8_t hardware_size, protocol_size;
  uint16_t operation;
  uint8_t sender[6];
  uint32_t sender_address;
  uint8_t target[6];
  uint32_t target_address;
};

static struct virtio_device device;
static struct virtio_queue queues[2];
static uint8_t peer_mac[6];
static uint32_t header_size;
static struct {
  uint8_t header[HEADER];
  uint8_t frame[MOST_FRAME] __attribute__((aligned(2)));
} received[BUFFERS], sent;
static int held = -1;  // the buffer that the caller looks at

uint8_t own_mac[6];
uint32_t own_address;
struct packet *const outgoing = (struct packet *)sent.frame;

__attribute__((interrupt)) static void on_device(struct interrupt_frame *frame) {
  (void)frame;
  virtio_interrupts(&device);
  local_apic_eoi();
}

static void offer(unsigned n) {
  struct virtio_buffer buffers[] = {{received[n].header, header_size, true}, {received[n].frame, MOST_FRAME, true}};
  uint16_t before = queues[RECEIVE].available.index;
  virtio_put(&queues[RECEIVE], n * PER_BUFFER, buffers, PER_BUFFER);
  virtio_notify(&device, &queues[RECEIVE], RECEIVE, before);
}

void net_begin(unsigned n) {
  if (!virtio_find(n, &device)) fail("virtio-net: the command line names no such device");
  virtio_begin(&device, VIRTIO_NET, 1ull << NET_MAC | 1ull << NET_STATUS | 1ull << NET_MTU, queues, 2);
  header_size = device.legacy ? LEGACY_HEADER : HEADER;
  volatile uint8_t *configuration = virtio_configuration(&device);
  for (unsigned i = 0; i < 6; i++) own_mac[i] = configuration[i];
  if (!(*(volatile uint16_t *)(configuration + 6) & LINK_UP)) fail("virtio-net: the link is down");
  bool has_mtu = device.features & 1ull << NET_MTU;
  if (has_mtu && *(volatile uint16_t *)(configuration + 10) != 1500) fail("virtio-net: the MTU is not 1500");
  ticks_start();
  interrupt_gate(NET_VECTOR, on_device);
  route_isa_interrupt((uint8_t)device.irq, NET_VECTOR);
  for (unsigned i = 0; i < BUFFERS; i++) offer(i);
}

static void transmit(uint32_t size) {
  struct virtio_buffer buffers[] = {{sent.header, header_size, false}, {sent.frame, size, false}};
  struct virtio_queue *queue = &queues[TRANSMIT];
  uint16_t before = queue->available.index, head;
  uint32_t written;
  virtio_put(queue, 0, buffers, PER_BUFFER);
  virtio_notify(&device, queue, TRANSMIT, before);
  while (!virtio_take(queue, &head, &written)) pause();
  if (head || written) fail("virtio-net: request %u came back with %u bytes", head, written);
}

uint16_t checksum(const void *bytes, uint32_t size, uint32_t sum) {
  const uint16_t *words = bytes;
  for (uint32_t i = 0; i < size / 2; i++) sum += words[i];
  if (size % 2) sum += ((const uint8_t *)bytes)[size - 1];
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return (uint16_t)~sum;
}

void net_send(uint32_t to, uint8_t protocol, uint32_t size) {
  struct packet *packet = outgoing;
  if (to == BROADCAST) memset(packet->to, 0xff, 6);
  else memcpy(packet->to, peer_mac, 6);
  memcpy(packet->from, own_mac, 6);
  packet->type = swap16(TYPE_IP);
  packet->version = 0x45;
  packet->service = 0;
  packet->length = swap16((uint16_t)(IP_HEADER + size));
  packet->id = packet->fragment = 0;
  packet->ttl = 64;
  packet->protocol = protocol;
  packet->sum = 0;
  packet->source = own_address;
  packet->destination = to;
  packet->sum = checksum(&packet->version, IP_HEADER, 0);
  transmit(LEAST_FRAME + IP_HEADER + size);
}

static void send_arp(uint16_t operation, const uint8_t *to, uint32_t address) {
  struct arp *arp = (struct arp *)sent.frame;
  memcpy(arp->to, to, 6);
  memcpy(arp->from, own_mac, 6);
  arp->type = swap16(TYPE_ARP);
  arp->hardware = swap16(1);
  arp->protocol = swap16(TYPE_IP);
  arp->hardware_size = 6;
  arp->protocol_size = 4;
  arp->operation = swap16(operation);
  memcpy(arp->sender, own_mac, 6);
  arp->sender_address = own_address;
  memcpy(arp->target, to, 6);
  arp->target_address = address;
  transmit(sizeof *arp);
}

// Whoever asks is whom this guest talks to.
static void on_arp(const struct arp *arp) {
  if (!own_address || arp->target_address != own_address) return;
  memcpy(peer_mac, arp->sender, 6);
  if (arp->operation == swap16(1)) send_arp(2, arp->sender, arp->sender_address);
}

uint32_t payload_size(const struct packet *packet) { return swap16(packet->length) - IP_HEADER; }

static bool is_ours(const struct packet *packet, uint32_t size) {
  if (packet->type != swap16(TYPE_IP) || packet->version != 0x45 || size < LEAST_FRAME + IP_HEADER) return false;
  if (own_address && packet->destination != own_address) return false;
  if (swap16(packet->length) < IP_HEADER || swap16(packet->length) > size - LEAST_FRAME) return false;
  if (checksum(&packet->version, IP_HEADER, 0)) fail("virtio-net: a packet with a wrong checksum");
  return true;
}

// One frame, if one is there: a packet for this guest, or null.
static struct packet *take(bool *any) {
  uint16_t head;
  uint32_t written;
  if (held >= 0) offer((unsigned)held);
  held = -1;
  *any = virtio_take(&queues[RECEIVE], &head, &written);
  if (!*any) return NULL;
  if (head % PER_BUFFER || head / PER_BUFFER >= BUFFERS) fail("virtio-net: request %u came back", head);
  held = head / PER_BUFFER;
  if (written < header_size + LEAST_FRAME) fail("virtio-net: a frame of %u bytes with its header", written);
  uint8_t *header = received[held].header;
  if (header[0] || header[1]) fail("virtio-net: a header of flags 0x%x, type 0x%x", header[0], header[1]);
  if (!device.legacy && (header[10] != 1 || header[11])) fail("virtio-net: %u buffers for a frame", header[10]);
  struct packet *packet = (struct packet *)received[held].frame;
  if (packet->type == swap16(TYPE_ARP)) on_arp((const struct arp *)packet);
  return is_ours(packet, written - header_size) ? packet : NULL;
}

struct packet *net_receive(unsigned most_ticks) {
  for (unsigned start = ticks; ticks - start <= most_ticks;) {
    bool any;
    struct packet *packet = take(&any);
    if (packet) return packet;
    if (!any) wait_for_interrupt();
  }
  return NULL;
}

void net_resolve(uint32_t address) {
  static const uint8_t all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
  memset(peer_mac, 0, 6);
  for (unsigned start = ticks; ticks - start <= PATIENCE;) {
    send_arp(1, all, address);
    for (unsigned asked = ticks; ticks - asked <= RETRY_TICKS;) {
      bool any;
      take(&any);
      if (!equal(peer_mac, "\0\0\0\0\0\0", 6)) return;
      if (!any) wait_for_interrupt();
    }
  }
  fail("virtio-net: nobody has the address that was asked for");
}

uint32_t parse_address(const char *text) {
  uint32_t address = 0;
  for (unsigned byte = 0; byte < 4; byte++) {
    address |= (uint32_t)number(text) << 8 * byte;
    while (*text >= '0' && *text <= '9') text++;
    if (*text == '.') text++;
  }
  return address;
}

void fill(uint8_t *bytes, uint32_t size, uint32_t seed) {
  for (uint32_t i = 0; i < size; i++) bytes[i] = (uint8_t)(seed += 37);
}
