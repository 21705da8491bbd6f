/** A guest's physical map as lines for a terminal. */

import type { AddressRange } from "../memory/address.ts";
import { RESERVED_RANGES } from "../devices/platform_map.ts";

/** What a part of the map is, and the character that its bar is drawn with. */
const BARS = { RAM: "█", loaded: "▚", region: "▒", window: "▓", reserved: "░", free: "·" } as const;

/** A part of the map. Those that lie in another, larger one are drawn below it. */
export interface MapPart extends AddressRange {
  readonly kind: keyof typeof BARS;
  readonly what: string;
  /** How full it is, from 0 to 1, in parts of the same size: drawn to scale in a line of its own. */
  readonly filled?: readonly number[];
}

/** The part of the map that nobody but the platform has. */
export const PLATFORM_PARTS: readonly MapPart[] = RESERVED_RANGES.map((range) => ({ ...range, kind: "reserved" }));

/** Sizes differ by millions: a bar has a character for each doubling, from a page on. */
const PAGE_BITS = 12, LONGEST_BAR = 29;
const SHADES = " .:-=+*#";

/** @param parts in any order @param end the first address that is of no interest */
export function drawPhysicalMap(parts: readonly MapPart[], end: number): string[] {
  const sorted = parts.toSorted((one, other) => one.first - other.first || other.last - one.last);
  const lines: string[] = [], around: AddressRange[] = [];
  let at = 0;
  const free = (to: number) => {
    if (to > at) lines.push(line({ first: at, last: to - 1, kind: "free", what: "nothing" }, 0));
  };
  for (const part of sorted) {
    while (around.length > 0 && around.at(-1)!.last < part.first) around.pop();
    if (around.length === 0) free(part.first);
    lines.push(line(part, around.length), ...fill(part));
    around.push(part);
    at = Math.max(at, part.last + 1);
  }
  free(end);
  return lines;
}

function line({ first, last, kind, what }: MapPart, depth: number): string {
  const sizeBytes = last - first + 1, doublings = Math.round(Math.log2(sizeBytes)) - PAGE_BITS + 1;
  const bar = BARS[kind].repeat(Math.max(1, Math.min(LONGEST_BAR, doublings)));
  return `${hex(first)}  ${size(sizeBytes).padStart(9)}  ${bar.padEnd(LONGEST_BAR)}  ${"  ".repeat(depth)}${what}`;
}

/** Where in a part something is, to scale. */
function fill({ filled }: MapPart): string[] {
  if (filled === undefined || filled.every((part) => part === 0)) return [];
  const shade = (part: number) => SHADES[part === 0 ? 0 : Math.max(1, Math.round(part * (SHADES.length - 1)))];
  return [`${" ".repeat(hex(0).length)}             [${filled.map(shade).join("")}]`];
}

/** The largest unit of which it is more than one; exact if it is whole. */
function size(bytes: number): string {
  const unit = ["B", "KiB", "MiB", "GiB", "TiB"].findLastIndex((_, power) => power === 0 || bytes >= 1024 ** power);
  const count = bytes / 1024 ** unit;
  return `${Number.isInteger(count) ? count : count.toFixed(1)} ${["B", "KiB", "MiB", "GiB", "TiB"][unit]}`;
}

function hex(address: number): string {
  return `0x${address.toString(16).padStart(11, "0")}`;
}
