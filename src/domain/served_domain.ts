/** What ioreq servers use of their domain: its memory, a place in the address space, the pool of guest frames. */

import { type Gfn, gfnOf, PAGE_SIZE } from "../memory/address.ts";
import type { Bank, MachineMemory } from "../memory/bank.ts";
import type { SecondStage } from "../memory/second_stage.ts";
import type { Vmap } from "../memory/vmap.ts";
import { IOREQ_GFNS } from "../devices/platform_map.ts";
import { MAX_SERVERS } from "../ioreq/abi.ts";
import { EBUSY } from "../linux/errno.ts";
import { DmOpError } from "../ioreq/dm_op_error.ts";
import { GfnPool } from "../ioreq/gfn_pool.ts";
import type { Window } from "../ioreq/server_pages.ts";
import type { GuestFrames, ServedDomain } from "../ioreq/servers.ts";
import { ioreqPages } from "../ioreq/slots.ts";
import { VmapWindow } from "../ioreq/vmap_window.ts";
import type { ControlBlock } from "./control_block.ts";
import type { WindowOperations } from "./windows.ts";

/** What it needs of the domain. */
export interface ServedDomainParts {
  readonly control: ControlBlock;
  readonly machine: MachineMemory;
  readonly vmap: Vmap;
  readonly secondStage: SecondStage;
  readonly windows: Pick<WindowOperations, "revokeAll" | "forget" | "surface">;
  readonly domid: number;
  wakeVcpus(): void;
}

/** The domain as its servers see it. */
export class ServedDomainMemory implements ServedDomain {
  readonly guestFrames: GuestFrames;

  constructor(private readonly parts: ServedDomainParts) {
    this.guestFrames = new IoreqGfns(parts);
  }

  get vcpus(): number {
    return this.parts.control.vcpus;
  }

  get dying(): boolean {
    return this.parts.control.stopping;
  }

  allocate(name: string, pages: number): Bank {
    return this.parts.machine.allocate(name, pages, this.parts.domid);
  }

  window(): Window {
    return new VmapWindow(this.parts.vmap);
  }

  keepsFree(first: number, last: number): boolean {
    return this.parts.control.physicalMap.table.regions.keepsFree(first, last);
  }

  wakeVcpus(): void {
    this.parts.wakeVcpus();
  }

  revokeAll(server: number): void {
    this.parts.windows.revokeAll(server);
  }

  forget(server: number): void {
    this.parts.windows.forget(server);
  }

  enabled(server: number): void {
    this.parts.windows.surface(server);
  }
}

/** The pool: its frames get memory when they are first taken, and stay the guest's RAM after that, as Xen's do. */
class IoreqGfns implements GuestFrames {
  readonly pool: GfnPool;
  readonly #memory = new Map<Gfn, Bank>();

  constructor(private readonly parts: ServedDomainParts) {
    const pages = MAX_SERVERS * (1 + ioreqPages(parts.control.vcpus));
    const count = Math.min(pages, IOREQ_GFNS.sizeBytes / PAGE_SIZE);
    this.pool = new GfnPool(GfnPool.memory(count), gfnOf(IOREQ_GFNS.address), count);
  }

  memory(gfn: Gfn): Bank {
    const known = this.#memory.get(gfn);
    if (known !== undefined) return known;
    const { machine, domid } = this.parts;
    const bank = machine.allocate(`xenolith-ioreq-gfn-${gfn.toString(16)}`, 1, domid);
    try {
      this.#map(gfn, bank);
    } catch (error) {
      bank[Symbol.dispose]();
      throw error;
    }
    this.#memory.set(gfn, bank);
    return bank;
  }

  add(gfn: Gfn): void {
    this.#map(gfn, this.#memory.get(gfn)!);
  }

  remove(gfn: Gfn): void {
    this.#requireSlots();
    this.parts.secondStage.unmapPage(gfn);
  }

  /** KVM would have this isolate wait, and with it every device model, until whoever waits for a page has it. */
  #requireSlots(): void {
    if (!this.parts.secondStage.hasFaults) return;
    throw new DmOpError("change_slots", EBUSY, "a vCPU waits for a page of a window");
  }

  #map(gfn: Gfn, bank: Bank): void {
    this.#requireSlots();
    this.parts.secondStage.mapPage(gfn, bank);
  }
}
