/** How vCPUs hear of their guest's events, and of whatever else is to be done before they run on. */

import { kickThread } from "../linux/signal.ts";
import { RunPage } from "../kvm/run_page.ts";
import type { Vm } from "../kvm/vm.ts";
import { signalEvent } from "../linux/event_descriptor.ts";
import { LOCAL_APIC } from "../devices/platform_map.ts";
import type { EventReceivers } from "../events/event_delivery.ts";
import type { ControlBlock } from "./control_block.ts";
import type { VcpuRecord } from "./vcpu_record.ts";
import { CALLBACK, ORDER, type XenState } from "./xen_state.ts";

/** The local APICs' ids are the vCPUs'; those above 255 go into the upper half of a message's address. */
const ID_SHIFT = 12, ID_MASK = 0xff;

/** Interrupts and kicks, from any thread. */
export class XenUpcalls implements EventReceivers {
  readonly #records: (VcpuRecord | undefined)[] = [];
  readonly #runPages: (RunPage | undefined)[] = [];

  constructor(
    private readonly control: ControlBlock,
    private readonly state: XenState,
    private readonly vm: Pick<Vm, "signalMsi">,
  ) {}

  upcall(vcpu: number): void {
    const { state } = this, vector = state.upcallVector(vcpu);
    // Whether it can take the interrupt or not (Xen: vcpu_unblock): KVM would only wake it for one that it can take.
    if (state.isAsleep(vcpu)) this.order(vcpu, ORDER.WAKE);
    if (vector !== 0) return this.#interrupt(vcpu, vector);
    if (state.callback === CALLBACK.VECTOR) return this.order(vcpu, ORDER.UPCALL);
    if (vcpu === 0 && state.callback !== CALLBACK.NONE) signalEvent(state.lineDescriptor);
  }

  unblock(vcpu: number): void {
    this.order(vcpu, ORDER.WAKE);
  }

  /** By the vCPU's local APIC. Xen has one that is disabled keep the interrupt; KVM's does not, so it is tried again. */
  #interrupt(vcpu: number, vector: number): void {
    const address = LOCAL_APIC.address + ((vcpu & ID_MASK) << ID_SHIFT) + (vcpu - (vcpu & ID_MASK)) * 2 ** 32;
    if (this.vm.signalMsi(address, vector)) return;
    this.state.setUpcallDue(vcpu, true);
    this.state.doorbell.ring();
  }

  /** Has a vCPU's carrier do something. @param order bits of {@linkcode ORDER} */
  order(vcpu: number, order: number): void {
    this.state.order(vcpu, order);
    this.kick(vcpu);
  }

  /** Takes a vCPU out of the guest, or has its carrier look if it waits. */
  kick(vcpu: number): void {
    const record = this.#records[vcpu] ??= this.control.vcpu(vcpu);
    const page = this.#runPages[vcpu] ??= new RunPage(record.runPage());
    page.setImmediateExit(true);
    if (record.thread !== 0) kickThread(record.thread);
    this.control.board.wake(vcpu);
  }
}
