/** What a vCPU's own carrier does for its guest's Xen: orders from elsewhere, the callback's vector, its clock. */

import type { Descriptor } from "../linux/descriptor.ts";
import { LinuxError } from "../linux/linux_error.ts";
import { MP_STATE } from "../kvm/abi.ts";
import { flushTlb, injectNmi, queueInterrupt, readRegisters, setMpState, setMsr, writeRegisters } from "../kvm/vcpu.ts";
import { readSpecialRegisters, writeSpecialRegisters } from "../kvm/vcpu.ts";
import { VCPU_INFO } from "../hypercall/abi/xen.ts";
import type { SyncedRegisters } from "../kvm/synced_registers.ts";
import type { XenAreas } from "./xen_areas.ts";
import type { XenDomain } from "./xen_domain.ts";
import { CALLBACK, ORDER } from "./xen_state.ts";
import { loadContext } from "./xen_context.ts";

/** KVM's MSR for the address of the structure that is also Xen's struct vcpu_time_info (MSR_KVM_SYSTEM_TIME_NEW). */
const SYSTEM_TIME_MSR = 0x4b56_4d01, ENABLED = 1n;

/** One vCPU, on the thread that carries it and between two entries. */
export class XenVcpu {
  /** Where KVM has been told to keep its time. */
  #timeAddress = 0;
  /** As the others see it in the state. */
  #isAsleep = false;

  constructor(
    private readonly domain: XenDomain,
    private readonly vcpu: number,
    private readonly descriptor: Descriptor,
    private readonly registers: SyncedRegisters,
    private readonly areas: XenAreas,
  ) {}

  /** Carries out what others have ordered. */
  attend(): void {
    const { state } = this.domain, orders = state.takeOrders(this.vcpu);
    if (orders === 0) return;
    // Of several orders the last one counts.
    if (orders & (ORDER.UP | ORDER.DOWN)) {
      if (state.isUp(this.vcpu)) this.#start();
      else this.#stop();
    }
    if (orders & ORDER.CLOCK) this.placeClock();
    if (orders & ORDER.FLUSH) flushTlb(this.descriptor);
    if (orders & ORDER.NMI) injectNmi(this.descriptor);
    if (orders & ORDER.WAKE) this.#wake();
    if (orders & (ORDER.UPCALL | ORDER.LATER)) this.#interrupt();
    if (orders & (ORDER.AREAS | ORDER.WAKE)) this.#updateAreas();
  }

  #updateAreas(): void {
    if (!this.areas.exist) return;
    this.registers.request(this.descriptor);
    this.areas.update();
  }

  /** From now on any upcall wakes it; so the caller looks once more whether it is to sleep. */
  beginSleep(): void {
    this.#isAsleep = true;
    this.domain.state.setAsleep(this.vcpu, true);
  }

  /** It sleeps until an interrupt comes that it can take, or somebody wakes it. */
  sleep(): void {
    setMpState(this.descriptor, MP_STATE.HALTED);
  }

  /** It is in the guest again, or stays there. */
  endSleep(): void {
    if (!this.#isAsleep) return;
    this.#isAsleep = false;
    this.domain.state.setAsleep(this.vcpu, false);
  }

  /** It runs no more, until it is started again. */
  #stop(): void {
    this.registers.flush(this.descriptor);
    setMpState(this.descriptor, MP_STATE.UNINITIALIZED);
  }

  /** By an INIT KVM has forgotten where the vCPU's clock is (kvmclock_reset). */
  reset(): void {
    this.#timeAddress = 0;
    this.placeClock();
  }

  /** Has KVM keep the vCPU's clock in its vcpu_info, wherever the guest has that now. */
  placeClock(): void {
    const address = this.domain.infoAddress(this.vcpu);
    if (address < 0 || address === this.#timeAddress) return;
    this.#timeAddress = address;
    setMsr(this.descriptor, SYSTEM_TIME_MSR, BigInt(address + VCPU_INFO[this.domain.sharedInfoBits].time) | ENABLED);
  }

  /** A sleeping vCPU goes on, whether it can take an interrupt or not. */
  #wake(): void {
    this.endSleep();
    if (this.#isDown) return;
    setMpState(this.descriptor, MP_STATE.RUNNABLE);
  }

  #start(): void {
    const { state } = this.domain;
    if (state.hasContext(this.vcpu) && !this.#takeContext()) return;
    this.placeClock();
    setMpState(this.descriptor, MP_STATE.RUNNABLE);
    this.#interrupt(); // what has come while it was down
  }

  /** @returns false KVM refuses the state, for control bits that the processor does not have: the guest's fault */
  #takeContext(): boolean {
    const { state } = this.domain, { descriptor } = this;
    state.setHasContext(this.vcpu, false);
    const special = readSpecialRegisters(descriptor), registers = readRegisters(descriptor);
    loadContext(state.context(this.vcpu), registers, special);
    try {
      writeSpecialRegisters(descriptor, special);
      writeRegisters(descriptor, registers);
      return true;
    } catch (error) {
      if (!(error instanceof LinuxError)) throw error;
      this.domain.crash(`vCPU ${this.vcpu} cannot start in the state that VCPUOP_initialise gave it`);
      return false;
    }
  }

  /** It was taken down, or not started yet. */
  get #isDown(): boolean {
    const { state } = this.domain;
    return state.isInitialised(this.vcpu) && !state.isUp(this.vcpu);
  }

  /**
   * The callback's vector comes past the local APIC, as from an 8259: nobody ends the interrupt. Where the guest cannot
   * take it now it is tried again soon.
   */
  #interrupt(): void {
    const { state } = this.domain;
    if (state.callback !== CALLBACK.VECTOR || state.upcallVector(this.vcpu) !== 0 || this.#isDown) return;
    if (!this.domain.channels.events.isUpcallPending(this.vcpu)) return;
    if (!queueInterrupt(this.descriptor, state.callbackValue)) this.domain.interruptLater(this.vcpu);
    else setMpState(this.descriptor, MP_STATE.RUNNABLE);
  }
}
