/** RAM, holes, special frames and frames that are placed, over a VM that only remembers its slots. */

import { viewAt } from "../../src/linux/mapping.ts";
import { type Gfn, type Mfn, PAGE_SIZE, SUPERPAGE_FRAMES } from "../../src/memory/address.ts";
import type { Bank } from "../../src/memory/bank.ts";
import { GuestMemory } from "../../src/memory/guest_memory.ts";
import { GuestRam } from "../../src/memory/guest_ram.ts";
import { P2M_TYPE, p2mType } from "../../src/memory/p2m.ts";
import { PlacedFrames } from "../../src/memory/placed_frames.ts";
import { createSpecialFrames, SPECIAL_FRAME } from "../../src/memory/special_frames.ts";
import type { Area } from "../../src/memory/stage_area.ts";
import { TestWindows } from "./test_windows.ts";

/** RAM is at gfns from RAM on, and there is nothing at those from HOLE on. */
export const RAM = 0x10 as Gfn, RAM_PAGES = 64, HOLE = 0xf_0000 as Gfn, RESERVED = 0xfee00;

/** Two extended regions, in chunks of 2 MiB: three chunks, and one. */
export const REGION = 0x20_0000 as Gfn, REGION_PAGES = 3 * SUPERPAGE_FRAMES;
export const OTHER_REGION = 0x30_0000 as Gfn, OTHER_REGION_PAGES = SUPERPAGE_FRAMES;

/** What its first byte says of a page that reads as ones. */
export const ONES = 0xff;

export class TestPlaced extends TestWindows {
  readonly ram = new GuestRam(this.map, this.banks);
  readonly bank: Bank = this.machine.allocate("ram-test", RAM_PAGES, 1);
  readonly specials: Bank = createSpecialFrames(this.machine, this.table, 1);
  readonly placed = new PlacedFrames(this.map, this.banks, this.ram, this.kvm.vm, (gfn) => gfn === RESERVED);
  readonly memory = new GuestMemory(this.p2m, this.banks, (gfn) => this.ram.touch(gfn));
  readonly area: Area;

  /** @param registered RAM is as after ballooning: its faults wait for the pager */
  constructor(registered: boolean, onDemand = false) {
    super();
    this.stage.mapRam(RAM * PAGE_SIZE, RAM_PAGES * PAGE_SIZE, this.bank, 0, onDemand);
    this.area = this.table.areaOf(RAM)!;
    this.stage.addRegions([
      { address: REGION * PAGE_SIZE, sizeBytes: REGION_PAGES * PAGE_SIZE },
      { address: OTHER_REGION * PAGE_SIZE, sizeBytes: OTHER_REGION_PAGES * PAGE_SIZE },
    ]);
    for (const bank of [this.bank, this.specials]) {
      const bytes = new Uint8Array(bank.directmap.buffer), base = bank === this.bank ? 0 : 0x80;
      for (let frame = 0; frame < bank.frames && !onDemand; frame++) bytes[frame * PAGE_SIZE] = base + frame;
    }
    if (registered && !this.area.registered) {
      this.ram.decrease(RAM + RAM_PAGES - 1, 1);
      this.ram.populate(RAM + RAM_PAGES - 1, 1);
    }
  }

  /** The machine frame of a special frame. */
  special(index: number): Mfn {
    return this.specials.firstMfn + index as Mfn;
  }

  get sharedInfo(): Mfn {
    return this.special(SPECIAL_FRAME.SHARED_INFO);
  }

  /** The guest's access: what its first byte reads; "exits" where there is no slot. */
  look(gfn: number): number | "exits" {
    if (this.table.areaOf(gfn) === this.area) {
      if (this.area.registered && this.seen(gfn) === "missing" && this.isWatched(gfn)) {
        const errno = this.table.lock.hold(() => this.resolve(gfn));
        if (errno !== 0) throw new Error(`the pager has error ${errno} at gfn 0x${gfn.toString(16)}`);
      }
      return this.peek(gfn);
    }
    const address = gfn * PAGE_SIZE;
    for (const slot of this.kvm.slots.values()) {
      if (address < slot.address || address >= slot.address + slot.sizeBytes) continue;
      return new Uint8Array(viewAt(slot.host + BigInt(address - slot.address), 1))[0];
    }
    return "exits";
  }

  /** The first byte of what the second stage shows in RAM. */
  peek(gfn: number): number {
    return new Uint8Array(viewAt(BigInt(this.area.hostOf(gfn)), 1))[0];
  }

  /** What the pager does. */
  resolve(gfn: number): number {
    const type = p2mType(this.p2m.lookup(gfn));
    const isGrant = type === P2M_TYPE.GRANT_MAP_RW || type === P2M_TYPE.GRANT_MAP_RO;
    return isGrant ? this.map.supply(this.area, gfn) : this.ram.fault(this.area, gfn, false);
  }

  /** Whether missing pages of a gfn wait. A page of ones of its own does not. */
  isWatched(gfn: number): boolean {
    const line = Deno.readTextFileSync("/proc/self/maps").split("\n").find((line) => {
      const [from, to] = line.split(" ")[0].split("-").map((end) => parseInt(end, 16));
      return this.area.hostOf(gfn) >= from && this.area.hostOf(gfn) < to;
    });
    return line !== undefined && !line.includes("xenolith-sink");
  }

  /** What the hypervisor reads there; undefined: it is no memory. */
  read(gfn: number): number | undefined {
    const byte = new Uint8Array(1);
    if (!this.memory.contains(gfn * PAGE_SIZE, 1)) return undefined;
    this.memory.read(gfn * PAGE_SIZE, byte);
    return byte[0];
  }

  /** KVM's slots outside of RAM and of regions: first gfn and pages. */
  get runs(): [gfn: number, pages: number][] {
    return this.#slots((gfn) => gfn >= HOLE && gfn < REGION);
  }

  /** Those of regions. */
  get chunks(): [gfn: number, pages: number][] {
    return this.#slots((gfn) => gfn >= REGION);
  }

  #slots(isWanted: (gfn: number) => boolean): [gfn: number, pages: number][] {
    return [...this.kvm.slots.values()].filter(({ address }) => isWanted(address / PAGE_SIZE))
      .map(({ address, sizeBytes }): [number, number] => [address / PAGE_SIZE, sizeBytes / PAGE_SIZE])
      .sort(([one], [other]) => one - other);
  }
}
