/** What is kept of a vCPU whose guest died: reason, rip and the instruction's bytes. */

import { LinuxError } from "../linux/linux_error.ts";
import { SUBERROR } from "../kvm/abi.ts";
import type { ControlBlock } from "./control_block.ts";
import { type Outcome, STATUS } from "./outcome.ts";
import { VcpuCode } from "./vcpu_code.ts";
import type { VcpuRecord } from "./vcpu_record.ts";

/** Ends the run: the guest crashed (status 125). Called on the thread that carries the vCPU. */
export function crash(control: ControlBlock, record: VcpuRecord, reason: string): void {
  control.end({ kind: "crash", status: STATUS.CRASH, reason, vcpu: record.id, ...whereabouts(control, record) });
}

/** Where the vCPU stands; nothing if KVM does not say so any more (a VM that it gave up answers all with EIO). */
function whereabouts(control: ControlBlock, record: VcpuRecord): Pick<Outcome, "rip" | "code"> {
  const code = new VcpuCode(control, record);
  try {
    code.load();
    return { rip: code.rip, code: { bytes: code.read(), bits: code.bits } };
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
