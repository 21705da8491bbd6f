/** The second stage: KVM slots whose host addresses show, page by page, the frames that the p2m names. */

import { Mapping } from "../linux/mapping.ts";
import type { Vm } from "../kvm/vm.ts";
import { gfnOf, PAGE_SIZE, roundDown, roundUp, SUPERPAGE_SIZE } from "./address.ts";
import type { Bank } from "./bank.ts";
import { type P2m, P2M_TYPE } from "./p2m.ts";

/** A VM's slots. RAM is mapped in runs whose host address is congruent to the guest address modulo 2 MiB (huge pages). */
export class SecondStage implements Disposable {
  readonly #slots: Mapping[] = [];

  constructor(private readonly vm: Vm, private readonly p2m: P2m) {}

  /**
   * Gives the guest [address, address + sizeBytes) as RAM: the bank's memory from `bankOffset` on, in one slot.
   * @param address, sizeBytes, bankOffset multiples of the page size
   * @throws {LinuxError} no address space, no slot left, an overlap with another slot
   */
  mapRam(address: number, sizeBytes: number, bank: Bank, bankOffset: number): void {
    const first = roundDown(address, SUPERPAGE_SIZE), end = roundUp(address + sizeBytes, SUPERPAGE_SIZE);
    const memory = Mapping.reserve(end - first, SUPERPAGE_SIZE, "guest RAM");
    this.#slots.push(memory);
    memory.place(address - first, sizeBytes, bank.file, bankOffset);
    this.vm.setMemoryRegion(this.#slots.length - 1, address, sizeBytes, memory.address + BigInt(address - first));
    const mfn = bank.firstMfn + bankOffset / PAGE_SIZE;
    this.p2m.map(gfnOf(address), mfn, sizeBytes / PAGE_SIZE, P2M_TYPE.RAM_RW);
  }

  /** Frees the host addresses; the VM must be gone or never run again. */
  [Symbol.dispose](): void {
    for (const memory of this.#slots.splice(0).reverse()) memory[Symbol.dispose]();
  }
}
