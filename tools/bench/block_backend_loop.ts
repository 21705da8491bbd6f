/**
 * block_backend_loop.ts FILE DEPTH direct|table REQUESTS ROUNDS: reads of 4 KiB by a virtio disk's back end, without a
 * guest, in turns with block_backend.c. Prints {@linkcode Measured} as JSON.
 */

import { VirtioBlock } from "../../src/devices/virtio_block_device.ts";
import { openDisk } from "../../src/devices/disk_file.ts";
import { GrantedMemory } from "../../src/domain/grants.ts";
import type { DeviceModelHost, Watch } from "../../src/dm/host.ts";
import { type Gfn, PAGE_SIZE } from "../../src/memory/address.ts";
import { BankViews, MachineMemory } from "../../src/memory/bank.ts";
import { GuestMemory } from "../../src/memory/guest_memory.ts";
import { P2m, P2M_TYPE, p2mMemory } from "../../src/memory/p2m.ts";
import { AVAILABLE, DESCRIPTOR, DESCRIPTOR_FLAG, USED } from "../../src/virtio/abi.ts";
import { BLOCK_REQUEST } from "../../src/virtio/block_abi.ts";
import { Virtqueue } from "../../src/virtio/virtqueue.ts";
import { CProgram } from "./c_program.ts";
import { clockNs, PROCESS_CPU_CLOCK } from "./clock.ts";
import { median } from "./harness.ts";

/** Medians of the rounds. */
export interface Measured {
  /** CPU time of a request. */
  readonly ns: number;
  /** The same in C, and ours against it; null: there is no compiler. */
  readonly inCNs: number | null;
  readonly ratio: number | null;
}

/** Rounds until everything is compiled. */
const WARM_UP_ROUNDS = 4;

/** The guest's memory, and where the driver has what: as block_backend.c has it. */
const MEMORY_BYTES = 4 << 20, QUEUE_SIZE = 256, READ_BYTES = 4096;
/** Where it reads, one after the other. */
const SECTORS = 65536;
const AT = {
  descriptors: 0x1000,
  available: 0x2000,
  used: 0x3000,
  headers: 0x4000,
  statuses: 0x5000,
  tables: 0x6000,
  data: 0x10_0000,
} as const;

const [path, depth, kind, requests, rounds] = [
  Deno.args[0],
  Number(Deno.args[1]),
  Deno.args[2],
  Number(Deno.args[3]),
  Number(Deno.args[4]),
];

using machine = new MachineMemory();
using tables = p2mMemory();
const bank = machine.allocate("guest", MEMORY_BYTES / PAGE_SIZE, 1), p2m = new P2m(tables.address);
p2m.map(0 as Gfn, bank.firstMfn, MEMORY_BYTES / PAGE_SIZE, P2M_TYPE.RAM_RW);
const { buffer } = bank.directmap;
const halves = new Uint16Array(buffer), words = new Uint32Array(buffer), bytes = new Uint8Array(buffer);

/** The device's side: what it has of a domain. */
const watches: Watch[] = [];
const memory = new GrantedMemory(new GuestMemory(p2m, new BankViews(machine.tableAddress)), "all", () => {});
const host = {
  memory,
  watch: (watch: Watch) => watches.push(watch),
  beforeStop() {},
  beforeRelief() {},
  whenRelieved() {},
};
const disk = openDisk(path, false), device = new VirtioBlock(host as unknown as DeviceModelHost, disk, 1, true);
const queue = new Virtqueue(memory, new Uint32Array(Virtqueue.stateWords(QUEUE_SIZE)));
let interrupts = 0;
device.transport = {
  queues: [queue],
  isLive: true,
  usedBuffer: (queue) => {
    queue.publish();
    if (queue.wantsInterrupt) interrupts++;
  },
  called() {},
  changed() {},
  fail: () => {
    throw new Error("the device has failed");
  },
};

let state = 1, next = 0;

/** As in block_backend.c: a linear congruential generator (Numerical Recipes). */
const sectors = Uint32Array.from({ length: SECTORS }, () => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor(disk.sectors / 8 * state / 2 ** 32) * 8;
});

/** Three descriptors a request: header, data, status. */
function describe(): void {
  const { NEXT, WRITE, INDIRECT } = DESCRIPTOR_FLAG, isTable = kind === "table";
  for (let n = 0; n < depth; n++) {
    const first = isTable ? 0 : n * 3, table = isTable ? AT.tables + n * 3 * DESCRIPTOR.bytes : AT.descriptors;
    descriptor(table, first, AT.headers + n * BLOCK_REQUEST.bytes, BLOCK_REQUEST.bytes, NEXT, first + 1);
    descriptor(table, first + 1, AT.data + n * READ_BYTES, READ_BYTES, NEXT | WRITE, first + 2);
    descriptor(table, first + 2, AT.statuses + n, 1, WRITE, 0);
    if (isTable) descriptor(AT.descriptors, n, table, 3 * DESCRIPTOR.bytes, INDIRECT, 0);
  }
}

function descriptor(table: number, index: number, address: number, length: number, flags: number, next: number): void {
  const at = table + index * DESCRIPTOR.bytes;
  words[(at + DESCRIPTOR.addr) / 4] = address;
  words[(at + DESCRIPTOR.len) / 4] = length;
  halves[(at + DESCRIPTOR.flags) / 2] = flags;
  halves[(at + DESCRIPTOR.next) / 2] = next;
}

const availableIndex = (AT.available + AVAILABLE.idx) / 2, usedIndex = (AT.used + USED.idx) / 2;
const usedEvent = (AT.available + AVAILABLE.ring + QUEUE_SIZE * AVAILABLE.entry) / 2;
let seen = 0;

function batch(): void {
  let index = halves[availableIndex];
  for (let n = 0; n < depth; n++) {
    words[(AT.headers + n * BLOCK_REQUEST.bytes + BLOCK_REQUEST.sector) / 4] = sectors[next++ % SECTORS];
    bytes[AT.statuses + n] = 0xff;
    halves[(AT.available + AVAILABLE.ring) / 2 + index % QUEUE_SIZE] = kind === "table" ? n : n * 3;
    index = (index + 1) & 0xffff;
  }
  halves[usedEvent] = index - 1;
  Atomics.store(halves, availableIndex, index);
  device.notified(0);
  seen = (seen + depth) & 0xffff;
  while (Atomics.load(halves, usedIndex) !== seen) watches[0].ready(1);
  for (let n = 0; n < depth; n++) if (bytes[AT.statuses + n] !== 0) throw new Error("a read has failed");
}

function round(): number {
  const before = clockNs(PROCESS_CPU_CLOCK);
  for (let done = 0; done < requests; done += depth) batch();
  return clockNs(PROCESS_CPU_CLOCK) - before;
}

describe();
const { descriptors, available, used } = AT;
if (!queue.begin({ size: QUEUE_SIZE, descriptors, available, used }, { indirect: true, eventIndex: true })) {
  throw new Error("the queue is not where memory is");
}
await using program = await CProgram.start("block_backend", [path, String(depth), kind]);
const ours: number[] = [], theirs: number[] = [];
for (let index = 0; index < WARM_UP_ROUNDS + rounds; index++) {
  const ns = round(), inC = await program?.round(requests);
  if (index < WARM_UP_ROUNDS) continue;
  ours.push(ns / requests);
  if (inC !== undefined) theirs.push(inC.cpuNs / requests);
}
const isCompared = theirs.length > 0;
const measured: Measured = {
  ns: median(ours),
  inCNs: isCompared ? median(theirs) : null,
  ratio: isCompared ? median(ours.map((ns, index) => ns / theirs[index])) : null,
};
if (interrupts === 0) throw new Error("the driver was not interrupted");
console.log(JSON.stringify(measured));
