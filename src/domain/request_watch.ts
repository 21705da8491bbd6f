/** The limit to a device model's patience: a request that nobody answers ends the domain with the reason. */

import { clock } from "../linux/calls.ts";
import { FAULT } from "../memory/fault_table.ts";
import type { ControlBlock } from "./control_block.ts";
import { type Outcome, STATUS } from "./outcome.ts";
import { ticksPerMs } from "./statistics.ts";

/** Looks happen so many times within the limit, so it is exceeded by at most this part of it. */
const LOOKS = 4, LONGEST_LOOK_MS = 250;

/** Watches the requests under way from outside: no vCPU pays for it. */
export class RequestWatch implements Disposable {
  readonly #timer: ReturnType<typeof setInterval>;
  /** The request of each vCPU that was under way at the last look, and since when it counts. */
  readonly #since: { sent: number; counted: number }[] = [];

  /**
   * @param isHeld whether a server's requests wait for the next device model: that wait has no limit
   * @param end called once with the outcome
   */
  constructor(
    private readonly control: ControlBlock,
    private readonly limitMs: number,
    private readonly isHeld: (server: number) => boolean,
    private readonly end: (outcome: Outcome) => void,
  ) {
    this.#timer = setInterval(() => this.#look(), Math.min(limitMs / LOOKS, LONGEST_LOOK_MS));
  }

  #look(): void {
    const now = clock(), perMs = ticksPerMs();
    const late = this.#lateViolation(now - this.limitMs * perMs);
    if (late !== undefined) return this.end({ kind: "crash", status: STATUS.CRASH, reason: late });
    for (let vcpu = 0; vcpu < this.control.vcpus; vcpu++) {
      const request = this.control.trace(vcpu).current;
      if (request === undefined) continue;
      const { server, sent, address } = request;
      if (this.#since[vcpu]?.sent !== sent) this.#since[vcpu] = { sent, counted: sent };
      if (this.isHeld(server) || this.control.paused) this.#since[vcpu].counted = now;
      if (now - this.#since[vcpu].counted < this.limitMs * perMs) continue;
      const where = `vCPU ${vcpu}'s access to 0x${address.toString(16)}`;
      const reason = `ioreq server ${server} has not answered ${where} for ${this.limitMs / 1000} s`;
      return this.end({ kind: "crash", status: STATUS.CRASH, reason, vcpu });
    }
  }

  /** The reason, if a page was asked for before `limit` (in ticks) and is still waited for. */
  #lateViolation(limit: number): string | undefined {
    const { table, faults } = this.control.physicalMap;
    if (table.openFaults === 0 || this.control.paused) return undefined;
    return table.lock.hold(() => {
      for (let entry = faults.next(0, FAULT.SENT); entry >= 0; entry = faults.next(entry + 1, FAULT.SENT)) {
        const server = faults.server(entry);
        if (faults.since(entry) > limit || this.isHeld(server)) continue;
        const where = `the violation of gfn 0x${faults.gfn(entry).toString(16)}`;
        return `ioreq server ${server} has not answered ${where} for ${this.limitMs / 1000} s`;
      }
      return undefined;
    });
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}
