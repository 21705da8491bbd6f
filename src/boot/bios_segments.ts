/** The BIOS in guest memory: its code with the parameters of one boot filled in, and the state in which it begins. */

import { COM1, SLEEP } from "../devices/platform_map.ts";
import { BIOS } from "./bios.ts";
import { EXTENDED_START, FIRMWARE_AREA } from "./memory_map.ts";
import { type EntryState, ImageError, MEMORY_TYPE, type MemoryRange, type Segment } from "./plan.ts";

/** The image as a drive. */
export interface Drive {
  /** Number for int 13h: 0x80 hard disk, 0x00 diskette. */
  readonly number: 0x80 | 0x00;
  /** Type of a diskette drive as CMOS memory numbers it; 0 for a hard disk. */
  readonly disketteType: number;
  readonly sectors: number;
  readonly cylinders: number;
  readonly heads: number;
  readonly sectorsPerTrack: number;
}

/** What the BIOS does once the machine is set up: it reads the drive's first sector, or jumps to an address. */
export type BiosBoot =
  | { readonly drive: Drive; readonly driveAddress: number }
  | { readonly offset: number; readonly segment: number };

const SEGMENT = 0xf000;
const ADDRESS = SEGMENT << 4;

/** A processor fetches its first instruction here; the model byte of an AT stands behind it, before the end. */
const RESET_VECTOR_OFFSET = 0xfff0;
const MODEL = { offset: 14, at: 0xfc } as const;

/** Offsets in bios.asm's header. */
const FIELD = {
  start: 0,
  mapEntries: 2,
  com1Port: 4,
  sleepPort: 6,
  sleepValue: 8,
  bootsFlat: 9,
  flatOffset: 10,
  flatSegment: 12,
  driveNumber: 14,
  disketteType: 15,
  driveAddress: 16,
  sectors: 20,
  cylinders: 24,
  heads: 26,
  sectorsPerTrack: 28,
  mapCount: 30,
  below16MiB: 32,
  above16MiB: 34,
  map: 36,
} as const;

const MAP_ENTRY_BYTES = 20;

/** SLP_EN of the sleep control register (ACPI 6.5, 4.8.3.7); the sleep type stands in the bits below it. */
const SLEEP_ENABLE = 1 << 5;
const SLEEP_TYPE_SHIFT = 2;

const REAL_MODE = { limit: 0xffff, db: false, long: false, granularity: false } as const;

/** The BIOS's own segments. @throws {ImageError} the memory map has more entries than the BIOS has room for */
export function biosSegments(boot: BiosBoot, memoryMap: readonly MemoryRange[]): Segment[] {
  const code = Uint8Array.fromBase64(BIOS);
  const view = new DataView(code.buffer);
  view.setUint16(FIELD.com1Port, COM1.port, true);
  view.setUint16(FIELD.sleepPort, SLEEP.control, true);
  code[FIELD.sleepValue] = SLEEP_ENABLE | SLEEP.s5Type << SLEEP_TYPE_SHIFT;
  if ("drive" in boot) {
    setDrive(view, boot.drive, boot.driveAddress);
  } else {
    code[FIELD.bootsFlat] = 1;
    view.setUint16(FIELD.flatOffset, boot.offset, true);
    view.setUint16(FIELD.flatSegment, boot.segment, true);
  }
  setMemoryMap(view, memoryMap);
  return [
    { what: "BIOS", address: ADDRESS, sizeBytes: code.length, bytes: code },
    resetVector(view.getUint16(FIELD.start, true)),
  ];
}

/** vCPU 0 begins at the BIOS's start, in real mode. */
export function biosEntry(): EntryState {
  const view = new DataView(Uint8Array.fromBase64(BIOS).buffer);
  return {
    mode: "real",
    rip: view.getUint16(FIELD.start, true),
    registers: {},
    code: { ...REAL_MODE, selector: SEGMENT, base: ADDRESS, type: 11 },
    data: { ...REAL_MODE, selector: 0, base: 0, type: 3 },
  };
}

function setDrive(view: DataView, drive: Drive, address: number): void {
  view.setUint8(FIELD.driveNumber, drive.number);
  view.setUint8(FIELD.disketteType, drive.disketteType);
  view.setUint32(FIELD.driveAddress, address, true);
  view.setUint32(FIELD.sectors, drive.sectors, true);
  view.setUint16(FIELD.cylinders, drive.cylinders, true);
  view.setUint16(FIELD.heads, drive.heads, true);
  view.setUint16(FIELD.sectorsPerTrack, drive.sectorsPerTrack, true);
}

/** The map for E820h, and the sizes that the older calls give: of the RAM that follows 1 MiB without a gap. */
function setMemoryMap(view: DataView, map: readonly MemoryRange[]): void {
  const room = view.getUint16(FIELD.mapEntries, true);
  if (map.length > room) throw new ImageError(`BIOS: a memory map of ${map.length} ranges, there is room for ${room}`);
  view.setUint16(FIELD.mapCount, map.length, true);
  map.forEach((range, index) => {
    const offset = FIELD.map + MAP_ENTRY_BYTES * index;
    view.setBigUint64(offset, BigInt(range.address), true);
    view.setBigUint64(offset + 8, BigInt(range.sizeBytes), true);
    view.setUint32(offset + 16, range.type, true);
  });
  const extended = map.find((range) => range.address === EXTENDED_START && range.type === MEMORY_TYPE.RAM);
  const end = EXTENDED_START + (extended?.sizeBytes ?? 0);
  const boundary = 16 * 2 ** 20;
  view.setUint16(FIELD.below16MiB, Math.floor((Math.min(end, boundary) - EXTENDED_START) / 2 ** 10), true);
  view.setUint16(FIELD.above16MiB, Math.floor(Math.max(end - boundary, 0) / 2 ** 16), true);
}

/** A far jump to the BIOS's start, for images that reset themselves by jumping to f000:fff0. */
function resetVector(start: number): Segment {
  const bytes = new Uint8Array(FIRMWARE_AREA.address + FIRMWARE_AREA.sizeBytes - ADDRESS - RESET_VECTOR_OFFSET);
  bytes.set([0xea, start & 0xff, start >> 8, SEGMENT & 0xff, SEGMENT >> 8]);
  bytes[MODEL.offset] = MODEL.at;
  return { what: "reset vector", address: ADDRESS + RESET_VECTOR_OFFSET, sizeBytes: bytes.length, bytes };
}
