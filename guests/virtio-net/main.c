// A virtio network device: pings a peer, answers one, or asks a network for an address and talks to its host.
#include "net.h"

enum { MOST_MESSAGE = 4000, ECHO_PORT = 7000 };

static void print_address(const char *what, uint32_t address) {
  print("%s %u.%u.%u.%u", what, address & 0xff, address >> 8 & 0xff, address >> 16 & 0xff, address >> 24);
}

static uint32_t address_option(const char *name) {
  const char *text = option(name);
  if (!text) fail("virtio-net: the command line has no %s=", name);
  return parse_address(text);
}

static void send_datagram(uint32_t to, uint16_t from, uint16_t port, uint32_t size) {
  outgoing->udp.from = swap16(from);
  outgoing->udp.to = swap16(port);
  outgoing->udp.length = swap16((uint16_t)(8 + size));
  outgoing->udp.sum = 0;
  net_send(to, UDP, 8 + size);
}

static void send_echo(uint32_t peer, uint16_t sequence, uint32_t size) {
  outgoing->icmp.type = ECHO_REQUEST;
  outgoing->icmp.code = 0;
  outgoing->icmp.sum = 0;
  outgoing->icmp.id = swap16(0x786e);
  outgoing->icmp.sequence = swap16(sequence);
  fill(outgoing->icmp.data, size, sequence);
  outgoing->icmp.sum = checksum(outgoing->payload, 8 + size, 0);
  net_send(peer, ICMP, 8 + size);
}

static void check_echo(const struct packet *packet, uint16_t sequence, uint32_t size) {
  static uint8_t expected[MOST_PAYLOAD];
  fill(expected, size, sequence);
  if (payload_size(packet) != 8 + size) fail("virtio-net: an echo of %u bytes, not %u", payload_size(packet), 8 + size);
  if (checksum(packet->payload, 8 + size, 0)) fail("virtio-net: an echo with a wrong checksum");
  if (!equal(packet->icmp.data, expected, size)) fail("virtio-net: an echo of other bytes");
}

// Each size in turn, then tells the other that it is over.
static int ping(void) {
  static const uint32_t sizes[] = {56, 0, 1, 1472};
  uint32_t peer = address_option("peer"), count = (uint32_t)number_option("count", 8);
  net_resolve(peer);
  for (uint32_t n = 1; n <= count; n++) {
    uint32_t size = sizes[n % 4];
    send_echo(peer, (uint16_t)n, size);
    for (;;) {
      struct packet *packet = net_receive(PATIENCE);
      if (!packet) fail("virtio-net: no answer to echo request %u", n);
      if (packet->protocol != ICMP || packet->icmp.type != ECHO_REPLY || packet->icmp.sequence != swap16((uint16_t)n)) continue;
      check_echo(packet, (uint16_t)n, size);
      break;
    }
  }
  send_datagram(peer, PORT_DISCARD, PORT_DISCARD, 0);
  print("virtio-net: %u echoes\n", count);
  return 0;
}

static int answer(void) {
  for (unsigned count = 0;;) {
    struct packet *packet = net_receive(PATIENCE);
    if (!packet) fail("virtio-net: nobody asks any more, after %u echoes", count);
    if (packet->protocol == UDP && packet->udp.to == swap16(PORT_DISCARD)) {
      print("virtio-net: answered %u\n", count);
      return 0;
    }
    if (packet->protocol != ICMP || packet->icmp.type != ECHO_REQUEST) continue;
    uint32_t size = payload_size(packet);
    memcpy(outgoing->payload, packet->payload, size);
    outgoing->icmp.type = ECHO_REPLY;
    outgoing->icmp.sum = 0;
    outgoing->icmp.sum = checksum(outgoing->payload, size, 0);
    net_send(packet->source, ICMP, size);
    count++;
  }
}

static void ask_by_udp(uint32_t host, uint16_t port) {
  static uint8_t expected[1000];
  fill(expected, sizeof expected, port);
  memcpy(outgoing->udp.data, expected, sizeof expected);
  send_datagram(host, ECHO_PORT, port, sizeof expected);
  for (;;) {
    struct packet *packet = net_receive(PATIENCE);
    if (!packet) fail("virtio-net: no datagram from the host");
    if (packet->protocol != UDP || packet->udp.to != swap16(ECHO_PORT)) continue;
    bool same = payload_size(packet) == 8 + sizeof expected && equal(packet->udp.data, expected, sizeof expected);
    if (!same || packet->udp.from != swap16(port)) fail("virtio-net: another datagram than was sent");
    print("virtio-net: a datagram of %u bytes came back\n", (unsigned)sizeof expected);
    return;
  }
}

static void ask_by_tcp(uint32_t host, uint16_t port) {
  static uint8_t expected[MOST_MESSAGE], found[MOST_MESSAGE + MOST_PAYLOAD];
  fill(expected, sizeof expected, port);
  tcp_connect(host, port);
  tcp_send(expected, sizeof expected);
  uint32_t done = 0;
  while (done < sizeof expected) {
    uint32_t size = tcp_receive(found + done);
    if (!size) fail("virtio-net: the host ends the connection after %u bytes", done);
    done += size;
  }
  if (done != sizeof expected || !equal(found, expected, done)) fail("virtio-net: other bytes than were sent");
  tcp_close();
  print("virtio-net: %u bytes came back\n", done);
}

static void answer_by_tcp(uint16_t port) {
  static uint8_t bytes[MOST_PAYLOAD];
  print("virtio-net: listening\n");
  tcp_accept(port);
  uint32_t total = 0, size;
  while ((size = tcp_receive(bytes))) {
    tcp_send(bytes, size);
    total += size;
  }
  tcp_close();
  print("virtio-net: %u bytes given back\n", total);
}

static int dhcp(void) {
  own_address = 0;
  struct lease lease = dhcp_ask();
  own_address = lease.address;
  print_address("virtio-net: address", lease.address);
  print_address(", router", lease.router);
  print_address(", name server", lease.name_server);
  print("\n");
  net_resolve(lease.router);
  if (option("udp")) ask_by_udp(lease.router, (uint16_t)number_option("udp", 0));
  if (option("tcp")) ask_by_tcp(lease.router, (uint16_t)number_option("tcp", 0));
  if (option("listen")) answer_by_tcp((uint16_t)number_option("listen", 0));
  return 0;
}

int main(void) {
  const char *role = option("role");
  if (!role) fail("virtio-net: the command line has no role=");
  net_begin((unsigned)number_option("net", 0));
  if (is_word(role, "dhcp")) return dhcp();
  own_address = address_option("ip");
  if (is_word(role, "ping")) return ping();
  if (is_word(role, "answer")) return answer();
  fail("virtio-net: there is no such role");
}
