/** `boot()`: a guest in a test. */

import { pipe } from "../linux/descriptor.ts";
import type { ShutdownRequest } from "../domain/xen_state.ts";
import { type Outcome, STATUS } from "../domain/outcome.ts";
import { describeOutcome } from "../machine/disassemble.ts";
import { type Machine, startMachine } from "../machine/machine.ts";
import type { FileSource, MachineOptions } from "../machine/options.ts";
import type { Statistics } from "../domain/statistics.ts";
import { TestConsole } from "./console.ts";

/** What a guest is booted with, beside its image. */
export interface BootOptions extends Omit<MachineOptions, "image"> {
  /** The run ends with status 124 so long after the guest's start; default: never. Device models may take as long to come. */
  readonly timeoutMs?: number;
}

/** How a guest's run ended. */
export interface Exit {
  /** The exit status that `deno task run` would have. */
  readonly status: number;
  /** One line: for a crash with vCPU, rip and instruction. */
  readonly reason: string;
  /** The vCPU that ended the run, if one did. */
  readonly vcpu?: number;
  /** Where that vCPU stood, if the guest crashed. */
  readonly rip?: bigint;
}

/** A running guest. Leaving `await using` stops it and frees everything. */
export class TestMachine implements AsyncDisposable {
  /** The guest's serial and debug console. */
  readonly console: TestConsole;
  /** Resolves when the guest has ended and all its output has arrived. Never rejects. */
  readonly exited: Promise<Exit>;

  /** Use {@linkcode boot}. */
  constructor(
    private readonly machine: Machine,
    console: TestConsole,
    closeConsole: () => void,
    private readonly limit: TimeLimit,
  ) {
    this.console = console;
    this.exited = machine.ended.then(async (outcome) => {
      limit.disarm();
      closeConsole();
      await console.ended;
      return await exitOf(outcome);
    });
  }

  /** Takes the guest's vCPUs out of the guest; resolves when none runs. */
  pause(): Promise<void> {
    return this.machine.pause();
  }

  /** Lets them in again. */
  resume(): void {
    this.machine.resume();
  }

  /** Takes every vCPU out of the guest once: for testing that nothing is lost by it. */
  kick(): void {
    this.machine.kick();
  }

  /**
   * Asks the guest by xenstore (control/shutdown) to end itself. One that does not look there goes on as if nothing had
   * been said.
   */
  requestShutdown(reason: ShutdownRequest = "poweroff"): void {
    this.machine.requestShutdown(reason);
  }

  /** Has the run end with status 124 so long from now, instead of when it was to end before. */
  setTimeout(timeoutMs: number): void {
    this.limit.arm(this.machine, timeoutMs);
  }

  /** What was counted so far. */
  get statistics(): Statistics {
    return this.machine.statistics;
  }

  /** Stops the guest and frees everything. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.machine[Symbol.asyncDispose]();
    await this.exited;
    this.console.close();
  }
}

/**
 * Boots an image.
 * @param image a path relative to the current directory, a URL, or the bytes
 * @returns when the first vCPU is on its way
 * @throws {UsageError} @throws {ImageError} @throws {KvmUnavailable}
 *
 * @example A guest that echoes
 * ```ts
 * import { boot } from "xenolith/testing";
 *
 * Deno.test("the guest echoes", async () => {
 *   await using vm = await boot("guests/echo.img");
 *   await vm.console.expect("> ");
 *   vm.console.send("hello\n");
 *   await vm.console.expect(/echo: (\w+)/);
 * });
 * ```
 */
export async function boot(image: FileSource, options: BootOptions = {}): Promise<TestMachine> {
  using stack = new DisposableStack();
  const output = pipe("console output"), input = pipe("console input");
  for (const end of [output.reader, output.writer, input.reader, input.writer]) stack.use(end);
  const console = { input: input.reader.number, output: output.writer.number, escape: null };
  const limit = new TimeLimit(), { timeoutMs } = options;
  const arm = (machine: Machine) => limit.arm(machine, timeoutMs);
  // Device models may keep the guest waiting as long as it may run; that is no time of its own.
  const machine = await startMachine({ ...options, image }, console, arm).catch((error) => {
    limit.disarm();
    throw error;
  });
  arm(machine);
  const testConsole = new TestConsole(output.reader.release(), input.writer.release(), () => describe(machine));
  const ends = stack.move();
  return new TestMachine(machine, testConsole, () => ends.dispose(), limit);
}

/** The time after which a run is ended. */
class TimeLimit {
  #timer: number | undefined;

  /** @param timeoutMs from now on; undefined: as long as it takes */
  arm(machine: Machine, timeoutMs: number | undefined): void {
    this.disarm();
    if (timeoutMs === undefined) return;
    const reason = `time-out after ${timeoutMs} ms`;
    const end = () => machine.end({ kind: "timeout", status: STATUS.TIMEOUT, reason });
    this.#timer = setTimeout(end, timeoutMs) as unknown as number;
  }

  disarm(): void {
    clearTimeout(this.#timer);
  }
}

function describe(machine: Machine): string {
  return `vCPUs: ${machine.vcpuStates.map((state, id) => `${id} ${state}`).join(", ")}`;
}

async function exitOf(outcome: Outcome): Promise<Exit> {
  return {
    status: outcome.status,
    reason: await describeOutcome(outcome),
    ...(outcome.vcpu !== undefined && { vcpu: outcome.vcpu }),
    ...(outcome.rip !== undefined && { rip: outcome.rip }),
  };
}
