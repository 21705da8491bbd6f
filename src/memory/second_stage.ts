/** The second stage: KVM slots whose host addresses show, page by page, the frames that the p2m names. */

import { EBUSY, EEXIST, ENOSPC } from "../linux/errno.ts";
import { check, LinuxError } from "../linux/linux_error.ts";
import { Mapping } from "../linux/mapping.ts";
import { MemoryFile } from "../linux/memory_file.ts";
import { openPidfd } from "../linux/remap.ts";
import { Userfaultfd, UserfaultUnavailable } from "../linux/userfaultfd.ts";
import type { Vm } from "../kvm/vm.ts";
import { type Gfn, gfnOf, PAGE_SIZE, roundDown, roundUp, SUPERPAGE_SIZE } from "./address.ts";
import type { Bank } from "./bank.ts";
import { FIRST_RUN_SLOT } from "./stage_layout.ts";
import { P2M_ADDRESS_BITS, P2M_TYPE } from "./p2m.ts";
import type { ExtendedRegion } from "./extended_regions.ts";
import { BLANK, type PhysicalMap } from "./physical_map.ts";
import { mappingLimit } from "./vmap_budget.ts";
import { AREA, type Area, TRANSPORT, type Transport } from "./stage_area.ts";

/**
 * The part of the process's mappings that what a guest places may be the reason of. Runs may take a quarter more, and the
 * engine does not survive a host that refuses it one.
 */
const PLACED_PART = 0.6;

/**
 * A VM's slots, as their owner makes and deletes them; what they show is changed by PhysicalMap. RAM is mapped in runs
 * whose host address is congruent to the guest address modulo 2 MiB (huge pages).
 */
export class SecondStage implements Disposable {
  /** By the slot's number; a slot that was given up is used again. */
  readonly #slots: (Mapping | undefined)[] = [];
  /** Slots of single pages. */
  readonly #pages = new Map<Gfn, number>();
  readonly #resources = new DisposableStack();
  /** What windows show before anything is mapped, each its own guest-physical addresses; there is one if faults can be. */
  #blank: MemoryFile | undefined;
  /** Why there is no fault transport, in one line. */
  readonly withoutFaults: string | undefined;

  /** @throws {LinuxError} */
  constructor(private readonly vm: Vm, private readonly map: PhysicalMap) {
    map.table.limitMappings(Math.floor(mappingLimit() * PLACED_PART));
    try {
      this.#blank = this.#openTransport();
    } catch (error) {
      this.#resources.dispose();
      if (!(error instanceof UserfaultUnavailable)) throw error;
      this.withoutFaults = error.message;
    }
  }

  /**
   * Gives the guest [address, address + sizeBytes) as RAM: the bank's memory from `bankOffset` on, in one slot.
   * @param address, sizeBytes, bankOffset multiples of the page size
   * @param onDemand memory comes with the first access to each page
   * @throws {LinuxError} no address space, no slot left, an overlap with another slot, @throws {UserfaultUnavailable}
   */
  mapRam(address: number, sizeBytes: number, bank: Bank, bankOffset: number, onDemand = false): void {
    const first = roundDown(address, SUPERPAGE_SIZE), end = roundUp(address + sizeBytes, SUPERPAGE_SIZE);
    const { table, p2m } = this.map, gfn = gfnOf(address), count = sizeBytes / PAGE_SIZE;
    if (table.regions.isKeptFree(gfn, count)) throw new LinuxError("map_ram", EBUSY, "RAM in an extended region");
    if (onDemand && this.#blank === undefined) throw new UserfaultUnavailable(this.withoutFaults);
    using stack = new DisposableStack();
    const memory = stack.use(Mapping.reserve(end - first, SUPERPAGE_SIZE, "guest RAM"));
    memory.place(address - first, sizeBytes, bank.file, bankOffset);
    const host = memory.address + BigInt(address - first);
    if (onDemand) {
      check(this.map.userfault.register(Number(host), sizeBytes), "ioctl UFFDIO_REGISTER", "guest RAM");
    }
    const slot = this.#freeSlot();
    const area = table.freeArea();
    if (area === undefined) throw new LinuxError("map_ram", ENOSPC, "pieces of RAM");
    this.vm.setMemoryRegion(slot, address, sizeBytes, host);
    stack.move();
    this.#slots[slot] = memory;
    const mfn = bank.firstMfn + bankOffset / PAGE_SIZE;
    table.lock.hold(() => {
      area.begin(gfn, count, Number(host), mfn);
      area.registered = onDemand;
      area.state = AREA.RAM;
      p2m.map(gfn, mfn, count, onDemand ? P2M_TYPE.POPULATE_ON_DEMAND : P2M_TYPE.RAM_RW);
    });
  }

  /** Keeps regions of the guest's physical map free from now on. Once, before the domain runs. @throws {LinuxError} */
  addRegions(regions: readonly ExtendedRegion[]): void {
    if (regions.length === 0) return;
    const { table } = this.map;
    const taken = regions.find(({ address, sizeBytes }) => !this.#isFree(gfnOf(address), sizeBytes / PAGE_SIZE));
    if (taken !== undefined) throw new LinuxError("add_regions", EEXIST, `region at 0x${taken.address.toString(16)}`);
    const ones = this.#resources.use(MemoryFile.create("xenolith-ones", SUPERPAGE_SIZE));
    const places = regions.map(({ address, sizeBytes }) => {
      const memory = this.#resources.use(Mapping.reserve(sizeBytes, SUPERPAGE_SIZE, "extended region"));
      return { first: gfnOf(address), count: sizeBytes / PAGE_SIZE, host: Number(memory.address) };
    });
    table.lock.hold(() => table.regions.begin(places, ones.number));
  }

  /** Gives the guest the first page of a bank as RAM, in a slot of its own. @throws {LinuxError} as {@linkcode mapRam} */
  mapPage(gfn: Gfn, bank: Bank): void {
    if (this.map.table.regions.isKeptFree(gfn, 1)) {
      throw new LinuxError("map_page", EBUSY, "a page in an extended region");
    }
    using stack = new DisposableStack();
    const memory = stack.use(Mapping.file(bank.file, PAGE_SIZE));
    const slot = this.#freeSlot();
    this.vm.setMemoryRegion(slot, gfn * PAGE_SIZE, PAGE_SIZE, memory.address);
    stack.move();
    this.#slots[slot] = memory;
    this.#pages.set(gfn, slot);
    this.map.table.lock.hold(() => this.map.p2m.map(gfn, bank.firstMfn, 1, P2M_TYPE.RAM_RW));
  }

  /** Takes away what {@linkcode mapPage} gave. @throws {RangeError} it gave nothing there */
  unmapPage(gfn: Gfn): void {
    const slot = this.#pages.get(gfn), { table, p2m } = this.map;
    if (slot === undefined) throw new RangeError(`gfn 0x${gfn.toString(16)} is no page of its own`);
    const memory = this.#slots[slot]!;
    this.vm.setMemoryRegion(slot, gfn * PAGE_SIZE, 0, memory.address);
    table.lock.hold(() => p2m.unmap(gfn, 1));
    this.#pages.delete(gfn);
    this.#slots[slot] = undefined;
    memory[Symbol.dispose]();
  }

  /**
   * A window of server `server`, in which nothing is mapped: accesses to it are violations from now on. Resolves when
   * KVM has its slot, which may take as long as any vCPU waits for a page.
   * Rejects with LinuxError: EEXIST there is something there, or outside the p2m; EBUSY it has to be kept free; ENOSPC too
   * many areas; ENOMEM; what KVM says
   */
  async addWindow(first: Gfn, count: number, server: number, transport: Transport): Promise<Area> {
    const { table, p2m } = this.map, subject = `window of 0x${count.toString(16)} pages at gfn 0x${first.toString(16)}`;
    const isInside = Number.isInteger(first) && count > 0 && first + count <= 2 ** P2M_ADDRESS_BITS / PAGE_SIZE;
    if (!isInside || !this.#isFree(first, count)) throw new LinuxError("map_window", EEXIST, subject);
    if (table.regions.isKeptFree(first, count)) throw new LinuxError("map_window", EBUSY, subject);
    const area = table.freeArea(), isFault = transport === TRANSPORT.FAULT;
    const slot = isFault ? this.#freeSlot() : -1;
    if (area === undefined || slot >= FIRST_RUN_SLOT) throw new LinuxError("map_window", ENOSPC, subject);
    using stack = new DisposableStack();
    const memory = isFault ? stack.use(this.#blankMemory(first, count)) : undefined;
    if (memory !== undefined) this.#slots[slot] = memory;
    table.lock.hold(() => {
      // Both were otherwise, a moment ago.
      if (!this.#isFree(first, count)) throw new LinuxError("map_window", EEXIST, subject);
      if (table.regions.isKeptFree(first, count)) throw new LinuxError("map_window", EBUSY, subject);
      area.begin(first, count, Number(memory?.address ?? 0n));
      area.setWindow(server, transport, slot);
      area.registered = isFault;
      area.state = AREA.WINDOW;
      p2m.map(first, BLANK, count, P2M_TYPE.MMIO_DM);
    });
    if (memory !== undefined) {
      try {
        await this.map.runs.sweepLater(this.vm); // where a window of the exit transport was, slots may be left
        await this.vm.changeMemoryRegion(slot, first * PAGE_SIZE, count * PAGE_SIZE, memory.address);
      } catch (error) {
        this.map.close(area);
        this.#end(area, slot);
        throw error;
      }
    }
    stack.move();
    return area;
  }

  /**
   * The end of a window that PhysicalMap.close() has emptied. Resolves when KVM has no slot of it any more; until then
   * accesses read ones. Rejects with LinuxError.
   */
  async removeWindow(area: Area): Promise<void> {
    if (area.transport === TRANSPORT.EXIT) return this.#end(area, -1);
    const { slot, first } = area, memory = this.#slots[slot]!;
    await this.vm.changeMemoryRegion(slot, first * PAGE_SIZE, 0, memory.address);
    this.#end(area, slot);
    memory[Symbol.dispose]();
  }

  /** Whether a vCPU waits for a page, or has just come to: KVM has changes of slots wait for it. */
  get hasFaults(): boolean {
    return this.map.table.openFaults > 0 || (this.#blank !== undefined && this.map.userfault.pending);
  }

  #end(area: Area, slot: number): void {
    this.map.table.lock.hold(() => area.state = AREA.FREE);
    if (slot >= 0) this.#slots[slot] = undefined;
  }

  /** Address space whose pages are all missing, and waited for. */
  #blankMemory(first: Gfn, count: number): Mapping {
    if (this.#blank === undefined) throw new UserfaultUnavailable(this.withoutFaults);
    using stack = new DisposableStack();
    const memory = stack.use(Mapping.file(this.#blank, count * PAGE_SIZE, first * PAGE_SIZE));
    const result = this.map.userfault.register(Number(memory.address), count * PAGE_SIZE);
    check(result, "ioctl UFFDIO_REGISTER", memory.subject);
    stack.move();
    return memory;
  }

  #isFree(first: Gfn, count: number): boolean {
    const { table, p2m } = this.map;
    for (const area of table.areas) {
      if (!area.isFree && first < area.first + area.count && area.first < first + count) return false;
    }
    return p2m.nextFrame(first, first + count) === first + count;
  }

  #openTransport(): MemoryFile {
    const { descriptor, protects } = Userfaultfd.open();
    this.#resources.use(descriptor);
    const pidfd = openPidfd();
    if (pidfd !== undefined) this.#resources.use(pidfd);
    const sink = this.#resources.use(MemoryFile.create("xenolith-sink", PAGE_SIZE));
    using ones = Mapping.file(sink, PAGE_SIZE);
    new Uint8Array(ones.buffer).fill(0xff);
    const blank = this.#resources.use(MemoryFile.create("xenolith-blank", 2 ** P2M_ADDRESS_BITS));
    this.map.table.setTransport({
      userfault: descriptor.number,
      protects,
      pidfd: pidfd?.number ?? -1,
      sink: sink.number,
      blank: blank.number,
    });
    return blank;
  }

  #freeSlot(): number {
    const free = this.#slots.indexOf(undefined);
    return free < 0 ? this.#slots.length : free;
  }

  /** Whoever waits for a page goes on, whatever is there: for when the pager is gone, and no vCPU is to enter again. */
  releaseAll(): void {
    if (this.#blank === undefined) return;
    for (const area of this.map.table.areas) {
      if (!area.isFree && area.registered) this.map.userfault.unregister(area.host, area.count * PAGE_SIZE);
    }
  }

  /** Frees the host addresses; the VM must be gone or never run again. */
  [Symbol.dispose](): void {
    this.map.runs.dispose();
    for (const memory of this.#slots.splice(0).reverse()) memory?.[Symbol.dispose]();
    this.#resources.dispose();
  }
}
