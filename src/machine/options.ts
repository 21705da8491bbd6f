/** What a machine can be asked for, and the checks of it. */

import { type AddressRange, PAGE_SIZE, SUPERPAGE_SIZE } from "../memory/address.ts";
import { type ExtendedRegion, extendedRegions, SMALLEST_REGION_BYTES } from "../memory/extended_regions.ts";
import { P2M_ADDRESS_BITS } from "../memory/p2m.ts";
import { RESERVED_RANGES } from "../devices/platform_map.ts";
import type { Carrier } from "../domain/carriers.ts";
import type { MemoryGrant } from "../domain/grants.ts";
import { MOST_VIRTIO_DEVICES, virtioModels, type VirtioOptions } from "./virtio.ts";
import { MINIMUM_MEMORY_BYTES, regionPlace, takenRanges } from "../boot/memory_map.ts";

/** What the user asked for cannot be (exit status 64). One line. */
export class UsageError extends Error {
  static {
    this.prototype.name = "UsageError";
  }
}

/** How vCPUs are carried: by a Worker each, or by native threads; "auto" takes Workers for up to 8 vCPUs. */
export type CarrierKind = "auto" | "worker" | "native";

/** A file handed to the guest: its path, or its bytes with a name. */
export type FileSource = string | URL | { readonly name: string; readonly bytes: Uint8Array };

/** A module for PVH and Multiboot images. */
export interface ModuleOptions {
  /** What is loaded. */
  readonly file: FileSource;
  /** The module's own command line. */
  readonly cmdline?: string;
}

/** A device model that runs in a Worker. */
export interface ModelModule {
  /** Its URL, or its path. */
  readonly module: string | URL;
  /** The second argument of the module's default function; it is cloned. */
  readonly configuration?: unknown;
  /** The guest memory that it gets; default "none". */
  readonly memory?: MemoryGrant;
}

/** A device model in another process, which connects to a Unix socket (docs/device-model-protocol.md). */
export interface ModelSocket {
  /** Where the socket is to be. */
  readonly socket: string;
  /** The guest memory that it gets; default "none". */
  readonly memory?: MemoryGrant;
}

/** A device model to attach; a string or URL is a module. */
export type ModelOptions = string | URL | ModelModule | ModelSocket;

/** Which extended regions a guest gets; sizes as that of the memory. */
export interface ExtendedRegionOptions {
  /** Of all of them together; default: as much as there is RAM, and 1 GiB at least. There may be less room. */
  readonly limit?: number | string;
  /** Of one at least; default 64 MiB, and 2 MiB at least. */
  readonly smallest?: number | string;
  /** Of one at most: what is larger is cut, with 2 MiB between the parts. Default: any size. */
  readonly largest?: number | string;
  /**
   * Low: between RAM and 3 GiB, from there down. High: from 32 GiB on, or further up where there is much RAM. Default: low,
   * if there is room, since Linux sets RAM aside for bounce buffers when there may be any above 4 GiB.
   */
  readonly place?: "low" | "high";
  /** Where none are to be, since device models come there later: addresses of first and last bytes. */
  readonly avoid?: readonly AddressRange[];
}

/** What `deno task run` and `boot()` have in common. */
export interface MachineOptions extends VirtioOptions {
  /** The kernel, boot sector or flat image; its format is found by its bytes. */
  readonly image: FileSource;
  /** A number of bytes, or a string with a suffix: "64M", "2G". Default 64 MiB. */
  readonly memory?: number | string;
  /** Whether CPUID says Xen, or KVM. Default "auto": Xen, but for a Linux bzImage. */
  readonly xen?: "auto" | "on" | "off";
  /**
   * What is kept free for frames of others that the guest maps (docs/extended-regions.md). Default true:
   * as much as there is RAM and 1 GiB at least, as far as there is room. A guest that finds KVM has none.
   */
  readonly extendedRegions?: boolean | ExtendedRegionOptions;
  /** The guest gets a device tree: as its last module, or as Linux's boot protocol says. Default false. */
  readonly deviceTree?: boolean;
  /** RAM gets its memory page by page, with the guest's first access. Needs userfaultfd. Default false. */
  readonly populateOnDemand?: boolean;
  /** Default 1. */
  readonly vcpus?: number;
  /** For formats that carry one. */
  readonly cmdline?: string;
  /** For formats that carry one. */
  readonly initrd?: FileSource;
  /** For PVH and Multiboot images, in this order after the initrd. */
  readonly modules?: readonly (ModuleOptions | FileSource)[];
  /** Attached after the platform model, whose id is 0; a later one is asked first where they claim the same. */
  readonly deviceModels?: readonly ModelOptions[];
  /** How long a device model may take to start, and for an answer; then the run ends. Default: for ever. */
  readonly deviceModelTimeoutMs?: number;
  /** Requests of a device model that is gone wait for its successor, instead of reading all ones. Default false. */
  readonly hold?: boolean;
  /** What runs the vCPUs. Default "auto". */
  readonly carrier?: CarrierKind;
}

/** Default RAM. */
export const DEFAULT_MEMORY_BYTES = 64 << 20;

/** Half of what mfns can number (see memory/bank.ts). */
const MAXIMUM_MEMORY_BYTES = 2 ** 39;

/** Tested that far; a host's KVM may have fewer (KVM_CAP_MAX_VCPUS). */
const MAXIMUM_VCPUS = 1024;

/** A Worker has the fastest exits, and takes 8 MB. */
const MOST_WORKERS = 8;

/** Device models beside the platform model: a domain has at most 8 ioreq servers. */
const MAXIMUM_MODELS = 7;

/** More than there can be devices, and few enough to be counted. */
const MOST_RNGS = 255;

/** Each range is memory of its own, and so is what is left between them. */
const MAXIMUM_GRANTS = 16;

/** Regions are this much by default, if there is less RAM. */
const LEAST_LIMIT_BYTES = 2 ** 30;

const UNITS: Record<string, number> = { "": 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };

/**
 * Bytes of RAM from "64M", "1G", "65536K" (or lower case), or a number of bytes; a multiple of the page size.
 * @throws {UsageError} not a size, less than 1 MiB, more than 512 GiB
 */
export function parseMemory(memory: number | string): number {
  const bytes = parseSize("memory", memory);
  if (bytes < MINIMUM_MEMORY_BYTES) throw new UsageError(`memory ${memory}: a machine has at least 1M`);
  if (bytes > MAXIMUM_MEMORY_BYTES) throw new UsageError(`memory ${memory}: a machine has at most 512G`);
  if (bytes % PAGE_SIZE !== 0) throw new UsageError(`memory ${memory}: not a multiple of 4K`);
  return bytes;
}

/** Bytes from "64M" and the like. @throws {UsageError} */
function parseSize(what: string, size: number | string): number {
  const match = /^(\d+)(?:([KMGT])i?)?B?$/i.exec(String(size));
  if (match === null) throw new UsageError(`${what} ${size}: not a size such as 64M or 2G`);
  return Number(match[1]) * UNITS[(match[2] ?? "").toUpperCase()];
}

/**
 * The extended regions of a machine: as much as is asked for, as far as there is room; none, if there is none.
 * @param addressBits of the guest's physical addresses
 * @throws {UsageError} no sizes, or smallest < 2 MiB; avoid: no ranges
 */
export function machineRegions(
  options: boolean | ExtendedRegionOptions,
  memoryBytes: number,
  addressBits: number,
): ExtendedRegion[] {
  if (options === false) return [];
  const { limit, smallest, largest, avoid = [], ...given } = options === true ? {} : options;
  const place = given.place ?? regionPlace(memoryBytes);
  const size = (what: string, given: number | string | undefined, otherwise: number) =>
    given === undefined ? otherwise : parseSize(`extended-regions ${what}`, given);
  const sizes = {
    limitBytes: size("limit", limit, Math.max(memoryBytes, LEAST_LIMIT_BYTES)),
    smallestBytes: size("smallest", smallest, SMALLEST_REGION_BYTES),
    largestBytes: size("largest", largest, Infinity),
  };
  for (const what of ["smallest", "largest"] as const) {
    if (sizes[`${what}Bytes`] < SUPERPAGE_SIZE) throw new UsageError(`extended-regions ${what}: at least 2M`);
  }
  for (const { first, last } of avoid) {
    const isRange = Number.isSafeInteger(first) && Number.isSafeInteger(last) && first >= 0 && first <= last;
    if (!isRange) throw new UsageError(`extended-regions avoid ${first}-${last}: no range of addresses`);
  }
  if (sizes.largestBytes < sizes.smallestBytes) throw new UsageError("extended-regions: largest is below smallest");
  const taken = [...takenRanges(memoryBytes, place), ...RESERVED_RANGES, ...avoid],
    end = 2 ** Math.min(addressBits, P2M_ADDRESS_BITS);
  return extendedRegions(taken, end, place === "low" ? "top" : "bottom", sizes);
}

/** "on", "off", or "limit=2G,smallest=16M,largest=1G,place=low,avoid=FIRST-LAST[+FIRST-LAST...]". @throws {UsageError} */
export function parseExtendedRegions(text: string): boolean | ExtendedRegionOptions {
  if (text === "on" || text === "off") return text === "on";
  const parsed: Record<string, unknown> = {};
  for (const part of text.split(",")) {
    const [key, value] = part.split("=", 2);
    if (key === "place" && (value === "low" || value === "high")) parsed.place = value;
    else if (key === "avoid" && value !== undefined) parsed.avoid = parseRanges(`extended-regions ${part}: not`, value);
    else if (["limit", "smallest", "largest"].includes(key) && value !== undefined) parsed[key] = value;
    else throw new UsageError(`extended-regions ${part}: not on, off, limit=, smallest=, largest=, place= or avoid=`);
  }
  return parsed;
}

/** The number of vCPUs. @param hostMaximum KVM_CAP_MAX_VCPUS. @throws {UsageError} */
export function checkVcpus(vcpus: number, hostMaximum: number): number {
  const maximum = Math.min(hostMaximum, MAXIMUM_VCPUS);
  if (Number.isInteger(vcpus) && vcpus >= 1 && vcpus <= maximum) return vcpus;
  throw new UsageError(`vcpus ${vcpus}: not a whole number from 1 to ${maximum}`);
}

/** What "auto" stands for. */
export function chooseCarrier(kind: CarrierKind, vcpus: number): Carrier {
  if (kind !== "auto") return kind;
  return vcpus <= MOST_WORKERS ? "worker" : "native";
}

/**
 * The device models, if they can all be.
 * @param ram where the guest has memory, if that is known yet
 * @throws {UsageError} more than ioreq servers; two at one socket; grants of no memory, or of parts of pages
 */
export function checkModels(
  models: readonly ModelOptions[],
  ram?: readonly { readonly address: number; readonly sizeBytes: number }[],
): readonly ModelOptions[] {
  checkModelCount(models.length);
  const sockets = models.flatMap((model) => typeof model === "object" && "socket" in model ? [model.socket] : []);
  const twice = sockets.find((socket, index) => sockets.indexOf(socket) !== index);
  if (twice !== undefined) throw new UsageError(`device model ${twice}: two cannot have one socket`);
  for (const model of models) {
    if (typeof model === "object" && "memory" in model && model.memory !== undefined) checkGrant(model.memory, ram);
  }
  return models;
}

/** @throws {UsageError} more than ioreq servers */
export function checkModelCount(count: number): void {
  if (count <= MAXIMUM_MODELS) return;
  throw new UsageError(`${count} device models: at most ${MAXIMUM_MODELS} beside the platform model`);
}

/** @throws {UsageError} more virtio devices than there are interrupts, or a number that is none */
export function checkVirtio(options: VirtioOptions): void {
  const { rngs = 0 } = options;
  if (typeof rngs === "number" && !(Number.isInteger(rngs) && rngs >= 0 && rngs <= MOST_RNGS)) {
    throw new UsageError(`rngs ${rngs}: not a whole number from 0 to ${MOST_RNGS}`);
  }
  const devices = virtioModels(options).length;
  if (devices > MOST_VIRTIO_DEVICES) throw new UsageError(`${devices} virtio devices: at most ${MOST_VIRTIO_DEVICES}`);
}

/** "all", "none" or "0x1000-0x1fff+0x8000-0xffff": addresses of first and last bytes. @throws {UsageError} */
export function parseGrant(text: string): MemoryGrant {
  if (text === "all" || text === "none") return text;
  const grant = parseRanges(`memory=${text}: not all, none, or`, text);
  checkGrant(grant);
  return grant;
}

/** @param what begins the message of a refusal */
function parseRanges(what: string, text: string): AddressRange[] {
  return text.split("+").map((range) => {
    const match = /^(0x[\da-f]{1,12}|\d{1,15})-(0x[\da-f]{1,12}|\d{1,15})$/i.exec(range);
    if (match === null) throw new UsageError(`${what} ranges such as 0x1000-0x1fff`);
    return { first: Number(match[1]), last: Number(match[2]) };
  });
}

/**
 * @param ram where the guest has memory, if that is known yet
 * @throws {UsageError} of parts of pages, or where there is no memory
 */
export function checkGrant(grant: MemoryGrant, ram?: readonly { address: number; sizeBytes: number }[]): void {
  if (typeof grant === "string") return;
  if (grant.length > MAXIMUM_GRANTS) throw new UsageError(`memory: more than ${MAXIMUM_GRANTS} ranges`);
  for (const { first, last } of grant) {
    const range = `0x${first.toString(16)}-0x${last.toString(16)}`;
    if (first % PAGE_SIZE !== 0 || (last + 1) % PAGE_SIZE !== 0 || !(first <= last)) {
      throw new UsageError(`memory ${range}: not whole pages of ${PAGE_SIZE} bytes, from the first to the last byte`);
    }
    const inside = ram?.some(({ address, sizeBytes }) => first >= address && last < address + sizeBytes) ?? true;
    if (!inside) throw new UsageError(`memory ${range}: the guest has no memory there, or not in all of it`);
  }
}
