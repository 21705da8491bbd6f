/** The pager as the domain's owner has it: a Worker that is there once there is something for it. */

import type { Descriptor } from "../linux/descriptor.ts";
import { eventDescriptor } from "../linux/event_descriptor.ts";
import type { ControlBlock } from "./control_block.ts";
import { CrewMember, type CrewOwner } from "./crew.ts";

/** Its name, for those who hear of its end. */
export const PAGER = "the pager";

/** The pager's Worker and doorbell. */
export class PagerCrew implements Disposable {
  readonly doorbell: Descriptor = eventDescriptor("doorbell of the pager", false);
  #member: CrewMember | undefined;
  #told = false;
  #released = false;

  constructor(private readonly owner: CrewOwner) {}

  /** Has the Worker load its code. */
  prepare(): CrewMember {
    return this.#member ??= new CrewMember("pager", PAGER, this.owner);
  }

  /** From now on violations are answered; those that come before the Worker's code is there wait for it. */
  start({ address, vcpus }: ControlBlock): void {
    if (this.#told || this.#released) return;
    this.#told = true;
    this.prepare().start({ controlBlock: address, vcpus, doorbell: this.doorbell.number });
  }

  /** Has it look whether the run is over. */
  ring(control: ControlBlock): void {
    control.pagerDoorbell(this.doorbell.number).ring();
  }

  /** Has it end: no vCPU is left. Resolves when it touches nothing any more. */
  async release(control: ControlBlock): Promise<void> {
    this.#released = true;
    control.releasePager();
    this.ring(control);
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
