/** The guest that does nothing but exit (guests/exits), under Xenolith and under the C loop, round by round. */

import { clockNs, PROCESS_CPU_CLOCK } from "./clock.ts";
import type { CProgram, Round } from "./c_program.ts";
import { startGuestProgram } from "./guest_program.ts";
import { path } from "./harness.ts";
import { type Machine, startMachine } from "../../src/machine/machine.ts";
import type { ModelOptions } from "../../src/machine/options.ts";

/** Which access the guest repeats. */
export interface Access {
  readonly op: "in" | "out" | "call" | "send";
  readonly port: number;
}

/** What is not as usual about the machine. */
export interface GuestOptions {
  readonly deviceModels?: readonly ModelOptions[];
  /** How many accesses there were, asked while the guest stands still; exits, if it is not given. */
  readonly count?: () => Promise<number>;
  /** Done with the machine as soon as it runs. */
  readonly prepare?: (machine: Machine) => Promise<void>;
}

/** More exits than anybody waits for. */
const FOR_EVER = 1e15;
/** Exits until the optimising compiler is through with the exit path. */
const WARM_UP_EXITS = 30_000;

export const EXITS_IMAGE = path("guests/exits.img");

/** What the guest is to do `count` times. */
export function exitsCommandLine({ op, port }: Access, count: number = FOR_EVER): string {
  return `op=${op} port=${port} count=${count}`;
}

/** The guest under Xenolith: paused, but for the rounds. */
export class ExitGuest implements AsyncDisposable {
  private constructor(
    private readonly machine: Machine,
    private readonly count: () => Promise<number>,
    private readonly exitsPerMs: number,
  ) {}

  /** Boots it and lets it run until everything is compiled. */
  static async start(access: Access, options: GuestOptions = {}): Promise<ExitGuest> {
    const { deviceModels = [] } = options;
    const what = { image: EXITS_IMAGE, cmdline: exitsCommandLine(access), deviceModels };
    const machine = await startMachine(what, { input: -1, output: -1, escape: null });
    try {
      await options.prepare?.(machine);
      const startMs = performance.now(), exits = exitsOf(machine);
      await untilExits(machine, exits + WARM_UP_EXITS);
      const exitsPerMs = WARM_UP_EXITS / (performance.now() - startMs);
      await machine.pause();
      return new ExitGuest(machine, options.count ?? (() => Promise.resolve(exitsOf(machine))), exitsPerMs);
    } catch (error) {
      await machine[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** How many exits take about so long. */
  exitsIn(ms: number): number {
    return Math.ceil(this.exitsPerMs * ms);
  }

  /** Lets the guest run for about `ms`. The vCPU stands still at both ends, so the counts are exact. */
  async round(ms: number): Promise<Round> {
    const before = await this.count();
    const cpu = clockNs(PROCESS_CPU_CLOCK), startMs = performance.now();
    this.machine.resume();
    await new Promise((resolve) => setTimeout(resolve, ms));
    await this.machine.pause();
    const wallNs = (performance.now() - startMs) * 1e6, cpuNs = clockNs(PROCESS_CPU_CLOCK) - cpu;
    return { count: await this.count() - before, cpuNs, wallNs };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.machine[Symbol.asyncDispose]();
  }
}

/** The same guest under the C loop, in the state in which Xenolith's loader would start it. */
export function startExitLoop(access: Access): Promise<CProgram | null> {
  const guest = { image: EXITS_IMAGE, cmdline: exitsCommandLine(access) };
  return startGuestProgram("exit_loop", guest, access.port);
}

async function untilExits(machine: Machine, count: number): Promise<void> {
  while (exitsOf(machine) < count) {
    const pause = new Promise<void>((resolve) => setTimeout(resolve, 20));
    const outcome = await Promise.race([machine.ended, pause]);
    if (outcome) throw new Error(`the guest ended: ${outcome.reason}`);
  }
}

function exitsOf(machine: Machine): number {
  return machine.statistics.exits.IO ?? 0;
}
