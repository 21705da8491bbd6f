/** The guest that touches pages of a window over and over (guests/touch), under Xenolith and in C, round by round. */

import { clockNs, PROCESS_CPU_CLOCK } from "./clock.ts";
import type { CProgram, Round } from "./c_program.ts";
import { startGuestProgram } from "./guest_program.ts";
import { path } from "./harness.ts";
import { type Machine, startMachine } from "../../src/machine/machine.ts";
import type { ModelOptions } from "../../src/machine/options.ts";

/** Where the window is, and the port that the guest writes to before it touches the pages. */
export const WINDOW_ADDRESS = 0xfd00_0000, PASS_PORT = 0x510;

/** What the guest does. */
export interface Touches {
  readonly sizeBytes: number;
  readonly strideBytes?: number;
  readonly op: "read" | "write";
  readonly cpl: 0 | 3;
  /** It writes to the port only once. */
  readonly endless?: boolean;
  /** Touches of the last page after each pass. */
  readonly dwell?: number;
}

const PAGE_BYTES = 4096;
/** More passes than anybody waits for. */
const FOR_EVER = 1e15;

function guestOf({ sizeBytes, strideBytes = PAGE_BYTES, op, cpl, endless = false, dwell = 0 }: Touches) {
  const what = `address=${WINDOW_ADDRESS} size=${sizeBytes} stride=${strideBytes} op=${op} cpl=${cpl} dwell=${dwell}`;
  const cmdline = `${what} port=${PASS_PORT} count=${FOR_EVER} batch=${endless ? FOR_EVER : 1}`;
  return { image: path("guests/touch.img"), cmdline };
}

/** The guest under Xenolith: paused, but for the rounds. */
export class TouchGuest implements AsyncDisposable {
  private constructor(private readonly machine: Machine) {}

  /** Boots it, and lets it run for a while. */
  static async start(touches: Touches, model: ModelOptions, warmUpMs = 1000): Promise<TouchGuest> {
    const what = { ...guestOf(touches), deviceModels: [model] };
    const guest = new TouchGuest(await startMachine(what, { input: -1, output: -1, escape: null }));
    try {
      await guest.round(warmUpMs);
      return guest;
    } catch (error) {
      await guest[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Lets the guest run for about `ms`. @returns how many violations there were; the vCPU stands still at both ends */
  round(ms: number): Promise<Round> {
    return this.during(() => new Promise((resolve) => setTimeout(resolve, ms)));
  }

  /** Lets the guest run while something else is done. */
  async during(work: () => Promise<void>): Promise<Round> {
    const before = this.#violations, cpu = clockNs(PROCESS_CPU_CLOCK), startMs = performance.now();
    this.machine.resume();
    const outcome = await Promise.race([work(), this.machine.ended]);
    if (outcome) throw new Error(`the guest ended: ${outcome.reason}`);
    await this.machine.pause();
    const wallNs = (performance.now() - startMs) * 1e6, cpuNs = clockNs(PROCESS_CPU_CLOCK) - cpu;
    return { count: this.#violations - before, cpuNs, wallNs };
  }

  get #violations(): number {
    return this.machine.statistics.windows[0].violations;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.machine[Symbol.asyncDispose]();
  }
}

/** The same guest under a C program of tools/bench. */
export function startTouchProgram(name: string, touches: Touches, ...rest: string[]): Promise<CProgram | null> {
  const { sizeBytes } = touches;
  return startGuestProgram(name, guestOf(touches), PASS_PORT, WINDOW_ADDRESS, sizeBytes, ...rest);
}
