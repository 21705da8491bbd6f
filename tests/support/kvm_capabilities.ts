/** What some tests need of the host's KVM beyond that it is there. Apart from capabilities.ts, since this opens it. */

import { CAP, EXIT, XEN_HVM_INTERCEPT_HCALL } from "../../src/kvm/abi.ts";
import { Kvm } from "../../src/kvm/kvm.ts";
import { Registers } from "../../src/kvm/registers.ts";
import { RunPage } from "../../src/kvm/run_page.ts";
import * as calls from "../../src/linux/calls.ts";
import { Mapping, pointerTo } from "../../src/linux/mapping.ts";
import { type Capability, KVM } from "./capabilities.ts";

/** Page tables of 32-bit code, of two levels and of PAE. Where KVM is software, it may ignore them, or stop there. */
export const PAGING_32: Capability = {
  present: KVM.present && pages(),
  reason: "this KVM has no paging outside of long mode",
};

/** A KVM that tells us of VMCALL and VMMCALL as Xen's hypercalls. */
export const XEN_HVM: Capability = {
  present: KVM.present && interceptsCalls(),
  reason: "no KVM_CAP_XEN_HVM",
};

function interceptsCalls(): boolean {
  using kvm = Kvm.open();
  return (kvm.extension(CAP.XEN_HVM) & XEN_HVM_INTERCEPT_HCALL) !== 0;
}

/** Turns paging on and reads a byte by an address that only paging leads to memory. */
function pages(): boolean {
  const bytes = 0x4000, tables = 0x2000, value = 0x5a;
  // mov eax, cr0; or eax, 0x80000000; mov cr0, eax; jmp $+2; mov al, [0x403000]; out 0xf4, al
  const code = [0x0f, 0x20, 0xc0, 0x0d, 0, 0, 0, 0x80, 0x0f, 0x22, 0xc0, 0xeb, 0, 0xa0, 0, 0x30, 0x40, 0, 0xe6, 0xf4];
  using kvm = Kvm.open();
  using vm = kvm.createVm();
  using memory = Mapping.anonymous(bytes, "guest memory");
  const view = new DataView(memory.buffer);
  new Uint8Array(memory.buffer).set(code, 0x1000);
  for (const entry of [0, 1]) view.setUint32(tables + entry * 4, 0x83, true); // 4 MiB each, both the first of memory
  view.setUint8(0x3000, value);
  vm.setMemoryRegion(0, 0, bytes, memory.address);
  using vcpu = vm.createVcpu(0);
  const special = vcpu.specialRegisters(), registers = new Registers();
  const flat = { selector: 8, base: 0, limit: 0xffff_ffff, codeOrData: true, db: true, long: false, granularity: true };
  special.setSegment("cs", { ...flat, type: 11 });
  for (const name of ["ds", "es", "ss"] as const) special.setSegment(name, { ...flat, selector: 16, type: 3 });
  special.set("cr0", 1n);
  special.set("cr3", BigInt(tables));
  special.set("cr4", 0x10n);
  vcpu.setSpecialRegisters(special);
  registers.set("rip", 0x1000n);
  registers.set("rflags", 2n);
  vcpu.setRegisters(registers);
  using ticks = Mapping.anonymous(4096, "clock");
  const result = calls.run(vcpu.descriptor.number, pointerTo(ticks.address)), run = new RunPage(vcpu.runPage.buffer);
  return result === 0 && run.reason === EXIT.IO && run.ioPort === 0xf4 && run.data(run.ioDataOffset, 1) === value;
}
