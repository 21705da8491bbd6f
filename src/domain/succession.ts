/**
 * Succession: while no vCPU runs, a fresh generation of Workers takes the vCPUs and the device models over. An isolate owns
 * nothing, so that the next one has but to look; and where there is only one generation, it costs nothing.
 */

import { EBUSY, EIO } from "../linux/errno.ts";
import { RELIEF } from "../ioreq/notification.ts";
import { ServerViews } from "../ioreq/server_view.ts";
import type { CarrierStart } from "./carrier.ts";
import type { ControlBlock } from "./control_block.ts";
import { CrewMember, type CrewOwner } from "./crew.ts";
import { happensBefore } from "./grace.ts";
import type { ModelStart } from "./messages.ts";
import type { ModelProcesses } from "./model_processes.ts";
import type { SuccessionStatistics } from "./statistics.ts";
import type { ServiceCrew } from "./service_crew.ts";
import { VCPU_STATE, type VcpuRecord } from "./vcpu_record.ts";
import type { VcpuPause } from "./vcpu_pause.ts";
import { WORKER_URLS, type WorkerUrls } from "./worker_urls.ts";

/** There is nothing better to do than to wait for it. */
const RESTORE_LIMIT_MS = 5000;

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

/** The Workers that carry vCPUs and device models; their places are filled anew. */
export interface Crew {
  /** Carriers or dispatchers, by the number of the waiter. */
  readonly carriers: CrewMember[];
  readonly models: CrewMember[];
}

/** What it needs of the domain. */
export interface SuccessionParts {
  readonly control: ControlBlock;
  readonly crew: Crew;
  readonly role: "carrier" | "dispatcher";
  readonly owner: CrewOwner;
  readonly services: readonly ServiceCrew[];
  readonly pause: VcpuPause;
  /** Device models in processes of the domain's own. */
  readonly processes: Pick<ModelProcesses, "prepare" | "drop" | "take">;
  carrierStart(waiter: number): CarrierStart;
  modelStart(server: number): ModelStart;
  /** Has services look whether they are to leave. */
  ringServices(): void;
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

/** How a generation takes over. */
export interface TakeOptions {
  /** How long the vCPUs and models that are there may take to come to rest. */
  readonly limitMs: number;
  /** Called when all of them are. @param inside vCPUs that wait inside KVM_RUN for a page */
  readonly atRest?: (inside: number) => Promise<void>;
  /** The same once the code that was there takes over again, because the next one fails. */
  readonly atRestAgain?: (inside: number) => Promise<void>;
  /** The models' state is not kept. */
  readonly resets?: boolean;
}

/** The successions of one domain, one at a time. */
export class Succession {
  readonly #views: ServerViews;
  /** What vCPUs were kept out of the guest for. */
  statistics: SuccessionStatistics = { count: 0, longestMs: 0, totalMs: 0 };
  /** Resolves when none is under way. */
  idle: Promise<void> = Promise.resolve();

  /** Of the generation that is there. */
  #sources: Sources = { urls: WORKER_URLS, place: (url) => url };

  constructor(private readonly parts: SuccessionParts) {
    this.#views = new ServerViews(parts.control.servers);
  }

  /** Has a generation load its code. Nothing else changes. @param place of a model's module; default: its own @throws {SuccessionError} EIO it does not load */
  async prepare(urls: WorkerUrls, place: ModulePlace = (url) => url): Promise<Generation> {
    const { crew, role, owner } = this.parts;
    const member = (name: string, kind: "carrier" | "dispatcher" | "model") => new CrewMember(kind, name, owner, urls);
    const next = {
      carriers: crew.carriers.map(({ name }) => member(name, role)),
      models: crew.models.map(({ name }) => member(name, "model")),
    };
    const recruits = this.parts.services.map((service) => service.recruit(urls));
    const results = await Promise.all([
      ...next.carriers.map((carrier, waiter) => carrier.load(this.parts.carrierStart(waiter))),
      ...next.models.map((model, server) => model.load(this.#modelStart(server, place))),
    ]);
    const services = await Promise.all(recruits), failedService = services.find((member) => member?.failure);
    const generation = { urls, place, crew: next, services };
    const failures = [...results, failedService?.failure, await this.parts.processes.prepare(urls.process)];
    const why = failures.find((why) => why !== undefined);
    if (why === undefined) return generation;
    this.#drop(generation);
    throw new SuccessionError(EIO, why);
  }

  /** It is not wanted any more. */
  #drop({ crew, services }: Generation): void {
    for (const member of [...crew.carriers, ...crew.models, ...services]) member?.terminate();
    this.parts.processes.drop();
  }

  /**
   * The generation takes over.
   * @returns milliseconds for which vCPUs were kept out of the guest
   * @throws {SuccessionError} EBUSY they took longer: they go on; EIO the new models fail: the old code is there again
   * @throws what `atRest` throws: those who are there go on
   */
  async take(next: Generation, options: TakeOptions): Promise<number> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.idle = promise;
    try {
      const before = this.#sources, pausedMs = await this.#takeOver(next, options);
      await this.#prove(before, options);
      return pausedMs;
    } finally {
      resolve();
    }
  }

  #modelStart(server: number, place: ModulePlace): ModelStart {
    const start = this.parts.modelStart(server);
    return { ...start, module: start.module === undefined ? undefined : place(start.module) };
  }

  /** Models take their time to begin: meanwhile the vCPUs run, and wait only for those whom they ask something. */
  async #takeOver(next: Generation, { limitMs, atRest, resets = false }: TakeOptions): Promise<number> {
    const { crew, control, pause } = this.parts, beganMs = performance.now(), deadlineMs = beganMs + limitMs;
    pause.begin("succession");
    try {
      const busy = await this.#notAtRest(deadlineMs) ?? await this.#modelsNotAtRest(deadlineMs);
      if (control.stopping) throw new SuccessionError(EBUSY, "the run is over");
      if (busy !== undefined) throw new SuccessionError(EBUSY, `${busy} did not come to rest within ${limitMs} ms`);
      await atRest?.(pause.records.filter(({ state }) => state === VCPU_STATE.RUNNING).length);
      await this.#leave();
      if (resets) crew.models.forEach((_, server) => this.#views.view(server).area?.clearDeviceState());
      this.#enter(next);
    } catch (error) {
      for (let server = 0; server < crew.models.length; server++) this.#relieve(server, RELIEF.NONE);
      this.#drop(next);
      throw error;
    } finally {
      pause.end("succession");
    }
    const pausedMs = performance.now() - beganMs, { count, longestMs, totalMs } = this.statistics;
    this.statistics = {
      count: count + 1,
      longestMs: Math.max(longestMs, pausedMs),
      totalMs: totalMs + pausedMs,
    };
    return pausedMs;
  }

  /** @returns the first vCPU that is not at rest in time */
  async #notAtRest(deadlineMs: number): Promise<string | undefined> {
    const { crew, control, pause: { records } } = this.parts;
    for (;;) {
      const change = Promise.race(crew.carriers.map(({ nextReport }) => nextReport));
      const busy = records.find((record) => !this.#isAtRest(record));
      if (busy === undefined || control.stopping) return undefined;
      if (!await happensBefore(change, deadlineMs)) return `vCPU ${busy.id}`;
    }
  }

  /** Between two accesses, or inside KVM_RUN for a page that it waits for: none of our code runs for it before it is succeeded. */
  #isAtRest({ id, state }: VcpuRecord): boolean {
    if (state === VCPU_STATE.PAUSED || state === VCPU_STATE.STOPPED) return true;
    return state === VCPU_STATE.RUNNING && this.parts.control.physicalMap.table.faultOf[id] !== 0;
  }

  /** @returns the first model that is not at rest in time */
  async #modelsNotAtRest(deadlineMs: number): Promise<string | undefined> {
    const { models } = this.parts.crew;
    const rested = models.map(({ nextReport }) => nextReport);
    models.forEach((_, server) => this.#relieve(server, RELIEF.ASKED));
    for (const [server, { name }] of models.entries()) {
      if (!await happensBefore(rested[server], deadlineMs)) return name;
    }
    return undefined;
  }

  #relieve(server: number, step: (typeof RELIEF)[keyof typeof RELIEF]): void {
    this.#views.view(server).area?.relieve(step);
  }

  /** From here on there is no way back to these Workers. */
  async #leave(): Promise<void> {
    const { control, crew, services, pause } = this.parts;
    const blocked = new Set(pause.records.filter(({ state }) => state === VCPU_STATE.RUNNING).map(({ id }) => id));
    control.generation++;
    crew.models.forEach((_, server) => this.#relieve(server, RELIEF.LEAVE));
    pause.wakeAll();
    this.parts.ringServices();
    const perWaiter = control.vcpusPerWaiter;
    const left = crew.carriers.filter((_, waiter) => perWaiter > 1 || !blocked.has(waiter));
    await Promise.all([
      ...[...crew.models, ...left].map(({ stopped }) => stopped),
      ...services.map((service) => service.left()),
    ]);
    for (const member of [...crew.models, ...left]) member.terminate();
  }

  #enter({ crew: next, services, ...sources }: Generation): void {
    const { crew, control } = this.parts;
    this.parts.services.forEach((service, index) => service.succeed(services[index], sources.urls, control.generation));
    next.models.forEach((model, server) => {
      this.#relieve(server, RELIEF.NONE);
      crew.models[server] = model;
      model.start({ ...this.#modelStart(server, sources.place), inherits: true });
    });
    next.carriers.forEach((carrier, waiter) => this.#carry(waiter, carrier));
    this.#sources = sources;
  }

  /** Waits until all models and services serve. Where one does not, the code that was there takes over again. @param before what it runs */
  async #prove(before: Sources, { atRestAgain }: TakeOptions): Promise<void> {
    const { processes, control } = this.parts, taking = processes.take(this.#sources.urls.process);
    const failed = await this.#failedMember(), failedProcess = await taking;
    const why = failed === undefined ? failedProcess : `${failed.name}: ${failed.failure}`;
    if (why === undefined || control.stopping) return;
    await this.#restore(before, atRestAgain);
    throw new SuccessionError(EIO, why);
  }

  /** @returns once all serve that are to serve, the first that does not */
  async #failedMember(): Promise<CrewMember | undefined> {
    const { crew: { models }, services } = this.parts;
    const members = [...models, ...services.flatMap((service) => service.members)];
    await Promise.all(members.map(({ ready }) => ready));
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
  async #restore(before: Sources, atRest: TakeOptions["atRest"]): Promise<void> {
    const { crew: { models }, services, control, owner } = this.parts;
    for (const service of services) {
      if (service.members.every(({ failure }) => failure === undefined)) continue;
      service.succeed(undefined, before.urls, control.generation);
    }
    for (const [server, { idle, name }] of models.entries()) {
      if (!idle) continue;
      const model = models[server] = new CrewMember("model", name, owner, before.urls);
      model.start({ ...this.#modelStart(server, before.place), inherits: true });
      await model.ready;
    }
    try {
      await this.#takeOver(await this.prepare(before.urls, before.place), { limitMs: RESTORE_LIMIT_MS, atRest });
      await this.parts.processes.take(before.urls.process);
      const failed = await this.#failedMember();
      if (failed !== undefined) throw new SuccessionError(EIO, `${failed.name}: ${failed.failure}`);
    } catch (error) {
      owner.memberEnded("the generation before", (error as Error).message);
    }
  }
}
