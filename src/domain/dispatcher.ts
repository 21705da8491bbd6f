/** The dispatcher: one thread that handles the exits of many vCPUs, whose own threads are machine code. */

import { LinuxError } from "../linux/linux_error.ts";
import { stackEnd } from "../linux/native_thread.ts";
import type { CarrierStart } from "./carrier.ts";
import { ControlBlock } from "./control_block.ts";
import type { Service } from "./messages.ts";
import { NativeVcpu } from "./native_vcpu.ts";
import { STATUS } from "./outcome.ts";
import { NEXT } from "./vcpu_machine.ts";
import { Waiter } from "./waiter.ts";

/** What a dispatcher tells the owner: that it begins, that all its vCPUs are out of the guest while paused, that one ended the run, or needs a service. */
type DispatcherReport = { kind: "ready" | "paused" | "ended" } | { kind: "needs"; service: Service };

/**
 * Carries the waiter's vCPUs until the domain stops; then none of their threads is left, nor when it throws. Of another
 * generation it leaves the threads as they are, in the guest or at rest, for its successor.
 */
export function dispatch(start: CarrierStart, report: (report: DispatcherReport) => void): void {
  const control = new ControlBlock(start.controlBlock, start.vcpus);
  const first = start.waiter * control.vcpusPerWaiter, count = Math.min(control.vcpusPerWaiter, start.vcpus - first);
  const waiter = new Waiter(control, start.waiter);
  const vcpus = Array.from({ length: count }, (_, index) => {
    return new NativeVcpu(
      control,
      control.vcpu(first + index),
      waiter.views,
      stackEnd(start.stacks, first + index),
      (service) => report({ kind: "needs", service }),
    );
  });
  report({ kind: "ready" });
  let isRelieved = false;
  try {
    isRelieved = serve(control, start.generation, waiter, vcpus, first, report) === "relieved";
  } catch (error) {
    if (!(error instanceof LinuxError)) throw error;
    control.end({ kind: "internal", status: STATUS.HOST, reason: error.message });
  } finally {
    if (!isRelieved) {
      for (const vcpu of vcpus) vcpu.abandon();
      for (const vcpu of vcpus) vcpu.join();
    }
  }
}

/** Does not spin before it sleeps, for the reason that vCPU threads do not (native.asm). */
function serve(
  control: ControlBlock,
  generation: number,
  waiter: Waiter,
  vcpus: readonly NativeVcpu[],
  first: number,
  report: (report: DispatcherReport) => void,
): "stopped" | "relieved" {
  let left = vcpus.length, rested = false;
  const attend = (vcpu: number) => {
    if (vcpu - first >= vcpus.length) return; // a server's board is anybody's to write
    const next = vcpus[vcpu - first].attend();
    if (next === NEXT.ENTER) return;
    if (next !== NEXT.STOP) {
      rested = true;
      return;
    }
    if (left === vcpus.length) report({ kind: "ended" }); // the others are still in the guest: the owner kicks them
    left--;
  };
  for (let vcpu = first; vcpu < first + vcpus.length; vcpu++) attend(vcpu);
  for (;;) {
    if (control.generation !== generation) return "relieved";
    waiter.drain(attend);
    if (left === 0) return "stopped";
    // Each vCPU's state was written before this look at the pause, and Domain.pause() looks the other way round.
    if (rested && control.paused && !vcpus.some(({ entered }) => entered)) report({ kind: "paused" });
    rested = false;
    if (waiter.attention) continue;
    waiter.arm();
    if (waiter.attention || control.generation !== generation) waiter.disarm();
    else waiter.sleep();
  }
}
