// As much of Ethernet, ARP, IPv4, UDP and TCP as this guest needs. Numbers in packets are in the network's order, and so
// are all addresses; one packet is sent at a time, and one looked at.
#pragma once

#include "virtio.h"

enum {
  ICMP = 1,
  TCP = 6,
  UDP = 17,
  ECHO_REPLY = 0,
  ECHO_REQUEST = 8,
  PORT_DISCARD = 9,
  PATIENCE = 60 * TICK_HZ,
  MOST_PAYLOAD = 1480,  // of IP
  BROADCAST = 0xffffffff,
};

struct __attribute__((packed)) packet {
  uint8_t to[6], from[6];
  uint16_t type;
  uint8_t version, service;
  uint16_t length, id, fragment;
  uint8_t ttl, protocol;
  uint16_t sum;
  uint32_t source, destination;
  union {
    struct __attribute__((packed)) {
      uint8_t type, code;
      uint16_t sum, id, sequence;
      uint8_t data[MOST_PAYLOAD - 8];
    } icmp;
    struct __attribute__((packed)) {
      uint16_t from, to, length, sum;
      uint8_t data[MOST_PAYLOAD - 8];
    } udp;
    struct __attribute__((packed)) {
      uint16_t from, to;
      uint32_t sequence, acknowledged;
      uint8_t header, flags;
      uint16_t window, sum, urgent;
      uint8_t data[MOST_PAYLOAD - 20];
    } tcp;
    uint8_t payload[MOST_PAYLOAD];
  };
};

static inline uint16_t swap16(uint16_t value) { return __builtin_bswap16(value); }
static inline uint32_t swap32(uint32_t value) { return __builtin_bswap32(value); }

// This guest's own addresses; the second is 0 until it has one.
extern uint8_t own_mac[6];
extern uint32_t own_address;

// The n-th virtio device. Calls ticks_start().
void net_begin(unsigned n);

// The packet that is sent next.
extern struct packet *const outgoing;

// Sends it to whoever net_resolve() has found, or to all. Its payload is filled in; `size` are the payload's bytes.
void net_send(uint32_t to, uint8_t protocol, uint32_t size);

// The next packet for this guest, or null after so many ticks; it is good until the next call. ARP is answered here.
struct packet *net_receive(unsigned most_ticks);

// Bytes of a packet's payload.
uint32_t payload_size(const struct packet *packet);

// Asks whose address that is until somebody says so.
void net_resolve(uint32_t address);

// The Internet's checksum, over what adds up to `sum` before.
uint16_t checksum(const void *bytes, uint32_t size, uint32_t sum);

// "10.0.0.1" as an address.
uint32_t parse_address(const char *text);

// The bytes of a message that each side can make for itself.
void fill(uint8_t *bytes, uint32_t size, uint32_t seed);

// Gets an address, a router and a name server (RFC 2131). Fails if nobody answers.
struct lease {
  uint32_t address, router, name_server;
};
struct lease dhcp_ask(void);

// TCP without losses of its own, one connection at a time (tcp.c).
void tcp_connect(uint32_t address, uint16_t port);
void tcp_accept(uint16_t port);
void tcp_send(const uint8_t *bytes, uint32_t size);
// Bytes that have come, or 0: the other end sends no more.
uint32_t tcp_receive(uint8_t *bytes);
void tcp_close(void);
