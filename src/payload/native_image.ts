/** The memory of a native payload: frames of its own, seen through the directmap by us and through vmap by its code. */

import { ENOMEM } from "../linux/errno.ts";
import { PAGE_SIZE } from "../memory/address.ts";
import type { Bank, MachineMemory } from "../memory/bank.ts";
import { HOST_DOMID } from "../memory/domid.ts";
import { ArenaFullError, type Vmap, type VmapArea } from "../memory/vmap.ts";
import { type Kind, KIND_ACCESS, KINDS, type NativeLayout, type Place } from "./native_layout.ts";
import { PayloadError } from "./payload_error.ts";

/** Unused bytes of text: `int3`. */
const INT3 = 0xcc;

interface Part {
  readonly area: VmapArea;
  /** The same through the directmap. */
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** An image is written before its code runs, and by patches; nothing of it is ever writable where it is executable. */
export class NativeImage implements Disposable {
  readonly #parts = new Map<Kind, Part>();
  readonly #bank: Bank;

  /**
   * @param owner what vmap answers for its areas; @param name begins the messages
   * @throws {PayloadError} ENOMEM out of arena @throws {LinuxError} @throws {MachineMemoryError} nothing was done
   */
  constructor(machine: MachineMemory, private readonly vmap: Vmap, layout: NativeLayout, owner: number, name: string) {
    using stack = new DisposableStack();
    const { text, readOnly, data } = layout.pages;
    this.#bank = stack.use(machine.allocate("xenolith-payload", text + readOnly + data, HOST_DOMID));
    const memory = this.#bank.directmap.buffer;
    let first = 0;
    for (const kind of KINDS) {
      const pages = layout.pages[kind];
      if (pages === 0) continue;
      const area = this.#map(this.#bank.firstMfn + first, pages, kind, owner, name);
      stack.defer(() => vmap.vunmap(area.address));
      this.#parts.set(kind, { area, bytes: new Uint8Array(memory, first * PAGE_SIZE, pages * PAGE_SIZE) });
      first += pages;
    }
    this.#parts.get("text")?.bytes.fill(INT3);
    stack.move();
  }

  #map(first: number, pages: number, kind: Kind, owner: number, name: string): VmapArea {
    try {
      return this.vmap.vmapContiguous(first as Bank["firstMfn"], pages, "payload", KIND_ACCESS[kind], owner);
    } catch (error) {
      if (error instanceof ArenaFullError) throw new PayloadError(ENOMEM, `${name}: ${error.message}`);
      throw error;
    }
  }

  /** Where the payload's code sees a place. */
  address({ kind, offset }: Place): bigint {
    return this.#parts.get(kind)!.area.address + BigInt(offset);
  }

  /** A place as we write it. @param sizeBytes 0 for a section without bytes, which may have no page */
  bytes({ kind, offset }: Place, sizeBytes: number): Uint8Array<ArrayBuffer> {
    return this.#parts.get(kind)?.bytes.subarray(offset, offset + sizeBytes) ?? new Uint8Array();
  }

  /** What is behind an address, to the end of its part; undefined if that is not in the image. */
  find(address: bigint): { readonly kind: Kind; readonly bytes: Uint8Array<ArrayBuffer> } | undefined {
    for (const [kind, { area, bytes }] of this.#parts) {
      const offset = Number(address - area.address);
      if (offset >= 0 && offset < bytes.length) return { kind, bytes: bytes.subarray(offset) };
    }
    return undefined;
  }

  [Symbol.dispose](): void {
    for (const { area } of [...this.#parts.values()].reverse()) this.vmap.vunmap(area.address);
    this.#parts.clear();
    this.#bank[Symbol.dispose]();
  }
}
