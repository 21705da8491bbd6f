/**
 * A split virtqueue (virtio 1.2, 2.7), the device's side. Whatever the driver puts into guest memory, the worst is that the
 * queue is broken: then it is not looked at again until the device is reset. Nothing is allocated between requests.
 */

import type { GuestMemoryAccess } from "../dm/host.ts";
import { AVAILABLE, AVAILABLE_NO_INTERRUPT, DESCRIPTOR, USED, USED_NO_NOTIFY } from "./abi.ts";
import type { Chain } from "./chain.ts";
import { Descriptors } from "./descriptors.ts";
import { RingPart } from "./ring_part.ts";

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

/**
 * Words of a queue's state: the driver's next entry that is taken, and the device's that is published, both modulo 2^16;
 * then a bit for each head that was taken, and is not published yet.
 */
const NEXT_AVAILABLE = 0, PUBLISHED = 1, IN_FLIGHT = 2;

/** Where a queue's state is; plain stores in their order, since a model that dies has made all that came before. */
export type QueueState = Pick<Uint32Array, "fill" | "length"> & { [index: number]: number };

const EMPTY: QueueLayout = { size: 0, descriptors: 0, available: 0, used: 0 };

/** A queue. It begins with {@linkcode begin}. */
export class Virtqueue {
  #layout = EMPTY;
  #features: QueueFeatures = { indirect: false, eventIndex: false };
  #isBroken = false;
  /** How far the driver's ring went when it was last looked at. */
  #endAvailable = 0;
  /** The next entry of the device's ring. */
  #nextUsed = 0;
  /** The heads that were given back, by their entry; those before the published one are of no use any more. */
  readonly #given: Uint16Array;
  /** Heads below it, of those that a model before this one had not given back, have been taken once more. */
  #again = Infinity;
  /** Where the device's ring stood when the driver was last asked whether it wants an interrupt. */
  #signalled = 0;
  #wantsNotifications = true;
  /** Where it is. */
  readonly #descriptors: Descriptors;
  readonly #available: RingPart;
  readonly #used: RingPart;

  /** Words of the state of a queue of at most so many entries. */
  static stateWords(size: number): number {
    return IN_FLIGHT + Math.ceil(size / 32);
  }

  /** @param state {@linkcode stateWords} of them, which outlive this object if another is to go on */
  constructor(private readonly memory: GuestMemoryAccess, private readonly state: QueueState) {
    this.#given = new Uint16Array((state.length - IN_FLIGHT) * 32);
    this.#descriptors = new Descriptors(memory);
    this.#available = new RingPart(memory, false);
    this.#used = new RingPart(memory, true);
  }

  /**
   * From now on the driver's requests are taken.
   * @param again it goes on where the state says; what was not given back is taken first
   * @returns false the rings are not where memory is: the queue is broken
   */
  begin(layout: QueueLayout, features: QueueFeatures, again = false): boolean {
    this.#layout = layout;
    this.#features = features;
    if (!again) this.state.fill(0);
    this.#endAvailable = this.state[NEXT_AVAILABLE];
    this.#again = Infinity;
    this.#wantsNotifications = !again;
    const { size, descriptors, available, used } = layout;
    const driverBytes = AVAILABLE.ring + size * AVAILABLE.entry + 2, deviceBytes = USED.ring + size * USED.entry + 2;
    this.#descriptors.place(descriptors, size, features.indirect);
    this.#available.place(available, driverBytes);
    this.#used.place(used, deviceBytes);
    const isThere = this.memory.contains(descriptors, size * DESCRIPTOR.bytes) &&
      this.memory.contains(available, driverBytes) && this.memory.contains(used, deviceBytes);
    this.#isBroken = !isThere || available % AVAILABLE.align !== 0 || used % USED.align !== 0;
    if (again && !this.#isBroken) this.#recover();
    this.#signalled = this.#nextUsed = this.state[PUBLISHED];
    return !this.#isBroken;
  }

  /** No request is taken any more. */
  end(): void {
    this.#layout = EMPTY;
    this.#isBroken = false;
  }

  /** Where it is, for those who have somebody else serve it; size 0: it has not begun. */
  get layout(): QueueLayout {
    return this.#layout;
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
    return this.state[NEXT_AVAILABLE] !== this.#endAvailable || this.#again !== Infinity || this.#look();
  }

  /** Takes the next request. @returns false there is none, or the queue is broken */
  take(chain: Chain): boolean {
    if (!this.hasRequest) return false;
    if (this.#again !== Infinity) return this.#takeAgain(chain);
    const next = this.state[NEXT_AVAILABLE], head = this.#headAt(next);
    if (head < 0 || !this.#descriptors.collect(chain, head)) return this.#break();
    this.#setInFlight(head, true);
    this.state[NEXT_AVAILABLE] = (next + 1) & 0xffff;
    if (this.#features.eventIndex && this.#wantsNotifications) this.#askForNotification();
    return !this.#isBroken;
  }

  /** Gives a request back; the driver sees it at the next {@linkcode publish}. @param written bytes, from the first writable one on */
  give(head: number, written: number): void {
    if (!this.#canServe) return;
    const entry = this.#usedEntry(this.#nextUsed);
    this.#setWord(entry, head);
    this.#setWord(entry + 4, written);
    this.#given[this.#nextUsed % this.#layout.size] = head;
    this.#nextUsed = (this.#nextUsed + 1) & 0xffff;
  }

  /** Shows the driver what was given back. */
  publish(): void {
    const { state } = this;
    if (!this.#canServe || state[PUBLISHED] === this.#nextUsed) return;
    this.#setHalf(USED.idx, this.#nextUsed); // a locked store: what comes before is seen before
    this.#used.forget();
    for (let entry = state[PUBLISHED]; entry !== this.#nextUsed; entry = (entry + 1) & 0xffff) {
      this.#setInFlight(this.#given[entry % this.#layout.size], false);
    }
    state[PUBLISHED] = this.#nextUsed; // now that nothing is left to be done for them
  }

  /** Whether the driver wants to hear of what was published since it was last asked. */
  get wantsInterrupt(): boolean {
    const published = this.state[PUBLISHED];
    if (!this.#canServe || this.#signalled === published) return false;
    const { size } = this.#layout, before = this.#signalled;
    this.#signalled = published;
    if (!this.#features.eventIndex) return (this.#half(AVAILABLE.flags) & AVAILABLE_NO_INTERRUPT) === 0;
    const event = this.#half(AVAILABLE.ring + size * AVAILABLE.entry);
    return ((published - event - 1) & 0xffff) < ((published - before) & 0xffff);
  }

  /** Whether the driver is to say when it has put something there. Whoever turns that on has to look once more. */
  setNotifications(on: boolean): void {
    if (!this.#canServe || on === this.#wantsNotifications) return;
    this.#wantsNotifications = on;
    if (!this.#features.eventIndex) this.#setHalf(USED.flags, on ? 0 : USED_NO_NOTIFY);
    else if (on) this.#askForNotification();
  }

  get #canServe(): boolean {
    return this.#layout.size > 0 && !this.#isBroken;
  }

  /** Looks at the driver's index. @returns whether there is something new */
  #look(): boolean {
    this.#available.forget();
    this.#descriptors.forget();
    const end = this.#half(AVAILABLE.idx), waiting = (end - this.state[NEXT_AVAILABLE]) & 0xffff;
    if (this.#isBroken || waiting > this.#layout.size) return this.#break();
    this.#endAvailable = end;
    return waiting > 0;
  }

  #break(): false {
    this.#isBroken = true;
    return false;
  }

  #askForNotification(): void {
    this.#setHalf(USED.ring + this.#layout.size * USED.entry, this.state[NEXT_AVAILABLE]);
  }

  #isInFlight(head: number): boolean {
    return (this.state[IN_FLIGHT + (head >>> 5)] & (1 << (head & 31))) !== 0;
  }

  #setInFlight(head: number, is: boolean): void {
    const word = IN_FLIGHT + (head >>> 5), bit = 1 << (head & 31);
    if (is) this.state[word] |= bit;
    else this.state[word] &= ~bit;
  }

  /** The model before this one may have died between any two steps of {@linkcode take} and {@linkcode publish}. */
  #recover(): void {
    const { state } = this, { size } = this.#layout;
    const published = this.#used.at(USED.idx, 2), { views } = this.#used;
    const end = published < 0 ? state[PUBLISHED] : Atomics.load(views.halves, published / 2);
    for (let count = 0; count < size && state[PUBLISHED] !== end; count++) {
      const at = this.#used.at(this.#usedEntry(state[PUBLISHED]), 4);
      const head = at < 0 ? size : this.#used.views.view.getUint32(at, true);
      if (head < size) this.#setInFlight(head, false);
      state[PUBLISHED] = (state[PUBLISHED] + 1) & 0xffff;
    }
    const next = state[NEXT_AVAILABLE], head = this.#headAt(next);
    const isTaken = head >= 0 && head < size && this.#isInFlight(head);
    if (isTaken && this.#half(AVAILABLE.idx) !== next) state[NEXT_AVAILABLE] = (next + 1) & 0xffff;
    this.#endAvailable = state[NEXT_AVAILABLE];
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
    return this.#descriptors.collect(chain, head) || this.#break();
  }

  /** What the driver's ring has at that entry; -1: there is no memory. */
  #headAt(entry: number): number {
    const at = this.#available.at(AVAILABLE.ring + entry % this.#layout.size * AVAILABLE.entry, 2);
    return at < 0 ? -1 : this.#available.views.view.getUint16(at, true);
  }

  /** What is not there reads as 0, and breaks the queue. Half words of the rings are aligned. */
  #half(offset: number): number {
    const at = this.#available.at(offset, 2);
    if (at >= 0) return Atomics.load(this.#available.views.halves, at / 2);
    this.#break();
    return 0;
  }

  #usedEntry(index: number): number {
    return USED.ring + index % this.#layout.size * USED.entry;
  }

  /** Words of the device's ring are aligned, its entries are not: they need not lie together. */
  #setWord(offset: number, value: number): void {
    const at = this.#used.at(offset, 4);
    if (at >= 0) this.#used.views.view.setUint32(at, value, true);
    else this.#break();
  }

  #setHalf(offset: number, value: number): void {
    const at = this.#used.at(offset, 2);
    if (at >= 0) Atomics.store(this.#used.views.halves, at / 2, value);
    else this.#break();
  }
}
