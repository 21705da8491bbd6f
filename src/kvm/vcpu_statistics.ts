/** What KVM itself counts of a vCPU (KVM API documentation, 4.133: KVM_GET_STATS_FD). */

import { read } from "../linux/calls.ts";
import { Descriptor } from "../linux/descriptor.ts";
import { KVM, STATS_DESCRIPTOR, STATS_HEADER } from "./abi.ts";

/** All of a vCPU's statistics fit into it, with their names. */
const BYTES = 16 << 10;

/**
 * Nanoseconds that a vCPU has been halted; undefined where KVM does not say (before Linux 5.14).
 * @param vcpu the vCPU's descriptor
 */
export function haltedNanoseconds(vcpu: Descriptor): number | undefined {
  try {
    using statistics = new Descriptor(vcpu.ioctlValue(KVM.GET_STATS_FD, "KVM_GET_STATS_FD", 0), "vCPU statistics");
    const bytes = new Uint8Array(BYTES);
    const view = new DataView(bytes.buffer, 0, Math.max(0, read(statistics.number, bytes, BigInt(BYTES))));
    return value(view, "halt_wait_ns") + value(view, "halt_poll_success_ns");
  } catch {
    return undefined; // no such request, or another layout than the one that is known
  }
}

/** @throws {RangeError} there is no such number */
function value(view: DataView, name: string): number {
  const word = (offset: number) => view.getUint32(offset, true);
  const nameBytes = word(STATS_HEADER.name_size), descriptors = word(STATS_HEADER.desc_offset);
  for (let index = 0; index < word(STATS_HEADER.num_desc); index++) {
    const at = descriptors + index * (STATS_DESCRIPTOR.name + nameBytes);
    const text = new Uint8Array(view.buffer, at + STATS_DESCRIPTOR.name, nameBytes);
    if (new TextDecoder().decode(text.subarray(0, text.indexOf(0))) !== name) continue;
    return Number(view.getBigUint64(word(STATS_HEADER.data_offset) + word(at + STATS_DESCRIPTOR.offset), true));
  }
  throw new RangeError(`KVM has no statistics ${name}`);
}
