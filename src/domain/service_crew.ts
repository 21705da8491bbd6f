/** A domain's services as its owner has them: Workers that are there once there is something for them. */

import type { Descriptor } from "../linux/descriptor.ts";
import { eventDescriptor } from "../linux/event_descriptor.ts";
import { CrewMember, type CrewOwner } from "./crew.ts";
import type { Service, Start } from "./messages.ts";

/** Their names, for those who hear of their end. */
export const SERVICE_NAMES: Record<Service, string> = { pager: "the pager", xen: "the Xen service" };

/** One service: its Worker and its doorbell. */
export class ServiceCrew implements Disposable {
  readonly doorbell: Descriptor;
  #member: CrewMember | undefined;
  #told = false;
  #released = false;

  constructor(private readonly service: Service, private readonly owner: CrewOwner) {
    this.doorbell = eventDescriptor(`doorbell of ${SERVICE_NAMES[service]}`, false);
  }

  /** Has the Worker load its code. */
  prepare(): CrewMember {
    return this.#member ??= new CrewMember(this.service, SERVICE_NAMES[this.service], this.owner);
  }

  /** From now on it serves; what comes before the Worker's code is there waits for it. A second time does nothing. */
  start(start: Start): void {
    if (this.#told || this.#released) return;
    this.#told = true;
    this.prepare().start(start);
  }

  /** It is told to end: no vCPU is left. Resolves when it touches nothing any more. @param tell how it is told, and rung */
  async release(tell: () => void): Promise<void> {
    this.#released = true;
    tell();
    await this.#member?.stopped;
  }

  /** Whoever reports that vCPUs have come to rest, or come to wait. */
  get members(): readonly CrewMember[] {
    return this.#member === undefined ? [] : [this.#member];
  }

  terminate(): void {
    this.#member?.terminate();
  }

  [Symbol.dispose](): void {
    this.doorbell[Symbol.dispose]();
  }
}
