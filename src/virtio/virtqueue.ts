/**
 * A split virtqueue (virtio 1.2, 2.7), the device's side. Whatever the driver puts into guest memory, the worst is that the
 * queue is broken: then it is not looked at again until the device is reset. Nothing is allocated between requests.
 */

import { type GuestMemoryAccess, LocatedMemory } from "../dm/host.ts";
import { AVAILABLE, AVAILABLE_NO_INTERRUPT, DESCRIPTOR, DESCRIPTOR_FLAG, USED, USED_NO_NOTIFY } from "./abi.ts";

/** Buffers of a request: those that the device reads come first. */
export class Chain {
  /** The descriptor by which the driver knows it. */
  head = 0;
  /** How many there are, and how many of them the device reads. */
  count = 0;
  readable = 0;
  /** Bytes that the device reads, and that it may write. */
  readableBytes = 0;
  writableBytes = 0;
  readonly addresses: Float64Array;
  readonly lengths: Float64Array;

  /** @param most buffers, whether direct or in a table */
  constructor(readonly most: number) {
    this.addresses = new Float64Array(most);
    this.lengths = new Float64Array(most);
  }

  clear(head: number): void {
    this.head = head;
    this.count =
      this.readable =
      this.readableBytes =
      this.writableBytes =
        0;
  }
}

/** What the driver has said of a queue. */
export interface QueueLayout {
  readonly size: number;
  readonly descriptors: number;
  readonly available: number;
  readonly used: number;
}

/** Which of the optional parts are used. */
export interface QueueFeatures {
  readonly indirect: boolean;
  readonly eventIndex: boolean;
}

/** Words of a queue's state: the next entry of the driver's ring, and of the device's, both modulo 2^16; a bit for each head that was taken and not given back. */
const NEXT_AVAILABLE = 0, NEXT_USED = 1, IN_FLIGHT = 2;

const EMPTY: QueueLayout = { size: 0, descriptors: 0, available: 0, used: 0 };

/** A queue. It begins with {@linkcode begin}. */
export class Virtqueue {
  #layout = EMPTY;
  #features: QueueFeatures = { indirect: false, eventIndex: false };
  #isBroken = false;
  /** Heads below it, of those that a model before this one had not given back, have been taken once more. */
  #again = Infinity;
  /** Where the device's ring stood when the driver was last asked whether it wants an interrupt. */
  #signalled = 0;
  #wantsNotifications = true;
  readonly #found = new LocatedMemory();

  /** Words of the state of a queue of at most so many entries. */
  static stateWords(size: number): number {
    return IN_FLIGHT + Math.ceil(size / 32);
  }

  /** @param state {@linkcode stateWords} of them, which outlive this object if another is to go on */
  constructor(private readonly memory: GuestMemoryAccess, private readonly state: Uint32Array) {}

  /**
   * From now on the driver's requests are taken.
   * @param again it goes on where the state says; what was not given back is taken first
   * @returns false the rings are not where memory is: the queue is broken
   */
  begin(layout: QueueLayout, features: QueueFeatures, again = false): boolean {
    this.#layout = layout;
    this.#features = features;
    if (!again) this.state.fill(0);
    this.#wantsNotifications = !again;
    this.#again = Infinity;
    const { size, descriptors, available, used } = layout;
    const driverBytes = AVAILABLE.ring + size * AVAILABLE.entry + 2, deviceBytes = USED.ring + size * USED.entry + 2;
    const isThere = this.memory.contains(descriptors, size * DESCRIPTOR.bytes) &&
      this.memory.contains(available, driverBytes) && this.memory.contains(used, deviceBytes);
    this.#isBroken = !isThere;
    if (again && isThere) this.#recover();
    this.#signalled = this.#nextUsed;
    return !this.#isBroken;
  }

  /** No request is taken any more. */
  end(): void {
    this.#layout = EMPTY;
    this.#isBroken = false;
  }

  get isReady(): boolean {
    return this.#layout.size > 0;
  }

  /** The driver has put something into memory that makes no sense, or taken memory away. */
  get isBroken(): boolean {
    return this.#isBroken;
  }

  /** Whether the driver has put a request there. */
  get hasRequest(): boolean {
    if (!this.#canServe) return false;
    if (this.#again !== Infinity) return true;
    const waiting = (this.#half(this.#layout.available + AVAILABLE.idx) - this.#nextAvailable) & 0xffff;
    if (waiting > this.#layout.size) this.#isBroken = true;
    return waiting > 0 && this.#canServe;
  }

  /** Takes the next request. @returns false there is none, or the queue is broken */
  take(chain: Chain): boolean {
    if (!this.hasRequest) return false;
    if (this.#again !== Infinity) return this.#takeAgain(chain);
    const { size, available } = this.#layout;
    const head = this.#half(available + AVAILABLE.ring + this.#nextAvailable % size * AVAILABLE.entry);
    if (!this.#canServe || !this.#collect(chain, head)) {
      this.#isBroken = true;
      return false;
    }
    this.#setInFlight(head, true);
    this.#nextAvailable = this.#nextAvailable + 1;
    if (this.#features.eventIndex && this.#wantsNotifications) this.#askForNotification();
    return !this.#isBroken;
  }

  /** Gives a request back. @param written bytes, from the first writable one on */
  give(head: number, written: number): void {
    if (!this.#canServe) return;
    const { size, used } = this.#layout, at = used + USED.ring + this.#nextUsed % size * USED.entry;
    this.#setWord(at, head);
    this.#setWord(at + 4, written);
    this.#setHalf(used + USED.idx, (this.#nextUsed + 1) & 0xffff); // a locked store: what comes before is seen before
    this.#setInFlight(head, false); // before the next line, which says that nothing is left to be done for it
    this.#nextUsed = this.#nextUsed + 1;
  }

  /** Whether the driver wants to hear of what was given since it was last asked. */
  get wantsInterrupt(): boolean {
    if (!this.#canServe || this.#signalled === this.#nextUsed) return false;
    const { size, available } = this.#layout, before = this.#signalled;
    this.#signalled = this.#nextUsed;
    if (!this.#features.eventIndex) {
      return (this.#half(available + AVAILABLE.flags) & AVAILABLE_NO_INTERRUPT) === 0;
    }
    const event = this.#half(available + AVAILABLE.ring + size * AVAILABLE.entry);
    return ((this.#nextUsed - event - 1) & 0xffff) < ((this.#nextUsed - before) & 0xffff);
  }

  /** Whether the driver is to say when it has put something there. Whoever turns that on has to look once more. */
  setNotifications(on: boolean): void {
    if (!this.#canServe || on === this.#wantsNotifications) return;
    this.#wantsNotifications = on;
    if (!this.#features.eventIndex) this.#setHalf(this.#layout.used + USED.flags, on ? 0 : USED_NO_NOTIFY);
    else if (on) this.#askForNotification();
  }

  get #nextAvailable(): number {
    return this.state[NEXT_AVAILABLE];
  }

  set #nextAvailable(next: number) {
    Atomics.store(this.state, NEXT_AVAILABLE, next & 0xffff);
  }

  get #nextUsed(): number {
    return this.state[NEXT_USED];
  }

  set #nextUsed(next: number) {
    Atomics.store(this.state, NEXT_USED, next & 0xffff);
  }

  #isInFlight(head: number): boolean {
    return (this.state[IN_FLIGHT + (head >>> 5)] & (1 << (head & 31))) !== 0;
  }

  #setInFlight(head: number, is: boolean): void {
    const word = IN_FLIGHT + (head >>> 5), bit = 1 << (head & 31);
    if (is) Atomics.or(this.state, word, bit);
    else Atomics.and(this.state, word, ~bit);
  }

  /** The model before this one may have died between any two steps of {@linkcode take} and {@linkcode give}. */
  #recover(): void {
    const { size, available, used } = this.#layout;
    const given = (this.#half(used + USED.idx) - this.#nextUsed) & 0xffff;
    for (let count = 0; count < Math.min(given, size); count++) {
      const head = this.#word(used + USED.ring + this.#nextUsed % size * USED.entry);
      if (head < size) this.#setInFlight(head, false);
      this.#nextUsed = this.#nextUsed + 1;
    }
    const waiting = this.#half(available + AVAILABLE.idx) !== this.#nextAvailable;
    const head = this.#half(available + AVAILABLE.ring + this.#nextAvailable % size * AVAILABLE.entry);
    if (waiting && head < size && this.#isInFlight(head)) this.#nextAvailable = this.#nextAvailable + 1;
    this.#again = this.#inFlightFrom(0);
  }

  /** The first head in flight that is not below `head`; Infinity: there is none. */
  #inFlightFrom(head: number): number {
    while (head < this.#layout.size && !this.#isInFlight(head)) head++;
    return head < this.#layout.size ? head : Infinity;
  }

  #takeAgain(chain: Chain): boolean {
    const head = this.#again;
    this.#again = this.#inFlightFrom(head + 1);
    return !(this.#isBroken ||= !this.#collect(chain, head));
  }

  get #canServe(): boolean {
    return this.#layout.size > 0 && !this.#isBroken;
  }

  #askForNotification(): void {
    const { used, size } = this.#layout;
    this.#setHalf(used + USED.ring + size * USED.entry, this.#nextAvailable);
  }

  /** Follows a chain from its head. @returns false it is none */
  #collect(chain: Chain, head: number): boolean {
    const { size, descriptors } = this.#layout;
    chain.clear(head);
    let index = head;
    for (let steps = 0; steps < size; steps++) {
      if (index >= size) return false;
      const at = descriptors + index * DESCRIPTOR.bytes, flags = this.#half(at + DESCRIPTOR.flags);
      if ((flags & DESCRIPTOR_FLAG.INDIRECT) !== 0) return this.#collectTable(chain, at, flags);
      if (!this.#add(chain, at, flags)) return false;
      if ((flags & DESCRIPTOR_FLAG.NEXT) === 0) return true;
      index = this.#half(at + DESCRIPTOR.next);
    }
    return false; // it does not end
  }

  /** The rest of a chain is a table of its own: only at its end, and without another in it (2.7.5.3.1). */
  #collectTable(chain: Chain, at: number, flags: number): boolean {
    const table = this.#address(at + DESCRIPTOR.addr), bytes = this.#word(at + DESCRIPTOR.len);
    const entries = bytes / DESCRIPTOR.bytes;
    if (!this.#features.indirect || (flags & DESCRIPTOR_FLAG.NEXT) !== 0) return false;
    if (!Number.isInteger(entries) || entries === 0 || !this.memory.contains(table, bytes)) return false;
    let index = 0;
    for (let steps = 0; steps < Math.min(entries, chain.most); steps++) {
      if (index >= entries) return false;
      const entry = table + index * DESCRIPTOR.bytes, entryFlags = this.#half(entry + DESCRIPTOR.flags);
      if ((entryFlags & DESCRIPTOR_FLAG.INDIRECT) !== 0 || !this.#add(chain, entry, entryFlags)) return false;
      if ((entryFlags & DESCRIPTOR_FLAG.NEXT) === 0) return true;
      index = this.#half(entry + DESCRIPTOR.next);
    }
    return false;
  }

  /** One buffer more. What the device reads has to come before what it writes (2.7.4.2). */
  #add(chain: Chain, at: number, flags: number): boolean {
    const isWritable = (flags & DESCRIPTOR_FLAG.WRITE) !== 0, length = this.#word(at + DESCRIPTOR.len);
    if (chain.count === chain.most || (!isWritable && chain.count > chain.readable)) return false;
    chain.addresses[chain.count] = this.#address(at + DESCRIPTOR.addr);
    chain.lengths[chain.count++] = length;
    if (isWritable) {
      chain.writableBytes += length;
    } else {
      chain.readable++;
      chain.readableBytes += length;
    }
    return !this.#isBroken && chain.readableBytes + chain.writableBytes < 2 ** 32;
  }

  /** What is not there, or not to be written to, reads as 0, and breaks the queue. */
  #locate(address: number, bytes: number, write: boolean): boolean {
    if (address % bytes === 0 && this.memory.locate(address, bytes, write, this.#found) === bytes) return true;
    this.#isBroken = true;
    return false;
  }

  #half(address: number): number {
    return this.#locate(address, 2, false) ? Atomics.load(this.#found.halves, this.#found.offset / 2) : 0;
  }

  #word(address: number): number {
    return this.#half(address) + this.#half(address + 2) * 0x1_0000;
  }

  /** 64 bits; what has more than 53 is nobody's address. */
  #address(address: number): number {
    return this.#word(address) + this.#word(address + 4) * 2 ** 32;
  }

  #setHalf(address: number, value: number): void {
    if (this.#locate(address, 2, true)) Atomics.store(this.#found.halves, this.#found.offset / 2, value);
  }

  #setWord(address: number, value: number): void {
    this.#setHalf(address, value & 0xffff);
    this.#setHalf(address + 2, value >>> 16);
  }
}
