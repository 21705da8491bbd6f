/** VcpuMachine by a table: an access, who claims what, the answers -> the requests, what the guest reads. */

import { assertEquals } from "@std/assert";
import { type Access, BareVcpu, type Claims, type Seen } from "./bare_vcpu.ts";

const inp = (port: number, size: number, count = 1): Access => ({ kind: "port", port, size, count });
const out = (port: number, size: number, ...data: number[]): Access => ({
  kind: "port",
  port,
  size,
  count: data.length / size,
  data,
});
const load = (address: number, size: number): Access => ({ kind: "memory", address, size });
const store = (address: number, ...data: number[]): Access => ({ kind: "memory", address, size: data.length, data });
const ones = (count: number) => new Array(count).fill(0xff);

/** A claimed port range, two servers' memory that touch, and one above 4 GiB. */
const CLAIMS: Record<number, Claims> = {
  0: { PORT: [[0x60, 0x64], [0xf0, 0xff]], MEMORY: [[0x1000, 0x1fff], [0x1_0000_0000, 0x1_0000_0fff]] },
  2: { PORT: [[0x64, 0x64]], MEMORY: [[0x2000, 0x20ff], [0x1800, 0x1803]] },
};

interface Row {
  readonly access: Access;
  readonly answers?: bigint[];
  readonly requests: Seen[];
  /** What the guest reads. */
  readonly reads?: number[];
}

const pio = (server: number, address: number, size: number, data?: bigint): Seen => ({
  server,
  type: "PIO",
  address,
  size,
  ...(data !== undefined && { data }),
});
const copy = (server: number, address: number, size: number, data?: bigint): Seen => ({
  ...pio(server, address, size, data),
  type: "COPY",
});

const TABLE: Record<string, Row> = {
  "a byte in": { access: inp(0x60, 1), answers: [0x42n], requests: [pio(0, 0x60, 1)], reads: [0x42] },
  "a word in": { access: inp(0x60, 2), answers: [0x4321n], requests: [pio(0, 0x60, 2)], reads: [0x21, 0x43] },
  "a double word in": {
    access: inp(0x60, 4),
    answers: [0x87654321n],
    requests: [pio(0, 0x60, 4)],
    reads: [0x21, 0x43, 0x65, 0x87],
  },
  "a byte out": { access: out(0x61, 1, 0xfe), requests: [pio(0, 0x61, 1, 0xfen)] },
  "a word out": { access: out(0x61, 2, 0xfe, 0xca), requests: [pio(0, 0x61, 2, 0xcafen)] },
  "a double word out": { access: out(0x60, 4, 1, 2, 3, 0xf4), requests: [pio(0, 0x60, 4, 0xf4030201n)] },
  "data wider than the access is cut off": {
    access: inp(0x60, 1),
    answers: [0xffff_ffff_ffff_ff17n],
    requests: [pio(0, 0x60, 1)],
    reads: [0x17],
  },
  "a word that is answered with more": {
    access: inp(0x60, 2),
    answers: [0xabcd_ef01_2345n],
    requests: [pio(0, 0x60, 2)],
    reads: [0x45, 0x23],
  },
  "the highest server that claims it gets it": {
    access: inp(0x64, 1),
    answers: [1n],
    requests: [pio(2, 0x64, 1)],
    reads: [1],
  },
  "no server: reads all ones": { access: inp(0x70, 4), requests: [], reads: ones(4) },
  "no server: writes are dropped": { access: out(0x70, 2, 1, 2), requests: [] },
  "beyond the end of a claimed range": { access: inp(0x63, 4), requests: [], reads: ones(4) },
  "before the start of a claimed range": { access: out(0x5f, 2, 1, 2), requests: [] },
  "over the last port": { access: inp(0xffff, 4), requests: [], reads: ones(4) },
  "rep ins: a request an element, in order": {
    access: inp(0x60, 2, 3),
    answers: [0x0201n, 0x0403n, 0x0605n],
    requests: [pio(0, 0x60, 2), pio(0, 0x60, 2), pio(0, 0x60, 2)],
    reads: [1, 2, 3, 4, 5, 6],
  },
  "rep outs: likewise": {
    access: out(0x61, 1, 7, 8, 9),
    requests: [pio(0, 0x61, 1, 7n), pio(0, 0x61, 1, 8n), pio(0, 0x61, 1, 9n)],
  },
  "rep ins from nobody": { access: inp(0x70, 4, 8), requests: [], reads: ones(32) },
  "MMIO of 1": { access: load(0x1001, 1), answers: [0xa1n], requests: [copy(0, 0x1001, 1)], reads: [0xa1] },
  "MMIO of 2": { access: store(0x1001, 1, 2), requests: [copy(0, 0x1001, 2, 0x0201n)] },
  "MMIO of 4": { access: store(0x1001, 1, 2, 3, 4), requests: [copy(0, 0x1001, 4, 0x04030201n)] },
  "MMIO read of 8": {
    access: load(0x1008, 8),
    answers: [0x8877_6655_4433_2211n],
    requests: [copy(0, 0x1008, 8)],
    reads: [0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88],
  },
  "MMIO write of 8": {
    access: store(0x1008, 1, 2, 3, 4, 5, 6, 7, 0x88),
    requests: [copy(0, 0x1008, 8, 0x8807060504030201n)],
  },
  "MMIO of 3 is 2 and 1": {
    access: load(0x1000, 3),
    answers: [0x0201n, 0x03n],
    requests: [copy(0, 0x1000, 2), copy(0, 0x1002, 1)],
    reads: [1, 2, 3],
  },
  "MMIO of 5 is 4 and 1": {
    access: store(0x1000, 1, 2, 3, 4, 5),
    requests: [copy(0, 0x1000, 4, 0x04030201n), copy(0, 0x1004, 1, 5n)],
  },
  "MMIO of 6 is 4 and 2": {
    access: load(0x1000, 6),
    answers: [0x04030201n, 0x0605n],
    requests: [copy(0, 0x1000, 4), copy(0, 0x1004, 2)],
    reads: [1, 2, 3, 4, 5, 6],
  },
  "MMIO of 7 is 4, 2 and 1": {
    access: store(0x1000, 1, 2, 3, 4, 5, 6, 7),
    requests: [copy(0, 0x1000, 4, 0x04030201n), copy(0, 0x1004, 2, 0x0605n), copy(0, 0x1006, 1, 7n)],
  },
  "MMIO of which only the first piece is claimed": {
    access: load(0x20fc, 6),
    answers: [0x04030201n],
    requests: [copy(2, 0x20fc, 4)],
    reads: [1, 2, 3, 4, 0xff, 0xff],
  },
  "MMIO of which only the last piece is claimed": {
    access: load(0xffe, 3),
    answers: [0x77n],
    requests: [copy(0, 0x1000, 1)],
    reads: [0xff, 0xff, 0x77],
  },
  "MMIO whose pieces belong to two servers": {
    access: store(0x17fe, 1, 2, 3),
    requests: [copy(0, 0x17fe, 2, 0x0201n), copy(2, 0x1800, 1, 3n)],
  },
  "a piece that lies half in a higher server's range goes to the lower one's": {
    access: load(0x1802, 4),
    answers: [0x04030201n],
    requests: [copy(0, 0x1802, 4)],
    reads: [1, 2, 3, 4],
  },
  "a piece over the end of one server's memory and into another's is nobody's": {
    access: load(0x1ffe, 4),
    requests: [],
    reads: ones(4),
  },
  "MMIO above 4 GiB": { access: store(0x1_0000_0ffc, 9, 8, 7, 6), requests: [copy(0, 0x1_0000_0ffc, 4, 0x06070809n)] },
  "MMIO at the top of the address space": { access: load(2 ** 52 - 8, 8), requests: [], reads: ones(8) },
  "an exit port read is a port like any other": {
    access: inp(0xf4, 1),
    answers: [5n],
    requests: [pio(0, 0xf4, 1)],
    reads: [5],
  },
};

for (const [name, { access, answers, requests, reads }] of Object.entries(TABLE)) {
  Deno.test(`VcpuMachine: ${name}`, () => {
    for (const id of [0, 3]) {
      using vcpu = new BareVcpu(id, 4);
      for (const [server, claims] of Object.entries(CLAIMS)) vcpu.server(Number(server), claims);
      assertEquals(vcpu.access(access, answers), requests);
      if (access.data === undefined) assertEquals(vcpu.read(access), reads);
      else assertEquals(vcpu.read(access), access.data, "a write changes nothing in the run page");
    }
  });
}
