/** Frames in a stream of bytes, each behind its size as 32 bits, highest byte first: as QEMU's stream networks have it. */

import { bytesAddress } from "../linux/mapping.ts";
import { ETHERNET_HEADER_BYTES, MOST_FRAME_BYTES } from "../virtio/net_abi.ts";

/** Bytes before each frame. */
export const SIZE_BYTES = 4;

/** QEMU takes so many (NET_BUFSIZE); what claims to have more is no frame. */
export const MOST_STREAM_FRAME_BYTES = 4096 + 65536;

/** A whole frame at least, and some more, so that one call brings many. */
const ROOM_BYTES = 2 ** 17;

/** Takes frames out of what comes. */
export class FrameReader {
  readonly bytes = new Uint8Array(ROOM_BYTES);
  readonly #address = Number(bytesAddress(this.bytes));
  /** What has come and was not taken. */
  #start = 0;
  #end = 0;

  /** Makes as much room as there can be; there always is some once {@linkcode next} has found no frame. */
  makeRoom(): void {
    if (this.#start > 0) this.bytes.copyWithin(0, this.#start, this.#end);
    this.#end -= this.#start;
    this.#start = 0;
  }

  /** Where what comes is to be put, as an index and as an address of this process. */
  get end(): number {
    return this.#end;
  }

  get address(): number {
    return this.#address + this.#end;
  }

  get roomBytes(): number {
    return ROOM_BYTES - this.#end;
  }

  /** So much has come. */
  filled(sizeBytes: number): void {
    this.#end += sizeBytes;
  }

  /** Forgets what has come. */
  clear(): void {
    this.#start = this.#end = 0;
  }

  /**
   * Takes the next frame; one that is shorter than its header, or longer than `frame`, is left out.
   * @returns its size in bytes; 0: it has not come yet; -1: there is none, and never will be
   */
  next(frame: Uint8Array): number {
    for (;;) {
      if (this.#end - this.#start < SIZE_BYTES) return 0;
      const { bytes } = this, from = this.#start + SIZE_BYTES;
      const size = (bytes[from - 4] * 2 ** 24) + (bytes[from - 3] << 16 | bytes[from - 2] << 8 | bytes[from - 1]);
      if (size === 0 || size > MOST_STREAM_FRAME_BYTES) return -1;
      if (this.#end - from < size) return 0;
      this.#start = from + size;
      if (size < ETHERNET_HEADER_BYTES || size > frame.length) continue;
      for (let byte = 0; byte < size; byte++) frame[byte] = bytes[from + byte];
      return size;
    }
  }
}

/** One frame on its way out. */
export class FrameWriter {
  readonly bytes = new Uint8Array(SIZE_BYTES + MOST_FRAME_BYTES);
  readonly #address = Number(bytesAddress(this.bytes));
  #done = 0;
  #end = 0;

  /** A frame is to be sent, instead of any other. @param sizeBytes {@linkcode MOST_FRAME_BYTES} at most */
  begin(frame: Uint8Array, sizeBytes: number): void {
    const { bytes } = this;
    bytes[0] = bytes[1] = 0;
    bytes[2] = sizeBytes >> 8;
    bytes[3] = sizeBytes;
    for (let byte = 0; byte < sizeBytes; byte++) bytes[SIZE_BYTES + byte] = frame[byte];
    this.#done = 0;
    this.#end = SIZE_BYTES + sizeBytes;
  }

  /** What of it is still to be sent, and where it is in this process. */
  get left(): number {
    return this.#end - this.#done;
  }

  get address(): number {
    return this.#address + this.#done;
  }

  /** Whether some of it is sent, and not all. */
  get isCut(): boolean {
    return this.#done > 0 && this.left > 0;
  }

  /** So much of it is sent. */
  sent(sizeBytes: number): void {
    this.#done += sizeBytes;
  }

  /** Forgets it. */
  clear(): void {
    this.#done = this.#end = 0;
  }
}
