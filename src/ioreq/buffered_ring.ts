/** The buffered ring: writes that need no answer, in the order in which they were made (struct buffered_iopage). */

import { BUFFERED_PAGE, BUFFERED_SLOT, BUFFERED_SLOTS, DIR_WRITE } from "./abi.ts";

/** Bytes of an access by the two bits that a slot has for it. */
const SIZES = [1, 2, 4, 8] as const;

const READ = BUFFERED_PAGE.read_pointer / 4, WRITE = BUFFERED_PAGE.write_pointer / 4;
const SLOTS = BUFFERED_PAGE.slots / 4;

/** Who gets what was buffered. */
export type BufferedWrite = (type: number, address: number, size: number, low: number, high: number) => void;

/**
 * The ring as either side sees it. There is one consumer; producers hold the server's buffer lock. Pointers are free-running
 * words, so that full and empty differ; 2^32 is no multiple of 511, which is why ATOMIC takes multiples of 511 off both.
 */
export class BufferedRing {
  readonly #words: Int32Array;
  /** Both pointers in one: a consumer that moves the read pointer meanwhile makes the exchange fail. */
  readonly #pointers: BigInt64Array;

  constructor(memory: ArrayBuffer) {
    this.#words = new Int32Array(memory);
    this.#pointers = new BigInt64Array(memory, 0, 1);
  }

  /** Whether an access has the form that a slot can hold: below 1 MiB, of 1, 2, 4 or 8 bytes. */
  static holds(address: number, size: number): boolean {
    return address <= BUFFERED_SLOT.addrMask && (size === 1 || size === 2 || size === 4 || size === 8);
  }

  /**
   * The producer: appends a write; one of 8 bytes takes two slots, low half first (Xen: hvm_send_buffered_ioreq).
   * @param atomic keep both pointers small (HVM_IOREQSRV_BUFIOREQ_ATOMIC)
   * @returns false if the ring is full
   */
  push(type: number, address: number, size: number, low: number, high: number, atomic: boolean): boolean {
    const words = this.#words, wide = size === 8 ? 1 : 0;
    const write = words[WRITE] >>> 0, read = Atomics.load(words, READ) >>> 0;
    if (((write - read) >>> 0) >= BUFFERED_SLOTS - wide) return false;
    const header = type | (DIR_WRITE << BUFFERED_SLOT.dirShift) |
      (SIZES.indexOf(size as 1) << BUFFERED_SLOT.sizeShift) |
      (address << BUFFERED_SLOT.addrShift);
    this.#store(write, header, low);
    if (wide === 1) this.#store((write + 1) >>> 0, header, high);
    Atomics.store(words, WRITE, write + 1 + wide); // ordered after the slots
    if (atomic) this.#canonicalise();
    return true;
  }

  /** The consumer: whether there is anything. */
  get pending(): boolean {
    for (const words = this.#words;;) {
      const read = Atomics.load(words, READ), write = Atomics.load(words, WRITE);
      // Two pointers of one moment, and not one of them canonicalised (QEMU: handle_buffered_iopage).
      if (Atomics.load(words, READ) === read) return write !== read;
    }
  }

  /**
   * The consumer: hands out what is in the ring, oldest first. A slot is given back only after it was delivered.
   * What comes meanwhile may be left, and garbage in the pointers makes it no longer than a ring full of writes.
   * @returns how many writes
   */
  drain(deliver: BufferedWrite): number {
    const words = this.#words;
    let count = 0;
    while (count < BUFFERED_SLOTS && this.pending) {
      const read = Atomics.load(words, READ) >>> 0; // canonicalised or not, it is the same slot
      const at = SLOTS + (read % BUFFERED_SLOTS) * 2, header = words[at];
      const size = SIZES[(header >>> BUFFERED_SLOT.sizeShift) & 3];
      const high = size === 8 ? words[SLOTS + (((read + 1) >>> 0) % BUFFERED_SLOTS) * 2 + 1] : 0;
      deliver(header & 0xff, header >>> BUFFERED_SLOT.addrShift, size, words[at + 1] >>> 0, high >>> 0);
      Atomics.add(words, READ, size === 8 ? 2 : 1);
      count++;
    }
    return count;
  }

  #store(pointer: number, header: number, data: number): void {
    const at = SLOTS + (pointer % BUFFERED_SLOTS) * 2;
    this.#words[at] = header;
    this.#words[at + 1] = data;
  }

  /** Once in 511 slots; the only place on the way of a write that makes BigInts. */
  #canonicalise(): void {
    // Bounded: a consumer that keeps moving its pointer cannot hold us here.
    for (let tries = 0; tries < BUFFERED_SLOTS; tries++) {
      if ((Atomics.load(this.#words, READ) >>> 0) < BUFFERED_SLOTS) return;
      const old = Atomics.load(this.#pointers, 0);
      const read = Number(BigInt.asUintN(32, old));
      const turns = BigInt(read - (read % BUFFERED_SLOTS));
      if (Atomics.compareExchange(this.#pointers, 0, old, old - turns - (turns << 32n)) === old) return;
    }
  }
}
