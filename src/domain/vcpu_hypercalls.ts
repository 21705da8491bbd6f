/** One vCPU's hypercalls: its registers as a call, and the result as they have it. */

import type { Descriptor } from "../linux/descriptor.ts";
import { EPERM } from "../linux/errno.ts";
import { REGS } from "../kvm/abi.ts";
import { RunPage } from "../kvm/run_page.ts";
import { SyncedRegisters } from "../kvm/synced_registers.ts";
import { PAGE_SIZE } from "../memory/address.ts";
import { LinearMemory } from "../memory/linear_memory.ts";
import { HYPERCALL_PAGE_MSR } from "../hypercall/abi/cpuid.ts";
import { AFTER, Call, type CallerMemory } from "../hypercall/call.ts";
import { hypercall } from "../hypercall/hypercall.ts";
import { hypercallPage } from "../hypercall/hypercall_page.ts";
import type { ControlBlock } from "./control_block.ts";
import type { Service } from "./messages.ts";
import type { VcpuRecord } from "./vcpu_record.ts";
import { type XenDomain, xenDomain } from "./xen_domain.ts";
import { XenAreas } from "./xen_areas.ts";
import { XenVcpu } from "./xen_vcpu.ts";

/** Registers of the arguments, by the width of the caller's code. */
const ARGUMENTS = {
  64: [REGS.rdi, REGS.rsi, REGS.rdx, REGS.r10, REGS.r8, REGS.r9],
  32: [REGS.rbx, REGS.rcx, REGS.rdx, REGS.rsi, REGS.rdi, REGS.rbp],
} as const;

const CR0_PE = 1, RFLAGS_VM = 1 << 17;

/** Stands for any number above 32 bits: that of 64-bit code is all of rax. */
const NO_CALL = 0xffff_ffff;

/** A vCPU as a caller. */
export class VcpuHypercalls implements CallerMemory {
  readonly call: Call;
  readonly #vcpu: Descriptor;
  readonly #run: RunPage;
  readonly #registers: SyncedRegisters;
  readonly #linear: LinearMemory;
  readonly #domain: XenDomain;
  readonly #xen: XenVcpu;
  #hasCalled = false;

  /** @param need called when a service has to be there from now on */
  constructor(control: ControlBlock, record: VcpuRecord, need: (service: Service) => void) {
    const runPage = record.runPage();
    this.#domain = xenDomain(control, () => need("pager"));
    this.#vcpu = record.vcpu;
    this.#run = new RunPage(runPage);
    this.#registers = new SyncedRegisters(runPage);
    this.#linear = new LinearMemory(this.#domain.memory, this.#domain.banks);
    this.#linear.use(this.#registers);
    const areas = new XenAreas(this.#domain, record.id, this);
    this.#xen = new XenVcpu(this.#domain, record.id, this.#vcpu, this.#registers, areas);
    this.call = new Call(record.id, this);
    if (!control.usesXen) {
      control.usesXen = true;
      need("xen");
    }
  }

  /** Carries out what the registers say, and puts the result there. @param instruction VMCALL or VMMCALL, not the port */
  carryOut(instruction: boolean): void {
    const { call } = this, registers = this.#registers;
    if (!this.#hasCalled) this.#callFirst();
    this.#xen.endSleep();
    registers.request(this.#vcpu);
    const bits = registers.codeBits === 64 ? 64 : 32, number = registers.low(REGS.rax);
    call.begin(bits === 64 && registers.high(REGS.rax) !== 0 ? NO_CALL : number, bits);
    const names = ARGUMENTS[call.bits];
    for (let index = 0; index < names.length; index++) {
      call.low[index] = registers.low(names[index]);
      call.high[index] = call.bits === 64 ? registers.high(names[index]) : 0;
    }
    const result = this.#mayCall() ? hypercall(this.#domain, call) : -EPERM;
    const high = call.bits === 64 ? Math.floor(result / 2 ** 32) : 0;
    if (instruction) this.#run.setXenResult(result, high);
    else registers.set(REGS.rax, result, high);
  }

  /** Whoever calls is up, however it was started: by INIT and SIPI, say. */
  #callFirst(): void {
    const { state } = this.#domain, { vcpu } = this.call;
    this.#hasCalled = true;
    if (state.markInitialised(vcpu)) state.setUp(vcpu, true);
  }

  /** After {@linkcode carryOut}, and whatever has to come between: the vCPU sleeps, if it has asked to. */
  settle(): void {
    if (this.call.after !== AFTER.RETURN) this.#sleep();
    this.#xen.attend();
  }

  #sleep(): void {
    const { after, vcpu } = this.call;
    this.#xen.beginSleep();
    const sleeps = !this.#domain.hasEvents(vcpu) && (after === AFTER.BLOCK || this.#domain.isPolling(vcpu));
    if (sleeps) this.#xen.sleep();
    else this.#xen.endSleep();
  }

  /** The vCPU got an INIT. */
  reset(): void {
    this.#xen.reset();
  }

  /** Carries out what other threads have ordered for the vCPU; it is out of the guest. */
  attend(): void {
    this.#xen.attend();
  }

  /** WRMSR of the hypercall page's address puts it there; else, and for all other MSRs, #GP. RDMSR reads 0. */
  accessMsr(write: boolean): void {
    const run = this.#run, isPage = run.msrIndex === HYPERCALL_PAGE_MSR;
    run.answerMsr(!isPage || (write && !this.#placePage(run.msrLow, run.msrHigh)));
  }

  /** Xen: guest_wrmsr_xen; there is one page, whose index is in the low bits. */
  #placePage(low: number, high: number): boolean {
    const gfn = high * 2 ** 20 + (low >>> 12), { memory } = this.#domain;
    if (low % PAGE_SIZE !== 0 || memory.frame(gfn, true) < 0) return false;
    memory.write(gfn * PAGE_SIZE, hypercallPage());
    this.#registers.request(this.#vcpu);
    this.#domain.latchSharedInfo(this.#registers.codeBits === 64 ? 64 : 32);
    return true;
  }

  /** Only a kernel may, in protected mode (Xen: hvm_hypercall). */
  #mayCall(): boolean {
    const { cpl, cr0, rflags } = this.#registers;
    return cpl === 0 && (cr0 & CR0_PE) !== 0 && (rflags & RFLAGS_VM) === 0;
  }

  read(low: number, high: number, target: Uint8Array, at: number, bytes: number): boolean {
    return this.#linear.read(low, high, target, at, bytes) === bytes;
  }

  write(low: number, high: number, source: Uint8Array, at: number, bytes: number): boolean {
    return this.#linear.write(low, high, source, at, bytes) === bytes;
  }
}
