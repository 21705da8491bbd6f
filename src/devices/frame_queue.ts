/** Frames that wait for the guest, of whom there is a bounded number: what comes when it is full is lost. */

import { MOST_FRAME_BYTES } from "../virtio/net_abi.ts";

/** A ring of frames. */
export class FrameQueue {
  readonly #bytes: Uint8Array<ArrayBuffer>;
  readonly #sizes: Uint16Array;
  #first = 0;
  #count = 0;

  /** @param capacity in frames */
  constructor(private readonly capacity: number) {
    this.#bytes = new Uint8Array(capacity * MOST_FRAME_BYTES);
    this.#sizes = new Uint16Array(capacity);
  }

  get count(): number {
    return this.#count;
  }

  /** Where the next frame is to be put, as long as it is not too long; undefined: there is no room. */
  place(sizeBytes: number): Uint8Array<ArrayBuffer> | undefined {
    if (this.#count === this.capacity || sizeBytes > MOST_FRAME_BYTES) return undefined;
    const slot = (this.#first + this.#count++) % this.capacity, at = slot * MOST_FRAME_BYTES;
    this.#sizes[slot] = sizeBytes;
    return this.#bytes.subarray(at, at + sizeBytes);
  }

  /** Takes the first frame. @returns its size in bytes; 0: there is none */
  take(frame: Uint8Array): number {
    if (this.#count === 0) return 0;
    const slot = this.#first, size = this.#sizes[slot], at = slot * MOST_FRAME_BYTES;
    this.#first = (slot + 1) % this.capacity;
    this.#count--;
    for (let byte = 0; byte < size; byte++) frame[byte] = this.#bytes[at + byte];
    return size;
  }
}
