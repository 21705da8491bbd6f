/**
 * Succession: while no vCPU runs, a fresh generation of Workers takes the vCPUs and the device models over. An isolate owns
 * nothing, so that the next one has but to look; and where there is only one generation, it costs nothing.
 */

import { EBUSY, EIO } from "../linux/errno.ts";
import { ServerViews } from "../ioreq/server_view.ts";
import type { CarrierStart } from "./carrier.ts";
import { CrewMember, type CrewOwner } from "./crew.ts";
import { happensBefore, withinPatience } from "./grace.ts";
import type { ModelStart } from "./messages.ts";
import type { ModelProcesses } from "./model_processes.ts";
import { type Crew, Quiescence, type QuiescenceParts } from "./quiescence.ts";
import type { SuccessionStatistics } from "./statistics.ts";
import { WORKER_URLS, type WorkerUrls } from "./worker_urls.ts";

/** Why the generation that was there is still there, or is there again. */
export class SuccessionError extends Error {
  static {
    this.prototype.name = "SuccessionError";
  }

  /** @param errno EBUSY somebody did not come to rest in time; EIO the code that was to take over has failed */
  constructor(readonly errno: number, message: string) {
    super(message);
  }
}

/** What it needs of the domain. */
export interface SuccessionParts extends QuiescenceParts {
  readonly role: "carrier" | "dispatcher";
  readonly owner: CrewOwner;
  /** Device models in processes of the domain's own. */
  readonly processes: Pick<ModelProcesses, "prepare" | "drop" | "take">;
  /** Milliseconds that code may take to load, and again to begin: whoever takes longer is in a loop. */
  readonly patienceMs: number;
  carrierStart(waiter: number): CarrierStart;
  modelStart(server: number): ModelStart;
}

/** Where a generation has the module of a device model, by the URL with which the model was asked for. */
export type ModulePlace = (url: string) => string;

/** What a generation runs. */
interface Sources {
  readonly urls: WorkerUrls;
  readonly place: ModulePlace;
}

/** A generation that has loaded its code, and waits. */
export interface Generation extends Sources {
  readonly crew: Crew;
  /** For each service that there is, as the domain has them. */
  readonly services: readonly (CrewMember | undefined)[];
}

/**
 * What else changes while nothing runs.
 * @param inside vCPUs that wait inside KVM_RUN for a page
 * @param deadlineMs when the time is over that the whole may take
 * @returns what takes that back, when nothing runs again
 */
export type AtRest = (inside: number, deadlineMs: number) => Promise<(inside: number) => void>;

/** How a generation takes over. */
export interface TakeOptions {
  /** How long those that are there may take to come to rest, with all that is done then. */
  readonly limitMs: number;
  readonly atRest?: AtRest;
  /** The models' state is not kept. */
  readonly resets?: boolean;
}

/** What there was, for those who have to go back to it. */
interface Before extends Sources {
  readonly takeBack: ((inside: number) => void) | undefined;
  /** The models' state, by server, where it was not kept. */
  readonly states: Map<number, Uint8Array<ArrayBuffer>>;
}

/** The successions of one domain, one at a time. */
export class Succession {
  readonly #views: ServerViews;
  readonly #rest: Quiescence;
  /** How often vCPUs were kept out of the guest, whether or not they were succeeded, and for how long. */
  statistics: SuccessionStatistics = { count: 0, longestMs: 0, totalMs: 0 };
  /** As the parts have it, unless somebody knows better. */
  patienceMs: number;
  /** Resolves when none is under way. */
  #idle: Promise<void> = Promise.resolve();
  /** Resolves when the run is over. */
  readonly #closing = Promise.withResolvers<void>();
  #isClosed = false;

  /** Of the generation that is there. */
  #sources: Sources = { urls: WORKER_URLS, place: (url) => url };

  constructor(private readonly parts: SuccessionParts) {
    this.#views = new ServerViews(parts.control.servers);
    this.#rest = new Quiescence(parts, this.#views);
    this.patienceMs = Math.round(parts.patienceMs);
  }

  /**
   * Has a generation load its code. Nothing else changes.
   * @param place of a model's module; default: its own
   * @throws {SuccessionError} EIO it does not load; EBUSY the run is over
   */
  async prepare(urls: WorkerUrls, place: ModulePlace = (url) => url): Promise<Generation> {
    return await this.#during(() => this.#prepare(urls, place));
  }

  /**
   * The generation takes over.
   * @returns milliseconds for which vCPUs were kept out of the guest
   * @throws {SuccessionError} EBUSY they took longer: they go on; EIO the new code fails: the old code is there again
   * @throws what `atRest` throws: those who are there go on
   */
  async take(next: Generation, options: TakeOptions): Promise<number> {
    return await this.#during(async () => {
      const sources = this.#sources, { pausedMs, ...before } = await this.#takeOver(next, options);
      await this.#prove({ ...sources, ...before });
      return pausedMs;
    }, () => this.#drop(next));
  }

  /** From now on there is none. Resolves when the one that is under way has been given up, or is done. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#closing.resolve();
    await this.#idle;
  }

  async #during<T>(work: () => Promise<T>, refused = () => {}): Promise<T> {
    if (this.#isClosed) {
      refused();
      throw runIsOver();
    }
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#idle = promise;
    try {
      return await work();
    } finally {
      resolve();
    }
  }

  async #prepare(urls: WorkerUrls, place: ModulePlace): Promise<Generation> {
    const { crew, role, owner, services, processes } = this.parts;
    const member = (name: string, kind: "carrier" | "dispatcher" | "model") => new CrewMember(kind, name, owner, urls);
    const next = {
      carriers: crew.carriers.map(({ name }) => member(name, role)),
      models: crew.models.map(({ name }) => member(name, "model")),
    };
    const recruits = services.map((service) => service.recruit(urls));
    const generation = { urls, place, crew: next, services: recruits.map((recruit) => recruit?.member) };
    const loading = Promise.all([
      ...next.carriers.map((carrier, waiter) => carrier.load(this.parts.carrierStart(waiter))),
      ...next.models.map((model, server) => model.load(this.#modelStart(server, place))),
      ...recruits.map((recruit) => recruit?.loaded),
      processes.prepare(urls.process),
    ]);
    const isLoaded = await this.#happens(loading, performance.now() + this.patienceMs);
    const why = isLoaded
      ? (await loading).find((why) => why !== undefined)
      : `the new code does not load within ${this.patienceMs} ms`;
    if (why === undefined) return generation;
    // Deno has something to say of code that goes while it is being loaded.
    if (this.#isClosed) await withinPatience(loading);
    this.#drop(generation);
    throw this.#isClosed ? runIsOver() : new SuccessionError(EIO, why);
  }

  /** Waits until it happens, or until then, or the run is over. @returns whether it has happened */
  async #happens(what: Promise<unknown>, deadlineMs: number): Promise<boolean> {
    const isOver = this.#closing.promise.then(() => false);
    return await happensBefore(Promise.race([what.then(() => true), isOver]), deadlineMs) && !this.#isClosed;
  }

  /** It is not wanted any more. */
  #drop({ crew, services }: Generation): void {
    for (const member of [...crew.carriers, ...crew.models, ...services]) member?.terminate();
    this.parts.processes.drop();
  }

  #modelStart(server: number, place: ModulePlace): ModelStart {
    const start = this.parts.modelStart(server);
    return { ...start, module: start.module === undefined ? undefined : place(start.module) };
  }

  /** Models take their time to begin: meanwhile the vCPUs run, and wait only for those whom they ask something. */
  async #takeOver(
    next: Generation,
    { limitMs, atRest, resets = false }: TakeOptions,
    states = new Map<number, Uint8Array<ArrayBuffer>>(),
  ): Promise<{ pausedMs: number; takeBack: Before["takeBack"]; states: Before["states"] }> {
    const { control, pause } = this.parts, beganMs = performance.now(), deadlineMs = beganMs + limitMs;
    pause.begin("succession");
    try {
      const busy = await this.#rest.reach(deadlineMs);
      if (control.stopping) throw runIsOver();
      if (busy !== undefined || performance.now() > deadlineMs) {
        throw new SuccessionError(EBUSY, `${busy ?? "the domain"} did not come to rest within ${limitMs} ms`);
      }
      const takeBack = await atRest?.(this.#rest.inside.size, deadlineMs);
      await this.#rest.leave();
      const before = resets ? this.#clearStates() : new Map();
      for (const server of states.keys()) this.#putBack(server, states);
      this.#enter(next);
      return { pausedMs: performance.now() - beganMs, takeBack, states: before };
    } catch (error) {
      this.#rest.goOn();
      this.#drop(next);
      throw error;
    } finally {
      pause.end("succession");
      const pausedMs = performance.now() - beganMs, { count, longestMs, totalMs } = this.statistics;
      this.statistics = {
        count: count + 1,
        longestMs: Math.max(longestMs, pausedMs),
        totalMs: totalMs + pausedMs,
      };
    }
  }

  #enter({ crew: next, services, ...sources }: Generation): void {
    const { crew } = this.parts;
    this.parts.services.forEach((service, index) => service.succeed(services[index], sources.urls));
    next.models.forEach((model, server) => {
      crew.models[server] = model;
      model.start({ ...this.#modelStart(server, sources.place), inherits: true });
    });
    next.carriers.forEach((carrier, waiter) => this.#carry(waiter, carrier));
    this.#sources = sources;
  }

  /** The next models begin as if they were the first. @returns what they would have gone on with, by server */
  #clearStates(): Map<number, Uint8Array<ArrayBuffer>> {
    const { models } = this.parts.crew;
    return new Map(models.map((_, server) => {
      const state = this.#views.view(server).area!.deviceStateBytes, before = state.slice();
      state.fill(0);
      return [server, before];
    }));
  }

  /** Nobody serves that server. */
  #putBack(server: number, states: Before["states"]): void {
    const state = states.get(server);
    if (state !== undefined) this.#views.view(server).area!.deviceStateBytes.set(state);
    states.delete(server);
  }

  /** Waits until all have begun. Where one does not, the code that was there takes over again. */
  async #prove(before: Before): Promise<void> {
    const { processes, control } = this.parts, taking = processes.take(this.#sources.urls.process, this.patienceMs);
    const failed = await this.#failedMember();
    const failedProcess = await Promise.race([taking, this.#closing.promise.then(() => undefined)]);
    const why = failed === undefined ? failedProcess : `${failed.name}: ${failed.failure}`;
    if (why === undefined || control.stopping || this.#isClosed) return;
    await this.#restore(before);
    throw new SuccessionError(EIO, why);
  }

  /** @returns once all have begun, or had the time to, the first that has not */
  async #failedMember(): Promise<CrewMember | undefined> {
    const { crew: { models, carriers }, services } = this.parts, deadlineMs = performance.now() + this.patienceMs;
    const members = [...models, ...services.flatMap((service) => service.members), ...carriers];
    for (const member of members) {
      if (await this.#happens(member.ready, deadlineMs)) continue;
      if (this.#isClosed) return undefined;
      member.giveUp(`it does not begin within ${this.patienceMs} ms`);
    }
    return members.find(({ failure }) => failure !== undefined);
  }

  /** One that is still inside KVM_RUN is succeeded as soon as it comes out. */
  #carry(waiter: number, carrier: CrewMember): void {
    const { crew } = this.parts, before = crew.carriers[waiter];
    crew.carriers[waiter] = carrier;
    const start = () => carrier.start(this.parts.carrierStart(waiter));
    if (before.idle) return start();
    void before.stopped.then(() => {
      before.terminate();
      start();
    });
  }

  /**
   * Those whom vCPUs may wait for have their old code first; then all have. Where that fails, too, the domain has nobody, and
   * its owner hears of it.
   */
  async #restore({ urls, place, takeBack, states }: Before): Promise<void> {
    const { crew: { models }, services, control, owner, processes } = this.parts;
    for (const service of services) {
      if (service.members.some(({ failure }) => failure !== undefined)) service.succeed(undefined, urls);
    }
    for (const [server, failed] of models.entries()) {
      if (!failed.idle) continue;
      failed.terminate();
      this.#putBack(server, states);
      const model = models[server] = new CrewMember("model", failed.name, owner, urls);
      model.start({ ...this.#modelStart(server, place), inherits: true });
      await model.ready;
    }
    const atRest: AtRest = (inside) => Promise.resolve(takeBack?.(inside)).then(() => () => {});
    try {
      await this.#takeOver(await this.#prepare(urls, place), { limitMs: this.patienceMs, atRest }, states);
      await processes.take(urls.process, this.patienceMs);
      const failed = await this.#failedMember();
      if (failed !== undefined) throw new SuccessionError(EIO, `${failed.name}: ${failed.failure}`);
    } catch (error) {
      if (control.stopping) return;
      owner.memberEnded("the generation before", { message: (error as Error).message, isLack: false });
    }
  }
}

function runIsOver(): SuccessionError {
  return new SuccessionError(EBUSY, "the run is over");
}
