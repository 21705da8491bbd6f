/** What is kept of a vCPU whose guest died: reason, rip and the instruction's bytes. */

import { Descriptor } from "../linux/descriptor.ts";
import { LinuxError } from "../linux/linux_error.ts";
import { SUBERROR } from "../kvm/abi.ts";
import { readRegisters, readSpecialRegisters, translate } from "../kvm/vcpu.ts";
import { PAGE_SIZE } from "../memory/address.ts";
import { BankViews } from "../memory/bank.ts";
import { GuestMemory } from "../memory/guest_memory.ts";
import { P2m } from "../memory/p2m.ts";
import type { ControlBlock } from "./control_block.ts";
import { type Outcome, STATUS } from "./outcome.ts";
import type { VcpuRecord } from "./vcpu_record.ts";

/** The longest x86 instruction. */
const MAX_INSTRUCTION_BYTES = 15;

/** Ends the run: the guest crashed (status 125). Called on the thread that carries the vCPU. */
export function crash(control: ControlBlock, record: VcpuRecord, reason: string): void {
  control.end({ kind: "crash", status: STATUS.CRASH, reason, vcpu: record.id, ...whereabouts(control, record) });
}

/** Where the vCPU stands; nothing if KVM does not say so any more (a VM that it gave up answers all with EIO). */
function whereabouts(control: ControlBlock, record: VcpuRecord): Pick<Outcome, "rip" | "code"> {
  // Not disposed: the descriptor belongs to the domain.
  const vcpu = new Descriptor(record.descriptor, `vCPU ${record.id}`);
  try {
    const rip = readRegisters(vcpu).get("rip");
    const special = readSpecialRegisters(vcpu);
    const bits = special.codeBits;
    const linear = bits === 64 ? rip : (special.base("cs") + rip) & 0xffff_ffffn;
    return { rip, code: { bytes: readCode(control, vcpu, linear), bits } };
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

/** The bytes at a linear address, up to the first page that is not mapped or not memory. */
function readCode(control: ControlBlock, vcpu: Descriptor, linear: bigint): Uint8Array {
  const memory = new GuestMemory(new P2m(control.p2m), new BankViews(control.bankTable));
  const code = new Uint8Array(MAX_INSTRUCTION_BYTES);
  for (let done = 0; done < code.length;) {
    const at = linear + BigInt(done);
    const size = Math.min(code.length - done, PAGE_SIZE - Number(at & BigInt(PAGE_SIZE - 1)));
    const address = translate(vcpu, at);
    if (address < 0 || !memory.contains(address, size)) return code.subarray(0, done);
    memory.read(address, code.subarray(done, done + size));
    done += size;
  }
  return code;
}
