/** vmap: any machine frames, of whatever banks, at contiguous addresses of this process (Xen: xen/common/vmap.c). */

import { ACCESS, type Access, type AddressSpan } from "../linux/mapping.ts";
import { nativeCode } from "../linux/native_symbols.ts";
import { type Mfn, PAGE_SIZE, roundUp } from "./address.ts";
import type { MachineMemory } from "./bank.ts";
import { requireArenaSize, type VmapArea, VmapArena } from "./vmap_arena.ts";
import { contiguousRuns, runsOf } from "./vmap_runs.ts";

export { ArenaFullError, type VmapArea } from "./vmap_arena.ts";

/**
 * The arenas (Xen: VMAP_DEFAULT, VMAP_XEN) and their sizes in bytes. Address space costs nothing, but V8 takes the tables
 * that go with it, 3 MB for each GiB, for garbage to come: with 64 GiB every start began with a collection. The payload
 * arena has to find a place within 2 GiB of our own machine code, where other libraries and the engine's heaps are, too.
 */
export const VMAP_ARENA_BYTES = { default: 8 * 2 ** 30, payload: 64 * 2 ** 20 } as const;
/** Which arena an area is in. */
export type VmapKind = keyof typeof VMAP_ARENA_BYTES;

const KINDS: readonly VmapKind[] = ["default", "payload"];

interface Arenas {
  readonly default: VmapArena;
  /** From its first use on. */
  payload?: VmapArena;
}

/**
 * Makes, changes and finds areas. As Xen's, it takes no references: whoever maps a frame sees to it that it is not
 * somebody else's meanwhile. A bank may go before an area that shows it: the host keeps its memory until then.
 *
 * It belongs to one isolate; others see an area by its address (`viewAt(area.address, area.pages * PAGE_SIZE)`) for as
 * long as it is not unmapped. Where they may look later than that, {@linkcode retire} comes first.
 */
export class Vmap implements Disposable {
  /** The sizes of the arenas in bytes, guard pages included. */
  readonly arenaBytes: Readonly<Record<VmapKind, number>>;
  #arenas: Arenas | null;

  /**
   * The payload arena is reserved when it is first used: few processes ever do.
   * @throws {RangeError} sizes that are no multiples of the page size up to 1 TiB @throws {LinuxError} no address space
   */
  constructor(private readonly machine: MachineMemory, arenaBytes: Partial<Record<VmapKind, number>> = {}) {
    this.arenaBytes = { ...VMAP_ARENA_BYTES, ...arenaBytes };
    for (const kind of KINDS) requireArenaSize(kind, this.arenaBytes[kind]);
    this.#arenas = { default: new VmapArena("default", this.arenaBytes.default, machine) };
  }

  /** Areas in use. */
  get areas(): number {
    const { default: one, payload } = this.#live();
    return one.areas + (payload?.areas ?? 0);
  }

  /**
   * Shows `mfns` in their order; the same frame may come several times. What is contiguous in one bank costs one system
   * call and one of the host's mappings. When it throws, nothing was done.
   * @param kind which arena; the payload arena lies within 2 GiB of our own machine code
   * @param owner a number that {@linkcode areaOf} answers (32 bits)
   * @throws {RangeError} no mfns, or one that is in no bank
   * @throws {ArenaFullError} the arena has no room @throws {MappingLimitError} the process has as many mappings as it can bear
   * @throws {LinuxError}
   */
  vmap(mfns: readonly Mfn[], kind: VmapKind = "default", access: Access = ACCESS.RW, owner = 0): VmapArea {
    return this.#arena(kind).map(runsOf(this.machine, mfns), mfns.length, access, owner);
  }

  /** Shows the `count` frames from `first` on (Xen: vmap_contig). Throws what {@linkcode vmap} does. */
  vmapContiguous(
    first: Mfn,
    count: number,
    kind: VmapKind = "default",
    access: Access = ACCESS.RW,
    owner = 0,
  ): VmapArea {
    return this.#arena(kind).map(contiguousRuns(this.machine, first, count), count, access, owner);
  }

  /**
   * Unmaps the area that begins at `address`: an access to it is a fault from now on, until the addresses are used again.
   * @throws {RangeError} no area begins there @throws {LinuxError} the area is as it was
   */
  vunmap(address: bigint): void {
    const at = Number(address);
    this.#arenaOf(at).unmap(at);
  }

  /**
   * Shows other frames in the area that begins at `address`. A thread that looks at it meanwhile sees of each page
   * either the old or the new frame. When it throws, the area shows what it did before; only frames whose bank is gone
   * cannot be had back, and read as zeroes. For the time of the call it needs mappings for the old and the new.
   * @param mfns as many as the area has pages
   * @throws {RangeError} no area begins there, another number of frames, or one that is in no bank
   * @throws {MappingLimitError} @throws {LinuxError}
   */
  replace(address: bigint, mfns: readonly Mfn[]): void {
    const at = Number(address), arena = this.#arenaOf(at), pages = arena.pagesAt(at);
    if (pages !== 0 && pages !== mfns.length) {
      throw new RangeError(`an area of ${pages} pages cannot show ${mfns.length} frames`);
    }
    arena.replace(at, runsOf(this.machine, mfns));
  }

  /**
   * Shows zeroed memory of this process alone in the area that begins at `address`, whatever it showed: a late reader
   * reads zeroes, and what a late writer writes reaches nobody. The addresses stay the area's until it is unmapped.
   * @throws {RangeError} no area begins there @throws {LinuxError} the area is as it was
   */
  retire(address: bigint): void {
    const at = Number(address);
    this.#arenaOf(at).retire(at);
  }

  /** How many pages the area has that begins at `address` (Xen: vmap_size); 0: none does. */
  pagesAt(address: bigint): number {
    const at = Number(address);
    return this.#arenaOf(at).pagesAt(at);
  }

  /** The area that `address` is in, be it in the middle; undefined for guard pages, free ones and everything else. */
  areaOf(address: bigint): VmapArea | undefined {
    const at = Number(address);
    return this.#arenaOf(at).areaOf(at);
  }

  /** Unmaps all areas; any use after that is a RangeError. */
  [Symbol.dispose](): void {
    for (const kind of KINDS) this.#arenas?.[kind]?.[Symbol.dispose]();
    this.#arenas = null;
  }

  #arena(kind: VmapKind): VmapArena {
    const arenas = this.#live();
    return kind === "default" ? arenas.default : arenas.payload ??= this.#payloadArena();
  }

  #payloadArena(): VmapArena {
    const { first, end } = nativeCode();
    const near: AddressSpan = { first, end: BigInt(roundUp(Number(end), PAGE_SIZE)) };
    return new VmapArena("payload", this.arenaBytes.payload, this.machine, near);
  }

  /** The arena that `address` is in; any other address is looked for in the default arena, in vain. */
  #arenaOf(address: number): VmapArena {
    const { default: one, payload } = this.#live();
    return payload?.contains(address) === true ? payload : one;
  }

  #live(): Arenas {
    if (this.#arenas === null) throw new RangeError("vmap is used after its disposal");
    return this.#arenas;
  }
}
