/** A part of a queue in the guest's memory: found as far as it lies together, and kept for as long as that is good. */

import { type GuestMemoryAccess, LocatedMemory } from "../dm/host.ts";
import type { MemoryViews } from "../memory/memory_views.ts";

/** Descriptors, a ring, a table. Offsets are within it. */
export class RingPart {
  #address = 0;
  #sizeBytes = 0;
  readonly #found = new LocatedMemory();
  /** What was found: bytes [first, end) of the part, byte 0 of which would be at this offset of the memory. */
  #first = 0;
  #end = 0;
  #start = 0;

  /** @param writable whether the device writes to it */
  constructor(private readonly memory: GuestMemoryAccess, private readonly writable: boolean) {}

  /** From now on it is there. */
  place(address: number, sizeBytes: number): void {
    this.#address = address;
    this.#sizeBytes = sizeBytes;
    this.#end = 0;
  }

  /** The guest may have changed what it has there: it is looked for again. */
  forget(): void {
    this.#end = 0;
  }

  /** What {@linkcode at} counts in. */
  get views(): MemoryViews {
    return this.#found.memory;
  }

  /** Where `sizeBytes` bytes from `offset` on are in {@linkcode views}, or -1: not there, not to be written to, or torn. */
  at(offset: number, sizeBytes: number): number {
    const isFound = offset >= this.#first && offset + sizeBytes <= this.#end;
    return isFound ? this.#start + offset : this.#find(offset, sizeBytes);
  }

  #find(offset: number, sizeBytes: number): number {
    const most = this.#sizeBytes - offset, found = this.#found;
    const size = this.memory.locate(this.#address + offset, most, this.writable, found);
    this.#first = offset;
    this.#end = offset + size;
    this.#start = found.offset - offset;
    return size >= sizeBytes ? found.offset : -1;
  }

  /** Copies bytes, however they lie. @returns false there is no memory */
  copy(offset: number, target: Uint8Array): boolean {
    for (let done = 0; done < target.length; done++) {
      const at = this.at(offset + done, 1);
      if (at < 0) return false;
      target[done] = this.views.bytes[at];
    }
    return true;
  }
}
