/**
 * Extended regions: ranges of a guest's physical map in which nothing is, and nothing will be but what the guest itself
 * maps there: other domains' frames, its grant table, pages of a device that it has asked for them
 * (docs/extended-regions.md; on Arm, Xen: xen/arch/arm/domain_build.c, find_domU_holes and add_ext_regions).
 *
 * They are computed once, when the domain is made, and never change.
 */

import { type AddressRange, roundDown, roundUp, SUPERPAGE_SIZE } from "./address.ts";

/** A range in bytes. Both are multiples of 2 MiB. */
export interface ExtendedRegion {
  readonly address: number;
  readonly sizeBytes: number;
}

/** How regions are cut from what is free. Sizes are in bytes. */
export interface RegionSizes {
  /** Of all regions together; the last one to be cut is shortened for it. */
  readonly limitBytes: number;
  /** A smaller one is none; at least 2 MiB. */
  readonly smallestBytes: number;
  /** A larger one is cut into pieces, with 2 MiB between them. */
  readonly largestBytes: number;
}

/** A region is this large at least, unless somebody asks for smaller ones (Xen: EXT_REGION_MIN_SIZE). */
export const SMALLEST_REGION_BYTES = 64 << 20;

/** Regions of a domain: as many as every carrier has room for. */
export const MAX_REGIONS = 16;

/**
 * The regions of a guest's physical map, sorted by address: its holes, each start rounded up and each size down to 2 MiB.
 * @param taken where something is or may come to be: in any order, may overlap
 * @param end the first address that the guest cannot use
 * @param side from which the holes are used, where there is more than the limit
 */
export function extendedRegions(
  taken: readonly AddressRange[],
  end: number,
  side: "bottom" | "top",
  { limitBytes, smallestBytes, largestBytes }: RegionSizes,
): ExtendedRegion[] {
  const regions: ExtendedRegion[] = [], free = holes(taken, end), isTop = side === "top";
  const smallest = Math.max(smallestBytes, SUPERPAGE_SIZE), largest = roundDown(largestBytes, SUPERPAGE_SIZE);
  let left = roundDown(limitBytes, SUPERPAGE_SIZE);
  for (const { first, last } of isTop ? free.reverse() : free) {
    let low = roundUp(first, SUPERPAGE_SIZE), high = roundDown(last + 1, SUPERPAGE_SIZE);
    for (;;) {
      const sizeBytes = Math.min(high - low, largest, left);
      if (sizeBytes < smallest || regions.length === MAX_REGIONS) break;
      regions.push({ address: isTop ? high - sizeBytes : low, sizeBytes });
      left -= sizeBytes;
      if (isTop) high -= sizeBytes + SUPERPAGE_SIZE;
      else low += sizeBytes + SUPERPAGE_SIZE;
    }
  }
  return regions.sort((one, other) => one.address - other.address);
}

/** What is not taken of [0, end), sorted. */
function holes(taken: readonly AddressRange[], end: number): AddressRange[] {
  const found: AddressRange[] = [];
  let at = 0;
  for (const { first, last } of taken.toSorted((one, other) => one.first - other.first)) {
    if (first >= end) break;
    if (first > at) found.push({ first: at, last: first - 1 });
    at = Math.max(at, last + 1);
  }
  if (at < end) found.push({ first: at, last: end - 1 });
  return found;
}
