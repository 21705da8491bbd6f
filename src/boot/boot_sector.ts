/** The loader for disk images with a PC boot sector: the image becomes a drive in memory, the BIOS boots from it. */

import { PAGE_SIZE, roundDown, roundUp } from "../memory/address.ts";
import { biosEntry, biosSegments, type Drive } from "./bios_segments.ts";
import { hex } from "./bytes.ts";
import { driveOf, SECTOR_BYTES } from "./drive.ts";
import { isElf } from "./elf.ts";
import { checkSegments, endOf, Layout } from "./layout.ts";
import { EXTENDED_START, HIGH_RAM_START } from "./memory_map.ts";
import { type BootPlan, type BootRequest, ImageError, type Loader, MEMORY_TYPE, type MemoryRange } from "./plan.ts";

const FORMAT = "boot sector";

/** The last two bytes of a boot sector. */
const SIGNATURE = [0x55, 0xaa] as const;

export const bootSector: Loader = {
  format: FORMAT,
  readsAcpi: true,

  /**
   * Asked after bzImage, which has the same signature, and before Multiboot: a disk with GRUB on it has a Multiboot
   * header in its second sector, but needs the BIOS. Any byte may stand in an ELF file where the signature is.
   */
  recognises(image: Uint8Array): boolean {
    return image.length >= SECTOR_BYTES && !isElf(image) &&
      SIGNATURE.every((byte, index) => image[SECTOR_BYTES - SIGNATURE.length + index] === byte);
  },

  plan(request: BootRequest): BootPlan {
    refuseExtras(FORMAT, request);
    const { image } = request;
    const layout = new Layout(request);
    const drive = driveOf(image);
    const sizeBytes = drive.sectors * SECTOR_BYTES;
    const range = reservedRange(layout.memoryMap, sizeBytes);
    const memoryMap = reserve(layout.memoryMap, range);
    const segments = checkSegments([
      ...layout.segments,
      ...biosSegments({ drive, driveAddress: range.address }, memoryMap),
      { what: "disk image", address: range.address, sizeBytes, bytes: image },
    ], memoryMap);
    return { format: `boot sector, ${driveName(drive)}`, entry: biosEntry(), segments, memoryMap };
  },
};

/** @throws {ImageError} something is to be handed over that a BIOS has no way to hand over */
export function refuseExtras(format: string, request: BootRequest): void {
  const extra = request.initrd
    ? "an initrd"
    : request.modules.length > 0
    ? "modules"
    : request.commandLine !== ""
    ? "a command line"
    : undefined;
  if (extra) throw new ImageError(`${format}: this format cannot carry ${extra}`);
}

/** Whole pages at the end of the RAM between 1 MiB and 4 GiB. */
function reservedRange(map: readonly MemoryRange[], sizeBytes: number): MemoryRange {
  const ram = map.find((range) =>
    range.type === MEMORY_TYPE.RAM && range.address >= EXTENDED_START && range.address < HIGH_RAM_START
  );
  const available = ram?.sizeBytes ?? 0;
  if (!ram || available < roundUp(sizeBytes, PAGE_SIZE)) {
    throw new ImageError(
      `${FORMAT}: the image of ${hex(sizeBytes)} bytes is held in memory above 1 MiB, where there are ${
        hex(available)
      }`,
    );
  }
  const address = roundDown(endOf(ram) - sizeBytes, PAGE_SIZE);
  return { address, sizeBytes: endOf(ram) - address, type: MEMORY_TYPE.RESERVED };
}

/** The map in which `range`, the end of one of its ranges, is another range. */
function reserve(map: readonly MemoryRange[], range: MemoryRange): MemoryRange[] {
  return map.flatMap((whole) => {
    if (endOf(whole) !== endOf(range)) return [whole];
    const rest = { ...whole, sizeBytes: range.address - whole.address };
    return rest.sizeBytes > 0 ? [rest, range] : [range];
  });
}

function driveName(drive: Drive): string {
  const size = drive.sectors * SECTOR_BYTES;
  return drive.number === 0x00 ? `diskette of ${size / 1024} KiB` : `hard disk of ${drive.sectors} sectors`;
}
