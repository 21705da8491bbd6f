#include "net.h"

enum { FIN = 1, SYN = 2, RST = 4, PUSH = 8, ACK = 16, HEADER = 20, WINDOW = 8192, MOST_SEGMENT = 1000 };

static struct {
  uint32_t peer, next, expected;  // numbers of the next byte in both directions
  uint16_t port, peer_port;
  bool ended;  // the other end sends no more
} connection;

static void send_segment(uint8_t flags, const uint8_t *bytes, uint32_t size) {
  struct packet *packet = outgoing;
  packet->tcp.from = connection.port;
  packet->tcp.to = connection.peer_port;
  packet->tcp.sequence = swap32(connection.next);
  packet->tcp.acknowledged = flags & ACK ? swap32(connection.expected) : 0;
  packet->tcp.header = HEADER / 4 << 4;
  packet->tcp.flags = flags;
  packet->tcp.window = swap16(WINDOW);
  packet->tcp.sum = packet->tcp.urgent = 0;
  memcpy(packet->tcp.data, bytes, size);
  uint32_t pseudo[3] = {own_address, connection.peer, (uint32_t)swap16((uint16_t)(HEADER + size)) << 16 | TCP << 8};
  packet->tcp.sum = checksum(packet->payload, HEADER + size, (uint16_t)~checksum(pseudo, sizeof pseudo, 0));
  net_send(connection.peer, TCP, HEADER + size);
  connection.next += size + !!(flags & (SYN | FIN));
}

// The next segment in order; what is repeated is acknowledged again.
static struct packet *await(void) {
  for (;;) {
    struct packet *packet = net_receive(PATIENCE);
    if (!packet) fail("virtio-net: no TCP segment");
    if (packet->protocol != TCP || packet->tcp.to != connection.port) continue;
    if (connection.peer_port && packet->tcp.from != connection.peer_port) continue;
    if (packet->tcp.flags & RST) fail("virtio-net: the connection is refused");
    if (packet->tcp.flags & SYN || swap32(packet->tcp.sequence) == connection.expected) return packet;
    send_segment(ACK, NULL, 0);
  }
}

void tcp_connect(uint32_t address, uint16_t port) {
  memset(&connection, 0, sizeof connection);
  connection.peer = address;
  connection.port = swap16(49152);
  connection.peer_port = swap16(port);
  connection.next = 1000;
  send_segment(SYN, NULL, 0);
  const struct packet *packet = await();
  if ((packet->tcp.flags & (SYN | ACK)) != (SYN | ACK)) fail("virtio-net: TCP flags 0x%x", packet->tcp.flags);
  connection.expected = swap32(packet->tcp.sequence) + 1;
  send_segment(ACK, NULL, 0);
}

void tcp_accept(uint16_t port) {
  memset(&connection, 0, sizeof connection);
  connection.port = swap16(port);
  const struct packet *packet = await();
  if (!(packet->tcp.flags & SYN)) fail("virtio-net: TCP flags 0x%x", packet->tcp.flags);
  connection.peer = packet->source;
  connection.peer_port = packet->tcp.from;
  connection.next = 2000;
  connection.expected = swap32(packet->tcp.sequence) + 1;
  send_segment(SYN | ACK, NULL, 0);
}

void tcp_send(const uint8_t *bytes, uint32_t size) {
  for (uint32_t done = 0; done < size; done += MOST_SEGMENT) {
    send_segment(ACK | PUSH, bytes + done, size - done < MOST_SEGMENT ? size - done : MOST_SEGMENT);
  }
}

uint32_t tcp_receive(uint8_t *bytes) {
  while (!connection.ended) {
    const struct packet *packet = await();
    uint32_t header = (uint32_t)(packet->tcp.header >> 4) * 4, size = payload_size(packet) - header;
    memcpy(bytes, packet->payload + header, size);
    connection.ended = packet->tcp.flags & FIN;
    connection.expected += size + connection.ended;
    if (size || connection.ended) send_segment(ACK, NULL, 0);
    if (size) return size;
  }
  return 0;
}

void tcp_close(void) {
  static uint8_t rest[MOST_PAYLOAD];
  send_segment(ACK | FIN, NULL, 0);
  while (tcp_receive(rest));
}
