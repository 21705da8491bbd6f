/** The areas in which a guest wants a vCPU's runstate and time, at linear addresses (VCPUOP_register_*_memory_area). */

import type { CallerMemory } from "../hypercall/call.ts";
import { putRunstate, type Runstate } from "../hypercall/runstate.ts";
import { VCPU_RUNSTATE_INFO, XEN_RUNSTATE_UPDATE } from "../hypercall/abi/vcpu.ts";
import { VCPU_INFO, VCPU_TIME_INFO } from "../hypercall/abi/xen.ts";
import type { XenState } from "./xen_state.ts";

type Places = "runstateLow" | "runstateHigh" | "timeLow" | "timeHigh" | "runstateUpdateFlag";

/** What they need of the domain. */
export interface AreaDomain {
  readonly state: Pick<XenState, Places>;
  readonly sharedInfoBits: 32 | 64;
  readonly memory: { read(address: number, target: Uint8Array): void };
  runstate(vcpu: number, own: boolean): Runstate;
  /** Where the vCPU's vcpu_info is in the guest's memory; -1: nowhere. */
  infoAddress(vcpu: number): number;
}

/** One vCPU's areas. An address that leads nowhere is no error (Xen: update_runstate_area). */
export class XenAreas {
  readonly #view = new DataView(new ArrayBuffer(64));
  readonly #bytes = new Uint8Array(this.#view.buffer);

  /** @param memory as the vCPU's own code sees it */
  constructor(
    private readonly domain: AreaDomain,
    private readonly vcpu: number,
    private readonly memory: CallerMemory,
  ) {}

  /** Whether the guest has registered any. */
  get exist(): boolean {
    const { state } = this.domain, { vcpu } = this;
    return (state.runstateLow(vcpu) | state.runstateHigh(vcpu) | state.timeLow(vcpu) | state.timeHigh(vcpu)) !== 0;
  }

  /** Brings them up to date. The vCPU is out of the guest. */
  update(): void {
    this.#updateRunstate();
    this.#updateTime();
  }

  #updateRunstate(): void {
    const { domain, vcpu } = this, { state } = domain, bits = domain.sharedInfoBits;
    const low = state.runstateLow(vcpu), high = state.runstateHigh(vcpu);
    if ((low | high) === 0) return;
    const runstate = domain.runstate(vcpu, true), layout = VCPU_RUNSTATE_INFO[bits];
    // What was spent in each state, up to when the present one began: as if it were beginning now.
    const stateEntryTime = Array.from(runstate.time).reduce((sum, time) => sum + time);
    putRunstate(this.#view, 0, bits, { ...runstate, stateEntryTime });
    if (!state.runstateUpdateFlag) return void this.memory.write(low, high, this.#bytes, 0, layout.bytes);
    const entry = this.#view.getBigUint64(layout.state_entry_time, true);
    this.#view.setBigUint64(layout.state_entry_time, entry | XEN_RUNSTATE_UPDATE, true);
    this.memory.write(low, high, this.#bytes, 0, layout.bytes);
    this.#view.setBigUint64(layout.state_entry_time, entry, true);
    this.#write(low, high, layout.state_entry_time, 8);
  }

  /** What KVM has put into the vCPU's vcpu_info, which it leaves alone while the vCPU is out of the guest. */
  #updateTime(): void {
    const { domain, vcpu } = this, { state } = domain, info = domain.infoAddress(vcpu);
    const low = state.timeLow(vcpu), high = state.timeHigh(vcpu);
    if ((low | high) === 0 || info < 0) return;
    const { version, bytes } = VCPU_TIME_INFO;
    domain.memory.read(info + VCPU_INFO[domain.sharedInfoBits].time, this.#bytes.subarray(0, bytes));
    const current = this.#view.getUint32(version, true);
    this.#view.setUint32(version, current | 1, true); // odd: it is being changed
    this.memory.write(low, high, this.#bytes, 0, bytes);
    this.#view.setUint32(version, current, true);
    this.#write(low, high, version, 4);
  }

  #write(low: number, high: number, at: number, bytes: number): void {
    const sum = low + at;
    this.memory.write(sum >>> 0, (high + Math.floor(sum / 2 ** 32)) >>> 0, this.#bytes, at, bytes);
  }
}
