/** A device model's connection to its server: shared memory for requests, operations for the rest. */

import type { RangeType } from "../ioreq/abi.ts";
import type { BufferedRing } from "../ioreq/buffered_ring.ts";
import type { NotificationArea } from "../ioreq/notification.ts";
import type { IoreqSlots } from "../ioreq/slots.ts";
import type { GuestMemoryAccess, ShutdownReason } from "./host.ts";

/** What the hypervisor does for a device model, wherever the model runs. Refusals are DmOpErrors. */
export interface Attachment {
  /** The server's id. */
  readonly server: number;
  readonly slots: IoreqSlots;
  readonly ring: BufferedRing | undefined;
  readonly area: NotificationArea;
  readonly memory: GuestMemoryAccess;
  mapRange(type: RangeType, first: number, last: number): void;
  unmapRange(type: RangeType, first: number, last: number): void;
  /** Has writes to [first, last] go through the ring. */
  bufferRange(type: RangeType, first: number, last: number): void;
  setIrqLevel(gsi: number, level: boolean): void;
  setPciIntxLevel(device: number, pin: number, level: boolean): void;
  injectMsi(address: number, data: number): void;
  shutdown(reason: ShutdownReason): void;
  /** Wakes whoever carries a vCPU whose request was answered. */
  notify(vcpu: number): void;
}
