/** Guest memory while a plan fills it: the firmware's and the image's segments, and room for what is added to them. */

import { PAGE_SIZE, roundDown, roundUp } from "../memory/address.ts";
import { COM1 } from "../devices/platform_map.ts";
import { cString, hex, Structure } from "./bytes.ts";
import { firmware } from "./firmware.ts";
import { acpiBase, BIOS_DATA_AREA, EBDA, EXTENDED_START, HIGH_RAM_START, memoryMap } from "./memory_map.ts";
import { type BootRequest, ImageError, MEMORY_TYPE, type MemoryRange, type Segment } from "./plan.ts";

/**
 * Boot structures lie below this, as high as they fit: small kernels keep their early stacks below 0x90000, and
 * Linux its trampoline in the last pages before the EBDA.
 */
const BOOT_STRUCTURES_END = 0x9_c000;

/** The bounds of a search for free RAM: within [from, to), at a multiple of `align`. */
export interface Room {
  readonly from: number;
  readonly to: number;
  readonly align: number;
}

/** Where a module was put. */
export interface PlacedModule {
  readonly address: number;
  readonly sizeBytes: number;
  /** 0 where it has none. */
  readonly commandLineAddress: number;
}

/**
 * Checks what holds for the segments of every plan: whole, each inside one range of memory that is RAM, ACPI or the
 * firmware's, none over another.
 *
 * @returns the segments sorted by address
 * @throws {ImageError} naming the first segment that is wrong
 */
export function checkSegments(segments: readonly Segment[], map: readonly MemoryRange[]): Segment[] {
  const sorted = segments.toSorted((a, b) => a.address - b.address);
  let before: Segment | undefined;
  for (const segment of sorted) {
    const { address, sizeBytes } = segment;
    if (!Number.isSafeInteger(address) || !Number.isSafeInteger(sizeBytes) || sizeBytes < segment.bytes.length) {
      throw new ImageError(`${span(segment)} is smaller than its ${hex(segment.bytes.length)} bytes or is no range`);
    }
    if (!map.some((range) => holds(range, segment))) throw new ImageError(outsideMessage(segment, map));
    if (before && endOf(before) > address) throw new ImageError(`${span(segment)} overlaps ${span(before)}`);
    before = segment;
  }
  return sorted;
}

/** The first address after a range or segment. */
export function endOf(range: { readonly address: number; readonly sizeBytes: number }): number {
  return range.address + range.sizeBytes;
}

/** A machine's memory with the firmware tables in it, and with the segments added so far. */
export class Layout {
  readonly memoryMap: readonly MemoryRange[];
  /** Address of the ACPI root pointer. */
  readonly rsdp: number;
  #segments: Segment[];

  /** @throws {ImageError} the memory is too small for the ACPI tables of so many vCPUs */
  constructor(request: BootRequest) {
    const acpiStart = acpiBase(request.memoryBytes, request.vcpus);
    const tables = firmware(request.vcpus, acpiStart, request.virtio);
    const spilled = tables.segments.some((segment) => segment.address >= acpiStart);
    this.memoryMap = memoryMap(request.memoryBytes, spilled ? acpiStart : undefined);
    this.rsdp = tables.rsdp;
    this.#segments = checkSegments(tables.segments, this.memoryMap);
  }

  /** Everything so far, sorted by address. */
  get segments(): readonly Segment[] {
    return this.#segments;
  }

  /** Adds segments that say themselves where they go. @throws {ImageError} see {@linkcode checkSegments} */
  add(segments: readonly Segment[]): void {
    this.#segments = checkSegments([...this.#segments, ...segments], this.memoryMap);
  }

  /**
   * Adds a kernel that starts without a BIOS, and the BIOS data area that such kernels read nevertheless: for the MP
   * table's place (MP 1.4, 4), or as Xen does for that of its trampoline. A kernel over that area has its way.
   *
   * @throws {ImageError} see {@linkcode checkSegments}
   */
  addKernel(segments: readonly Segment[]): void {
    this.add(segments);
    const free = !segments.some((s) => s.address < endOf(BIOS_DATA_AREA) && endOf(s) > BIOS_DATA_AREA.address);
    if (free) this.add([biosDataArea()]);
  }

  /** Puts a structure that the kernel reads at its entry into conventional memory, or else above 1 MiB; its address. */
  placeStructure(what: string, bytes: Uint8Array, align = 8): number {
    return this.placeHigh(what, bytes, { from: PAGE_SIZE, to: BOOT_STRUCTURES_END, align }) ??
      this.#demand(this.placeHigh(what, bytes, { from: EXTENDED_START, to: HIGH_RAM_START, align }), what, bytes);
  }

  /**
   * Puts the initrd and the modules, in this order, at the first free pages after the image: early page tables reach
   * them there most likely, and other boot loaders put them there. Their command lines go to the boot structures.
   */
  placeModules(request: BootRequest, image: readonly Segment[]): PlacedModule[] {
    const initrd = request.initrd ? [{ name: "initrd", bytes: request.initrd, commandLine: "" }] : [];
    const from = image.reduce((end, segment) => Math.max(end, endOf(segment)), EXTENDED_START);
    return [...initrd, ...request.modules].map(({ name, bytes, commandLine }) => ({
      address: this.#placeModule(name, bytes, from),
      sizeBytes: bytes.length,
      commandLineAddress: commandLine === ""
        ? 0
        : this.placeStructure(`command line of ${name}`, cString(name, commandLine)),
    }));
  }

  /** Puts the command line among the boot structures; its address. */
  placeCommandLine(request: BootRequest): number {
    return this.placeStructure("command line", cString("command line", request.commandLine));
  }

  /** Puts bytes at the highest free place in `room`; its address, or undefined where there is none. */
  placeHigh(what: string, bytes: Uint8Array, room: Room): number | undefined {
    for (const range of this.memoryMap.toReversed()) {
      if (range.type !== MEMORY_TYPE.RAM) continue;
      let address = roundDown(Math.min(endOf(range), room.to) - bytes.length, room.align);
      for (const taken of this.#segments.toReversed()) {
        if (taken.address >= address + bytes.length) continue;
        if (endOf(taken) <= address) break;
        address = roundDown(taken.address - bytes.length, room.align);
      }
      if (address >= Math.max(range.address, room.from)) return this.#put(what, bytes, address);
    }
    return undefined;
  }

  #placeModule(what: string, bytes: Uint8Array, from: number): number {
    const align = PAGE_SIZE;
    return this.#placeLow(what, bytes, { from, to: HIGH_RAM_START, align }) ??
      this.#demand(this.#placeLow(what, bytes, { from: PAGE_SIZE, to: HIGH_RAM_START, align }), what, bytes);
  }

  #placeLow(what: string, bytes: Uint8Array, room: Room): number | undefined {
    for (const range of this.memoryMap) {
      if (range.type !== MEMORY_TYPE.RAM) continue;
      let address = roundUp(Math.max(range.address, room.from), room.align);
      for (const taken of this.#segments) {
        if (endOf(taken) <= address) continue;
        if (taken.address >= address + bytes.length) break;
        address = roundUp(endOf(taken), room.align);
      }
      if (address + bytes.length <= Math.min(endOf(range), room.to)) return this.#put(what, bytes, address);
    }
    return undefined;
  }

  #put(what: string, bytes: Uint8Array, address: number): number {
    if (bytes.length > 0) this.add([{ what, address, sizeBytes: bytes.length, bytes }]);
    return address;
  }

  #demand(address: number | undefined, what: string, bytes: Uint8Array): number {
    if (address === undefined) throw new ImageError(noRoomMessage(what, bytes, this.memoryMap));
    return address;
  }
}

function biosDataArea(): Segment {
  const { bytes } = new Structure(BIOS_DATA_AREA.sizeBytes)
    .u16(0x00, COM1.port).u16(0x0e, EBDA.address / 16).u16(0x13, EBDA.address / 1024);
  return { what: "BIOS data area", ...BIOS_DATA_AREA, bytes };
}

/** The message for bytes that found no place: with what there is. */
export function noRoomMessage(what: string, bytes: Uint8Array, map: readonly MemoryRange[]): string {
  return `${what}: no room for ${hex(bytes.length)} bytes in RAM ${ramOf(map)}`;
}

/** The types of ranges that may be written before the guest runs: the last two for the firmware's tables. */
const LOADABLE: readonly number[] = [MEMORY_TYPE.RAM, MEMORY_TYPE.RESERVED, MEMORY_TYPE.ACPI];

function holds(range: MemoryRange, segment: Segment): boolean {
  return LOADABLE.includes(range.type) && segment.address >= range.address && endOf(segment) <= endOf(range);
}

function outsideMessage(segment: Segment, map: readonly MemoryRange[]): string {
  return `${span(segment)} lies outside RAM ${ramOf(map)}`;
}

function ramOf(map: readonly MemoryRange[]): string {
  const ranges = map.filter((range) => range.type === MEMORY_TYPE.RAM);
  return ranges.map((range) => `${hex(range.address)}..${hex(endOf(range))}`).join(", ");
}

function span(segment: Segment): string {
  return `${segment.what} at ${hex(segment.address)}..${hex(endOf(segment))}`;
}
