/** The bytes of a request's buffers, however the driver has cut them (virtio 1.2, 2.7.4.1: nothing is to be assumed). */

import { type GuestMemoryAccess, LocatedMemory } from "../dm/host.ts";
import { IOVEC_WORDS, setRange } from "../linux/iovec.ts";
import { Chain } from "./virtqueue.ts";

/** Copies to and from buffers, and finds where they are. Nothing is allocated. */
export class ChainBytes {
  readonly #found = new LocatedMemory();
  /** The walk through a chain: the next buffer and the last one's end, what of them is skipped, and what is still wanted. */
  #chain = new Chain(0);
  #writable = false;
  #buffer = 0;
  #end = 0;
  #skip = 0;
  #left = 0;
  /** What of the buffer before that is still to come. */
  #address = 0;
  #inBuffer = 0;

  constructor(private readonly memory: GuestMemoryAccess) {}

  /** Fills `target` from what the device reads, from its byte `from` on. @returns false there is less, or no memory */
  read(chain: Chain, from: number, target: Uint8Array): boolean {
    return this.#copy(chain, false, from, target);
  }

  /** Stores `source` in what the device writes, from its byte `from` on. @returns false there is less, or no memory */
  write(chain: Chain, from: number, source: Uint8Array): boolean {
    return this.#copy(chain, true, from, source);
  }

  /**
   * Where bytes [from, from + sizeBytes) of what the device reads, or writes, are in this process.
   * @param ranges an array of struct iovec, as words; @returns how many of them, or -1: no memory, or more ranges
   */
  locate(chain: Chain, writable: boolean, from: number, sizeBytes: number, ranges: Uint32Array): number {
    this.#begin(chain, writable, from, sizeBytes);
    let count = 0;
    for (let size = this.#next(); size > 0; size = this.#next()) {
      if ((count + 1) * IOVEC_WORDS > ranges.length) return -1;
      setRange(ranges, count++, this.#found.address, size);
    }
    return this.#left > 0 ? -1 : count;
  }

  #copy(chain: Chain, writing: boolean, from: number, bytes: Uint8Array): boolean {
    this.#begin(chain, writing, from, bytes.length);
    let done = 0;
    for (let size = this.#next(); size > 0; size = this.#next()) {
      const { bytes: memory, offset } = this.#found;
      for (let byte = 0; byte < size; byte++) {
        if (writing) memory[offset + byte] = bytes[done + byte];
        else bytes[done + byte] = memory[offset + byte];
      }
      done += size;
    }
    return this.#left === 0;
  }

  #begin(chain: Chain, writable: boolean, from: number, sizeBytes: number): void {
    this.#chain = chain;
    this.#writable = writable;
    this.#buffer = writable ? chain.readable : 0;
    this.#end = writable ? chain.count : chain.readable;
    this.#skip = from;
    this.#left = sizeBytes;
    this.#inBuffer = 0;
  }

  /** Finds the next piece that lies together. @returns its size, or 0: there is no more, or no memory */
  #next(): number {
    if (this.#left === 0) return 0;
    const { addresses, lengths } = this.#chain;
    while (this.#inBuffer === 0) {
      if (this.#buffer === this.#end) return 0;
      const buffer = this.#buffer++, skipped = Math.min(this.#skip, lengths[buffer]);
      this.#skip -= skipped;
      this.#address = addresses[buffer] + skipped;
      this.#inBuffer = Math.min(lengths[buffer] - skipped, this.#left);
    }
    const size = this.memory.locate(this.#address, this.#inBuffer, this.#writable, this.#found);
    this.#address += size;
    this.#inBuffer -= size;
    this.#left -= size;
    return size;
  }
}
