/** Hypercalls as a vCPU makes them: its registers and its memory, and the domain that they are about. */

import { Descriptor } from "../linux/descriptor.ts";
import { LinuxError } from "../linux/linux_error.ts";
import { readRegisters, readSpecialRegisters, translate, writeRegisters } from "../kvm/vcpu.ts";
import { PAGE_SIZE } from "../memory/address.ts";
import { BankViews } from "../memory/bank.ts";
import { GuestMemory } from "../memory/guest_memory.ts";
import { GuestRam } from "../memory/guest_ram.ts";
import { hypercall, type HypercallDomain } from "../hypercall/hypercall.ts";
import type { ControlBlock } from "./control_block.ts";
import type { VcpuRecord } from "./vcpu_record.ts";

/** Registers of the arguments, by the width of the caller's code. */
const ARGUMENTS = { 64: ["rdi", "rsi", "rdx", "r10", "r8"], 32: ["rbx", "rcx", "rdx", "rsi", "rdi"] } as const;

/** Every domain's id here: there is one domain a process. */
const DOMID = 1;

/** One vCPU's hypercalls. */
export class Hypercalls {
  readonly #memory: GuestMemory;
  readonly #domain: HypercallDomain;

  /** @param needPager called before a page is given back: from then on accesses may wait for one */
  constructor(control: ControlBlock, private readonly record: VcpuRecord, needPager: () => void) {
    const map = control.physicalMap, banks = new BankViews(control.bankTable), ram = new GuestRam(map, banks);
    this.#memory = new GuestMemory(map.p2m, banks, (gfn) => ram.touch(gfn));
    this.#domain = {
      domid: DOMID,
      get currentReservation() {
        return ram.reservation;
      },
      get maximumReservation() {
        return ram.reservation + map.table.ballooned;
      },
      decrease(gfn, count) {
        needPager();
        return ram.decrease(gfn, count);
      },
      populate: (gfn, count) => ram.populate(gfn, count),
    };
  }

  /** Carries out what the registers say, and puts the result there. @returns whether device models are to forget memory */
  carryOut(): boolean {
    const vcpu = new Descriptor(this.record.descriptor, `vCPU ${this.record.id}`); // the domain's, and not disposed
    const registers = readRegisters(vcpu), bits = readSpecialRegisters(vcpu).codeBits === 64 ? 64 : 32;
    const { value, invalidates } = hypercall(this.#domain, {
      number: Number(BigInt.asUintN(32, registers.get("rax"))),
      bits,
      arguments: ARGUMENTS[bits].map((name) => BigInt.asUintN(bits, registers.get(name))),
      read: (linear, target) => this.#read(vcpu, linear, target),
    });
    registers.set("rax", BigInt.asUintN(bits, BigInt(value)));
    writeRegisters(vcpu, registers);
    return invalidates;
  }

  /** Page by page: what is contiguous to the guest need not be in its memory. */
  #read(vcpu: Descriptor, linear: bigint, target: Uint8Array): boolean {
    for (let done = 0; done < target.length;) {
      const at = linear + BigInt(done), inPage = Number(at & BigInt(PAGE_SIZE - 1));
      const size = Math.min(target.length - done, PAGE_SIZE - inPage), address = physical(vcpu, at);
      if (address < 0 || !this.#memory.contains(address, size)) return false;
      this.#memory.read(address, target.subarray(done, done + size));
      done += size;
    }
    return true;
  }
}

/** An address that is not canonical KVM refuses. */
function physical(vcpu: Descriptor, linear: bigint): number {
  try {
    return translate(vcpu, linear);
  } catch (error) {
    if (error instanceof LinuxError) return -1;
    throw error;
  }
}
