/** Memory of this process that is shared with a guest, as one sees it who looks into it by offset. */

/** Views of the same memory: they are made once. */
export class MemoryViews {
  /** All of it. */
  readonly bytes: Uint8Array;
  /** Words of 16 bits, for Atomics. */
  readonly halves: Uint16Array;
  /** Numbers of any size, aligned or not. */
  readonly view: DataView;

  /** Views of `buffer`. @param address of its first byte in this process, for system calls */
  constructor(buffer: ArrayBuffer, readonly address: number) {
    this.bytes = new Uint8Array(buffer);
    this.halves = new Uint16Array(buffer, 0, Math.floor(buffer.byteLength / 2));
    this.view = new DataView(buffer);
  }
}
