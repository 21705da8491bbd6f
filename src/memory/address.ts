/** The kinds of numbers that name memory, so that one is not taken for another. */

/** A guest-physical address in bytes. Guests have at most 48 address bits, so a number holds it exactly. */
export type GuestAddress = number & { readonly __kind: "guest address" };

/** Guest-physical addresses from the first to the last byte, both in the same or in different pages. */
export interface AddressRange {
  /** The first byte's. */
  readonly first: number;
  /** The last byte's. */
  readonly last: number;
}

/** A guest frame number: a guest-physical address divided by {@linkcode PAGE_SIZE}. */
export type Gfn = number & { readonly __kind: "gfn" };

/** A machine frame number: a page of one of the banks (see bank.ts). */
export type Mfn = number & { readonly __kind: "mfn" };

/** Bytes in a page (x86: 4 KiB). */
export const PAGE_SIZE = 4096;

/** Bytes in a superpage, the unit in which RAM is mapped (x86: 2 MiB). */
export const SUPERPAGE_SIZE = 2 << 20;

/** Frames in a superpage. */
export const SUPERPAGE_FRAMES = SUPERPAGE_SIZE / PAGE_SIZE;

/** The address, after the one check that makes it one. @throws {RangeError} not an integer in [0, 2^52) */
export function guestAddress(value: number): GuestAddress {
  if (!Number.isInteger(value) || value < 0 || value >= 2 ** 52) {
    throw new RangeError(`0x${value.toString(16)} is not a guest-physical address`);
  }
  return value as GuestAddress;
}

/** The frame that holds `address`. */
export function gfnOf(address: number): Gfn {
  return Math.floor(address / PAGE_SIZE) as Gfn;
}

/** `value` rounded up to a multiple of `unit` (exact for any integers below 2^53). */
export function roundUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit;
}

/** `value` rounded down to a multiple of `unit`. */
export function roundDown(value: number, unit: number): number {
  return Math.floor(value / unit) * unit;
}
