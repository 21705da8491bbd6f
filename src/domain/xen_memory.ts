/** A domain's memory as its guest's hypercalls change it, and its grants. */

import { Descriptor } from "../linux/descriptor.ts";
import { EBUSY } from "../linux/errno.ts";
import { LinuxError } from "../linux/linux_error.ts";
import { Vm } from "../kvm/vm.ts";
import { PAGE_SIZE } from "../memory/address.ts";
import { BankViews } from "../memory/bank.ts";
import { GrantTable } from "../memory/grant_table.ts";
import { GuestMemory } from "../memory/guest_memory.ts";
import { GuestRam } from "../memory/guest_ram.ts";
import { P2M_TYPE, p2mType } from "../memory/p2m.ts";
import { PlacedFrames } from "../memory/placed_frames.ts";
import { tallyOf } from "../memory/region_frames.ts";
import { IO_APIC, LOCAL_APIC } from "../devices/platform_map.ts";
import { HVMMEM } from "../hypercall/abi/hvm.ts";
import type { RegionReport } from "../hypercall/extended_regions_op.ts";
import type { GrantDomain } from "../hypercall/grant_table_op.ts";
import { type GrantFrames, Grants } from "../hypercall/grants.ts";
import type { MemoryDomain, MemoryMapEntry } from "../hypercall/memory_op.ts";
import type { ControlBlock } from "./control_block.ts";
import type { XenState } from "./xen_state.ts";
import { GUEST_DOMID } from "../memory/domid.ts";

/** Pages that belong to the processor: its local APIC, and what stands beside it. */
function isReserved(gfn: number): boolean {
  const address = gfn * PAGE_SIZE;
  return [LOCAL_APIC, IO_APIC].some((window) => address >= window.address && address < window.address + PAGE_SIZE);
}

/** The memory as one isolate's hypercalls see it. */
export class XenMemory implements MemoryDomain, GrantDomain {
  readonly domid = GUEST_DOMID;
  readonly state: XenState;
  readonly grantTable: GrantTable;
  readonly grants: Grants;
  readonly memory: GuestMemory;
  readonly banks: BankViews;
  protected readonly vm: Vm;
  protected readonly frames: PlacedFrames;
  readonly #ram: GuestRam;

  /** @param needPager called before a page is given back: from then on accesses may wait for one */
  constructor(protected readonly control: ControlBlock, private readonly needPager: () => void) {
    const map = control.physicalMap, banks = this.banks = new BankViews(control.bankTable), state = control.xen;
    this.state = state;
    this.vm = new Vm(new Descriptor(control.vm, "VM"), 0); // the domain's, and not disposed
    this.#ram = new GuestRam(map, banks);
    this.frames = new PlacedFrames(map, banks, this.#ram, this.vm, isReserved);
    this.grantTable = new GrantTable(state.grantTable, map.table, banks);
    this.grants = new Grants(this.grantTable, this.frames);
    this.memory = new GuestMemory(map.p2m, banks, (gfn) => this.#ram.touch(gfn));
  }

  /** The run has ended. */
  get isEnding(): boolean {
    return this.control.stopping;
  }

  /** After shared_info has come to stand somewhere else. */
  protected sharedInfoPlaced(): void {}

  placeSharedInfo(gfn: number): number {
    this.control.hasWindows = true; // where frames are placed, accesses may leave the guest while KVM changes a slot
    const result = this.frames.place(gfn, this.state.sharedFrame);
    if (result === 0) this.sharedInfoPlaced();
    return result;
  }

  /** Before the domain runs. @throws {LinuxError} KVM has no slot for it */
  placeRing(gfn: number, mfn: number): void {
    const result = this.frames.place(gfn, mfn);
    if (result !== 0) throw new LinuxError("place", result, `ring at gfn 0x${gfn.toString(16)}`);
  }

  placeGrantFrame(index: number, isStatus: boolean, gfn: number): number {
    this.control.hasWindows = true;
    return this.grantTable.place(this.frames, index, isStatus, gfn);
  }

  move(from: number, to: number): number {
    this.needPager();
    return this.frames.move(from, to);
  }

  remove(gfn: number): number {
    this.needPager();
    return this.frames.remove(gfn);
  }

  get gaveBack(): boolean {
    return this.frames.gaveBack;
  }

  get maximumGfn(): number {
    return this.frames.maximumGfn;
  }

  /** Machine frames are numbered by us: to the guest there are as many as it can see. */
  get maximumRamPage(): number {
    return this.maximumGfn + 1;
  }

  get memoryMap(): readonly MemoryMapEntry[] {
    return this.state.memoryMap;
  }

  get grantFrames(): GrantFrames {
    return this.frames;
  }

  get currentReservation(): number {
    return this.#ram.reservation;
  }

  get maximumReservation(): number {
    return this.#ram.reservation + this.control.physicalMap.table.ballooned;
  }

  decrease(gfn: number, count: number): number {
    this.needPager();
    return this.frames.decrease(gfn, count);
  }

  populate(gfn: number, count: number): number {
    return this.#ram.populate(gfn, count);
  }

  get regions(): number {
    return this.control.physicalMap.table.regions.all.length;
  }

  region(index: number): RegionReport {
    const { table, p2m } = this.control.physicalMap, region = table.regions.all[index];
    // A page that the guest has just seen may still be on its way into the p2m.
    table.lock.acquire();
    table.lock.release();
    return { first: region.first, count: region.count, ...tallyOf(region, table, p2m) };
  }

  get regionGranularity(): number {
    return this.control.physicalMap.table.regions.chunkPages;
  }

  lend(first: number, count: number): number {
    return this.frames.lend(first, count);
  }

  reclaim(first: number, count: number): number {
    const { servers } = this.control;
    return this.frames.reclaim(first, count, (end) =>
      servers.change(() => {
        if (servers.hasMemory(first * PAGE_SIZE, (first + count) * PAGE_SIZE - 1)) return EBUSY;
        end();
        return 0;
      }));
  }

  memType(gfn: number): number {
    switch (p2mType(this.control.physicalMap.p2m.lookup(gfn))) {
      case P2M_TYPE.RAM_RW:
      case P2M_TYPE.POPULATE_ON_DEMAND:
      case P2M_TYPE.GRANT_MAP_RW:
        return HVMMEM.ram_rw;
      case P2M_TYPE.RAM_RO:
      case P2M_TYPE.GRANT_MAP_RO:
        return HVMMEM.ram_ro;
      default:
        return HVMMEM.mmio_dm;
    }
  }

  isMemory(gfn: number): boolean {
    return this.memory.frame(gfn, true) >= 0;
  }
}
