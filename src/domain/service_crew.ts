/** A domain's services as its owner has them: Workers that are there once there is something for them. */

import type { Descriptor } from "../linux/descriptor.ts";
import { eventDescriptor } from "../linux/event_descriptor.ts";
import { CrewMember, type CrewOwner } from "./crew.ts";
import type { Service, ServiceStart } from "./messages.ts";
import { WORKER_URLS, type WorkerUrls } from "./worker_urls.ts";
import type { XenServiceState } from "./xen_service.ts";

/** Their names, for those who hear of their end. */
export const SERVICE_NAMES: Record<Service, string> = { pager: "the pager", xen: "the Xen service" };

/** A Worker that loads its code. */
export interface Recruit {
  readonly member: CrewMember;
  /** Resolves when it has. @returns why it has not */
  readonly loaded: Promise<string | undefined>;
}

/** One service: its Worker and its doorbell. */
export class ServiceCrew implements Disposable {
  readonly doorbell: Descriptor;
  #member: CrewMember | undefined;
  #start: ServiceStart | undefined;
  /** What the Worker before has left. */
  #handedOver: XenServiceState | undefined;
  /** Where the code of a Worker is that does not yet exist. */
  #urls: WorkerUrls = WORKER_URLS;
  #hasBegun = false;
  #released = false;
  /** There is a succession: none begins. */
  #isHeld = false;

  constructor(private readonly service: Service, private readonly owner: CrewOwner) {
    this.doorbell = eventDescriptor(`doorbell of ${this.name}`, false);
  }

  get name(): string {
    return SERVICE_NAMES[this.service];
  }

  /** Has the Worker load its code. */
  prepare(): CrewMember {
    return this.#member ??= this.#recruit(this.#urls);
  }

  /** From now on it serves; what comes before the Worker's code is there waits for it. A second time does nothing. */
  start(start: ServiceStart): void {
    if (this.#start !== undefined || this.#released) return;
    this.#start = start;
    if (!this.#isHeld) this.#begin();
  }

  /** Has the next Worker load its code, if there is one to succeed; the one that is there has begun by then. */
  recruit(urls: WorkerUrls): Recruit | undefined {
    if (this.#start === undefined) return undefined;
    const member = this.#recruit(urls), begun = this.#member?.ready;
    return { member, loaded: member.load(this.#start).then(async (failure) => (await begun, failure)) };
  }

  /** Its Worker is asked to come to rest, and until it goes on or is succeeded none begins. Resolves when it has. */
  rest(): Promise<void> {
    this.#isHeld = true;
    return this.#member === undefined || this.#member.idle ? Promise.resolve() : this.#member.nextReport;
  }

  /** There is no succession after all. */
  goOn(): void {
    this.#isHeld = false;
    if (this.#start !== undefined && !this.#hasBegun) this.#begin();
  }

  /** Its Worker has been told to leave. Resolves when that touches nothing any more. */
  async left(): Promise<void> {
    if (this.#member === undefined) return;
    await this.#member.stopped;
    this.#handedOver = this.#member.handedOver;
  }

  /** The next Worker goes on where the one before has left. @param member undefined: it loads its code when it is needed */
  succeed(member: CrewMember | undefined, urls: WorkerUrls): void {
    this.#isHeld = false;
    this.#urls = urls;
    this.#member?.terminate();
    this.#member = member;
    if (this.#start !== undefined) this.#begin();
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

  [Symbol.dispose](): void {
    this.doorbell[Symbol.dispose]();
  }

  #begin(): void {
    this.#hasBegun = true;
    this.prepare().start({ ...this.#start!, handedOver: this.#handedOver });
  }

  #recruit(urls: WorkerUrls): CrewMember {
    return new CrewMember(this.service, this.name, this.owner, urls);
  }
}
