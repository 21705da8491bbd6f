/** Which guest memory a device model gets: what was granted, and nothing else. */

import { type AddressRange, gfnOf, PAGE_SIZE } from "../memory/address.ts";
import type { Bank } from "../memory/bank.ts";
import { GuestAddressError, type GuestMemory } from "../memory/guest_memory.ts";
import type { GuestMemoryAccess, LocatedMemory, MemoryPiece } from "../dm/host.ts";

/** All of the domain's memory, none of it, or what of it lies in these ranges; whole pages. */
export type MemoryGrant = "all" | "none" | readonly AddressRange[];

/** RAM of the domain: guest-physical [address, address + sizeBytes) is a bank from `offset` on. */
export interface RamPiece {
  readonly address: number;
  readonly sizeBytes: number;
  readonly bank: Bank;
  readonly offset: number;
}

/** RAM of the domain before it has banks: pieces of the same group lie in one bank. */
export interface RamRange {
  readonly address: number;
  readonly sizeBytes: number;
  readonly offset: number;
}

/**
 * Cuts RAM at the edges of what is granted in part, so that each piece can be a bank of its own: passing a bank's
 * descriptor passes exactly the grant. Pieces that lie in no partial grant stay as they are.
 */
export function cutRam(ram: readonly RamRange[], grants: readonly MemoryGrant[]): RamRange[] {
  const edges = grants.flatMap((grant) => typeof grant === "string" ? [] : grant.flatMap(pagesOf)).sort((a, b) =>
    a - b
  );
  return ram.flatMap((range) => {
    const end = range.address + range.sizeBytes;
    const inside = [...new Set(edges)].filter((edge) => edge > range.address && edge < end);
    return [range.address, ...inside].map((address, index) => ({
      address,
      sizeBytes: (inside[index] ?? end) - address,
      offset: range.offset + (address - range.address),
    }));
  });
}

/** What of RAM a grant gives. */
export function granted(ram: readonly RamPiece[], grant: MemoryGrant): readonly RamPiece[] {
  if (grant === "all") return ram;
  if (grant === "none") return [];
  const wanted = grant.map(pagesOf);
  return ram.filter(({ address }) => wanted.some(([first, end]) => address >= first && address < end));
}

/** The same as files, by the descriptors of their banks. */
export function grantedFiles(ram: readonly RamPiece[], grant: MemoryGrant): MemoryPiece[] {
  return granted(ram, grant).map(({ address, sizeBytes, bank, offset }) => {
    return { address, sizeBytes, offset, descriptor: bank.file.number };
  });
}

/** First byte of the first page, first byte behind the last. */
function pagesOf({ first, last }: AddressRange): [number, number] {
  return [gfnOf(first) * PAGE_SIZE, (gfnOf(last) + 1) * PAGE_SIZE];
}

/** The guest's memory for a device model in this process: its grant is checked at each access. */
export class GrantedMemory implements GuestMemoryAccess {
  /** First byte, and first byte behind the last. */
  readonly #ranges: readonly (readonly [first: number, end: number])[];

  /** @param outside called with each address that is wanted and was not granted @param pieces {@linkcode grantedFiles} */
  constructor(
    private readonly memory: GuestMemory,
    private readonly grant: MemoryGrant,
    private readonly outside: (address: number) => void,
    readonly pieces: readonly MemoryPiece[] = [],
  ) {
    this.#ranges = typeof grant === "string" ? [] : grant.map(pagesOf);
  }

  read(address: number, target: Uint8Array): void {
    this.#require(address, target.length);
    try {
      this.memory.read(address, target);
    } catch (error) {
      throw asRangeError(error);
    }
  }

  write(address: number, source: Uint8Array): void {
    this.#require(address, source.length);
    try {
      this.memory.write(address, source);
    } catch (error) {
      throw asRangeError(error);
    }
  }

  contains(address: number, sizeBytes: number): boolean {
    if (this.#isGranted(address, sizeBytes)) return this.memory.contains(address, sizeBytes);
    this.outside(address);
    return false;
  }

  locate(address: number, sizeBytes: number, write: boolean, found: LocatedMemory): number {
    if (this.grant === "all") return this.memory.locate(address, sizeBytes, write, found);
    return this.#locateInRanges(address, sizeBytes, write, found);
  }

  #locateInRanges(address: number, sizeBytes: number, write: boolean, found: LocatedMemory): number {
    const end = this.#rangeEnd(address);
    if (end > address) return this.memory.locate(address, Math.min(sizeBytes, end - address), write, found);
    this.outside(address);
    return 0;
  }

  #require(address: number, sizeBytes: number): void {
    if (this.#isGranted(address, sizeBytes)) return;
    this.outside(address);
    throw new RangeError(`guest memory 0x${address.toString(16)} + ${sizeBytes} was not granted to this device model`);
  }

  #isGranted(address: number, sizeBytes: number): boolean {
    if (typeof this.grant === "string") return this.grant === "all";
    if (!Number.isSafeInteger(address)) return false;
    let at = address;
    while (at < address + sizeBytes) {
      const end = this.#rangeEnd(at);
      if (!(end > at)) return false;
      at = end;
    }
    return true;
  }

  /** Where the range that has `address` ends; `address`: none has it. */
  #rangeEnd(address: number): number {
    for (let index = 0; index < this.#ranges.length; index++) {
      const [first, end] = this.#ranges[index];
      if (address >= first && address < end) return end;
    }
    return address;
  }
}

/** What is granted and no memory is, to a device model, as good as what is not granted. */
function asRangeError(error: unknown): unknown {
  return error instanceof GuestAddressError ? new RangeError(error.message) : error;
}
