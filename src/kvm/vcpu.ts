/** One KVM vCPU: its descriptor, its run page, its registers. */

import type { Descriptor } from "../linux/descriptor.ts";
import { EINVAL } from "../linux/errno.ts";
import { LinuxError } from "../linux/linux_error.ts";
import { Mapping } from "../linux/mapping.ts";
import { KVM, MSR_ENTRY, MSRS, SIZE, VCPU_EVENTS } from "./abi.ts";
import type { CpuidTable } from "./cpuid.ts";
import { Registers, SpecialRegisters } from "./registers.ts";

const CR4_PGE = 1n << 7n, RFLAGS_IF = 1n << 9n;

/** For setMpState, which vCPUs come to each time that they sleep. */
const mpState = new Uint32Array(1);

/** A vCPU descriptor, one method an ioctl. Every method throws LinuxError, and blocks while the vCPU is in KVM_RUN. */
export class Vcpu implements Disposable {
  private constructor(readonly descriptor: Descriptor, readonly runPage: Mapping) {}

  /** Maps the run page of a new vCPU, whose descriptor then belongs to the result. */
  static adopt(descriptor: Descriptor, runPageBytes: number): Vcpu {
    try {
      return new Vcpu(descriptor, Mapping.file(descriptor, runPageBytes));
    } catch (error) {
      descriptor[Symbol.dispose]();
      throw error;
    }
  }

  /** KVM_SET_CPUID2. */
  setCpuid(table: CpuidTable): void {
    this.descriptor.ioctl(KVM.SET_CPUID2, "KVM_SET_CPUID2", table.bytes);
  }

  /** KVM_GET_TSC_KHZ: of the guest's time-stamp counter. */
  get tscKhz(): number {
    return this.descriptor.ioctlValue(KVM.GET_TSC_KHZ, "KVM_GET_TSC_KHZ", 0);
  }

  /** KVM_SET_REGS. */
  setRegisters(registers: Registers): void {
    this.descriptor.ioctl(KVM.SET_REGS, "KVM_SET_REGS", registers.bytes);
  }

  /** KVM_GET_SREGS. */
  specialRegisters(): SpecialRegisters {
    return readSpecialRegisters(this.descriptor);
  }

  /** KVM_SET_SREGS. */
  setSpecialRegisters(registers: SpecialRegisters): void {
    this.descriptor.ioctl(KVM.SET_SREGS, "KVM_SET_SREGS", registers.bytes);
  }

  [Symbol.dispose](): void {
    this.runPage[Symbol.dispose]();
    this.descriptor[Symbol.dispose]();
  }
}

/** KVM_SET_MSRS with one MSR, on a vCPU known by its descriptor. @throws {LinuxError} EINVAL: KVM does not take it */
export function setMsr(vcpu: Descriptor, index: number, value: bigint): void {
  const request = new DataView(new ArrayBuffer(SIZE.kvm_msrs + SIZE.kvm_msr_entry));
  request.setUint32(MSRS.nmsrs, 1, true);
  request.setUint32(MSRS.entries + MSR_ENTRY.index, index, true);
  request.setBigUint64(MSRS.entries + MSR_ENTRY.data, value, true);
  const done = vcpu.ioctl(KVM.SET_MSRS, "KVM_SET_MSRS", request);
  if (done !== 1) throw new LinuxError("ioctl KVM_SET_MSRS", EINVAL, `MSR 0x${index.toString(16)} of ${vcpu.subject}`);
}

/** KVM_GET_REGS on a vCPU known by its descriptor, as carriers know theirs. @throws {LinuxError} */
export function readRegisters(vcpu: Descriptor): Registers {
  const registers = new Registers();
  vcpu.ioctl(KVM.GET_REGS, "KVM_GET_REGS", registers.bytes);
  return registers;
}

/** KVM_GET_SREGS, likewise. @throws {LinuxError} */
export function readSpecialRegisters(vcpu: Descriptor): SpecialRegisters {
  const registers = new SpecialRegisters();
  vcpu.ioctl(KVM.GET_SREGS, "KVM_GET_SREGS", registers.bytes);
  return registers;
}

/** KVM_SET_REGS, likewise. @throws {LinuxError} */
export function writeRegisters(vcpu: Descriptor, registers: Registers): void {
  vcpu.ioctl(KVM.SET_REGS, "KVM_SET_REGS", registers.bytes);
}

/** KVM_SET_VCPU_EVENTS: an exception that the guest was to get, it does not get. @throws {LinuxError} */
export function forgetException(vcpu: Descriptor): void {
  const events = new Uint8Array(SIZE.kvm_vcpu_events);
  vcpu.ioctl(KVM.GET_VCPU_EVENTS, "KVM_GET_VCPU_EVENTS", events);
  if (events[VCPU_EVENTS["exception.injected"]] === 0 && events[VCPU_EVENTS["exception.pending"]] === 0) return;
  events[VCPU_EVENTS["exception.injected"]] = events[VCPU_EVENTS["exception.pending"]] = 0;
  vcpu.ioctl(KVM.SET_VCPU_EVENTS, "KVM_SET_VCPU_EVENTS", events);
}

/** KVM_SET_SREGS, likewise. @throws {LinuxError} */
export function writeSpecialRegisters(vcpu: Descriptor, registers: SpecialRegisters): void {
  vcpu.ioctl(KVM.SET_SREGS, "KVM_SET_SREGS", registers.bytes);
}

/** KVM_SET_MP_STATE. @param state one of MP_STATE @throws {LinuxError} */
export function setMpState(vcpu: Descriptor, state: number): void {
  mpState[0] = state;
  vcpu.ioctl(KVM.SET_MP_STATE, "KVM_SET_MP_STATE", mpState);
}

/** Forgets the guest's translations: by KVM_SET_SREGS, twice, with another CR4.PGE between. @throws {LinuxError} */
export function flushTlb(vcpu: Descriptor): void {
  const registers = readSpecialRegisters(vcpu), cr4 = registers.get("cr4");
  for (const value of [cr4 ^ CR4_PGE, cr4]) {
    registers.set("cr4", value);
    writeSpecialRegisters(vcpu, registers);
  }
}

/** KVM_NMI: a non-maskable interrupt. @throws {LinuxError} */
export function injectNmi(vcpu: Descriptor): void {
  vcpu.ioctlValue(KVM.NMI, "KVM_NMI", 0);
}

/**
 * KVM_SET_VCPU_EVENTS: the guest takes this interrupt at the next entry, past its local APIC.
 * @returns false it cannot now: interrupts are disabled, or something else is on its way @throws {LinuxError}
 */
export function queueInterrupt(vcpu: Descriptor, vector: number): boolean {
  const events = new Uint8Array(SIZE.kvm_vcpu_events);
  vcpu.ioctl(KVM.GET_VCPU_EVENTS, "KVM_GET_VCPU_EVENTS", events);
  const busy = [
    "exception.injected",
    "exception.pending",
    "interrupt.injected",
    "interrupt.shadow",
    "nmi.injected",
  ] as const;
  if (busy.some((field) => events[VCPU_EVENTS[field]] !== 0)) return false;
  if ((readRegisters(vcpu).get("rflags") & RFLAGS_IF) === 0n) return false;
  events[VCPU_EVENTS["interrupt.injected"]] = 1;
  events[VCPU_EVENTS["interrupt.nr"]] = vector;
  events[VCPU_EVENTS["interrupt.soft"]] = 0;
  vcpu.ioctl(KVM.SET_VCPU_EVENTS, "KVM_SET_VCPU_EVENTS", events);
  return true;
}
