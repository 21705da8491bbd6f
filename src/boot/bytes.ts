/** Little-endian fields of images, read with every bound checked, and of boot structures, written. */

import { ImageError } from "./plan.ts";

/** `value` as messages show addresses and sizes. */
export function hex(value: number | bigint): string {
  return `0x${value.toString(16)}`;
}

/** Reads the fields of an image; an offset outside of it is an error that begins with `format`. */
export class ImageReader {
  readonly #view: DataView;

  /** @param refuse makes its errors */
  constructor(
    readonly format: string,
    readonly image: Uint8Array,
    private readonly refuse: (message: string) => Error = (message) => new ImageError(message),
  ) {
    this.#view = new DataView(image.buffer, image.byteOffset, image.byteLength);
  }

  u8(offset: number, field: string): number {
    this.#check(offset, 1, field);
    return this.#view.getUint8(offset);
  }

  u16(offset: number, field: string): number {
    this.#check(offset, 2, field);
    return this.#view.getUint16(offset, true);
  }

  u32(offset: number, field: string): number {
    this.#check(offset, 4, field);
    return this.#view.getUint32(offset, true);
  }

  u64(offset: number, field: string): bigint {
    this.#check(offset, 8, field);
    return this.#view.getBigUint64(offset, true);
  }

  /** A u64 that has to be exact as a number. */
  number64(offset: number, field: string): number {
    const value = this.u64(offset, field);
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) {
      throw this.error(`${field} ${hex(value)} is beyond any file or memory`);
    }
    return Number(value);
  }

  /** A view of `sizeBytes` of the image. */
  bytes(offset: number, sizeBytes: number, field: string): Uint8Array {
    this.#check(offset, sizeBytes, field);
    return this.image.subarray(offset, offset + sizeBytes);
  }

  error(message: string): Error {
    return this.refuse(`${this.format}: ${message}`);
  }

  // Compares without adding: near 2^53 a sum would be rounded.
  #check(offset: number, sizeBytes: number, field: string): void {
    if (offset > this.image.length || sizeBytes > this.image.length - offset) {
      throw this.error(
        `${field} at ${hex(offset)}, ${hex(sizeBytes)} bytes, lies outside the file of ${hex(this.image.length)} bytes`,
      );
    }
  }
}

/** A zeroed structure of `sizeBytes` whose fields are then written in place. */
export class Structure {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly #view: DataView;

  constructor(sizeBytes: number) {
    this.bytes = new Uint8Array(sizeBytes);
    this.#view = new DataView(this.bytes.buffer);
  }

  u8(offset: number, value: number): this {
    this.#view.setUint8(offset, value);
    return this;
  }

  u16(offset: number, value: number): this {
    this.#view.setUint16(offset, value, true);
    return this;
  }

  u32(offset: number, value: number): this {
    this.#view.setUint32(offset, value, true);
    return this;
  }

  u64(offset: number, value: number): this {
    return this.u32(offset, value % 2 ** 32).u32(offset + 4, Math.floor(value / 2 ** 32));
  }
}

/** `text` in UTF-8 with its terminating zero. @throws {ImageError} it has a zero inside */
export function cString(what: string, text: string): Uint8Array {
  if (text.includes("\0")) throw new ImageError(`${what}: a zero byte would end it early`);
  return new TextEncoder().encode(text + "\0");
}
