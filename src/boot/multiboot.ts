/** The loader for kernels with a Multiboot header, version 0.6.96 ("Multiboot 1"). */

import { hex, ImageReader, Structure } from "./bytes.ts";
import { elfSegments, isElf, parseElf, physicalEntry } from "./elf.ts";
import { protectedEntry } from "./entry_state.ts";
import { endOf, Layout, type PlacedModule } from "./layout.ts";
import { EBDA, EXTENDED_START } from "./memory_map.ts";
import { type BootPlan, type BootRequest, type Loader, MEMORY_TYPE, type MemoryRange, type Segment } from "./plan.ts";

const FORMAT = "Multiboot";

const HEADER_MAGIC = 0x1bad_b002;
/** The header lies whole within so many bytes of the file (3.1). */
const SEARCH_BYTES = 8192;
const HEADER_BYTES = 12;
const HEADER_WITH_ADDRESSES_BYTES = 32;

/**
 * Flags 0-15 must be understood (3.1.2): modules on pages and the memory size are always given. A video mode (bit 2)
 * is only preferred, and the information structure says by its own flags that there is none.
 */
const KNOWN_REQUIREMENTS = 0b111;
const HAS_ADDRESSES = 1 << 16;

/** What eax holds at the entry (3.2). */
const LOADER_MAGIC = 0x2bad_b002;
const LOADER_NAME = "Xenolith";

/** The information structure up to its last field, the frame buffer's colours (3.3). */
const INFORMATION_BYTES = 116;
const MODULE_BYTES = 16;
const MEMORY_MAP_ENTRY_BYTES = 24;
const INFORMATION = { memory: 1 << 0, commandLine: 1 << 2, modules: 1 << 3, memoryMap: 1 << 6, loaderName: 1 << 9 };

/** Kernels with a Multiboot header: ELF files, or any file whose header carries load addresses. */
export const multiboot: Loader = {
  format: FORMAT,
  deviceTree: "module",

  recognises(image: Uint8Array): boolean {
    const header = findHeader(image);
    // The bare magic number also stands in the code of boot loaders, which begin as boot sectors do.
    return header !== undefined && (header.valid || !isBootSector(image));
  },

  plan(request: BootRequest): BootPlan {
    const { image } = request;
    const reader = new ImageReader(FORMAT, image);
    const header = findHeader(image)!;
    if (!header.valid) throw reader.error(`wrong checksum in the header at ${hex(header.offset)}`);
    const flags = reader.u32(header.offset + 4, "header flags");
    const unknown = flags & 0xffff & ~KNOWN_REQUIREMENTS;
    if (unknown !== 0) throw reader.error(`header requires what is not known here: flags ${hex(unknown)}`);

    const kernel = flags & HAS_ADDRESSES ? loadByAddresses(reader, header.offset) : loadElf(image, reader);
    const layout = new Layout(request);
    layout.addKernel(kernel.segments);
    const modules = layout.placeModules(request, kernel.segments);
    const information = placeInformation(layout, request, modules);
    return {
      format: `Multiboot (${kernel.format})`,
      entry: protectedEntry(kernel.entry, { rax: LOADER_MAGIC, rbx: information }),
      segments: layout.segments,
      memoryMap: layout.memoryMap,
    };
  },
};

interface Kernel {
  readonly format: string;
  readonly entry: number;
  readonly segments: Segment[];
}

/** The header with the right checksum, or else the first magic number; at any offset before `searchBytes`. */
export function findHeader(
  image: Uint8Array,
  searchBytes = SEARCH_BYTES,
): { readonly offset: number; readonly valid: boolean } | undefined {
  const view = new DataView(image.buffer, image.byteOffset, image.byteLength);
  let first: { offset: number; valid: boolean } | undefined;
  for (let offset = 0; offset + 4 <= Math.min(image.length, searchBytes); offset += 4) {
    if (view.getUint32(offset, true) !== HEADER_MAGIC) continue;
    if (offset + HEADER_BYTES <= Math.min(image.length, searchBytes)) {
      const sum = HEADER_MAGIC + view.getUint32(offset + 4, true) + view.getUint32(offset + 8, true);
      if (sum % 2 ** 32 === 0) return { offset, valid: true };
    }
    first ??= { offset, valid: false };
  }
  return first;
}

function isBootSector(image: Uint8Array): boolean {
  return image.length >= 512 && image[510] === 0x55 && image[511] === 0xaa;
}

function loadElf(image: Uint8Array, reader: ImageReader): Kernel {
  if (!isElf(image)) throw reader.error("neither load addresses in the header (flag 16) nor an ELF file");
  const elf = parseElf(image, FORMAT);
  return { format: `ELF${elf.bits}`, entry: physicalEntry(elf), segments: elfSegments(elf) };
}

/** The address fields of the header (3.1.3), which go before those of an ELF header. */
function loadByAddresses(reader: ImageReader, headerOffset: number): Kernel {
  reader.bytes(headerOffset, HEADER_WITH_ADDRESSES_BYTES, "header with addresses");
  const [headerAddress, load, loadEnd, bssEnd, entry] = [12, 16, 20, 24, 28].map((at) =>
    reader.u32(headerOffset + at, "address field")
  );
  const fileStart = headerOffset - (headerAddress - load);
  if (load > headerAddress || fileStart < 0) {
    throw reader.error(`load_addr ${hex(load)} does not fit header_addr ${hex(headerAddress)} in the file`);
  }
  const loadBytes = loadEnd === 0 ? reader.image.length - fileStart : loadEnd - load;
  if (loadBytes < 0) throw reader.error(`load_end_addr ${hex(loadEnd)} is below load_addr ${hex(load)}`);
  const bytes = reader.bytes(fileStart, loadBytes, "text and data");
  const end = bssEnd === 0 ? load + loadBytes : bssEnd;
  if (end < load + loadBytes) throw reader.error(`bss_end_addr ${hex(bssEnd)} is below the end of data`);
  return {
    format: "load addresses",
    entry,
    segments: [{ what: "kernel", address: load, sizeBytes: end - load, bytes }],
  };
}

function placeInformation(layout: Layout, request: BootRequest, modules: readonly PlacedModule[]): number {
  // As it was given, as GRUB 2 does it: no image name before it.
  const commandLine = layout.placeCommandLine(request);
  const moduleList = modules.length === 0 ? 0 : layout.placeStructure("module list", moduleTable(modules));
  const map = memoryMapTable(layout.memoryMap);
  const mapAddress = layout.placeStructure("memory map", map);
  const loaderName = layout.placeStructure("loader name", new TextEncoder().encode(`${LOADER_NAME}\0`));
  const { memory, commandLine: hasCommandLine, modules: hasModules, memoryMap, loaderName: hasLoaderName } =
    INFORMATION;
  const information = new Structure(INFORMATION_BYTES)
    .u32(0, memory | hasCommandLine | hasModules | memoryMap | hasLoaderName)
    .u32(4, EBDA.address / 1024).u32(8, upperMemoryBytes(layout.memoryMap) / 1024)
    .u32(16, commandLine).u32(20, modules.length).u32(24, moduleList)
    .u32(44, map.length).u32(48, mapAddress)
    .u32(64, loaderName);
  return layout.placeStructure("Multiboot information", information.bytes);
}

function upperMemoryBytes(map: readonly MemoryRange[]): number {
  const upper = map.find((range) => range.address === EXTENDED_START && range.type === MEMORY_TYPE.RAM);
  return upper ? endOf(upper) - EXTENDED_START : 0;
}

function moduleTable(modules: readonly PlacedModule[]): Uint8Array {
  const table = new Structure(modules.length * MODULE_BYTES);
  modules.forEach((module, index) => {
    const at = index * MODULE_BYTES;
    table.u32(at, module.address).u32(at + 4, module.address + module.sizeBytes).u32(at + 8, module.commandLineAddress);
  });
  return table.bytes;
}

// An entry's size field does not count itself.
function memoryMapTable(map: readonly MemoryRange[]): Uint8Array {
  const table = new Structure(map.length * MEMORY_MAP_ENTRY_BYTES);
  map.forEach((range, index) => {
    const at = index * MEMORY_MAP_ENTRY_BYTES;
    table.u32(at, MEMORY_MAP_ENTRY_BYTES - 4).u64(at + 4, range.address).u64(at + 12, range.sizeBytes);
    table.u32(at + 20, range.type);
  });
  return table.bytes;
}
