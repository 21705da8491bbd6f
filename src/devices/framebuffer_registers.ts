/** The registers of a framebuffer window: 32 bits each, at these offsets from its first port. */

/** Writes to those that are only read, of other sizes, or of surfaces that there are not, change nothing. */
export const REGISTER = {
  /** Reads {@linkcode FRAMEBUFFER_ID}. */
  ID: 0,
  /** Reads the window's address, by 4096. */
  WINDOW: 4,
  /** Reads how many pages the window has, and each surface. */
  PAGES: 8,
  /** Reads how many surfaces there are. */
  SURFACES: 12,
  /** The surface that is in the window; a write puts another there. */
  SELECT: 16,
  /** The surface that is displayed; a write displays one, and takes the digest of what it holds then. */
  FLIP: 20,
  /** Reads the digest of what is displayed: see {@linkcode digestOf}. */
  DIGEST: 24,
  /** A write is an occasion for pages to change places; reads how many have. */
  MIGRATE: 28,
} as const;

/** How many ports that makes. */
export const FRAMEBUFFER_PORTS = 32;

/** "FBWX", the first letter in the low byte. */
export const FRAMEBUFFER_ID = 0x58574246;

/** Bytes of a page. */
export const PAGE_BYTES = 4096;

/** 32-bit pixels of a page. */
export const PAGE_PIXELS = PAGE_BYTES / 4;

/**
 * What pixels contribute to a surface's digest: the sum, modulo 2^32, of each pixel times an odd number that grows with
 * its place. A sum, so that vCPUs can each compute a part of it, and the device page by page.
 * @param first the place of the first one in its surface
 */
export function digestOf(pixels: Uint32Array, first: number): number {
  let sum = 0;
  for (let index = 0; index < pixels.length; index++) {
    sum = (sum + Math.imul(pixels[index], 2 * (first + index) + 1)) | 0;
  }
  return sum >>> 0;
}
