/** What the thread of kvm.test.ts does: it carries a vCPU for one stay in the guest. */

import { run } from "../../src/linux/calls.ts";
import { pointerTo, viewAt } from "../../src/linux/mapping.ts";
import { threadId } from "../../src/linux/signal.ts";

/** Enters the guest once. @returns what KVM_RUN returned */
export function enter(vcpu: number, shared: bigint): number {
  new Int32Array(viewAt(shared, 4))[0] = threadId();
  return run(vcpu, pointerTo(shared + 64n));
}
