/** What a machine can be asked for, and the checks of it. */

import { PAGE_SIZE } from "../memory/address.ts";
import { MINIMUM_MEMORY_BYTES } from "../boot/memory_map.ts";

/** What the user asked for cannot be (exit status 64). One line. */
export class UsageError extends Error {
  static {
    this.prototype.name = "UsageError";
  }
}

/** How vCPUs are carried; "auto" takes a Worker each. */
export type CarrierKind = "auto" | "worker";

/** A file handed to the guest: its path, or its bytes with a name. */
export type FileSource = string | URL | { readonly name: string; readonly bytes: Uint8Array };

/** A module for PVH and Multiboot images. */
export interface ModuleOptions {
  /** What is loaded. */
  readonly file: FileSource;
  /** The module's own command line. */
  readonly cmdline?: string;
}

/** A device model to attach: the URL or path of its module, and what its default function gets. */
export type ModelOptions = string | URL | { readonly module: string | URL; readonly configuration?: unknown };

/** What `deno task run` and `boot()` have in common. */
export interface MachineOptions {
  /** The kernel, boot sector or flat image; its format is found by its bytes. */
  readonly image: FileSource;
  /** A number of bytes, or a string with a suffix: "64M", "2G". Default 64 MiB. */
  readonly memory?: number | string;
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
  /** What runs the vCPUs. Default "auto". */
  readonly carrier?: CarrierKind;
}

/** Default RAM. */
export const DEFAULT_MEMORY_BYTES = 64 << 20;

/** Half of what mfns can number (see memory/bank.ts). */
const MAXIMUM_MEMORY_BYTES = 2 ** 39;

/** One ioreq page has a slot for each of so many vCPUs. */
const MAXIMUM_VCPUS = 128;

/** Device models beside the platform model: a domain has at most 8 ioreq servers. */
const MAXIMUM_MODELS = 7;

const UNITS: Record<string, number> = { "": 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };

/**
 * Bytes of RAM from "64M", "1G", "65536K" (or lower case), or a number of bytes; a multiple of the page size.
 * @throws {UsageError} not a size, less than 1 MiB, more than 512 GiB
 */
export function parseMemory(memory: number | string): number {
  const match = /^(\d+)(?:([KMGT])i?)?B?$/i.exec(String(memory));
  if (match === null) throw new UsageError(`memory ${memory}: not a size such as 64M or 2G`);
  const bytes = Number(match[1]) * UNITS[(match[2] ?? "").toUpperCase()];
  if (bytes < MINIMUM_MEMORY_BYTES) throw new UsageError(`memory ${memory}: a machine has at least 1M`);
  if (bytes > MAXIMUM_MEMORY_BYTES) throw new UsageError(`memory ${memory}: a machine has at most 512G`);
  if (bytes % PAGE_SIZE !== 0) throw new UsageError(`memory ${memory}: not a multiple of 4K`);
  return bytes;
}

/** The number of vCPUs. @param hostMaximum KVM_CAP_MAX_VCPUS. @throws {UsageError} */
export function checkVcpus(vcpus: number, hostMaximum: number): number {
  const maximum = Math.min(hostMaximum, MAXIMUM_VCPUS);
  if (Number.isInteger(vcpus) && vcpus >= 1 && vcpus <= maximum) return vcpus;
  throw new UsageError(`vcpus ${vcpus}: not a whole number from 1 to ${maximum}`);
}

/** @throws {UsageError} more device models than ioreq servers */
export function checkModels(models: readonly ModelOptions[]): readonly ModelOptions[] {
  if (models.length <= MAXIMUM_MODELS) return models;
  throw new UsageError(`${models.length} device models: at most ${MAXIMUM_MODELS} beside the platform model`);
}
