/** The loader for Linux bzImages: the 64-bit and the 32-bit boot protocol (Linux: Documentation/arch/x86/boot.rst). */

import { flatten, machineTree } from "./device_tree.ts";
import { PAGE_SIZE, roundUp, SUPERPAGE_SIZE } from "../memory/address.ts";
import { cString, hex, ImageReader, Structure } from "./bytes.ts";
import { FLAT_DATA, LONG_CODE, protectedEntry } from "./entry_state.ts";
import { Layout, noRoomMessage } from "./layout.ts";
import { EXTENDED_START } from "./memory_map.ts";
import { type BootPlan, type BootRequest, type EntryState, ImageError, type Loader, type MemoryRange } from "./plan.ts";

const FORMAT = "Linux bzImage";

const HEADER_START = 0x1f1;
/** The header in boot_params may grow up to the next field, edd_mbr_sig_buffer. */
const HEADER_LIMIT = 0x290;
const SECTOR_BYTES = 512;
const OLDEST_VERSION = 0x206;

const LOADED_HIGH = 1 << 0;
const KEEP_SEGMENTS = 1 << 6;
const CAN_USE_HEAP = 1 << 7;
const XLF_KERNEL_64 = 1 << 0;
const LONG_ENTRY_OFFSET = 0x200;
const UNDEFINED_LOADER = 0xff;

/** The oldest protocol with setup_data; struct setup_data's header, and its type of a device tree. */
const SETUP_DATA_VERSION = 0x209, SETUP_DATA_BYTES = 16, SETUP_DTB = 2;

const E820_ENTRIES = 128;
const E820_ENTRY_BYTES = 20;

/** Null, unused, __BOOT_CS of the entry's mode, __BOOT_DS: each as low and high half. */
const GDT = {
  long: [0, 0, 0, 0, 0xffff, 0xaf9b00, 0xffff, 0xcf9300],
  flat: [0, 0, 0, 0, 0xffff, 0xcf9b00, 0xffff, 0xcf9300],
};

const PRESENT_WRITABLE = 0b11;
const PAGE_SIZE_FLAG = 1 << 7;

/** Linux bzImages from boot protocol 2.06 on. */
export const bzImage: Loader = {
  format: FORMAT,

  // As an HVM guest Linux wants a platform device of Xen's tool stack, and VMCALL, which not every KVM tells us of.
  findsKvm: true,
  readsAcpi: true,
  deviceTree: "own",

  recognises(image: Uint8Array): boolean {
    return image.length >= 0x206 &&
      image[0x202] === 0x48 && image[0x203] === 0x64 && image[0x204] === 0x72 && image[0x205] === 0x53;
  },

  plan(request: BootRequest): BootPlan {
    if (request.modules.length > 0) throw new ImageError(`${FORMAT}: carries an initrd, but no modules`);
    const kernel = parseKernel(new ImageReader(FORMAT, request.image));
    const layout = new Layout(request);
    layout.addKernel([{
      what: "kernel",
      address: kernel.address,
      sizeBytes: Math.max(kernel.bytes.length, kernel.initBytes),
      bytes: kernel.bytes,
    }]);
    const bootParameters = placeBootParameters(layout, request, kernel);
    return {
      format: `${FORMAT}, protocol ${kernel.version >> 8}.${kernel.version & 0xff}, ${kernel.long ? 64 : 32}-bit entry`,
      entry: kernel.long ? longEntry(layout, kernel, bootParameters) : flatEntry(layout, kernel, bootParameters),
      segments: layout.segments,
      memoryMap: layout.memoryMap,
    };
  },
};

/** What the setup header says. */
interface Kernel {
  readonly version: number;
  /** The 64-bit entry point is there. */
  readonly long: boolean;
  /** The header's bytes, from {@linkcode HEADER_START} on. */
  readonly header: Uint8Array;
  readonly loadFlags: number;
  /** Where the protected-mode kernel goes, and its bytes. */
  readonly address: number;
  readonly bytes: Uint8Array;
  /** Memory that it needs there before it reads its memory map. */
  readonly initBytes: number;
  /** The last address that the initrd may occupy. */
  readonly initrdMaximum: number;
  /** The longest command line, without its terminating zero. */
  readonly commandLineBytes: number;
}

function parseKernel(reader: ImageReader): Kernel {
  if (reader.u16(0x1fe, "boot_flag") !== 0xaa55) throw reader.error("boot_flag is not 0xaa55");
  const version = reader.u16(0x206, "version");
  if (version < OLDEST_VERSION) {
    throw reader.error(`boot protocol ${hex(version)} is older than ${hex(OLDEST_VERSION)}`);
  }
  const headerEnd = 0x202 + reader.u8(0x201, "header size");
  const needed = version >= 0x20a ? 0x264 : 0x23c;
  if (headerEnd < needed || headerEnd > HEADER_LIMIT) {
    throw reader.error(`setup header ends at ${hex(headerEnd)}, not within ${hex(needed)}..${hex(HEADER_LIMIT)}`);
  }
  const loadFlags = reader.u8(0x211, "loadflags");
  if (!(loadFlags & LOADED_HIGH)) throw reader.error("a zImage (LOADED_HIGH is clear); only a bzImage is loaded");

  const start = ((reader.u8(HEADER_START, "setup_sects") || 4) + 1) * SECTOR_BYTES;
  // Counted in paragraphs of 16 bytes; some builds do not fill the last one.
  const announced = reader.u32(0x1f4, "syssize") * 16 - 15;
  reader.bytes(start, Math.max(announced, LONG_ENTRY_OFFSET + 1), "protected-mode kernel");
  return {
    version,
    long: version >= 0x20c && (reader.u16(0x236, "xloadflags") & XLF_KERNEL_64) !== 0,
    header: reader.bytes(HEADER_START, headerEnd - HEADER_START, "setup header"),
    loadFlags,
    address: loadAddress(reader, version),
    bytes: reader.image.subarray(start),
    initBytes: version >= 0x20a ? reader.u32(0x260, "init_size") : 0,
    initrdMaximum: reader.u32(0x22c, "initrd_addr_max"),
    commandLineBytes: reader.u32(0x238, "cmdline_size"),
  };
}

/**
 * The preferred address: a kernel that is not relocatable runs only there, and a relocatable one moves itself up to it
 * when it is lower; above 1 MiB nothing else is in the way. Aligned, so that it is the runtime start that init_size
 * counts from.
 */
function loadAddress(reader: ImageReader, version: number): number {
  const preferred = (version >= 0x20a ? reader.number64(0x258, "pref_address") : 0) || EXTENDED_START;
  if (reader.u8(0x234, "relocatable_kernel") === 0) return preferred;
  const alignment = reader.u32(0x230, "kernel_alignment");
  if (alignment === 0 || (alignment & (alignment - 1)) !== 0) {
    throw reader.error(`kernel_alignment ${hex(alignment)} is not a power of two`);
  }
  return roundUp(Math.max(preferred, EXTENDED_START), alignment);
}

/** struct boot_params (Documentation/arch/x86/zero-page.rst), all zero but for the header and what is set here. */
function placeBootParameters(layout: Layout, request: BootRequest, kernel: Kernel): number {
  const commandLine = placeCommandLine(layout, request, kernel);
  const parameters = new Structure(PAGE_SIZE);
  parameters.bytes.set(kernel.header, HEADER_START);
  parameters.u8(0x210, UNDEFINED_LOADER)
    // Both are for the loader to set: our segments may be loaded again from our GDT, and there is no real-mode heap.
    .u8(0x211, kernel.loadFlags & ~(KEEP_SEGMENTS | CAN_USE_HEAP))
    .u32(0x214, kernel.address)
    .u32(0x228, commandLine);
  if (request.initrd) {
    parameters.u32(0x218, placeInitrd(layout, request.initrd, kernel)).u32(0x21c, request.initrd.length);
  }
  if (kernel.version >= 0x20e) parameters.u64(0x070, layout.rsdp);
  writeE820(parameters, layout.memoryMap);
  if (request.deviceTree) parameters.u64(0x250, placeDeviceTree(layout, request, kernel));
  return layout.placeStructure("boot_params", parameters.bytes, PAGE_SIZE);
}

/** struct setup_data of type SETUP_DTB (Documentation/arch/x86/boot.rst). */
function placeDeviceTree(layout: Layout, request: BootRequest, kernel: Kernel): number {
  if (kernel.version < SETUP_DATA_VERSION) {
    throw new ImageError(`${FORMAT}: boot protocol ${hex(kernel.version)} takes no device tree`);
  }
  const tree = flatten(machineTree(request, layout.memoryMap));
  const data = new Structure(SETUP_DATA_BYTES + tree.length).u64(0, 0).u32(8, SETUP_DTB).u32(12, tree.length);
  data.bytes.set(tree, SETUP_DATA_BYTES);
  return layout.placeStructure("device tree", data.bytes);
}

function placeCommandLine(layout: Layout, request: BootRequest, kernel: Kernel): number {
  const bytes = cString("command line", request.commandLine);
  if (bytes.length - 1 > kernel.commandLineBytes) {
    throw new ImageError(`command line of ${bytes.length - 1} bytes; this kernel takes ${kernel.commandLineBytes}`);
  }
  return layout.placeStructure("command line", bytes);
}

// As high as the kernel can reach, far from where it unpacks itself.
function placeInitrd(layout: Layout, initrd: Uint8Array, kernel: Kernel): number {
  const room = { from: EXTENDED_START, to: kernel.initrdMaximum + 1, align: PAGE_SIZE };
  const address = layout.placeHigh("initrd", initrd, room);
  if (address === undefined) {
    throw new ImageError(`${noRoomMessage("initrd", initrd, layout.memoryMap)} up to ${hex(kernel.initrdMaximum)}`);
  }
  return address;
}

function writeE820(parameters: Structure, map: readonly MemoryRange[]): void {
  if (map.length > E820_ENTRIES) throw new ImageError(`${FORMAT}: ${map.length} ranges do not fit into boot_params`);
  parameters.u8(0x1e8, map.length);
  map.forEach((range, index) => {
    const at = 0x2d0 + index * E820_ENTRY_BYTES;
    parameters.u64(at, range.address).u64(at + 8, range.sizeBytes).u32(at + 16, range.type);
  });
}

function flatEntry(layout: Layout, kernel: Kernel, bootParameters: number): EntryState {
  return { ...protectedEntry(kernel.address, { rsi: bootParameters }), gdt: placeGdt(layout, GDT.flat) };
}

function longEntry(layout: Layout, kernel: Kernel, bootParameters: number): EntryState {
  return {
    mode: "long",
    rip: kernel.address + LONG_ENTRY_OFFSET,
    registers: { rsi: bootParameters },
    code: LONG_CODE,
    data: FLAT_DATA,
    gdt: placeGdt(layout, GDT.long),
    cr3: placePageTables(layout),
  };
}

function placeGdt(layout: Layout, halves: readonly number[]): { base: number; limit: number } {
  const table = new Structure(halves.length * 4);
  halves.forEach((half, index) => table.u32(index * 4, half));
  return { base: layout.placeStructure("GDT", table.bytes), limit: table.bytes.length - 1 };
}

/** Identity page tables for the low 4 GiB: a PML4, a PDPT and four directories of 2 MiB pages; their root. */
function placePageTables(layout: Layout): number {
  const entries = PAGE_SIZE / 8;
  const tables = new Structure(6 * PAGE_SIZE);
  const address = layout.placeStructure("page tables", tables.bytes, PAGE_SIZE);
  tables.u64(0, address + PAGE_SIZE + PRESENT_WRITABLE);
  for (let directory = 0; directory < 4; directory++) {
    tables.u64(PAGE_SIZE + directory * 8, address + (2 + directory) * PAGE_SIZE + PRESENT_WRITABLE);
  }
  for (let page = 0; page < 4 * entries; page++) {
    tables.u64(2 * PAGE_SIZE + page * 8, page * SUPERPAGE_SIZE + PAGE_SIZE_FLAG + PRESENT_WRITABLE);
  }
  return address;
}
