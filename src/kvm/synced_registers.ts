/** Registers in the run page (KVM_CAP_SYNC_REGS): KVM leaves them there at each exit, and takes them from there. */

import type { Descriptor } from "../linux/descriptor.ts";
import { KVM, REGS, RUN_PAGE, SEGMENT, SIZE, SREGS, SYNC_REGS, SYNC_SREGS } from "./abi.ts";

const GENERAL = RUN_PAGE["s.regs.regs"] / 4, SPECIAL = RUN_PAGE["s.regs.sregs"] / 4;
const CS = RUN_PAGE["s.regs.sregs"] + SREGS.cs, SS = RUN_PAGE["s.regs.sregs"] + SREGS.ss;
const EFER_LMA = 0x400;

/** One vCPU's registers, in halves of 32 bits: reading and writing them allocates nothing and costs no system call. */
export class SyncedRegisters {
  readonly #words: Uint32Array;
  readonly #bytes: Uint8Array<ArrayBuffer>;

  /** @param runPage the vCPU's */
  constructor(runPage: ArrayBuffer) {
    this.#words = new Uint32Array(runPage);
    this.#bytes = new Uint8Array(runPage);
  }

  /** At an exit: has them there now, and at every exit from now on. @param vcpu whose they are @throws {LinuxError} */
  request(vcpu: Descriptor): void {
    if (this.#words[RUN_PAGE.kvm_valid_regs / 4] !== 0) return;
    this.load(vcpu);
    this.#words[RUN_PAGE.kvm_valid_regs / 4] = SYNC_REGS | SYNC_SREGS;
  }

  /** At an exit: has them there now, as KVM has them. @param vcpu whose they are @throws {LinuxError} */
  load(vcpu: Descriptor): void {
    const [regs, sregs] = [RUN_PAGE["s.regs.regs"], RUN_PAGE["s.regs.sregs"]];
    vcpu.ioctl(KVM.GET_REGS, "KVM_GET_REGS", this.#bytes.subarray(regs, regs + SIZE.kvm_regs));
    vcpu.ioctl(KVM.GET_SREGS, "KVM_GET_SREGS", this.#bytes.subarray(sregs, sregs + SIZE.kvm_sregs));
  }

  /** The low half of a general register. @param offset one of REGS */
  low(offset: number): number {
    return this.#words[GENERAL + offset / 4];
  }

  /** Its high half. */
  high(offset: number): number {
    return this.#words[GENERAL + offset / 4 + 1];
  }

  /** Gives the guest a register when it goes on; the others stay as they are. */
  set(offset: number, low: number, high: number): void {
    this.#words[GENERAL + offset / 4] = low;
    this.#words[GENERAL + offset / 4 + 1] = high;
    this.#words[RUN_PAGE.kvm_dirty_regs / 4] |= SYNC_REGS;
  }

  /**
   * Gives KVM at once what {@linkcode set} would give it at the next entry. A vCPU that is made to wait for its start-up
   * leaves KVM_RUN without having taken registers, but with others put in their place. @throws {LinuxError}
   */
  flush(vcpu: Descriptor): void {
    if ((this.#words[RUN_PAGE.kvm_dirty_regs / 4] & SYNC_REGS) === 0) return;
    this.#words[RUN_PAGE.kvm_dirty_regs / 4] &= ~SYNC_REGS;
    const regs = RUN_PAGE["s.regs.regs"];
    vcpu.ioctl(KVM.SET_REGS, "KVM_SET_REGS", this.#bytes.subarray(regs, regs + SIZE.kvm_regs));
  }

  // Low halves of control registers and EFER, which decide how addresses are translated.
  get cr0(): number {
    return this.#words[SPECIAL + SREGS.cr0 / 4];
  }

  get cr3(): number {
    return this.#words[SPECIAL + SREGS.cr3 / 4];
  }

  get cr3High(): number {
    return this.#words[SPECIAL + SREGS.cr3 / 4 + 1];
  }

  get cr4(): number {
    return this.#words[SPECIAL + SREGS.cr4 / 4];
  }

  get efer(): number {
    return this.#words[SPECIAL + SREGS.efer / 4];
  }

  get rflags(): number {
    return this.low(REGS.rflags);
  }

  /** The current privilege level, as SVM and VMX have it. */
  get cpl(): number {
    return this.#bytes[SS + SEGMENT.dpl];
  }

  /** The low half of the code segment's base; long mode has no other. */
  get csBase(): number {
    return this.#words[(CS + SEGMENT.base) / 4];
  }

  /** How the processor reads the code at rip: 16, 32 or 64 bits (from CS and EFER.LMA). */
  get codeBits(): 16 | 32 | 64 {
    if ((this.efer & EFER_LMA) !== 0 && this.#bytes[CS + SEGMENT.l] !== 0) return 64;
    return this.#bytes[CS + SEGMENT.db] !== 0 ? 32 : 16;
  }
}
