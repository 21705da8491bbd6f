/** Where a guest has memory, and what it is told about it: both derived from the size of its memory alone. */

import { type AddressRange, PAGE_SIZE, roundDown, roundUp } from "../memory/address.ts";
import { type ExtendedRegion, SMALLEST_REGION_BYTES } from "../memory/extended_regions.ts";
import { MEMORY_TYPE, type MemoryRange } from "./plan.ts";

/** The least memory of a machine: less than this has no room for the firmware area. */
export const MINIMUM_MEMORY_BYTES = 1 << 20;

/** First address after conventional memory and the extended BIOS data area: the window of video memory begins. */
export const CONVENTIONAL_END = 0xa_0000;

/** BIOS data area: where PC software looks for the EBDA (word at 0x0e) and the KiB of conventional memory (0x13). */
export const BIOS_DATA_AREA = { address: 0x400, sizeBytes: 0x100 } as const;

/** Extended BIOS data area, one of the two places in which the MP table is looked for (MP 1.4, 4). */
export const EBDA = { address: 0x9_fc00, sizeBytes: 0x400 } as const;

/** Backed by memory but reserved: the RSDP is looked for here (ACPI 6.5, 5.2.5.1), and the BIOS lies at its end. */
export const FIRMWARE_AREA = { address: 0xe_0000, sizeBytes: 0x2_0000 } as const;

/** First address after the firmware area: "extended" memory. */
export const EXTENDED_START = 0x10_0000;

/** Low RAM ends here at the latest; the rest up to 4 GiB is for devices. */
export const LOW_RAM_LIMIT = 3 * 2 ** 30;

/** RAM that does not fit below {@linkcode LOW_RAM_LIMIT} begins here. */
export const HIGH_RAM_START = 4 * 2 ** 30;

/** A guest-physical range that is backed by the machine's memory from `offset` on. All three are multiples of a page. */
export interface BackedRange {
  readonly address: number;
  readonly sizeBytes: number;
  readonly offset: number;
}

/** The end of RAM below 4 GiB, for `memoryBytes` of memory (rounded down to pages). */
export function lowRamEnd(memoryBytes: number): number {
  return Math.min(roundDown(memoryBytes, PAGE_SIZE), LOW_RAM_LIMIT);
}

/**
 * The ranges to put into the p2m, sorted by address. Offset and address are congruent modulo a superpage, so that
 * every range can be mapped in superpages. The 256 KiB of memory at the offset of the video window stay unused.
 *
 * @param memoryBytes at least {@linkcode MINIMUM_MEMORY_BYTES}
 */
export function backedRanges(memoryBytes: number): BackedRange[] {
  const lowEnd = lowRamEnd(memoryBytes);
  const ranges = [
    { address: 0, sizeBytes: CONVENTIONAL_END, offset: 0 },
    { address: FIRMWARE_AREA.address, sizeBytes: lowEnd - FIRMWARE_AREA.address, offset: FIRMWARE_AREA.address },
  ];
  const highBytes = roundDown(memoryBytes, PAGE_SIZE) - lowEnd;
  if (highBytes > 0) ranges.push({ address: HIGH_RAM_START, sizeBytes: highBytes, offset: LOW_RAM_LIMIT });
  return ranges;
}

/**
 * The memory map that the guest is told, sorted by address. Every range in it is backed by memory.
 *
 * @param memoryBytes at least {@linkcode MINIMUM_MEMORY_BYTES}
 * @param acpiStart where the ACPI tables begin that did not fit into the firmware area; they reach up to the end of low
 *   RAM. Nothing is told as ACPI when it is left out.
 */
export function memoryMap(memoryBytes: number, acpiStart = lowRamEnd(memoryBytes)): MemoryRange[] {
  const lowEnd = lowRamEnd(memoryBytes);
  const highBytes = roundDown(memoryBytes, PAGE_SIZE) - lowEnd;
  const ranges: MemoryRange[] = [
    { address: 0, sizeBytes: EBDA.address, type: MEMORY_TYPE.RAM },
    { ...EBDA, type: MEMORY_TYPE.RESERVED },
    { ...FIRMWARE_AREA, type: MEMORY_TYPE.RESERVED },
    { address: EXTENDED_START, sizeBytes: acpiStart - EXTENDED_START, type: MEMORY_TYPE.RAM },
    { address: acpiStart, sizeBytes: lowEnd - acpiStart, type: MEMORY_TYPE.ACPI },
    { address: HIGH_RAM_START, sizeBytes: highBytes, type: MEMORY_TYPE.RAM },
  ];
  return ranges.filter((range) => range.sizeBytes > 0);
}

/** A memory map with extended regions, which it calls unusable: so whoever looks for Xen's is told them. */
export function withRegions(map: readonly MemoryRange[], regions: readonly ExtendedRegion[]): MemoryRange[] {
  const kept = regions.map((region): MemoryRange => ({ ...region, type: MEMORY_TYPE.UNUSABLE }));
  return [...map, ...kept].sort((one, other) => one.address - other.address);
}

/** Above RAM, at least this much is for devices whose windows do not fit below 4 GiB: up to a multiple of twice as much. */
const HIGH_DEVICES_BYTES = 16 * 2 ** 30;

/**
 * What of a guest's physical map can be extended regions: in 3 GiB, what is no RAM; or all behind the RAM above 4 GiB and
 * the windows of devices there.
 */
export type RegionPlace = "low" | "high";

/**
 * Where regions are if nobody says it: low, as long as all RAM is. Linux takes them for RAM that may be used one day, and
 * would make room for bounce buffers if they were above 4 GiB: 64 MiB of them (docs/extended-regions.md).
 */
export function regionPlace(memoryBytes: number): RegionPlace {
  return lowRamEnd(memoryBytes) + SMALLEST_REGION_BYTES <= LOW_RAM_LIMIT ? "low" : "high";
}

/** Where no extended region can be: RAM is there, or devices' windows may come to be, or it is the other place. */
export function takenRanges(memoryBytes: number, place: RegionPlace): AddressRange[] {
  const lowEnd = lowRamEnd(memoryBytes), highBytes = roundDown(memoryBytes, PAGE_SIZE) - lowEnd;
  if (place === "low") return [{ first: 0, last: lowEnd - 1 }, { first: LOW_RAM_LIMIT, last: Infinity }];
  return [{ first: 0, last: roundUp(HIGH_RAM_START + highBytes + HIGH_DEVICES_BYTES, 2 * HIGH_DEVICES_BYTES) - 1 }];
}

/**
 * Where ACPI tables may begin that are too big for the firmware area. A vCPU takes 16 bytes of MADT and at most some
 * 40 of AML; the room is about twice that. The end of low RAM where there is no such room above 1 MiB.
 */
export function acpiBase(memoryBytes: number, vcpus: number): number {
  const end = lowRamEnd(memoryBytes);
  const base = end - roundUp(0x4000 + 128 * vcpus, PAGE_SIZE);
  return base < EXTENDED_START ? end : base;
}
