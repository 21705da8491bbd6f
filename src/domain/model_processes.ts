/** Device models in processes of the domain's own: started with it, ended with it, and started again while it holds. */

import type { ProcessSpecification } from "./specification.ts";
import { type Outcome, STATUS } from "./outcome.ts";
import { MODEL_PROCESS, MODEL_PROCESS_URL } from "./worker_urls.ts";

/** What a device model may do beside its system calls. */
const PERMISSIONS = ["--no-prompt", "--cached-only", "--allow-ffi", "--allow-read", "--allow-write"];

/** One that has not served so often in a row is not started again. */
const MOST_FAILURES = 3;

/** How long one that was told to leave may take. */
const GRACE_MS = 2000;

/** How the processes are treated. */
export interface ModelProcessesOptions {
  /** Whether one that is gone gets a successor. */
  readonly hold: boolean;
  /** Ends the domain's run. */
  end(outcome: Outcome): void;
}

interface Running {
  readonly specification: ProcessSpecification;
  readonly socket: string;
  /** Starts since it last served. */
  failures: number;
  process: Deno.ChildProcess | undefined;
}

/** All of one domain; without any it does nothing. */
export class ModelProcesses implements AsyncDisposable {
  readonly #directory: string | undefined;
  readonly #running: Running[];
  readonly #ended: Promise<void>[] = [];
  #leaving = false;

  constructor(specifications: readonly ProcessSpecification[], private readonly options: ModelProcessesOptions) {
    if (specifications.length > 0) this.#directory = Deno.makeTempDirSync({ prefix: "xenolith-" });
    this.#running = specifications.map((specification, index) => {
      return { specification, socket: `${this.#directory}/${index}`, failures: 0, process: undefined };
    });
  }

  /** Starts them. Somebody listens at their sockets by now: a process that finds nobody has outlived its hypervisor. */
  start(): void {
    for (const running of this.#running) this.#start(running);
  }

  /** Where each of them comes. */
  get sockets(): string[] {
    return this.#running.map(({ socket }) => socket);
  }

  /** The one that comes there serves. */
  served(socket: string): void {
    for (const running of this.#running) if (running.socket === socket) running.failures = 0;
  }

  /** Whoever ends from now on was told to. */
  leave(): void {
    this.#leaving = true;
  }

  /** Waits until all have ended; who takes too long is killed. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.leave();
    const timer = setTimeout(() => this.#kill(), GRACE_MS);
    await Promise.all(this.#ended);
    clearTimeout(timer);
    if (this.#directory !== undefined) await Deno.remove(this.#directory, { recursive: true }).catch(() => {});
  }

  #start(running: Running): void {
    const { specification: { module, configuration }, socket } = running;
    const model = [MODEL_PROCESS, module, socket, JSON.stringify(configuration)];
    // A group of its own: the terminal's Ctrl-C is for the hypervisor, which ends the rest in its order.
    running.process = new Deno.Command(Deno.execPath(), {
      args: ["run", ...PERMISSIONS, MODEL_PROCESS_URL, ...model],
      stdin: "null",
      stdout: "null",
      stderr: "inherit",
      detached: true,
    }).spawn();
    this.#ended.push(running.process.status.then((status) => this.#over(running, status)));
  }

  #over(running: Running, { code, signal }: Deno.CommandStatus): void {
    running.process = undefined;
    if (this.#leaving) return;
    const isRefused = code === STATUS.HOST; // another would find no more than it did
    if (this.options.hold && !isRefused && ++running.failures < MOST_FAILURES) return this.#start(running);
    const how = signal === null ? `with status ${code}` : `by ${signal}`;
    const reason = `the device model of ${running.specification.name} ended ${how}`;
    this.options.end({ kind: "internal", status: isRefused ? STATUS.HOST : STATUS.INTERNAL, reason });
  }

  #kill(): void {
    for (const { process } of this.#running) process?.kill("SIGKILL");
  }
}
