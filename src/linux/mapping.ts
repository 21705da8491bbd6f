/** Address space: mappings with an owner, and views of memory by its address. */

import * as calls from "./calls.ts";
import type { Descriptor } from "./descriptor.ts";
import { ENOMEM } from "./errno.ts";
import { check, LinuxError } from "./linux_error.ts";

const PROT_NONE = 0, PROT_READ = 1, PROT_READ_WRITE = 3, PROT_READ_EXECUTE = 5;
const MAP_SHARED = 1, MAP_PRIVATE = 2, MAP_FIXED = 0x10, MAP_ANONYMOUS = 0x20, MAP_NORESERVE = 0x4000;
const MAP_FIXED_NOREPLACE = 0x100000;
const FIXED_ANONYMOUS = MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS | MAP_NORESERVE;

/** What can be done with memory: nothing is ever written and executed at once. */
export const ACCESS = { R: PROT_READ, RW: PROT_READ_WRITE, RX: PROT_READ_EXECUTE } as const;
/** One of {@linkcode ACCESS}. */
export type Access = (typeof ACCESS)[keyof typeof ACCESS];

/** For {@linkcode asBigInt}: a double in [2^52, 2^53) has a whole number in its lower 52 bits. */
const doubles = new Float64Array(3), bits = new BigUint64Array(doubles.buffer);
/** The arguments of mmap: each has a place of its own, so that none waits for another. */
const AT = 0, SIZE = 1, FILE_OFFSET = 2;

/**
 * The same as BigInt(value). Where compiled code passes it on to FFI, no BigInt is made: 8% of vmap's time, and most of
 * its garbage (tools/bench/vmap.ts).
 * @param value in [0, 2^52)
 */
export function asBigInt(place: number, value: number): bigint {
  doubles[place] = 2 ** 52 + value;
  return BigInt.asUintN(52, bits[place]);
}

/** The host allows this process no more mappings (vm.max_map_count, 65 530 unless the host was told otherwise). */
export class MappingLimitError extends LinuxError {
  static {
    this.prototype.name = "MappingLimitError";
  }

  /** @param subject what was to be mapped */
  constructor(subject: string) {
    super("mmap", ENOMEM, `${subject}: the host allows this process no more mappings`);
  }
}

/** Addresses from `first` to the one before `end`. */
export interface AddressSpan {
  readonly first: bigint;
  readonly end: bigint;
}

/** How far apart the places are that {@linkcode Mapping.reserveNear} tries: some 300 for 2 GiB on both sides. */
const NEAR_STEP_BYTES = 16n << 20n;

/** A range of address space, unmapped when disposed: nothing may look at it after that (the process would die). */
export class Mapping implements Disposable {
  #live = true;
  readonly #start: number;

  /** @param address first byte; @param sizeBytes a multiple of the page size */
  private constructor(readonly address: bigint, readonly sizeBytes: number, readonly subject: string) {
    this.#start = Number(address);
  }

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
   * The same, so near to [first, end) that no two bytes of both are `reachBytes` or more apart: the nearest free place at a
   * multiple of {@linkcode NEAR_STEP_BYTES} below it; if there is none, above it, where a stack may have to grow.
   * @param near page-aligned
   * @throws {LinuxError} ENOMEM there is none
   */
  static reserveNear(sizeBytes: number, near: AddressSpan, reachBytes: number, subject: string): Mapping {
    const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE;
    const size = BigInt(sizeBytes), reach = BigInt(reachBytes);
    const at = (direction: bigint, distance: bigint) =>
      direction < 0n ? near.first - size - distance : near.end + distance;
    for (const direction of [-1n, 1n]) {
      for (let distance = 0n; distance < reach; distance += NEAR_STEP_BYTES) {
        const address = at(direction, distance);
        if (address <= 0n || address + size - near.first > reach || near.end - address > reach) break;
        if (calls.mmap(address, size, PROT_NONE, flags, -1, 0n) === address) {
          return new Mapping(address, sizeBytes, subject);
        }
      }
    }
    throw new LinuxError("mmap", ENOMEM, `${subject}: no ${sizeBytes} free bytes near 0x${near.first.toString(16)}`);
  }

  /**
   * Replaces [offset, offset + sizeBytes) of this range by the pages of `file` from `fileOffset`: who looks at them
   * meanwhile sees the one or the other.
   * @throws {MappingLimitError} @throws {LinuxError} the range is as it was
   * @throws {RangeError} not all of it is in this range: MAP_FIXED would replace somebody else's memory
   */
  place(offset: number, sizeBytes: number, file: Descriptor, fileOffset: number, access: Access = ACCESS.RW): void {
    this.#replace(offset, sizeBytes, access, MAP_SHARED | MAP_FIXED | MAP_NORESERVE, file.number, fileOffset);
  }

  /** Replaces [offset, offset + sizeBytes) by zeroed memory of this process alone. Throws what {@linkcode place} does. */
  placeZeroes(offset: number, sizeBytes: number, access: Access = ACCESS.RW): void {
    this.#replace(offset, sizeBytes, access, FIXED_ANONYMOUS, -1, 0);
  }

  /** Makes [offset, offset + sizeBytes) address space without memory again. Throws what {@linkcode place} does. */
  unplace(offset: number, sizeBytes: number): void {
    this.#replace(offset, sizeBytes, PROT_NONE, FIXED_ANONYMOUS, -1, 0);
  }

  #replace(offset: number, sizeBytes: number, protection: number, flags: number, fd: number, fileOffset: number): void {
    const isRange = offset >= 0 && sizeBytes >= 0 && fileOffset >= 0 && offset + sizeBytes <= this.sizeBytes;
    if (!(this.#live && isRange)) {
      throw new RangeError(`${this.subject}: nothing can be placed at ${offset} + ${sizeBytes}`);
    }
    const at = asBigInt(AT, this.#start + offset), from = asBigInt(FILE_OFFSET, fileOffset);
    const result = calls.mmap(at, asBigInt(SIZE, sizeBytes), protection, flags, fd, from);
    if (result >= 0n) return;
    const what = `${this.subject} (${sizeBytes} bytes)`;
    // The addresses are there, so what is missing is a place in the process's list of mappings.
    if (Number(result) === -ENOMEM) throw new MappingLimitError(what);
    check(Number(result), "mmap", what);
  }

  /** The address of a byte of this range. */
  addressOf(offset: number): bigint {
    return asBigInt(AT, this.#start + offset);
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

/** The address of JavaScript's own memory: good for as long as something refers to that. */
export function bytesAddress(bytes: Uint8Array<ArrayBuffer>): bigint {
  return BigInt(Deno.UnsafePointer.value(Deno.UnsafePointer.of(bytes)));
}

/** A pointer for FFI from an address. @throws {RangeError} the null address */
export function pointerTo(address: bigint): Deno.PointerObject {
  const pointer = Deno.UnsafePointer.create(address);
  if (pointer === null) throw new RangeError("the null address has no memory");
  return pointer;
}
