/** The domain's ioreq servers in shared memory: what each claims, where its memory is, how it is woken. */

import { EBUSY } from "../linux/errno.ts";
import { viewAt } from "../linux/mapping.ts";
import { Lock } from "../linux/lock.ts";
import { BUFIOREQ, type Bufioreq, MAX_SERVERS, RANGE, type RangeType } from "./abi.ts";
import { DmOpError } from "./dm_op_error.ts";
import type { OutsideAccesses } from "./notification.ts";
import { RANGE_SET_BYTES, RangeSet } from "./range_set.ts";

/** Words at the table's start. The generation is odd while ranges change. */
const GENERATION = 0, LOCK = 1, HEADER_BYTES = 64;

/** Words of a server, then addresses as doubles, by their byte, then its range sets. */
const STATE = 0,
  DOORBELL = 1,
  ATTACHED = 2,
  VCPUS = 3,
  BUFFERING = 4,
  BUFFER_LOCK = 5,
  UNHANDLED = 6,
  TAKEOVERS = 7,
  COUNTS = 8,
  COMMAND_LOCK = 13,
  COMMANDS_TAKEN = 14,
  OUTSIDE = 15;
const SLOTS = 64, BUFFERED = 72, NOTIFICATION = 80, OUTSIDE_LAST = 88, RANGES = 128;

/** Ports, memory, PCI functions; then the ports and the memory whose writes are buffered. */
const RANGE_SETS = 5, FIRST_BUFFERED = 3;
const SERVER_BYTES = RANGES + RANGE_SETS * RANGE_SET_BYTES;

/** Bytes of the table. */
export const SERVER_TABLE_BYTES = HEADER_BYTES + MAX_SERVERS * SERVER_BYTES;

/** What a server is. Disabled servers are skipped by selection. */
const FREE = 0, DISABLED = 1, ENABLED = 2;

/** Writes to video memory are what Xen buffers by itself (xen/arch/x86/hvm/stdvga.c). */
const VIDEO_MEMORY = { first: 0xa_0000, last: 0xb_ffff } as const;

/** What a server begins with. */
export interface ServerStart {
  /** Address of its notification area. */
  readonly notification: bigint;
  /** Its device model's eventfd. */
  readonly doorbell: number;
  /** vCPUs that the domain can have. */
  readonly vcpus: number;
  readonly bufioreq: Bufioreq;
}

/** The table as one isolate sees it. */
export class ServerTable {
  readonly #words: Int32Array;
  readonly #lock: Lock;
  readonly #servers: Server[];

  /** @param address where {@linkcode SERVER_TABLE_BYTES} bytes of zeroed shared memory begin */
  constructor(address: bigint) {
    const memory = viewAt(address, SERVER_TABLE_BYTES);
    this.#words = new Int32Array(memory);
    this.#lock = new Lock(this.#words, LOCK, address);
    this.#servers = Array.from({ length: MAX_SERVERS }, (_, id) => {
      const offset = id * SERVER_BYTES + HEADER_BYTES;
      return new Server(id, memory, offset, address + BigInt(offset));
    });
  }

  server(id: number): Server {
    return this.#servers[id];
  }

  /**
   * The server that claims all of [first, last], ids from high to low (Xen: ioreq_server_select), or -1.
   * Runs on every exit: allocates nothing, and starts over when ranges changed meanwhile.
   */
  select(type: RangeType, first: number, last: number): number {
    for (;;) {
      const generation = Atomics.load(this.#words, GENERATION);
      let found = MAX_SERVERS - 1;
      while (found >= 0 && !this.#servers[found].claims(type, first, last)) found--;
      if ((generation & 1) === 0 && Atomics.load(this.#words, GENERATION) === generation) return found;
    }
  }

  /**
   * Adds a range to a server's (map_io_range_to_ioreq_server).
   * @param keepsFree whether memory has pages that no device model can have
   * @throws {DmOpError} EBUSY it is kept free; EEXIST it overlaps; ENOMEM too many ranges
   */
  addRange(server: Server, type: RangeType, first: number, last: number, keepsFree: KeepsFree): void {
    this.change(() => {
      if (type === RANGE.MEMORY && keepsFree(first, last)) {
        const range = `[0x${first.toString(16)}, 0x${last.toString(16)}]`;
        throw new DmOpError("map_io_range_to_ioreq_server", EBUSY, `${range} is kept free for the guest`);
      }
      server.ranges[type].add(first, last);
    });
  }

  /** Whether any server claims memory of [first, last]. Inside {@linkcode change}. */
  hasMemory(first: number, last: number): boolean {
    for (let id = 0; id < MAX_SERVERS; id++) {
      const ranges = this.server(id).ranges[RANGE.MEMORY].list();
      if (ranges.some(([start, end]) => first <= end && start <= last)) return true;
    }
    return false;
  }

  /** Runs `change` on the table: one writer at a time, selections start over. */
  change<T>(change: () => T): T {
    return this.#lock.hold(() => {
      Atomics.add(this.#words, GENERATION, 1);
      try {
        return change();
      } finally {
        Atomics.add(this.#words, GENERATION, 1);
      }
    });
  }
}

/** Whether guest-physical [first, last] has pages that no device model can have (docs/extended-regions.md). */
export type KeepsFree = (first: number, last: number) => boolean;

/** One server's part of the table. Everything but {@linkcode claims} and the counters is changed inside `change`. */
export class Server {
  readonly #words: Int32Array;
  readonly #addresses: Float64Array;
  /** By kind of range. */
  readonly ranges: readonly RangeSet[];
  /** By kind of range (ports, memory): where writes go through the buffered ring. */
  readonly bufferedRanges: readonly RangeSet[];
  /** Held by whoever puts a write into the buffered ring. */
  readonly bufferLock: Lock;
  /** Held by whoever carries out the device model's commands (see CommandRing). */
  readonly commandLock: Lock;

  constructor(readonly id: number, memory: ArrayBuffer, offset: number, address: bigint) {
    this.#words = new Int32Array(memory, offset, RANGES / 4);
    this.#addresses = new Float64Array(memory, offset, RANGES / 8);
    const sets = Array.from({ length: RANGE_SETS }, (_, kind) => {
      return new RangeSet(this.#words, COUNTS + kind, memory, offset + RANGES + kind * RANGE_SET_BYTES);
    });
    this.ranges = sets.slice(0, FIRST_BUFFERED);
    this.bufferedRanges = sets.slice(FIRST_BUFFERED);
    this.bufferLock = new Lock(this.#words, BUFFER_LOCK, address);
    this.commandLock = new Lock(this.#words, COMMAND_LOCK, address);
  }

  get exists(): boolean {
    return Atomics.load(this.#words, STATE) !== FREE;
  }

  get enabled(): boolean {
    return Atomics.load(this.#words, STATE) === ENABLED;
  }

  /** Begins a server: no ranges, no pages, disabled. */
  create({ notification, doorbell, vcpus, bufioreq }: ServerStart): void {
    for (const ranges of [...this.ranges, ...this.bufferedRanges]) ranges.clear();
    if (bufioreq !== BUFIOREQ.OFF) this.bufferedRanges[RANGE.MEMORY].add(VIDEO_MEMORY.first, VIDEO_MEMORY.last);
    this.#words[DOORBELL] = doorbell;
    this.#words[VCPUS] = vcpus;
    this.#words[BUFFERING] = bufioreq;
    this.#words[UNHANDLED] = 0;
    this.#words[COMMANDS_TAKEN] = 0;
    this.#words[OUTSIDE] = 0;
    this.#addresses[SLOTS / 8] = this.#addresses[BUFFERED / 8] = 0;
    this.#addresses[NOTIFICATION / 8] = Number(notification);
    this.#reattach();
    Atomics.store(this.#words, STATE, DISABLED);
  }

  /** Takes it out of selection and forgets its memory. @param outside what is remembered of it */
  destroy(outside: OutsideAccesses = { count: 0, last: 0 }): void {
    Atomics.store(this.#words, STATE, FREE);
    this.#addresses.fill(0, SLOTS / 8, RANGES / 8);
    this.#words[OUTSIDE] = outside.count;
    this.#addresses[OUTSIDE_LAST / 8] = outside.last;
    this.#reattach();
  }

  /** Of a server that is gone. */
  get outside(): OutsideAccesses {
    return { count: this.#words[OUTSIDE] >>> 0, last: this.#addresses[OUTSIDE_LAST / 8] };
  }

  /** @param slots address of the ioreq pages; @param buffered of the buffered ring; 0n: there is none (any more) */
  setPages(slots: bigint, buffered: bigint): void {
    this.#addresses[SLOTS / 8] = Number(slots);
    this.#addresses[BUFFERED / 8] = Number(buffered);
    this.#reattach();
  }

  /** A server that is gone stays so. */
  setEnabled(enabled: boolean): void {
    Atomics.compareExchange(this.#words, STATE, enabled ? DISABLED : ENABLED, enabled ? ENABLED : DISABLED);
  }

  claims(type: RangeType, first: number, last: number): boolean {
    return this.#words[STATE] === ENABLED && this.ranges[type].contains(first, last);
  }

  /** Whether a write to [first, last] goes through the buffered ring. */
  buffers(type: RangeType, first: number, last: number): boolean {
    return this.#words[BUFFERING] !== BUFIOREQ.OFF && this.bufferedRanges[type].contains(first, last);
  }

  /** Commands of the device model that were carried out, modulo 2^32: what the ring itself says is the device model's. */
  get commandsTaken(): number {
    return Atomics.load(this.#words, COMMANDS_TAKEN) >>> 0;
  }

  set commandsTaken(count: number) {
    Atomics.store(this.#words, COMMANDS_TAKEN, count | 0);
  }

  get bufioreq(): Bufioreq {
    return this.#words[BUFFERING] as Bufioreq;
  }

  /** Changes whenever views of the server's memory have to be made again: after create, destroy and setPages. */
  get attachment(): number {
    return Atomics.load(this.#words, ATTACHED);
  }

  /** vCPUs that the domain can have. */
  get vcpus(): number {
    return this.#words[VCPUS];
  }

  /** Address of the ioreq pages, 0n while there are none. */
  get slots(): bigint {
    return BigInt(this.#addresses[SLOTS / 8]);
  }

  /** Address of the buffered ring, 0n while there is none. */
  get buffered(): bigint {
    return BigInt(this.#addresses[BUFFERED / 8]);
  }

  /** Address of the notification area, 0n after the server is gone. */
  get notification(): bigint {
    return BigInt(this.#addresses[NOTIFICATION / 8]);
  }

  /** The device model's eventfd. */
  get doorbell(): number {
    return this.#words[DOORBELL];
  }

  /** Requests that could not be sent although the server claims them: its slot was not free, or it has no pages. */
  get unhandled(): number {
    return Atomics.load(this.#words, UNHANDLED);
  }

  countUnhandled(): void {
    Atomics.add(this.#words, UNHANDLED, 1);
  }

  /** How often another device model went on with the server: what was begun goes back to READY then. */
  get takeovers(): number {
    return Atomics.load(this.#words, TAKEOVERS);
  }

  countTakeover(): void {
    Atomics.add(this.#words, TAKEOVERS, 1);
  }

  #reattach(): void {
    Atomics.add(this.#words, ATTACHED, 1);
  }
}
