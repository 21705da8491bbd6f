/** struct kvm_regs and struct kvm_sregs by the names of their fields. */

import { DTABLE, REGS, SEGMENT, SIZE, SREGS } from "./abi.ts";

/** A segment register's fields. */
export interface Segment {
  readonly selector: number;
  readonly base: number;
  readonly limit: number;
  /** Descriptor type, 0-15. */
  readonly type: number;
  /** Code or data (true), or a system descriptor such as a TSS. */
  readonly codeOrData: boolean;
  /** D/B: 32-bit. */
  readonly db: boolean;
  /** L: 64-bit code. */
  readonly long: boolean;
  /** G: the limit counts pages. */
  readonly granularity: boolean;
}

/** General registers, rip and rflags. */
export class Registers {
  readonly bytes = new Uint8Array(SIZE.kvm_regs);
  readonly #view = new DataView(this.bytes.buffer);

  get(name: keyof typeof REGS): bigint {
    return this.#view.getBigUint64(REGS[name], true);
  }

  set(name: keyof typeof REGS, value: bigint): void {
    this.#view.setBigUint64(REGS[name], value, true);
  }
}

/** Segment, table and control registers. */
export class SpecialRegisters {
  readonly bytes = new Uint8Array(SIZE.kvm_sregs);
  readonly #view = new DataView(this.bytes.buffer);

  get(name: "cr0" | "cr2" | "cr3" | "cr4" | "cr8" | "efer" | "apic_base"): bigint {
    return this.#view.getBigUint64(SREGS[name], true);
  }

  set(name: "cr0" | "cr2" | "cr3" | "cr4" | "cr8" | "efer" | "apic_base", value: bigint): void {
    this.#view.setBigUint64(SREGS[name], value, true);
  }

  setSegment(name: "cs" | "ds" | "es" | "fs" | "gs" | "ss" | "tr" | "ldt", segment: Segment): void {
    const at = SREGS[name];
    this.#view.setBigUint64(at + SEGMENT.base, BigInt(segment.base), true);
    this.#view.setUint32(at + SEGMENT.limit, segment.limit, true);
    this.#view.setUint16(at + SEGMENT.selector, segment.selector, true);
    this.#view.setUint8(at + SEGMENT.type, segment.type);
    this.#view.setUint8(at + SEGMENT.present, 1);
    this.#view.setUint8(at + SEGMENT.dpl, 0);
    this.#view.setUint8(at + SEGMENT.db, segment.db ? 1 : 0);
    this.#view.setUint8(at + SEGMENT.s, segment.codeOrData ? 1 : 0);
    this.#view.setUint8(at + SEGMENT.l, segment.long ? 1 : 0);
    this.#view.setUint8(at + SEGMENT.g, segment.granularity ? 1 : 0);
    this.#view.setUint8(at + SEGMENT.unusable, 0);
  }

  setTable(name: "gdt" | "idt", base: number, limit: number): void {
    this.#view.setBigUint64(SREGS[name] + DTABLE.base, BigInt(base), true);
    this.#view.setUint16(SREGS[name] + DTABLE.limit, limit, true);
  }
}
