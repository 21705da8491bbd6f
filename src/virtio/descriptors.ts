/** A queue's descriptors (virtio 1.2, 2.7.5), and the tables that they lead to: where a request's buffers are. */

import type { GuestMemoryAccess } from "../dm/host.ts";
import { DESCRIPTOR, DESCRIPTOR_FLAG } from "./abi.ts";
import type { Chain } from "./chain.ts";
import { RingPart } from "./ring_part.ts";

/** The descriptors of one queue. */
export class Descriptors {
  readonly #queue: RingPart;
  readonly #table: RingPart;
  #size = 0;
  #mayIndirect = false;
  /** A descriptor that does not lie together. */
  readonly #torn = new Uint8Array(DESCRIPTOR.bytes);
  readonly #tornView = new DataView(this.#torn.buffer);

  constructor(private readonly memory: GuestMemoryAccess) {
    this.#queue = new RingPart(memory, false);
    this.#table = new RingPart(memory, false);
  }

  /** From now on there are so many, there. @param mayIndirect whether the driver may have tables */
  place(address: number, size: number, mayIndirect: boolean): void {
    this.#queue.place(address, size * DESCRIPTOR.bytes);
    this.#size = size;
    this.#mayIndirect = mayIndirect;
  }

  /** The guest may have changed what it has there: they are looked for again. */
  forget(): void {
    this.#queue.forget();
  }

  /** Takes a request's buffers. @returns false it is none */
  collect(chain: Chain, head: number): boolean {
    chain.clear(head);
    const last = this.#follow(chain, this.#queue, this.#size, head);
    return last >= 0 && ((last & DESCRIPTOR_FLAG.INDIRECT) === 0 || this.#collectTable(chain, last));
  }

  /** The rest of a chain is a table of its own: only at its end, and without another in it (2.7.5.3.1). */
  #collectTable(chain: Chain, flags: number): boolean {
    const address = chain.addresses[chain.count], bytes = chain.lengths[chain.count], table = this.#table;
    const isTable = bytes > 0 && bytes % DESCRIPTOR.bytes === 0 && (flags & DESCRIPTOR_FLAG.NEXT) === 0;
    if (!isTable || !this.#mayIndirect) return false;
    table.place(address, bytes);
    if (table.at(0, bytes) < 0 && !this.memory.contains(address, bytes)) return false;
    const last = this.#follow(chain, table, bytes / DESCRIPTOR.bytes, 0);
    return last >= 0 && (last & DESCRIPTOR_FLAG.INDIRECT) === 0;
  }

  /** Follows a chain in a table of `size`. @returns the flags at its end, or where it goes on in another; -1 it does not end */
  #follow(chain: Chain, table: RingPart, size: number, first: number): number {
    for (let steps = 0, index = first; steps < size && index < size && chain.count < chain.most; steps++) {
      const flags = this.#read(chain, table, index);
      if (flags < 0 || (flags & DESCRIPTOR_FLAG.INDIRECT) !== 0) return flags;
      if (!chain.add((flags & DESCRIPTOR_FLAG.WRITE) !== 0)) return -1;
      if ((flags & DESCRIPTOR_FLAG.NEXT) === 0) return flags;
      index = flags >>> 16;
    }
    return -1;
  }

  /**
   * Reads a descriptor, each part of it once (the driver may change it meanwhile), to where the chain's next buffer is.
   * @returns its flags, and 16 bits above them the next one; -1 there is no memory
   */
  #read(chain: Chain, table: RingPart, index: number): number {
    const at = table.at(index * DESCRIPTOR.bytes, DESCRIPTOR.bytes);
    if (at >= 0) return chain.read(table.views.view, at);
    return table.copy(index * DESCRIPTOR.bytes, this.#torn) ? chain.read(this.#tornView, 0) : -1;
  }
}
