/** Device models in processes of the domain's own: started with it, ended with it, started again while it holds, and succeeded. */

import { ModelChild, type ModelEnd } from "./model_child.ts";
import type { ProcessSpecification } from "./specification.ts";
import { type Outcome, STATUS } from "./outcome.ts";
import { WORKER_URLS } from "./worker_urls.ts";

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
  process: ModelChild | undefined;
  /** Waits for its turn. */
  next: ModelChild | undefined;
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
    const loaded = await Promise.all(this.#places.map((place) => {
      const next = place.next = new ModelChild(place.specification, place.socket, url, true);
      this.#ended.push(next.ended.then(() => {}));
      return next.loaded;
    }));
    const failed = loaded.indexOf(false);
    if (failed < 0) return undefined;
    this.drop();
    return `the device model of ${this.#places[failed].specification.name} does not load`;
  }

  /** Those that wait for their turn are not wanted. */
  drop(): void {
    for (const place of this.#places) {
      place.next?.kill();
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

  async #takePlace(place: Place, patienceMs: number): Promise<boolean> {
    const { process, next } = place;
    const taking = place.taking = Promise.withResolvers<boolean>();
    place.process = next;
    place.next = undefined;
    if (next !== undefined) this.#watch(place, next);
    process?.kill();
    const timer = setTimeout(() => next?.kill(), patienceMs);
    const hasServed = await taking.promise;
    clearTimeout(timer);
    return hasServed;
  }

  #start(place: Place): void {
    place.process = new ModelChild(place.specification, place.socket, this.#url, false);
    this.#watch(place, place.process);
  }

  #watch(place: Place, process: ModelChild): void {
    this.#ended.push(process.ended.then((end) => this.#over(place, process, end)));
  }

  #over(place: Place, process: ModelChild, end: ModelEnd): void {
    if (place.process !== process) return; // it was succeeded
    place.process = undefined;
    if (this.#leaving) return;
    const isRefused = end.code === STATUS.HOST, reason = reasonOf(place.specification.name, end);
    const isHeld = this.options.hold && !isRefused; // another would find no more than one that was refused
    if (place.taking === undefined && !(isHeld && ++place.failures < MOST_FAILURES)) {
      return this.options.end({ kind: "internal", status: isRefused ? STATUS.HOST : STATUS.INTERNAL, reason });
    }
    if (end.words !== "") console.error(`xenolith: ${reason.replaceAll("\n", "\\n")}`);
    if (place.taking !== undefined) place.taking.resolve(false);
    else this.#start(place);
  }

  #kill(): void {
    for (const { process } of this.#places) process?.kill();
  }
}

/** One that lacks something says what itself. */
function reasonOf(name: string, { code, signal, words }: ModelEnd): string {
  const model = `the device model of ${name}`;
  if (words === "") return `${model} ended ${signal === null ? `with status ${code}` : `by ${signal}`}`;
  return code === STATUS.HOST ? words : `${model} failed: ${words}`;
}
