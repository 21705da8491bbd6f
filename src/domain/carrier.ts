/** The Worker carrier: one thread that carries one vCPU for as long as the domain runs. */

import { run } from "../linux/calls.ts";
import { pointerTo } from "../linux/mapping.ts";
import { threadId } from "../linux/signal.ts";
import { AdaptiveSpin } from "../events/spin.ts";
import { ControlBlock } from "./control_block.ts";
import type { Service } from "./messages.ts";
import { NEXT, type Next, VcpuMachine } from "./vcpu_machine.ts";
import { VCPU_STATE } from "./vcpu_record.ts";
import { Waiter } from "./waiter.ts";

/** What a carrier or a dispatcher needs to know; all else is in the control block. */
export interface CarrierStart {
  readonly controlBlock: bigint;
  readonly vcpus: number;
  readonly waiter: number;
  /** Of Workers: it leaves when the domain has another. */
  readonly generation: number;
  /** For dispatchers: where the stacks of all vCPUs' threads are, which outlive them. */
  readonly stacks: bigint;
}

/** What a carrier tells the owner. */
type CarrierReport = { kind: "ready" | "paused" } | { kind: "needs"; service: Service };

/**
 * Runs the vCPU until the domain stops. Blocks its thread in the guest and at its doorbell.
 *
 * It has one vCPU, and looks at what that waits for, not at the bits of its wake boards.
 * Of another generation it leaves the vCPU as it is, for its successor: at rest, or with an exit that nobody has seen.
 * @param start the waiter's number is the vCPU's
 * @param report tells the owner that it begins, that the vCPU has come to rest while the domain is paused, or needs a service
 */
export function carry(start: CarrierStart, report: (report: CarrierReport) => void): void {
  const control = new ControlBlock(start.controlBlock, start.vcpus);
  const record = control.vcpu(start.waiter);
  const waiter = new Waiter(control, start.waiter);
  const machine = new VcpuMachine(control, record, waiter.views, (service) => report({ kind: "needs", service }));
  const spin = new AdaptiveSpin();
  const clock = pointerTo(record.clockAddress), descriptor = record.descriptor;
  const settled = () => machine.settled, { generation } = start;
  report({ kind: "ready" });
  record.thread = threadId();
  record.state = VCPU_STATE.RUNNING;
  let next: Next = record.takeExit() ? machine.exited(record.exitResult) : machine.resumed();
  while (next !== NEXT.STOP) {
    if (next === NEXT.ENTER) {
      const result = run(descriptor, clock);
      if (control.generation !== generation) return record.leaveExit(result);
      next = machine.exited(result);
      continue;
    }
    if (next === NEXT.WAIT && spin.until(settled)) {
      next = machine.resumed();
      continue;
    }
    record.state = next === NEXT.WAIT ? VCPU_STATE.WAITING : VCPU_STATE.PAUSED;
    waiter.arm();
    next = machine.resumed();
    if (next === NEXT.WAIT || next === NEXT.PAUSED) {
      if (control.paused) report({ kind: "paused" });
      if (control.generation === generation) waiter.sleep();
      if (control.generation !== generation) return waiter.disarm();
      next = machine.resumed();
    } else {
      waiter.disarm();
    }
    if (next !== NEXT.PAUSED) record.state = VCPU_STATE.RUNNING;
    // Domain.pause() takes a vCPU that is not RUNNING for out of the guest: so RUNNING first, then the look at the pause.
    if (next === NEXT.ENTER && control.paused) next = NEXT.PAUSED;
  }
  record.thread = 0;
  record.state = VCPU_STATE.STOPPED;
}
