/** The virtio devices that somebody has asked for: as device models, and where the guest finds them. */

import { MMIO_BYTES } from "../virtio/abi.ts";
import type { VirtioRegisters } from "../boot/plan.ts";
import { builtIn, type BuiltInModel } from "../devices/built_in.ts";
import { VIRTIO_GSIS, VIRTIO_WINDOW } from "../devices/platform_map.ts";
import type { ConsoleOptions } from "../devices/console.ts";
import type { VirtioConsolePort } from "../devices/virtio_console.ts";
import type { MemoryGrant } from "../domain/grants.ts";
import type { PortOptions, VirtioConsoleOptions } from "./consoles.ts";
import type { DiskOptions } from "./disks.ts";
import type { VirtioPlace } from "../devices/virtio_place.ts";
import type { NetOptions } from "./nets.ts";
import type { VhostUserOptions } from "./vhost_user.ts";

/** What all virtio devices have in common. */
export interface VirtioDeviceOptions {
  /** The device is as before virtio 1.0; default false. */
  readonly legacy?: boolean;
  /**
   * How the guest takes its interrupt, and is told to; default "edge". A guest that has its I/O APIC take the line by level
   * needs "level", else it loses interrupts.
   */
  readonly trigger?: "edge" | "level";
  /**
   * What its model sees of the guest's memory; default "all". Of a device with less the driver has to know that
   * (VIRTIO_F_ACCESS_PLATFORM), and to keep its rings and buffers in that memory.
   */
  readonly memory?: MemoryGrant;
}

/** What of a machine's options is virtio. */
export interface VirtioOptions {
  /** Virtio disks, in the order in which the guest finds them; a string is the path of a file. */
  readonly disks?: readonly (string | DiskOptions)[];
  /** Virtio disks that vhost-user backends serve, after the others; a string is the path of a backend's socket. */
  readonly vhostUserBlks?: readonly (string | VhostUserOptions)[];
  /** Virtio sources of entropy: each, or how many. Default 0. */
  readonly rngs?: number | readonly VirtioDeviceOptions[];
  /** Virtio network devices, in the order in which the guest finds them. */
  readonly nets?: readonly NetOptions[];
  /** Virtio consoles: each, or its ports. One port of all of them may be "stdio"; then the UART gets no input. */
  readonly consoles?: readonly (VirtioConsoleOptions | readonly PortOptions[])[];
  /** Where the device models of virtio devices run: each in a process of its own, which is the default, or in a Worker. */
  readonly virtioIn?: "process" | "worker";
}

/** For who is to have neither input nor output. */
const NO_CONSOLE: ConsoleOptions = { input: -1, output: -1, escape: null };

/** More than there are interrupt lines for. */
export const MOST_VIRTIO_DEVICES = VIRTIO_GSIS.length;

/** The device model of a virtio device. */
export interface VirtioModel {
  readonly module: string;
  /** What people call the device. */
  readonly name: string;
  /** Whatever else the model is to know is in it, too. */
  readonly configuration: VirtioPlace;
  readonly memory: MemoryGrant;
  /** It has descriptors of this process: the model cannot run in another one. */
  readonly isHere: boolean;
}

/** A device before it has its place. */
interface Device {
  readonly model: BuiltInModel;
  readonly name: string;
  /** The model's own part of its configuration. */
  readonly given: VirtioDeviceOptions;
  readonly isHere?: boolean;
}

/** Whether the guest's console is a port of a virtio console. */
export function hasVirtioStdio(options: VirtioOptions): boolean {
  return consolesOf(options).some(({ ports }) => ports.includes("stdio"));
}

/** The consoles in full. */
export function consolesOf({ consoles = [] }: VirtioOptions): VirtioConsoleOptions[] {
  return consoles.map((given) => "ports" in given ? given : { ports: given });
}

/**
 * The device models of the options, each at a place of its own.
 * @param console what "stdio" stands for; nothing, where only the places are of interest
 */
export function virtioModels(options: VirtioOptions, console: ConsoleOptions = NO_CONSOLE): VirtioModel[] {
  const { disks = [], vhostUserBlks = [], rngs = 0, nets = [] } = options;
  const devices: Device[] = [
    ...disks.map((disk) => typeof disk === "string" ? { file: disk } : disk).map((disk: DiskOptions) => {
      return { model: "virtio-block", name: `disk ${disk.file}`, given: disk } as const;
    }),
    ...vhostUserBlks.map((device) => typeof device === "string" ? { socket: device } : device).map((device) => {
      return { model: "vhost-user-block", name: `vhost-user-blk ${device.socket}`, given: device } as const;
    }),
    ...(typeof rngs === "number" ? Array<VirtioDeviceOptions>(rngs).fill({}) : rngs).map((rng) => {
      return { model: "virtio-entropy", name: "virtio-rng", given: rng } as const;
    }),
    ...nets.map((net) => ({ model: "virtio-net", name: `net ${net.kind}`, given: net } as const)),
    ...consolesOf(options).map((given) => consoleDevice(given, console)),
  ];
  return devices.map(({ model, name, given, isHere = false }, n) => {
    const { memory = "all", ...own } = given, isRestricted = memory !== "all";
    const place: VirtioPlace = {
      address: VIRTIO_WINDOW.address + n * VIRTIO_WINDOW.apart,
      gsi: VIRTIO_GSIS[n],
      isRestricted,
    };
    return { module: builtIn(model), name, configuration: { ...place, ...own }, memory, isHere };
  });
}

function consoleDevice({ ports, ...common }: VirtioConsoleOptions, console: ConsoleOptions): Device {
  const names = ports.map((port) => port === "stdio" ? port : port.name);
  const given: VirtioDeviceOptions & { readonly ports: readonly VirtioConsolePort[] } = {
    ...common,
    ports: ports.map((port) => port === "stdio" ? { console } : port),
  };
  return { model: "virtio-console", name: `virtio-console ${names}`, given, isHere: ports.includes("stdio") };
}

/** Where their registers and interrupts are. */
export function virtioRegisters(models: readonly VirtioModel[]): VirtioRegisters[] {
  return models.map(({ configuration: { address, gsi, trigger = "edge" } }) => {
    return { address, sizeBytes: MMIO_BYTES, gsi, trigger };
  });
}
