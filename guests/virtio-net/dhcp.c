#include "net.h"

enum {
  SERVER_PORT = 67,
  CLIENT_PORT = 68,
  DISCOVER = 1,
  OFFER = 2,
  REQUEST = 3,
  ACK = 5,
  MESSAGE_TYPE = 53,
  ROUTER = 3,
  NAME_SERVER = 6,
  WANTED_ADDRESS = 50,
  SERVER = 54,
  END = 255,
  MAGIC = 0x63825363,
  TRANSACTION = 0x786e6f21,
};

struct __attribute__((packed)) message {
  uint8_t operation, hardware, hardware_size, hops;
  uint32_t transaction;
  uint16_t seconds, flags;
  uint32_t client, yours, server, relay;
  uint8_t address[16], name[64], file[128];
  uint32_t magic;
  uint8_t options[64];
};

static uint8_t *add(uint8_t *at, uint8_t option, uint8_t size, const void *value) {
  *at++ = option;
  *at++ = size;
  memcpy(at, value, size);
  return at + size;
}

static uint32_t option_of(const struct message *message, const uint8_t *end, uint8_t option) {
  uint32_t value = 0;
  for (const uint8_t *at = message->options; at + 1 < end && *at != END; at += *at ? 2 + at[1] : 1) {
    if (*at != option) continue;
    memcpy(&value, at + 2, at[1] < 4 ? at[1] : 4);
    break;
  }
  return value;
}

static void send(uint8_t type, uint32_t wanted, uint32_t server) {
  struct message *message = (struct message *)outgoing->udp.data;
  memset(message, 0, sizeof *message);
  message->operation = message->hardware = 1;
  message->hardware_size = 6;
  message->transaction = swap32(TRANSACTION);
  memcpy(message->address, own_mac, 6);
  message->magic = swap32(MAGIC);
  uint8_t *at = add(message->options, MESSAGE_TYPE, 1, &type);
  if (wanted) at = add(add(at, WANTED_ADDRESS, 4, &wanted), SERVER, 4, &server);
  *at = END;
  outgoing->udp.from = swap16(CLIENT_PORT);
  outgoing->udp.to = swap16(SERVER_PORT);
  outgoing->udp.length = swap16(8 + sizeof *message);
  outgoing->udp.sum = 0;
  net_send(BROADCAST, UDP, 8 + sizeof *message);
}

static const struct message *await(uint8_t type, const uint8_t **end) {
  for (;;) {
    struct packet *packet = net_receive(PATIENCE);
    if (!packet) fail("virtio-net: no DHCP message of type %u", type);
    if (packet->protocol != UDP || packet->udp.to != swap16(CLIENT_PORT)) continue;
    const struct message *message = (const struct message *)packet->udp.data;
    *end = packet->payload + payload_size(packet);
    if (message->transaction == swap32(TRANSACTION) && option_of(message, *end, MESSAGE_TYPE) == type) return message;
  }
}

struct lease dhcp_ask(void) {
  const uint8_t *end;
  send(DISCOVER, 0, 0);
  const struct message *offered = await(OFFER, &end);
  send(REQUEST, offered->yours, option_of(offered, end, SERVER));
  const struct message *given = await(ACK, &end);
  return (struct lease){given->yours, option_of(given, end, ROUTER), option_of(given, end, NAME_SERVER)};
}
