/** One KVM vCPU: its descriptor, its run page, its registers. */

import type { Descriptor } from "../linux/descriptor.ts";
import { Mapping } from "../linux/mapping.ts";
import { KVM, SIZE, TRANSLATION, VCPU_EVENTS } from "./abi.ts";
import type { CpuidTable } from "./cpuid.ts";
import { Registers, SpecialRegisters } from "./registers.ts";

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

/** KVM_TRANSLATE: the guest-physical address of a linear one, or -1 if it is not mapped. @throws {LinuxError} */
export function translate(vcpu: Descriptor, linear: bigint): number {
  const request = new DataView(new ArrayBuffer(SIZE.kvm_translation));
  request.setBigUint64(TRANSLATION.linear_address, linear, true);
  vcpu.ioctl(KVM.TRANSLATE, "KVM_TRANSLATE", request);
  if (request.getUint8(TRANSLATION.valid) === 0) return -1;
  return Number(request.getBigUint64(TRANSLATION.physical_address, true));
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
