/** Address space: mappings with an owner, and views of memory by its address. */

import * as calls from "./calls.ts";
import type { Descriptor } from "./descriptor.ts";
import { check } from "./linux_error.ts";

const PROT_NONE = 0, PROT_READ_WRITE = 3;
const MAP_SHARED = 1, MAP_PRIVATE = 2, MAP_FIXED = 0x10, MAP_ANONYMOUS = 0x20, MAP_NORESERVE = 0x4000;

/** A range of address space, unmapped when disposed: nothing may look at it after that (the process would die). */
export class Mapping implements Disposable {
  #live = true;

  /** @param address first byte; @param sizeBytes a multiple of the page size */
  private constructor(readonly address: bigint, readonly sizeBytes: number, readonly subject: string) {}

  /** Zeroed memory for this process; untouched pages cost nothing. @throws {LinuxError} */
  static anonymous(sizeBytes: number, subject: string): Mapping {
    const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    return new Mapping(map(0n, sizeBytes, PROT_READ_WRITE, flags, -1, 0, subject), sizeBytes, subject);
  }

  /** The whole of `file`, or `sizeBytes` from `offset`, for reading and writing. @throws {LinuxError} */
  static file(file: Descriptor, sizeBytes: number, offset = 0): Mapping {
    const flags = MAP_SHARED | MAP_NORESERVE;
    const address = map(0n, sizeBytes, PROT_READ_WRITE, flags, file.number, offset, file.subject);
    return new Mapping(address, sizeBytes, file.subject);
  }

  /** Address space without memory, aligned to `alignment` (a power of two), for {@linkcode place}. @throws {LinuxError} */
  static reserve(sizeBytes: number, alignment: number, subject: string): Mapping {
    const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    const wide = sizeBytes + alignment;
    const start = map(0n, wide, PROT_NONE, flags, -1, 0, subject);
    const address = (start + BigInt(alignment - 1)) & ~BigInt(alignment - 1);
    const before = address - start, after = BigInt(wide) - before - BigInt(sizeBytes);
    if (before > 0n) calls.munmap(start, before);
    if (after > 0n) calls.munmap(address + BigInt(sizeBytes), after);
    return new Mapping(address, sizeBytes, subject);
  }

  /**
   * Replaces [offset, offset + sizeBytes) of this range by the pages of `file` from `fileOffset`.
   * @throws {LinuxError}
   * @throws {RangeError} not all of it is in this range: MAP_FIXED would replace somebody else's memory
   */
  place(offset: number, sizeBytes: number, file: Descriptor, fileOffset: number): void {
    if (!(this.#live && offset >= 0 && sizeBytes >= 0 && offset + sizeBytes <= this.sizeBytes)) {
      throw new RangeError(`${this.subject}: nothing can be placed at ${offset} + ${sizeBytes}`);
    }
    const flags = MAP_SHARED | MAP_FIXED | MAP_NORESERVE;
    map(this.address + BigInt(offset), sizeBytes, PROT_READ_WRITE, flags, file.number, fileOffset, this.subject);
  }

  /** The memory as an ArrayBuffer: the memory itself, not a copy. */
  get buffer(): ArrayBuffer {
    return viewAt(this.address, this.sizeBytes);
  }

  [Symbol.dispose](): void {
    if (this.#live) check(calls.munmap(this.address, BigInt(this.sizeBytes)), "munmap", this.subject);
    this.#live = false;
  }
}

function map(at: bigint, size: number, protection: number, flags: number, fd: number, offset: number, what: string) {
  const address = calls.mmap(at, BigInt(size), protection, flags, fd, BigInt(offset));
  if (address < 0n) check(Number(address), "mmap", `${what} (${size} bytes)`);
  return address;
}

/**
 * The memory at an address of this process as an ArrayBuffer. Whoever passes an address (to a Worker, say) keeps the
 * mapping alive for as long as the view is used.
 */
export function viewAt(address: bigint, sizeBytes: number): ArrayBuffer {
  return Deno.UnsafePointerView.getArrayBuffer(pointerTo(address), sizeBytes);
}

/** A pointer for FFI from an address. @throws {RangeError} the null address */
export function pointerTo(address: bigint): Deno.PointerObject {
  const pointer = Deno.UnsafePointer.create(address);
  if (pointer === null) throw new RangeError("the null address has no memory");
  return pointer;
}
