/** One vCPU on a thread of machine code, as its dispatcher sees it: exits in, entries out, and no waiting. */

import { kickThread } from "../linux/signal.ts";
import type { NativeThread } from "../linux/native_thread.ts";
import { RunPage } from "../kvm/run_page.ts";
import type { ServerViews } from "../ioreq/server_view.ts";
import type { ControlBlock } from "./control_block.ts";
import type { Service } from "./messages.ts";
import { NEXT, type Next, VcpuMachine } from "./vcpu_machine.ts";
import { VCPU_STATE, type VcpuRecord } from "./vcpu_record.ts";

/** Who moves the vCPU on: its thread, by an exit; whoever wakes its waiter; nobody any more. */
const ENTERED = 0, PARKED = 1, GONE = 2;

/** What carries {@linkcode VcpuMachine} here; src/domain/carrier.ts is the same for a Worker. */
export class NativeVcpu {
  readonly #machine: VcpuMachine;
  readonly #thread: NativeThread;
  #place: typeof ENTERED | typeof PARKED | typeof GONE = PARKED;

  /** @param views those of all the dispatcher's vCPUs; @param stackEnd of the thread's stack */
  constructor(
    private readonly control: ControlBlock,
    private readonly record: VcpuRecord,
    views: ServerViews,
    stackEnd: bigint,
    need: (service: Service) => void,
  ) {
    this.#machine = new VcpuMachine(control, record, views, need);
    this.#thread = record.nativeThread(stackEnd);
    // The dispatcher before this one has left it in the guest, or with an exit that nobody has seen.
    if (record.thread !== 0 && record.state === VCPU_STATE.RUNNING) this.#place = ENTERED;
  }

  /**
   * Looks what has become of it, and moves it on. Costs nothing if it was called for nothing.
   * @returns STOP once, when the vCPU is given up; ENTER if there is nothing to wait for
   * @throws {LinuxError} there is no thread to be had
   */
  attend(): Next {
    if (this.#place === PARKED) return this.#do(this.#unparked(this.#machine.resumed()));
    if (this.#place === ENTERED && this.#thread.isOut) return this.#do(this.#machine.exited(this.#thread.result));
    return NEXT.ENTER;
  }

  /** Whether it is in the guest, or was let in and nobody has looked at it since. */
  get entered(): boolean {
    return this.#place === ENTERED;
  }

  /** Takes it out of the guest for good, wherever it is: its thread has been told to leave afterwards. */
  abandon(): void {
    const entered = this.#place === ENTERED;
    this.#place = GONE;
    this.#thread.leave();
    if (!entered) return;
    new RunPage(this.record.runPage()).setImmediateExit(true);
    if (this.record.thread !== 0) kickThread(this.record.thread);
  }

  /** Blocks until the thread, which was told to leave, has ended. */
  join(): void {
    this.#thread.join();
    this.record.state = VCPU_STATE.STOPPED;
  }

  /** Domain.pause() takes a vCPU that is not RUNNING for out of the guest: so RUNNING first, then the look at the pause. */
  #unparked(next: Next): Next {
    if (next !== NEXT.ENTER) return next;
    this.record.state = VCPU_STATE.RUNNING;
    return this.control.paused ? NEXT.PAUSED : NEXT.ENTER;
  }

  #do(next: Next): Next {
    if (next === NEXT.ENTER) {
      this.#place = ENTERED;
      this.#thread.enter();
    } else if (next === NEXT.STOP) {
      this.#place = GONE;
      this.#thread.leave();
    } else {
      this.#place = PARKED;
      this.record.state = next === NEXT.WAIT ? VCPU_STATE.WAITING : VCPU_STATE.PAUSED;
      // Whoever ended the run may have woken this vCPU's waiter before it was parked.
      if (this.control.stopping) return this.#do(NEXT.STOP);
    }
    return next;
  }
}
