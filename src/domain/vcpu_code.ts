/** The code that a vCPU is about to execute: where it is, and its bytes, as its page tables have them at the moment. */

import { REGS } from "../kvm/abi.ts";
import { SyncedRegisters } from "../kvm/synced_registers.ts";
import { BankViews } from "../memory/bank.ts";
import { GuestMemory } from "../memory/guest_memory.ts";
import { LinearMemory } from "../memory/linear_memory.ts";
import { P2m } from "../memory/p2m.ts";
import type { ControlBlock } from "./control_block.ts";
import type { VcpuRecord } from "./vcpu_record.ts";

/** The longest x86 instruction. */
const MAX_INSTRUCTION_BYTES = 15;

/** Lets supervisors read what belongs to users. */
const RFLAGS_AC = 1 << 18;

/** One vCPU's next instruction; the vCPU is out of the guest, and {@linkcode load} comes before all else. */
export class VcpuCode {
  readonly #registers: SyncedRegisters;
  #linear: LinearMemory | undefined;

  constructor(private readonly control: ControlBlock, private readonly record: VcpuRecord) {
    this.#registers = new SyncedRegisters(record.runPage());
  }

  /** Gets the registers. @throws {LinuxError} KVM does not say any more: it gave the VM up */
  load(): void {
    const registers = this.#registers, { control } = this;
    registers.load(this.record.vcpu);
    if (this.#linear === undefined) {
      const banks = new BankViews(control.bankTable);
      this.#linear = new LinearMemory(new GuestMemory(new P2m(control.p2m), banks), banks);
    }
    const { cr0, cr3, cr3High, cr4, efer } = registers;
    this.#linear.use({ cr0, cr3, cr3High, cr4, efer, rflags: RFLAGS_AC });
  }

  get rip(): bigint {
    return (BigInt(this.#registers.high(REGS.rip)) << 32n) | BigInt(this.#registers.low(REGS.rip));
  }

  /** How the processor reads it. */
  get bits(): 16 | 32 | 64 {
    return this.#registers.codeBits;
  }

  /** As many bytes as the longest instruction has, up to the first page that is not there. */
  read(): Uint8Array {
    const code = new Uint8Array(MAX_INSTRUCTION_BYTES);
    return code.subarray(0, this.#linear!.read(this.linearLow, this.linearHigh, code, 0, code.length));
  }

  /** The guest-physical address of the first byte (0) or of the last one (1) that it may have; -1: not mapped. */
  physical(end: 0 | 1): number {
    const at = this.linearLow + end * (MAX_INSTRUCTION_BYTES - 1), carry = at >= 2 ** 32 ? 1 : 0;
    return this.#linear!.translate(at >>> 0, (this.linearHigh + carry) >>> 0, false);
  }

  get linearLow(): number {
    const low = this.#registers.low(REGS.rip);
    return this.bits === 64 ? low : (this.#registers.csBase + low) >>> 0;
  }

  get linearHigh(): number {
    return this.bits === 64 ? this.#registers.high(REGS.rip) : 0;
  }
}
