/**
 * A server's notification area: what the hypervisor and a device model tell each other beside the requests themselves.
 * It is memory of its own, so that it can be handed to another process; docs/device-model-protocol.md gives its layout.
 */

import { MAX_VCPU_IDS } from "../kvm/abi.ts";
import { viewAt } from "../linux/mapping.ts";
import { PAGE_SIZE, roundUp } from "../memory/address.ts";
import { Doorbell } from "../events/doorbell.ts";
import { EventChannels } from "../events/event_channels.ts";
import { WAKE_BOARD_BYTES } from "../events/wake_board.ts";
import { IOREQ_BYTES } from "./abi.ts";
import { COMMAND_RING_BYTES, CommandRing } from "./command_ring.ts";
import { IoreqSlots } from "./slots.ts";

/**
 * Words: the device model is to leave; it sleeps; the pager does; how often it wanted memory that was not granted, and, as a
 * double, where last; how far its relief is; its pending event channels.
 */
const RELEASED = 0, ASLEEP = 1, PAGER_ASLEEP = 2, OUTSIDE = 3, OUTSIDE_LAST = 4, RELIEF_STEP = 6, PENDING = 16;

/** Relief of a device model by its successor: it is to come to rest, and stays so until it is to leave, or to go on. */
export const RELIEF = { NONE: 0, ASKED: 1, LEAVE: 2 } as const;

/** The highest of KVM's vCPU ids. */
export const MAX_VCPU_ID = MAX_VCPU_IDS - 1;

/** Device state of one server's model (see DeviceModelHost.state). */
export const DEVICE_STATE_BYTES = 64 << 10;

/** Slots of a server's violations on the fault transport: pages that it is asked for at one time. */
export const FAULT_SLOTS = PAGE_SIZE / IOREQ_BYTES;

const DEVICE_STATE = PAGE_SIZE + roundUp(WAKE_BOARD_BYTES, PAGE_SIZE);
const FAULTS = DEVICE_STATE + DEVICE_STATE_BYTES;

/** Where the parts begin, in bytes: the wake board for the vCPUs, the device model's state, violations, commands. */
export const NOTIFICATION = {
  released: 0,
  asleep: 4,
  pagerAsleep: 8,
  pending: 64,
  wakeBoard: PAGE_SIZE,
  deviceState: DEVICE_STATE,
  faults: FAULTS,
  commands: FAULTS + PAGE_SIZE,
} as const;

/** Size of the whole area: a multiple of the page size. */
export const NOTIFICATION_BYTES = roundUp(NOTIFICATION.commands + COMMAND_RING_BYTES, PAGE_SIZE);

/** Port 0 is nobody's; then come the vCPUs, then the buffered ring (Xen: vp_eport, bufioreq_port). */
const FIRST_VCPU_PORT = 1;

/** The port by which vCPU `vcpu` tells of its requests. */
export function vcpuPort(vcpu: number): number {
  return FIRST_VCPU_PORT + vcpu;
}

/** The vCPU that a port belongs to; at least the domain's number of vCPUs for {@linkcode bufferedPort}. */
export function portVcpu(port: number): number {
  return port - FIRST_VCPU_PORT;
}

/** The port of the buffered ring in a domain of at most `vcpus` vCPUs. */
export function bufferedPort(vcpus: number): number {
  return FIRST_VCPU_PORT + vcpus;
}

/** The port of slot `slot` of the violations. */
export function faultPort(vcpus: number, slot: number): number {
  return bufferedPort(vcpus) + 1 + slot;
}

/** Event channels of the guest that a device model may bind. */
export const MAX_CHANNELS = 64;

/** The port by which the guest's events at channel `index` come. */
export function channelPort(vcpus: number, index: number): number {
  return faultPort(vcpus, FAULT_SLOTS) + index;
}

/** The channel that a port belongs to; below 0: it is another's. */
export function portChannel(vcpus: number, port: number): number {
  return port - channelPort(vcpus, 0);
}

/** The slot that a port belongs to; below 0: it is another's. */
export function portFault(vcpus: number, port: number): number {
  return port - bufferedPort(vcpus) - 1;
}

/** Guest memory that a device model wanted and was not granted: how often, and the last address. */
export interface OutsideAccesses {
  /** How often. */
  readonly count: number;
  /** Guest-physical address. */
  readonly last: number;
}

/** The area as one isolate of either side sees it. */
export class NotificationArea {
  readonly #words: Int32Array;
  readonly #memory: ArrayBuffer;
  readonly #outsideLast: Float64Array;
  /** To the device model. */
  readonly channels: EventChannels;
  /** Violations on the fault transport: a slot a page. */
  readonly faults: IoreqSlots;
  readonly commands: CommandRing;

  /** @param doorbell the device model's eventfd, by its number in this process */
  constructor(readonly address: bigint, readonly vcpus: number, doorbell: number) {
    this.#memory = viewAt(address, NOTIFICATION_BYTES);
    this.#words = new Int32Array(this.#memory, 0, NOTIFICATION.wakeBoard / 4);
    this.#outsideLast = new Float64Array(this.#memory, OUTSIDE_LAST * 4, 1);
    this.faults = new IoreqSlots(viewAt(address + BigInt(NOTIFICATION.faults), PAGE_SIZE));
    this.commands = new CommandRing(this.#memory, NOTIFICATION.commands);
    const count = Math.ceil(channelPort(vcpus, MAX_CHANNELS) / 32);
    this.channels = new EventChannels(this.#words, PENDING, count, new Doorbell(this.#words, ASLEEP, doorbell));
  }

  /** See {@linkcode bufferedPort}. */
  get bufferedPort(): number {
    return bufferedPort(this.vcpus);
  }

  /** Tells the device model to leave its loop. */
  release(): void {
    Atomics.store(this.#words, RELEASED, 1);
    this.channels.doorbell.ring();
  }

  /** The hypervisor tells a device model of its relief: one of RELIEF. */
  relieve(step: (typeof RELIEF)[keyof typeof RELIEF]): void {
    Atomics.store(this.#words, RELIEF_STEP, step);
    this.channels.doorbell.ring();
  }

  /** The device model: one of RELIEF. */
  get relief(): number {
    return Atomics.load(this.#words, RELIEF_STEP);
  }

  /** The device model: it has wanted memory at `address` that it was not granted. */
  noteOutside(address: number): void {
    this.#outsideLast[0] = address;
    Atomics.add(this.#words, OUTSIDE, 1);
  }

  /** What it has noted so. */
  get outside(): OutsideAccesses {
    return { count: Atomics.load(this.#words, OUTSIDE) >>> 0, last: this.#outsideLast[0] };
  }

  /** The device model: whether it is to leave. */
  get released(): boolean {
    return Atomics.load(this.#words, RELEASED) !== 0;
  }

  /** The doorbell of the pager, which waits for this server, too. @param descriptor its eventfd, by its number here */
  pager(descriptor: number): Doorbell {
    return new Doorbell(this.#words, PAGER_ASLEEP, descriptor);
  }

  /** Where the wake board for the vCPUs is. */
  get wakeBoardAddress(): bigint {
    return this.address + BigInt(NOTIFICATION.wakeBoard);
  }

  /** The device model's state. */
  get deviceState(): DataView<ArrayBuffer> {
    return new DataView(this.#memory, NOTIFICATION.deviceState, DEVICE_STATE_BYTES);
  }

  /** All of it, as bytes. */
  get deviceStateBytes(): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.#memory, NOTIFICATION.deviceState, DEVICE_STATE_BYTES);
  }
}
