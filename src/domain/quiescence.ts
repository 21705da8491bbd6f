/** Rest: no vCPU is in the guest but for a page, no model and no service touches anything, until that is decided. */

import { RELIEF } from "../ioreq/notification.ts";
import type { ServerViews } from "../ioreq/server_view.ts";
import type { ControlBlock } from "./control_block.ts";
import type { CrewMember } from "./crew.ts";
import { happensBefore } from "./grace.ts";
import type { ServiceCrew } from "./service_crew.ts";
import type { VcpuPause } from "./vcpu_pause.ts";
import { VCPU_STATE, type VcpuRecord } from "./vcpu_record.ts";

/** The Workers that carry vCPUs and device models; their places are filled anew. */
export interface Crew {
  /** Carriers or dispatchers, by the number of the waiter. */
  readonly carriers: CrewMember[];
  readonly models: CrewMember[];
}

/** Who comes to rest. */
export interface QuiescenceParts {
  readonly control: ControlBlock;
  readonly crew: Crew;
  readonly services: readonly ServiceCrew[];
  readonly pause: VcpuPause;
  /** Has services look whether they are to come to rest. */
  ringServices(): void;
}

type ReliefStep = (typeof RELIEF)[keyof typeof RELIEF];

/** All of one domain. */
export class Quiescence {
  constructor(private readonly parts: QuiescenceParts, private readonly views: ServerViews) {}

  /** Waits until all are at rest: vCPUs, whom these ask, whom all ask. They are paused. @returns the first that is not in time */
  async reach(deadlineMs: number): Promise<string | undefined> {
    return await this.#vcpuNotAtRest(deadlineMs) ?? await this.#modelNotAtRest(deadlineMs) ??
      await this.#serviceNotAtRest(deadlineMs);
  }

  /** vCPUs that wait inside KVM_RUN for a page. */
  get inside(): ReadonlySet<number> {
    const running = this.parts.pause.records.filter(({ state }) => state === VCPU_STATE.RUNNING);
    return new Set(running.map(({ id }) => id));
  }

  /** Models and services go on. */
  goOn(): void {
    this.#relieveAll(RELIEF.NONE);
    for (const service of this.parts.services) service.goOn();
  }

  /** @returns the first vCPU that is not at rest in time */
  async #vcpuNotAtRest(deadlineMs: number): Promise<string | undefined> {
    const { crew, control, pause: { records } } = this.parts;
    for (;;) {
      const carriers = crew.carriers.filter(({ idle }) => !idle); // who has failed has left its vCPU at rest
      const change = Promise.race(carriers.map(({ nextReport }) => nextReport));
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
  async #modelNotAtRest(deadlineMs: number): Promise<string | undefined> {
    const { models } = this.parts.crew;
    const rested = models.map(({ nextReport }) => nextReport);
    models.forEach((_, server) => this.#relieve(server, RELIEF.ASKED));
    for (const [server, { name }] of models.entries()) {
      if (!await happensBefore(rested[server], deadlineMs)) return name;
    }
    return undefined;
  }

  /** What vCPUs and models have asked of them is answered. @returns the first service that is not at rest in time */
  async #serviceNotAtRest(deadlineMs: number): Promise<string | undefined> {
    const { services } = this.parts;
    const rested = services.map((service) => service.rest());
    this.#relieveServices(RELIEF.ASKED);
    for (const [index, { name }] of services.entries()) {
      if (!await happensBefore(rested[index], deadlineMs)) return name;
    }
    return undefined;
  }

  #relieve(server: number, step: ReliefStep): void {
    this.views.view(server).area?.relieve(step);
  }

  #relieveServices(step: ReliefStep): void {
    this.parts.control.serviceRelief = step;
    this.parts.ringServices();
  }

  #relieveAll(step: ReliefStep): void {
    this.parts.crew.models.forEach((_, server) => this.#relieve(server, step));
    this.#relieveServices(step);
  }

  /** All of them leave: from here on there is no way back to these Workers. Resolves when none touches anything any more. */
  async leave(): Promise<void> {
    const { control, crew, services, pause } = this.parts;
    const { inside } = this;
    control.generation++;
    this.#relieveAll(RELIEF.LEAVE);
    pause.wakeAll();
    const perWaiter = control.vcpusPerWaiter;
    const left = crew.carriers.filter((_, waiter) => perWaiter > 1 || !inside.has(waiter));
    await Promise.all([
      ...[...crew.models, ...left].map(({ stopped }) => stopped),
      ...services.map((service) => service.left()),
    ]);
    for (const member of [...crew.models, ...left]) member.terminate();
    this.#relieveAll(RELIEF.NONE);
  }
}
