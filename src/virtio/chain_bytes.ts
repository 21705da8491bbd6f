/** The bytes of a request's buffers, however the driver has cut them (virtio 1.2, 2.7.4.1: nothing is to be assumed). */

import { type GuestMemoryAccess, LocatedMemory } from "../dm/host.ts";
import type { Chain } from "./virtqueue.ts";

/** Copies to and from buffers, and finds where they are. Nothing is allocated. */
export class ChainBytes {
  readonly #found = new LocatedMemory();

  constructor(private readonly memory: GuestMemoryAccess) {}

  /** Fills `target` from what the device reads, from its byte `from` on. @returns false there is less, or no memory */
  read(chain: Chain, from: number, target: Uint8Array): boolean {
    return this.#copy(chain, 0, chain.readable, from, target, false);
  }

  /** Stores `source` in what the device writes, from its byte `from` on. @returns false there is less, or no memory */
  write(chain: Chain, from: number, source: Uint8Array): boolean {
    return this.#copy(chain, chain.readable, chain.count, from, source, true);
  }

  /**
   * Where bytes [from, from + sizeBytes) of what the device reads, or writes, are in this process.
   * @param ranges an array of struct iovec, as words; @returns how many of them, or -1: no memory, or more ranges
   */
  locate(chain: Chain, writable: boolean, from: number, sizeBytes: number, ranges: Uint32Array): number {
    const last = writable ? chain.count : chain.readable;
    let count = 0, skip = from, left = sizeBytes;
    for (let buffer = writable ? chain.readable : 0; buffer < last && left > 0; buffer++) {
      const length = chain.lengths[buffer];
      if (skip >= length) {
        skip -= length;
        continue;
      }
      let address = chain.addresses[buffer] + skip, inBuffer = Math.min(length - skip, left);
      skip = 0;
      left -= inBuffer;
      while (inBuffer > 0) {
        const size = this.memory.locate(address, inBuffer, writable, this.#found);
        if (size === 0 || (count + 1) * 4 > ranges.length) return -1;
        const at = count++ * 4;
        ranges[at] = this.#found.address;
        ranges[at + 1] = this.#found.address / 2 ** 32;
        ranges[at + 2] = size;
        ranges[at + 3] = 0;
        address += size;
        inBuffer -= size;
      }
    }
    return left > 0 ? -1 : count;
  }

  #copy(chain: Chain, first: number, last: number, from: number, bytes: Uint8Array, write: boolean): boolean {
    let skip = from, done = 0;
    for (let buffer = first; buffer < last && done < bytes.length; buffer++) {
      const length = chain.lengths[buffer];
      if (skip >= length) {
        skip -= length;
        continue;
      }
      let address = chain.addresses[buffer] + skip, left = Math.min(length - skip, bytes.length - done);
      skip = 0;
      while (left > 0) {
        const size = this.memory.locate(address, left, write, this.#found);
        if (size === 0) return false;
        const { bytes: memory, offset } = this.#found;
        for (let byte = 0; byte < size; byte++) {
          if (write) memory[offset + byte] = bytes[done + byte];
          else bytes[done + byte] = memory[offset + byte];
        }
        address += size;
        left -= size;
        done += size;
      }
    }
    return done === bytes.length;
  }
}
