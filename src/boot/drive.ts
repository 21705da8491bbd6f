/** The drive that an image is: a diskette of one of the sizes that there were, or else a hard disk. */

import { roundUp } from "../memory/address.ts";
import type { Drive } from "./bios_segments.ts";

export const SECTOR_BYTES = 512;

/** Cylinders, heads, sectors in a track, and the drive's type in CMOS memory. */
const DISKETTES = [
  [40, 1, 8, 1],
  [40, 1, 9, 1],
  [40, 2, 8, 1],
  [40, 2, 9, 1],
  [80, 2, 9, 3],
  [80, 2, 15, 2],
  [80, 2, 18, 4],
  [80, 2, 36, 5],
] as const;

/** What 10 bits of cylinder can address, and the numbers of heads that BIOSes take to stay within it. */
const MAXIMUM_CYLINDERS = 1024;
const HARD_DISK_HEADS = [16, 32, 64, 128, 255] as const;
const HARD_DISK_TRACK = 63;

/** Fields of a FAT boot sector's BIOS parameter block. */
const PARAMETER_BLOCK = { sectorBytes: 0x0b, sectors: 0x13, sectorsPerTrack: 0x18, heads: 0x1a } as const;

/**
 * The drive for an image that begins with a boot sector. A diskette's image may be cut off after its last used sector:
 * then its parameter block says what it is.
 */
export function driveOf(image: Uint8Array): Drive {
  const claimed = claimedDiskette(image);
  const sectors = roundUp(image.length, SECTOR_BYTES) / SECTOR_BYTES;
  for (const [cylinders, heads, sectorsPerTrack, disketteType] of DISKETTES) {
    const size = cylinders * heads * sectorsPerTrack;
    if (size === sectors || size === claimed) {
      return { number: 0x00, disketteType, sectors: size, cylinders, heads, sectorsPerTrack };
    }
  }
  const heads = HARD_DISK_HEADS.find((heads) => sectors <= MAXIMUM_CYLINDERS * heads * HARD_DISK_TRACK) ?? 255;
  return {
    number: 0x80,
    disketteType: 0,
    sectors,
    cylinders: Math.min(Math.ceil(sectors / (heads * HARD_DISK_TRACK)), MAXIMUM_CYLINDERS),
    heads,
    sectorsPerTrack: HARD_DISK_TRACK,
  };
}

/** The sectors of the diskette that the parameter block describes, if it does and the image is no bigger. */
function claimedDiskette(image: Uint8Array): number | undefined {
  const view = new DataView(image.buffer, image.byteOffset, image.byteLength);
  const field = (offset: number) => view.getUint16(offset, true);
  if (field(PARAMETER_BLOCK.sectorBytes) !== SECTOR_BYTES) return undefined;
  const sectors = field(PARAMETER_BLOCK.sectors);
  const matches = DISKETTES.some(([cylinders, heads, track]) =>
    sectors === cylinders * heads * track && heads === field(PARAMETER_BLOCK.heads) &&
    track === field(PARAMETER_BLOCK.sectorsPerTrack)
  );
  return matches && image.length <= sectors * SECTOR_BYTES ? sectors : undefined;
}
