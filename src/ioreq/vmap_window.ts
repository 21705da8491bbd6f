/** A window that vmap shows: one area of fixed addresses for as long as the domain lives. */

import type { Mfn } from "../memory/address.ts";
import type { Vmap, VmapArea } from "../memory/vmap.ts";
import type { Window } from "./server_pages.ts";

/** The area is made when something is first shown; after that its pages are exchanged. */
export class VmapWindow implements Window {
  #area: VmapArea | undefined;

  constructor(private readonly vmap: Pick<Vmap, "vmap" | "replace" | "retire">) {}

  /** @param mfns always as many as the first time. @throws {MappingLimitError} @throws {ArenaFullError} @throws {LinuxError} */
  show(mfns: readonly Mfn[]): bigint {
    if (this.#area === undefined) this.#area = this.vmap.vmap(mfns);
    else this.vmap.replace(this.#area.address, mfns);
    return this.#area.address;
  }

  hide(): void {
    if (this.#area !== undefined) this.vmap.retire(this.#area.address);
  }
}
