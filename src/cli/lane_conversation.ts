/** Our stdin, stdout, stderr and signals on one side, a command in the lane on the other. */

import { STATUS } from "../domain/outcome.ts";
import { LaneDied } from "../lane/errors.ts";
import type { LaneRun } from "../lane/lane.ts";
import { ESCAPE, openTerminal, type Terminal } from "./terminal.ts";

/** Whoever asks the command to end waits so long for it, and then the machine is ended. */
const PATIENCE_MS = 10_000;

/** Signals that are passed on, with the status when nobody answers. */
const SIGNALS = { SIGHUP: STATUS.HANGUP, SIGINT: STATUS.INTERRUPT, SIGTERM: STATUS.TERMINATED } as const;

/** Forwards everything in both directions. Disposing it gives the terminal back. */
export class Conversation implements Disposable {
  /** Whether stdin is one. */
  readonly isTerminal = Deno.stdin.isTerminal();
  #terminal: Terminal | undefined;
  #run: LaneRun | undefined;
  /** The status of an ending that was asked for from our side. */
  #status: number | undefined;
  #patience: ReturnType<typeof setTimeout> | undefined;

  /** From now on signals are the command's. While it is being prepared they end the process. */
  constructor() {
    for (const name of Object.keys(SIGNALS) as (keyof typeof SIGNALS)[]) {
      Deno.addSignalListener(name, () => this.#signalled(name));
    }
  }

  /** Talks until the command has ended. @returns its exit status. @throws {LaneError} */
  async hold(run: LaneRun): Promise<number> {
    this.#run = run;
    this.#terminal = openTerminal();
    const { machine } = run;
    const outputs = [
      machine.stdout.pipeTo(Deno.stdout.writable, { preventClose: true }).catch(() => this.#stdoutClosed()),
      machine.stderr.pipeTo(Deno.stderr.writable, { preventClose: true }).catch(() => {}),
    ];
    this.#forwardInput();
    try {
      const { status } = await run.ended;
      await Promise.all(outputs);
      return status;
    } catch (error) {
      if (error instanceof LaneDied && this.#status !== undefined) return this.#status;
      throw error;
    }
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#patience);
    this.#terminal?.[Symbol.dispose]();
  }

  /** Nobody waits for it: a read of stdin cannot be taken back, and ends with the process. */
  async #forwardInput(): Promise<void> {
    const { machine } = this.#run!;
    const buffer = new Uint8Array(16 << 10);
    for (;;) {
      const count = await Deno.stdin.read(buffer).catch(() => null);
      if (count === null) return await machine.endInput();
      const typed = buffer.slice(0, count);
      // The command sees it, too, and leaves; unless it hangs.
      if (this.isTerminal && typed.includes(ESCAPE)) this.#endSoon(STATUS.LEFT);
      await machine.write(typed);
    }
  }

  #signalled(name: keyof typeof SIGNALS): void {
    if (this.#run === undefined) Deno.exit(SIGNALS[name]);
    this.#endSoon(SIGNALS[name]);
    this.#run.machine.signal(name.slice("SIG".length));
  }

  #endSoon(status: number): void {
    this.#status ??= status;
    this.#patience ??= setTimeout(() => this.#run?.machine.kill(), PATIENCE_MS);
  }

  /** There is no way to close it for the command, which would print into the void. */
  #stdoutClosed(): void {
    this.#status ??= STATUS.CONSOLE_CLOSED;
    this.#run?.machine.kill();
  }
}
