/** Device models in processes of the domain's own: started with it, ended with it, started again while it holds, and succeeded. */

import type { ProcessSpecification } from "./specification.ts";
import { type Outcome, STATUS } from "./outcome.ts";
import { IN_TURN, MODEL_PROCESS } from "./process_words.ts";
import { WORKER_URLS } from "./worker_urls.ts";

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

interface Place {
  readonly specification: ProcessSpecification;
  readonly socket: string;
  /** Starts since it last served. */
  failures: number;
  process: Deno.ChildProcess | undefined;
  /** Waits for its turn. */
  next: Deno.ChildProcess | undefined;
  /** Resolves when the one that takes over serves, or has failed; undefined: none does. */
  taking: PromiseWithResolvers<boolean> | undefined;
}

/** All of one domain; without any it does nothing. */
export class ModelProcesses implements AsyncDisposable {
  readonly #directory: string | undefined;
  readonly #places: Place[];
  readonly #ended: Promise<void>[] = [];
  /** Of the program, or of another generation of it. */
  #url: string = WORKER_URLS.process;
  #leaving = false;

  constructor(specifications: readonly ProcessSpecification[], private readonly options: ModelProcessesOptions) {
    if (specifications.length > 0) this.#directory = Deno.makeTempDirSync({ prefix: "xenolith-" });
    this.#places = specifications.map((specification, index) => ({
      specification,
      socket: `${this.#directory}/${index}`,
      failures: 0,
      process: undefined,
      next: undefined,
      taking: undefined,
    }));
  }

  /** Starts them. Somebody listens at their sockets by now: a process that finds nobody has outlived its hypervisor. */
  start(): void {
    for (const place of this.#places) this.#start(place);
  }

  /** Where each of them comes. */
  get sockets(): string[] {
    return this.#places.map(({ socket }) => socket);
  }

  /** The one that comes there serves. */
  served(socket: string): void {
    const place = this.#places.find((place) => place.socket === socket);
    if (place === undefined) return;
    place.failures = 0;
    place.taking?.resolve(true);
    place.taking = undefined;
  }

  /** Has successors load their code. @param url of the generation's program @returns why one does not */
  async prepare(url: string): Promise<string | undefined> {
    const loaded = await Promise.all(this.#places.map(async (place) => {
      const next = place.next = this.#spawn(place, url, true);
      this.#ended.push(next.status.then(() => {}));
      const reader = next.stdout.getReader(), { done } = await reader.read();
      await reader.cancel();
      return !done;
    }));
    const failed = loaded.indexOf(false);
    if (failed < 0) return undefined;
    this.drop();
    return `the device model of ${this.#places[failed].specification.name} does not load`;
  }

  /** Those that wait for their turn are not wanted. */
  drop(): void {
    for (const place of this.#places) {
      place.next?.kill("SIGKILL");
      place.next = undefined;
    }
  }

  /**
   * Those that wait take over. Where one fails, the code that was there does again.
   * @param url of their program @param patienceMs how long they may take to begin @returns why one has failed
   */
  async take(url: string, patienceMs: number): Promise<string | undefined> {
    const before = this.#url;
    this.#url = url;
    const results = await Promise.all(this.#places.map((place) => this.#takePlace(place, patienceMs)));
    const failed = results.indexOf(false);
    if (failed < 0 || this.#leaving) return undefined;
    this.#url = before;
    await this.prepare(before);
    await Promise.all(this.#places.map((place) => this.#takePlace(place, patienceMs)));
    return `the device model of ${this.#places[failed].specification.name} fails`;
  }

  /** Whoever ends from now on was told to. */
  leave(): void {
    this.#leaving = true;
    for (const { taking } of this.#places) taking?.resolve(false);
  }

  /** Waits until all have ended; who takes too long is killed. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.leave();
    this.drop();
    const timer = setTimeout(() => this.#kill(), GRACE_MS);
    await Promise.all(this.#ended);
    clearTimeout(timer);
    if (this.#directory !== undefined) await Deno.remove(this.#directory, { recursive: true }).catch(() => {});
  }

  /** Its state lies with the server, in an order in which it may die at any moment: there is no gentler way. */
  async #takePlace(place: Place, patienceMs: number): Promise<boolean> {
    const { process, next } = place;
    const taking = place.taking = Promise.withResolvers<boolean>();
    place.process = next;
    place.next = undefined;
    if (next !== undefined) this.#watch(place, next);
    process?.kill("SIGKILL");
    const timer = setTimeout(() => next?.kill("SIGKILL"), patienceMs);
    const hasServed = await taking.promise;
    clearTimeout(timer);
    return hasServed;
  }

  #start(place: Place): void {
    place.process = this.#spawn(place, this.#url, false);
    this.#watch(place, place.process);
  }

  #watch(place: Place, process: Deno.ChildProcess): void {
    this.#ended.push(process.status.then((status) => this.#over(place, process, status)));
  }

  #spawn({ specification: { module, configuration }, socket }: Place, url: string, inTurn: boolean): Deno.ChildProcess {
    const model = [MODEL_PROCESS, module, socket, JSON.stringify(configuration), ...inTurn ? [IN_TURN] : []];
    // A group of its own: the terminal's Ctrl-C is for the hypervisor, which ends the rest in its order.
    return new Deno.Command(Deno.execPath(), {
      args: ["run", ...PERMISSIONS, url, ...model],
      stdin: "null",
      stdout: inTurn ? "piped" : "null",
      stderr: "inherit",
      detached: true,
    }).spawn();
  }

  #over(place: Place, process: Deno.ChildProcess, { code, signal }: Deno.CommandStatus): void {
    if (place.process !== process) return; // it was succeeded
    place.process = undefined;
    if (this.#leaving) return;
    if (place.taking !== undefined) return place.taking.resolve(false);
    const isRefused = code === STATUS.HOST; // another would find no more than it did
    if (this.options.hold && !isRefused && ++place.failures < MOST_FAILURES) return this.#start(place);
    const how = signal === null ? `with status ${code}` : `by ${signal}`;
    const reason = `the device model of ${place.specification.name} ended ${how}`;
    this.options.end({ kind: "internal", status: isRefused ? STATUS.HOST : STATUS.INTERNAL, reason });
  }

  #kill(): void {
    for (const { process } of this.#places) process?.kill("SIGKILL");
  }
}
