/** The limit to a device model's patience: a request that nobody answers ends the domain with the reason. */

import { clock } from "../linux/calls.ts";
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

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}
