/** The first registers of vCPU 0: a loader's entry state in KVM's structures. */

import { Registers, type Segment } from "../kvm/registers.ts";
import type { Vcpu } from "../kvm/vcpu.ts";
import type { EntryState, SegmentRegister } from "../boot/plan.ts";

const CR0_PE = 1n, CR0_ET = 1n << 4n, CR0_PG = 1n << 31n, CR4_PAE = 1n << 5n, EFER_LME = 1n << 8n, EFER_LMA = 1n << 10n;
const RFLAGS_RESERVED = 2n;

/** A 32-bit busy TSS at 0, as PVH asks for and VMX wants. */
const TASK: Segment = {
  selector: 0,
  base: 0,
  limit: 0x67,
  type: 11,
  codeOrData: false,
  db: false,
  long: false,
  granularity: false,
};

/** Puts a vCPU that has not run into the entry state. @throws {LinuxError} */
export function setEntry(vcpu: Vcpu, entry: EntryState): void {
  const special = vcpu.specialRegisters();
  const data = segment(entry.data);
  special.setSegment("cs", segment(entry.code));
  for (const name of ["ds", "es", "fs", "gs", "ss"] as const) special.setSegment(name, data);
  if (entry.gdt !== undefined) special.setTable("gdt", entry.gdt.base, entry.gdt.limit);
  if (entry.mode === "real") {
    special.setTable("idt", 0, 0x3ff);
  } else {
    special.setSegment("tr", TASK);
    special.set("cr0", CR0_PE | CR0_ET | (entry.mode === "long" ? CR0_PG : 0n));
  }
  if (entry.mode === "long") {
    special.set("cr3", BigInt(entry.cr3!));
    special.set("cr4", CR4_PAE);
    special.set("efer", EFER_LME | EFER_LMA);
  }
  vcpu.setSpecialRegisters(special);
  const registers = new Registers();
  for (const [name, value] of Object.entries(entry.registers)) {
    registers.set(name as keyof EntryState["registers"], BigInt(value));
  }
  registers.set("rip", BigInt(entry.rip));
  registers.set("rflags", RFLAGS_RESERVED);
  vcpu.setRegisters(registers);
}

function segment(register: SegmentRegister): Segment {
  return { ...register, codeOrData: true };
}
