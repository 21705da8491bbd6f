/** The domain's ioreq servers in shared memory: what each claims, where its page is, how it is woken. */

import { viewAt } from "../linux/mapping.ts";
import { Lock } from "../linux/lock.ts";
import { PAGE_SIZE } from "../memory/address.ts";
import { Doorbell } from "../events/doorbell.ts";
import { EventChannels } from "../events/event_channels.ts";
import { MAX_RANGES, MAX_SERVERS, RANGE, type RangeType } from "./abi.ts";
import { IoreqPage } from "./page.ts";
import { RangeSet } from "./range_set.ts";

/** Words at the table's start. The generation is odd while ranges change. */
const GENERATION = 0, LOCK = 1, HEADER_BYTES = 64;

/** Words of a server, then its pending bits, then its ranges of the three kinds. */
const STATE = 0, DOORBELL = 1, ASLEEP = 2, RELEASED = 3, ATTACHED = 4, VCPUS = 5, PAGE = 6, COUNTS = 8, PENDING = 16;
const PENDING_WORDS = 128; // a bit for each of KVM's 4096 vCPU ids
const RANGES_BYTES = (PENDING + PENDING_WORDS) * 4;
const SERVER_BYTES = RANGES_BYTES + 3 * MAX_RANGES * 2 * 8;

/** Bytes of the table. */
export const SERVER_TABLE_BYTES = HEADER_BYTES + MAX_SERVERS * SERVER_BYTES;

/** What a server is. Disabled servers are skipped by selection. */
const FREE = 0, DISABLED = 1, ENABLED = 2;

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
    this.#servers = Array.from(
      { length: MAX_SERVERS },
      (_, id) => new Server(id, memory, id * SERVER_BYTES + HEADER_BYTES),
    );
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

/** One server's part of the table. */
export class Server {
  readonly #words: Int32Array;
  readonly #addresses: Float64Array;
  readonly ranges: readonly RangeSet[];

  constructor(readonly id: number, memory: ArrayBuffer, offset: number) {
    this.#words = new Int32Array(memory, offset, RANGES_BYTES / 4);
    this.#addresses = new Float64Array(memory, offset, RANGES_BYTES / 8);
    const bounds = new Float64Array(memory, offset + RANGES_BYTES, 3 * MAX_RANGES * 2);
    this.ranges = Object.values(RANGE).map((type) =>
      new RangeSet(this.#words, COUNTS + type, bounds, type * MAX_RANGES * 2)
    );
  }

  get exists(): boolean {
    return Atomics.load(this.#words, STATE) !== FREE;
  }

  /** Begins a server: no ranges, disabled. @param page its ioreq page; @param doorbell the device model's eventfd */
  create(page: bigint, doorbell: number, vcpus: number): void {
    for (const ranges of this.ranges) ranges.clear();
    this.#words.fill(0, PENDING, PENDING + PENDING_WORDS);
    this.#words[DOORBELL] = doorbell;
    this.#words[RELEASED] = 0;
    this.#words[VCPUS] = vcpus;
    this.#addresses[PAGE / 2] = Number(page);
    Atomics.add(this.#words, ATTACHED, 1);
    Atomics.store(this.#words, STATE, DISABLED);
  }

  /** Takes it out of selection and forgets it. */
  destroy(): void {
    Atomics.store(this.#words, STATE, FREE);
  }

  setEnabled(enabled: boolean): void {
    Atomics.store(this.#words, STATE, enabled ? ENABLED : DISABLED);
  }

  claims(type: RangeType, first: number, last: number): boolean {
    return this.#words[STATE] === ENABLED && this.ranges[type].contains(first, last);
  }

  /** Counts how often a device model was attached: views of pages and event channels belong to one attachment. */
  get attachment(): number {
    return Atomics.load(this.#words, ATTACHED);
  }

  /** vCPUs of the domain. */
  get vcpus(): number {
    return this.#words[VCPUS];
  }

  /** A view of the ioreq page. */
  page(): IoreqPage {
    return new IoreqPage(viewAt(BigInt(this.#addresses[PAGE / 2]), PAGE_SIZE));
  }

  /** Tells the device model to leave its loop. */
  release(): void {
    Atomics.store(this.#words, RELEASED, 1);
    this.eventChannels().doorbell.ring();
  }

  get released(): boolean {
    return Atomics.load(this.#words, RELEASED) !== 0;
  }

  /** The event channels to the device model: the port of a vCPU is its id. */
  eventChannels(): EventChannels {
    const doorbell = new Doorbell(this.#words, ASLEEP, this.#words[DOORBELL]);
    return new EventChannels(this.#words, PENDING, Math.ceil(this.#words[VCPUS] / 32), doorbell);
  }
}
