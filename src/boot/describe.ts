/** What `doctor IMAGE` says of an image: its plan, without the bytes. */

import { hex } from "./bytes.ts";
import { endOf } from "./layout.ts";
import { planBoot } from "./loaders.ts";
import { type BootRequest, type EntryState, MEMORY_TYPE, type MemoryRange } from "./plan.ts";

/** A plan as a plain object; all numbers are bytes or guest-physical addresses. */
export interface ImageDescription {
  readonly format: string;
  readonly entry: {
    readonly mode: EntryState["mode"];
    readonly address: number;
    readonly registers: EntryState["registers"];
  };
  readonly segments: readonly SegmentDescription[];
  readonly memoryMap: readonly (MemoryRange & { readonly name: string })[];
}

/** A segment without its bytes. */
export interface SegmentDescription {
  readonly what: string;
  readonly address: number;
  readonly sizeBytes: number;
  /** Bytes that are written; the rest is zero. */
  readonly fileBytes: number;
}

/** Describes how an image would be booted. @throws {ImageError} as {@linkcode planBoot} */
export function describeImage(request: BootRequest): ImageDescription {
  const { format, entry, segments, memoryMap } = planBoot(request);
  return {
    format,
    entry: { mode: entry.mode, address: entry.code.base + entry.rip, registers: entry.registers },
    segments: segments.map(({ what, address, sizeBytes, bytes }) => ({
      what,
      address,
      sizeBytes,
      fileBytes: bytes.length,
    })),
    memoryMap: memoryMap.map((range) => ({ ...range, name: typeName(range.type) })),
  };
}

/** The description as lines for a terminal. */
export function formatDescription({ format, entry, segments, memoryMap }: ImageDescription): string[] {
  const registers = Object.entries(entry.registers).map(([name, value]) => ` ${name}=${hex(value)}`).join("");
  return [
    `format      ${format}`,
    `entry       ${hex(entry.address)} in ${entry.mode} mode${registers}`,
    ...segments.map((segment) => `segment     ${columns(segment)}  ${segment.what}`),
    ...memoryMap.map((range) => `memory map  ${columns(range)}  ${range.name}`),
  ];
}

function columns(range: { readonly address: number; readonly sizeBytes: number }): string {
  const span = `${hex(range.address)}..${hex(endOf(range))}`;
  return `${span.padEnd(24)}  ${hex(range.sizeBytes).padStart(12)}`;
}

function typeName(type: MemoryRange["type"]): string {
  return Object.entries(MEMORY_TYPE).find(([, number]) => number === type)![0];
}
