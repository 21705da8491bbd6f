/** Guest memory that came by descriptor: what was granted is mapped, and nothing else exists here. */

import type { Descriptor } from "../linux/descriptor.ts";
import { Mapping } from "../linux/mapping.ts";
import { MemoryViews } from "../memory/memory_views.ts";
import type { GuestMemoryAccess, LocatedMemory, MemoryPiece } from "./host.ts";

/** A piece with the file that it came by. */
export interface GrantedPiece extends Omit<MemoryPiece, "descriptor"> {
  readonly file: Descriptor;
}

interface MappedPiece {
  readonly first: number;
  readonly end: number;
  readonly memory: MemoryViews;
}

/** The granted memory as a device model reads and writes it. Pieces that touch are one range to an access. */
export class MappedGrants implements GuestMemoryAccess, Disposable {
  readonly #mappings: DisposableStack;
  readonly #pieces: readonly MappedPiece[];
  readonly pieces: readonly MemoryPiece[];

  /**
   * Maps the pieces; their descriptors may be closed then.
   * @param outside called with each address that is wanted and was not granted @throws {LinuxError}
   */
  constructor(pieces: readonly GrantedPiece[], private readonly outside: (address: number) => void) {
    using stack = new DisposableStack();
    this.#pieces = pieces.map(({ address, sizeBytes, offset, file }) => {
      const mapping = stack.use(Mapping.file(file, sizeBytes, offset));
      const memory = new MemoryViews(mapping.buffer, Number(mapping.address));
      return { first: address, end: address + sizeBytes, memory };
    });
    this.pieces = pieces.map(({ file, ...piece }) => ({ ...piece, descriptor: stack.use(file.duplicate()).number }));
    this.#mappings = stack.move();
  }

  read(address: number, target: Uint8Array): void {
    for (const { bytes, at } of this.#require(address, target.length)) target.set(bytes, at);
  }

  write(address: number, source: Uint8Array): void {
    for (const { bytes, at } of this.#require(address, source.length)) {
      bytes.set(source.subarray(at, at + bytes.length));
    }
  }

  contains(address: number, sizeBytes: number): boolean {
    const isThere = this.#runs(address, sizeBytes) !== undefined;
    if (!isThere) this.outside(address);
    return isThere;
  }

  locate(address: number, sizeBytes: number, _write: boolean, found: LocatedMemory): number {
    for (let index = 0; index < this.#pieces.length; index++) {
      const { first, end, memory } = this.#pieces[index];
      if (!(address >= first && address < end)) continue;
      found.memory = memory;
      found.offset = address - first;
      return Math.min(end - address, sizeBytes);
    }
    this.outside(address);
    return 0;
  }

  [Symbol.dispose](): void {
    this.#mappings.dispose();
  }

  #require(address: number, sizeBytes: number): { bytes: Uint8Array; at: number }[] {
    const runs = this.#runs(address, sizeBytes);
    if (runs !== undefined) return runs;
    this.outside(address);
    throw new RangeError(`guest memory 0x${address.toString(16)} + ${sizeBytes} was not granted to this device model`);
  }

  /** The memory of [address, address + sizeBytes), piece by piece; undefined if not all of it was granted. */
  #runs(address: number, sizeBytes: number): { bytes: Uint8Array; at: number }[] | undefined {
    const isWhole = (number: number) => Number.isSafeInteger(number) && number >= 0;
    if (!isWhole(address) || !isWhole(sizeBytes) || !isWhole(address + sizeBytes)) return undefined;
    const runs: { bytes: Uint8Array; at: number }[] = [];
    for (let at = 0; at < sizeBytes;) {
      const from = address + at;
      const piece = this.#pieces.find(({ first, end }) => from >= first && from < end);
      if (piece === undefined) return undefined;
      const size = Math.min(piece.end - from, sizeBytes - at);
      runs.push({ bytes: piece.memory.bytes.subarray(from - piece.first, from - piece.first + size), at });
      at += size;
    }
    return runs;
  }
}
