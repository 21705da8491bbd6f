/** A device model's connection to its server: shared memory for requests, operations for the rest. */

import type { Descriptor } from "../linux/descriptor.ts";
import type { EventWrite } from "../kvm/vm.ts";
import type { Transport } from "../memory/stage_area.ts";
import type { Command } from "../ioreq/command_ring.ts";
import type { RangeType } from "../ioreq/abi.ts";
import type { BufferedRing } from "../ioreq/buffered_ring.ts";
import type { NotificationArea } from "../ioreq/notification.ts";
import type { IoreqSlots } from "../ioreq/slots.ts";
import type { GuestMemoryAccess, ShutdownReason } from "./host.ts";

/** A command about pages of the server's windows: see ioreq/command_ring.ts. */
export interface PageCommand {
  readonly op: Command;
  readonly gfn: number;
  readonly count: number;
  /** Of the memory that is shown; 0 in a revocation. */
  readonly memory: number;
  readonly frame: number;
  readonly readOnly: boolean;
}

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
  /** @param event an eventfd, which stays the model's @throws {DmOpError} EINVAL; EEXIST; EOPNOTSUPP */
  connectWrite(write: EventWrite, event: number): void;
  /** @param raise, ended eventfds, which stay the model's @throws {DmOpError} EINVAL; EOPNOTSUPP */
  connectLine(gsi: number, raise: number, ended: number | undefined): void;
  shutdown(reason: ShutdownReason): void;
  /** Makes a memory file known. @param file stays the model's @returns the number by which commands name it */
  addMemory(file: Descriptor, sizeBytes: number): number;
  /**
   * Claims pages as a window.
   * @param transport one of TRANSPORT
   * @param serve answers what comes meanwhile: KVM has it wait until no vCPU waits for a page, which may be this model's
   */
  mapWindow(gfn: number, pages: number, transport: Transport, serve: () => void): void;
  unmapWindow(gfn: number, pages: number, serve: () => void): void;
  /** Has commands carried out before the next answer is looked at. What is refused of them, nobody says. */
  order(commands: readonly PageCommand[]): void;
  /** Has commands carried out; in effect on return. @throws {DmOpError} the first that was refused; the others are done */
  change(commands: readonly PageCommand[]): void;
  /** Has the pager look at answered violations. */
  notifyPager(): void;
  /**
   * Binds a port that the guest has offered to domain 0; its events come by channelPort(vcpus, index).
   * @param index below MAX_CHANNELS, and not bound yet
   */
  bindChannel(port: number, index: number): void;
  /** Sends the guest an event. */
  notifyChannel(port: number): void;
  /** The model has come to rest, since its successor is to take over. */
  rested(): void;
  /** Wakes whoever carries a vCPU whose request was answered. */
  notify(vcpu: number): void;
}
