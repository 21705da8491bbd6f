/** Taking a domain's vCPUs out of the guest, and letting them in again. */

import { kickThread } from "../linux/signal.ts";
import { RunPage } from "../kvm/run_page.ts";
import type { ControlBlock } from "./control_block.ts";
import type { CrewMember } from "./crew.ts";
import { VCPU_STATE, type VcpuRecord } from "./vcpu_record.ts";

/** Who may keep vCPUs out, each for itself: whoever uses the domain, and a succession. */
export type Pauser = "user" | "succession";

/** All vCPUs of one domain, as the isolate that owns it stops them. */
export class VcpuPause {
  readonly records: VcpuRecord[] = [];
  readonly #runPages: RunPage[] = [];
  readonly #pausers = new Set<Pauser>();
  /** Resolves when they are let in again: vCPUs that were before they came to rest report nothing. */
  #resumed = Promise.withResolvers<void>();

  constructor(private readonly control: ControlBlock) {}

  /** One vCPU more. */
  add(record: VcpuRecord): void {
    this.records.push(record);
    this.#runPages.push(new RunPage(record.runPage()));
  }

  /** Whether that one keeps them out. */
  isPausedBy(who: Pauser): boolean {
    return this.#pausers.has(who);
  }

  /** Keeps them out from now on; those that are in the guest come out of it soon. */
  begin(who: Pauser): void {
    this.#pausers.add(who);
    this.control.paused = true;
    this.kick();
  }

  /** Lets them in again, unless somebody else keeps them out. */
  end(who: Pauser): void {
    this.#pausers.delete(who);
    if (this.#pausers.size > 0) return;
    this.control.paused = false;
    this.wakeAll();
    this.#resumed.resolve();
    this.#resumed = Promise.withResolvers();
  }

  /**
   * Resolves when none runs guest code, or they were let in again meanwhile; requests under way are still answered.
   * @param crew whoever reports that vCPUs have come to rest
   */
  async settled(crew: () => readonly CrewMember[]): Promise<void> {
    while (this.control.paused && !this.control.stopping) {
      const change = Promise.race([this.#resumed.promise, ...crew().map((member) => member.nextReport)]);
      if (!this.records.some((record) => this.#isInGuest(record))) return;
      await change;
    }
  }

  /** One that waits for a page runs no code, and comes out before it does; it cannot before. */
  #isInGuest({ id, state }: VcpuRecord): boolean {
    return state === VCPU_STATE.RUNNING && this.control.physicalMap.table.faultOf[id] === 0;
  }

  /** Takes every vCPU out of the guest once, and wakes those that wait: each then looks at what it is to do. */
  kick(): void {
    this.records.forEach(({ thread }, id) => {
      this.#runPages[id].setImmediateExit(true);
      if (thread !== 0) kickThread(thread);
    });
    this.wakeAll();
  }

  /** Has every vCPU that waits look at what it is to do. */
  wakeAll(): void {
    for (let id = 0; id < this.records.length; id++) this.control.board.wake(id);
  }
}
