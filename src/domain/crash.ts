/** What is kept of a vCPU whose guest died: reason, rip and the instruction's bytes. */

import { LinuxError } from "../linux/linux_error.ts";
import { SUBERROR } from "../kvm/abi.ts";
import { BankViews } from "../memory/bank.ts";
import { GuestMemory } from "../memory/guest_memory.ts";
import { P2m } from "../memory/p2m.ts";
import type { ControlBlock } from "./control_block.ts";
import { codePosition, LinearMemory, MAX_INSTRUCTION_BYTES } from "./linear_memory.ts";
import { type Outcome, STATUS } from "./outcome.ts";
import type { VcpuRecord } from "./vcpu_record.ts";

/** Ends the run: the guest crashed (status 125). Called on the thread that carries the vCPU. */
export function crash(control: ControlBlock, record: VcpuRecord, reason: string): void {
  control.end({ kind: "crash", status: STATUS.CRASH, reason, vcpu: record.id, ...whereabouts(control, record) });
}

/** Where the vCPU stands; nothing if KVM does not say so any more (a VM that it gave up answers all with EIO). */
function whereabouts(control: ControlBlock, record: VcpuRecord): Pick<Outcome, "rip" | "code"> {
  const { vcpu } = record;
  try {
    const { rip, linear, bits } = codePosition(vcpu), code = new Uint8Array(MAX_INSTRUCTION_BYTES);
    const memory = new GuestMemory(new P2m(control.p2m), new BankViews(control.bankTable));
    return { rip, code: { bytes: code.subarray(0, new LinearMemory(vcpu, memory).read(linear, code)), bits } };
  } catch (error) {
    if (error instanceof LinuxError) return {};
    throw error;
  }
}

/** What KVM says of its own failure (KVM API documentation, KVM_EXIT_INTERNAL_ERROR). */
export function describeInternalError(suberror: number): string {
  switch (suberror) {
    case SUBERROR.EMULATION:
      return "KVM cannot emulate the instruction, or it lies outside of memory";
    case SUBERROR.SIMUL_EX:
      return "an exception arose while another was delivered";
    case SUBERROR.DELIVERY_EV:
      return "an exit interrupted the delivery of an event";
    default:
      return `KVM internal error ${suberror}`;
  }
}
