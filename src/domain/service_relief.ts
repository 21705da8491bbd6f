/** A service's side of its succession: it comes to rest, and then goes on or leaves. */

import type { Doorbell } from "../events/doorbell.ts";
import { RELIEF } from "../ioreq/notification.ts";
import type { ControlBlock } from "./control_block.ts";

/** What a service looks at whenever its doorbell rings. */
export class ServiceRelief {
  /** @param rested tells the owner that nothing is touched until it has decided */
  constructor(
    private readonly control: ControlBlock,
    private readonly doorbell: Doorbell,
    private readonly rested: () => void,
  ) {}

  /** Whether it is to come to rest. */
  get isAsked(): boolean {
    return this.control.serviceRelief !== RELIEF.NONE;
  }

  /** Comes to rest. @returns whether a successor takes over */
  rest(): boolean {
    const { control, doorbell } = this;
    this.rested();
    while (control.serviceRelief === RELIEF.ASKED) {
      doorbell.arm();
      if (control.serviceRelief === RELIEF.ASKED) doorbell.sleep();
      else doorbell.disarm();
    }
    return control.serviceRelief === RELIEF.LEAVE;
  }
}
