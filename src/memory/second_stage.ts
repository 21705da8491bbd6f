/** The second stage: KVM slots whose host addresses show, page by page, the frames that the p2m names. */

import { Mapping } from "../linux/mapping.ts";
import type { Vm } from "../kvm/vm.ts";
import { type Gfn, gfnOf, PAGE_SIZE, roundDown, roundUp, SUPERPAGE_SIZE } from "./address.ts";
import type { Bank } from "./bank.ts";
import { type P2m, P2M_TYPE } from "./p2m.ts";

/** A VM's slots. RAM is mapped in runs whose host address is congruent to the guest address modulo 2 MiB (huge pages). */
export class SecondStage implements Disposable {
  /** By the slot's number; a slot that was given up is used again. */
  readonly #slots: (Mapping | undefined)[] = [];
  /** Slots of single pages. */
  readonly #pages = new Map<Gfn, number>();

  constructor(private readonly vm: Vm, private readonly p2m: P2m) {}

  /**
   * Gives the guest [address, address + sizeBytes) as RAM: the bank's memory from `bankOffset` on, in one slot.
   * @param address, sizeBytes, bankOffset multiples of the page size
   * @throws {LinuxError} no address space, no slot left, an overlap with another slot
   */
  mapRam(address: number, sizeBytes: number, bank: Bank, bankOffset: number): void {
    const first = roundDown(address, SUPERPAGE_SIZE), end = roundUp(address + sizeBytes, SUPERPAGE_SIZE);
    using stack = new DisposableStack();
    const memory = stack.use(Mapping.reserve(end - first, SUPERPAGE_SIZE, "guest RAM"));
    memory.place(address - first, sizeBytes, bank.file, bankOffset);
    const slot = this.#freeSlot();
    this.vm.setMemoryRegion(slot, address, sizeBytes, memory.address + BigInt(address - first));
    stack.move();
    this.#slots[slot] = memory;
    const mfn = bank.firstMfn + bankOffset / PAGE_SIZE;
    this.p2m.map(gfnOf(address), mfn, sizeBytes / PAGE_SIZE, P2M_TYPE.RAM_RW);
  }

  /** Gives the guest the first page of a bank as RAM, in a slot of its own. @throws {LinuxError} as {@linkcode mapRam} */
  mapPage(gfn: Gfn, bank: Bank): void {
    using stack = new DisposableStack();
    const memory = stack.use(Mapping.file(bank.file, PAGE_SIZE));
    const slot = this.#freeSlot();
    this.vm.setMemoryRegion(slot, gfn * PAGE_SIZE, PAGE_SIZE, memory.address);
    stack.move();
    this.#slots[slot] = memory;
    this.#pages.set(gfn, slot);
    this.p2m.map(gfn, bank.firstMfn, 1, P2M_TYPE.RAM_RW);
  }

  /** Takes away what {@linkcode mapPage} gave. @throws {RangeError} it gave nothing there */
  unmapPage(gfn: Gfn): void {
    const slot = this.#pages.get(gfn);
    if (slot === undefined) throw new RangeError(`gfn 0x${gfn.toString(16)} is no page of its own`);
    const memory = this.#slots[slot]!;
    this.vm.setMemoryRegion(slot, gfn * PAGE_SIZE, 0, memory.address);
    this.p2m.unmap(gfn, 1);
    this.#pages.delete(gfn);
    this.#slots[slot] = undefined;
    memory[Symbol.dispose]();
  }

  #freeSlot(): number {
    const free = this.#slots.indexOf(undefined);
    return free < 0 ? this.#slots.length : free;
  }

  /** Frees the host addresses; the VM must be gone or never run again. */
  [Symbol.dispose](): void {
    for (const memory of this.#slots.splice(0).reverse()) memory?.[Symbol.dispose]();
  }
}
