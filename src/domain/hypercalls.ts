/** Hypercalls as a vCPU makes them: its registers and its memory, and the domain that they are about. */

import type { Descriptor } from "../linux/descriptor.ts";
import { readRegisters, readSpecialRegisters, writeRegisters } from "../kvm/vcpu.ts";
import { BankViews } from "../memory/bank.ts";
import { GuestMemory } from "../memory/guest_memory.ts";
import { GuestRam } from "../memory/guest_ram.ts";
import { hypercall, type HypercallDomain } from "../hypercall/hypercall.ts";
import type { ControlBlock } from "./control_block.ts";
import { LinearMemory } from "./linear_memory.ts";
import type { VcpuRecord } from "./vcpu_record.ts";

/** Registers of the arguments, by the width of the caller's code. */
const ARGUMENTS = { 64: ["rdi", "rsi", "rdx", "r10", "r8"], 32: ["rbx", "rcx", "rdx", "rsi", "rdi"] } as const;

/** Every domain's id here: there is one domain a process. */
const DOMID = 1;

/** One vCPU's hypercalls. */
export class Hypercalls {
  readonly #vcpu: Descriptor;
  readonly #memory: LinearMemory;
  readonly #domain: HypercallDomain;

  /** @param needPager called before a page is given back: from then on accesses may wait for one */
  constructor(control: ControlBlock, record: VcpuRecord, needPager: () => void) {
    const map = control.physicalMap, banks = new BankViews(control.bankTable), ram = new GuestRam(map, banks);
    this.#vcpu = record.vcpu;
    this.#memory = new LinearMemory(this.#vcpu, new GuestMemory(map.p2m, banks, (gfn) => ram.touch(gfn)));
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
    const vcpu = this.#vcpu,
      registers = readRegisters(vcpu),
      bits = readSpecialRegisters(vcpu).codeBits === 64 ? 64 : 32;
    const { value, invalidates } = hypercall(this.#domain, {
      number: Number(BigInt.asUintN(32, registers.get("rax"))),
      bits,
      arguments: ARGUMENTS[bits].map((name) => BigInt.asUintN(bits, registers.get(name))),
      read: (linear, target) => this.#memory.read(linear, target) === target.length,
    });
    registers.set("rax", BigInt.asUintN(bits, BigInt(value)));
    writeRegisters(vcpu, registers);
    return invalidates;
  }
}
