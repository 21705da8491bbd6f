/** A request as a device sees it. */

import { DESCRIPTOR } from "./abi.ts";

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
  readonly lengths: Uint32Array;

  /** @param most buffers, whether direct or in a table */
  constructor(readonly most: number) {
    this.addresses = new Float64Array(most);
    this.lengths = new Uint32Array(most);
  }

  clear(head: number): void {
    this.head = head;
    this.count =
      this.readable =
      this.readableBytes =
      this.writableBytes =
        0;
  }

  /** Reads a descriptor to behind the last buffer. @returns its flags, and 16 bits above them the next one */
  read(view: DataView, at: number): number {
    // 64 bits; what has more than 53 is nobody's address.
    const low = view.getUint32(at + DESCRIPTOR.addr, true), high = view.getUint32(at + DESCRIPTOR.addr + 4, true);
    this.addresses[this.count] = high * 2 ** 32 + low;
    this.lengths[this.count] = view.getUint32(at + DESCRIPTOR.len, true);
    return view.getUint32(at + DESCRIPTOR.flags, true);
  }

  /**
   * Makes what stands behind the last buffer one more. What the device reads has to come before what it writes (2.7.4.2).
   * @returns false it does not, or there are 4 GiB
   */
  add(writable: boolean): boolean {
    const length = this.lengths[this.count];
    if (writable) {
      this.writableBytes += length;
    } else {
      if (this.count > this.readable) return false;
      this.readable++;
      this.readableBytes += length;
    }
    this.count++;
    return this.readableBytes + this.writableBytes < 2 ** 32;
  }
}
