/**
 * Changing what stands at addresses of the second stage. Unlike mapping.ts it owns nothing, takes numbers, and results
 * are 0 or -errno: it runs under the p2m lock, where nothing is allocated and nothing thrown.
 */

import * as calls from "./calls.ts";
import { IOVEC_WORDS, setRange } from "./iovec.ts";
import { Descriptor } from "./descriptor.ts";
import { asBigInt, Mapping } from "./mapping.ts";

const PROT_NONE = 0, PROT_READ = 1, PROT_READ_WRITE = 3;
const MAP_SHARED = 1, MAP_PRIVATE = 2, MAP_FIXED = 0x10, MAP_ANONYMOUS = 0x20, MAP_NORESERVE = 0x4000;
const MADV_DONTNEED = 4;

/** Places for the arguments of one call (see asBigInt). */
const AT = 0, SIZE = 1, OFFSET = 2;

/** Replaces a range by pages of a file, for all who map it. @param readOnly until {@linkcode permit} */
export function placeShared(
  address: number,
  sizeBytes: number,
  descriptor: number,
  offset: number,
  readOnly = false,
): number {
  return place(address, sizeBytes, MAP_SHARED, descriptor, offset, readOnly ? PROT_READ : PROT_READ_WRITE);
}

/** Takes away what a range shows: nothing is there any more, and the address space stays reserved. */
export function placeNothing(address: number, sizeBytes: number): number {
  const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE;
  const result = calls.mmap(asBigInt(AT, address), asBigInt(SIZE, sizeBytes), PROT_NONE, flags, -1, 0n);
  return result < 0n ? Number(result) : 0;
}

/** Has writes to a range that was placed read-only be possible. */
export function permit(address: number, sizeBytes: number): number {
  return calls.mprotect(asBigInt(AT, address), asBigInt(SIZE, sizeBytes), PROT_READ_WRITE);
}

/** Replaces a range by a copy of pages of a file: what is written there reaches nobody. */
export function placePrivate(address: number, sizeBytes: number, descriptor: number, offset: number): number {
  return place(address, sizeBytes, MAP_PRIVATE, descriptor, offset, PROT_READ_WRITE);
}

function place(
  address: number,
  sizeBytes: number,
  sharing: number,
  descriptor: number,
  offset: number,
  protection: number,
): number {
  const flags = sharing | MAP_FIXED | MAP_NORESERVE;
  const at = asBigInt(AT, address), size = asBigInt(SIZE, sizeBytes);
  const result = calls.mmap(at, size, protection, flags, descriptor, asBigInt(OFFSET, offset));
  return result < 0n ? Number(result) : 0;
}

/** New address space that shows pages of a file, and nothing in a page behind them. @returns its address, or -errno */
export function mapGuarded(sizeBytes: number, descriptor: number, offset: number): number {
  const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  const address = Number(calls.mmap(0n, asBigInt(SIZE, sizeBytes + GUARD_BYTES), PROT_NONE, flags, -1, 0n));
  if (address < 0) return address;
  const placed = placeShared(address, sizeBytes, descriptor, offset);
  if (placed === 0) return address;
  unmap(address, sizeBytes + GUARD_BYTES);
  return placed;
}

/** Gives back addresses. */
export function unmap(address: number, sizeBytes: number): number {
  return calls.munmap(asBigInt(AT, address), asBigInt(SIZE, sizeBytes));
}

/** Has every access to a range fail; what it shows stays known to the kernel. */
export function forbid(address: number, sizeBytes: number): number {
  return calls.mprotect(asBigInt(AT, address), asBigInt(SIZE, sizeBytes), PROT_NONE);
}

/** Takes a range's pages out of the page tables; a file keeps them. */
export function discard(address: number, sizeBytes: number): number {
  return calls.madvise(asBigInt(AT, address), asBigInt(SIZE, sizeBytes), MADV_DONTNEED);
}

/** Gives a range of a file memory. */
export function allocateBlocks(descriptor: number, offset: number, sizeBytes: number): number {
  return calls.fallocate(descriptor, calls.FALLOC_FL_KEEP_SIZE, asBigInt(OFFSET, offset), asBigInt(SIZE, sizeBytes));
}

/** Takes the memory of a range of a file: it reads as zeroes. */
export function punchHole(descriptor: number, offset: number, sizeBytes: number): number {
  const mode = calls.FALLOC_FL_KEEP_SIZE | calls.FALLOC_FL_PUNCH_HOLE;
  return calls.fallocate(descriptor, mode, asBigInt(OFFSET, offset), asBigInt(SIZE, sizeBytes));
}

/** Reads from a file into `bytes`. */
export function readAt(descriptor: number, bytes: Uint8Array<ArrayBuffer>, offset: number): number {
  return calls.pread64(descriptor, bytes, asBigInt(SIZE, bytes.length), asBigInt(OFFSET, offset));
}

/** Writes `bytes` to a file. */
export function writeAt(descriptor: number, bytes: Uint8Array<ArrayBuffer>, offset: number): number {
  return calls.pwrite64(descriptor, bytes, asBigInt(SIZE, bytes.length), asBigInt(OFFSET, offset));
}

/** Ranges that one call takes. */
const UIO_MAXIOV = 1024;

const PROBE_BYTES = 4096, GUARD_BYTES = 4096;

/**
 * Ranges to be discarded together. One call for all where the kernel has it (process_madvise on the caller itself takes
 * MADV_DONTNEED from Linux 6.13 on), else a loop of machine code.
 */
export class DiscardList {
  /** struct iovec: address and size. */
  readonly #ranges = new Uint32Array(UIO_MAXIOV * IOVEC_WORDS);
  #count = 0;

  /**
   * Adds a range, to the last one if it goes on there.
   * @param pidfd of this process, if process_madvise takes the advice here; else -1
   * @returns 0, or -errno of a full list's discarding
   */
  add(address: number, sizeBytes: number, pidfd: number): number {
    const ranges = this.#ranges, last = (this.#count - 1) * IOVEC_WORDS;
    if (last >= 0 && ranges[last] + ranges[last + 1] * 2 ** 32 + ranges[last + 2] === address) {
      if (ranges[last + 2] + sizeBytes < 2 ** 31) {
        ranges[last + 2] += sizeBytes;
        return 0;
      }
    }
    const result = this.#count === UIO_MAXIOV ? this.discard(pidfd) : 0;
    setRange(ranges, this.#count++, address, sizeBytes);
    return result;
  }

  /** Discards all of them. @param pidfd as for {@linkcode add} */
  discard(pidfd: number): number {
    const count = this.#count;
    this.#count = 0;
    if (count === 0) return 0;
    if (count === 1) {
      const [low, high, size] = this.#ranges;
      return discard(low + high * 2 ** 32, size);
    }
    if (pidfd < 0) return calls.madviseEach(this.#ranges, count, MADV_DONTNEED);
    const result = calls.processMadvise(pidfd, this.#ranges, asBigInt(SIZE, count), MADV_DONTNEED);
    // A signal may end it early: then the rest, and what is done already once more, one by one.
    return result === this.#bytes(count) ? 0 : calls.madviseEach(this.#ranges, count, MADV_DONTNEED);
  }

  #bytes(count: number): number {
    let bytes = 0;
    for (let index = 0; index < count; index++) bytes += this.#ranges[index * 4 + 2];
    return bytes;
  }
}

/** A pidfd of this process for {@linkcode DiscardList}, if that is any use there. @throws {LinuxError} no memory */
export function openPidfd(): Descriptor | undefined {
  const number = calls.pidfdOpen(calls.getpid(), 0);
  if (number < 0) return undefined;
  using stack = new DisposableStack();
  const pidfd = stack.use(new Descriptor(number, "pidfd"));
  using probe = Mapping.anonymous(PROBE_BYTES, "probe");
  const range = new BigUint64Array([probe.address, BigInt(PROBE_BYTES)]);
  if (calls.processMadvise(number, range, 1n, MADV_DONTNEED) !== PROBE_BYTES) return undefined;
  stack.move();
  return pidfd;
}
