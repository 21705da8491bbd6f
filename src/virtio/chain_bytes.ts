/** The bytes of a request's buffers, however the driver has cut them (virtio 1.2, 2.7.4.1: nothing is to be assumed). */

import { type GuestMemoryAccess, LocatedMemory } from "../dm/host.ts";
import { IOVEC_WORDS, setRange } from "../linux/iovec.ts";
import type { Chain } from "./chain.ts";

/** Numbers of a request are at most so many bytes together. */
const MOST_NUMBERS = 64;

/** Looks into buffers, and finds where they are. Nothing is allocated. */
export class ChainBytes {
  readonly #found = new LocatedMemory();
  /** Numbers that do not lie together. */
  readonly #torn = new DataView(new ArrayBuffer(MOST_NUMBERS));
  readonly #tornBytes = new Uint8Array(this.#torn.buffer);
  /** The walk through a chain: the next buffer and the last one's end, what of them is skipped. */
  #buffer = 0;
  #end = 0;
  #skip = 0;
  /** What of the buffer before that is still to come. */
  #address = 0;
  #inBuffer = 0;
  /** What {@linkcode find} counts in. The driver may change it meanwhile: each number is to be read once. */
  view: DataView = this.#torn;

  constructor(private readonly memory: GuestMemoryAccess) {}

  /**
   * Where `sizeBytes` bytes of what the device reads are in {@linkcode view}, from their byte `from` on.
   * @param sizeBytes 64 at most @returns -1: there is less, or no memory
   */
  find(chain: Chain, from: number, sizeBytes: number): number {
    this.#begin(0, chain.readable, from);
    let size = this.#next(chain, false, sizeBytes);
    if (size === sizeBytes) {
      this.view = this.#found.memory.view;
      return this.#found.offset;
    }
    for (let done = 0; done < sizeBytes; size = this.#next(chain, false, sizeBytes - done)) {
      if (size === 0) return -1;
      const { memory: { bytes }, offset } = this.#found;
      for (let byte = 0; byte < size; byte++) this.#tornBytes[done + byte] = bytes[offset + byte];
      done += size;
    }
    this.view = this.#torn;
    return 0;
  }

  /**
   * Fills the first `sizeBytes` bytes of `target` from what the device reads, from its byte `from` on.
   * @returns false there is less, or no memory
   */
  read(chain: Chain, from: number, target: Uint8Array, sizeBytes: number): boolean {
    this.#begin(0, chain.readable, from);
    for (let done = 0; done < sizeBytes;) {
      const size = this.#next(chain, false, sizeBytes - done), { memory: { bytes }, offset } = this.#found;
      if (size === 0) return false;
      for (let byte = 0; byte < size; byte++) target[done + byte] = bytes[offset + byte];
      done += size;
    }
    return true;
  }

  /**
   * Stores `source`, or its first `sizeBytes` bytes, in what the device writes, from its byte `from` on.
   * @returns false there is less, or no memory
   */
  write(chain: Chain, source: Uint8Array, from = 0, sizeBytes = source.length): boolean {
    this.#begin(chain.readable, chain.count, from);
    for (let done = 0; done < sizeBytes;) {
      const size = this.#next(chain, true, sizeBytes - done), { memory: { bytes }, offset } = this.#found;
      if (size === 0) return false;
      for (let byte = 0; byte < size; byte++) bytes[offset + byte] = source[done + byte];
      done += size;
    }
    return true;
  }

  /** Stores the last byte that the device writes. @returns false there is none, or no memory */
  writeLast(chain: Chain, value: number): boolean {
    const { addresses, lengths } = chain;
    for (let buffer = chain.count - 1; buffer >= chain.readable; buffer--) {
      if (lengths[buffer] === 0) continue;
      if (this.memory.locate(addresses[buffer] + lengths[buffer] - 1, 1, true, this.#found) === 0) return false;
      this.#found.memory.bytes[this.#found.offset] = value;
      return true;
    }
    return false;
  }

  /**
   * Where bytes [from, from + sizeBytes) of what the device reads, or writes, are in this process.
   * @param ranges an array of struct iovec, as words; @returns how many of them, or -1: no memory, or more ranges
   */
  locate(chain: Chain, writable: boolean, from: number, sizeBytes: number, ranges: Uint32Array): number {
    this.#begin(writable ? chain.readable : 0, writable ? chain.count : chain.readable, from);
    let count = 0;
    for (let done = 0; done < sizeBytes;) {
      const size = this.#next(chain, writable, sizeBytes - done);
      if (size === 0 || (count + 1) * IOVEC_WORDS > ranges.length) return -1;
      setRange(ranges, count++, this.#found.memory.address + this.#found.offset, size);
      done += size;
    }
    return count;
  }

  #begin(buffer: number, end: number, from: number): void {
    this.#buffer = buffer;
    this.#end = end;
    this.#skip = from;
    this.#inBuffer = 0;
  }

  /** Finds the next piece that lies together. @returns its size, `most` at most, or 0: there is no more, or no memory */
  #next(chain: Chain, writable: boolean, most: number): number {
    let address = this.#address, inBuffer = this.#inBuffer;
    while (inBuffer === 0) {
      if (this.#buffer === this.#end) return 0;
      const buffer = this.#buffer++, length = chain.lengths[buffer], skipped = Math.min(this.#skip, length);
      this.#skip -= skipped;
      address = chain.addresses[buffer] + skipped;
      inBuffer = length - skipped;
    }
    const size = this.memory.locate(address, Math.min(inBuffer, most), writable, this.#found);
    this.#address = address + size;
    this.#inBuffer = inBuffer - size;
    return size;
  }
}
