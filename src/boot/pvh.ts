/** The loader for ELF kernels with Xen's PVH entry point (Xen: docs/misc/pvh, public/arch-x86/hvm/start_info.h). */

import { hex, Structure } from "./bytes.ts";
import { type Elf, type ElfNote, elfNotes, elfSegments, isElf, parseElf } from "./elf.ts";
import { protectedEntry } from "./entry_state.ts";
import { Layout, type PlacedModule } from "./layout.ts";
import { withRegions } from "./memory_map.ts";
import type { BootPlan, BootRequest, Loader, MemoryRange } from "./plan.ts";

const FORMAT = "ELF with a Xen PVH note";

/** XEN_ELFNOTE_PHYS32_ENTRY of public/elfnote.h. */
const PHYS32_ENTRY = 18;

const START_INFO_MAGIC = 0x336e_c578;
const START_INFO_BYTES = 56;
const MODULE_BYTES = 32;
const MEMORY_MAP_ENTRY_BYTES = 24;

/** ELF kernels that say by a note where 32-bit code enters them. */
export const pvh: Loader = {
  format: FORMAT,
  nothingAtZero: true,
  deviceTree: "module",

  recognises(image: Uint8Array): boolean {
    if (!isElf(image)) return false;
    try {
      return elfNotes(parseElf(image, FORMAT)).some(isEntryNote);
    } catch {
      // Damaged before its notes: no format's own, see loaders.ts.
      return false;
    }
  },

  plan(request: BootRequest): BootPlan {
    const elf = parseElf(request.image, FORMAT);
    const entry = entryAddress(elf);
    const kernel = elfSegments(elf);
    const layout = new Layout(request);
    layout.addKernel(kernel);
    const modules = layout.placeModules(request, kernel);
    const startInfo = placeStartInfo(layout, request, modules);
    return {
      format: `ELF${elf.bits} with a Xen PVH note`,
      entry: protectedEntry(entry, { rbx: startInfo }),
      segments: layout.segments,
      memoryMap: layout.memoryMap,
    };
  },
};

function isEntryNote(note: ElfNote): boolean {
  return note.name === "Xen" && note.type === PHYS32_ENTRY;
}

// The note is as wide as the kernel's words, the address has 32 bits in either.
function entryAddress(elf: Elf): number {
  const descriptor = elfNotes(elf).find(isEntryNote)!.descriptor;
  if (descriptor.length !== 4 && descriptor.length !== 8) {
    throw elf.reader.error(`PHYS32_ENTRY has ${descriptor.length} bytes, not 4 or 8`);
  }
  const view = new DataView(descriptor.buffer, descriptor.byteOffset, descriptor.length);
  const entry = descriptor.length === 4 ? BigInt(view.getUint32(0, true)) : view.getBigUint64(0, true);
  if (entry >= 2n ** 32n) throw elf.reader.error(`PHYS32_ENTRY ${hex(entry)} is beyond 32 bits`);
  return Number(entry);
}

/** struct hvm_start_info, version 1. */
function placeStartInfo(layout: Layout, request: BootRequest, modules: readonly PlacedModule[]): number {
  const commandLine = layout.placeCommandLine(request);
  const moduleList = modules.length === 0 ? 0 : layout.placeStructure("module list", moduleTable(modules));
  const ranges = withRegions(layout.memoryMap, request.regions);
  const map = layout.placeStructure("memory map", memoryMapTable(ranges));
  const info = new Structure(START_INFO_BYTES)
    .u32(0, START_INFO_MAGIC).u32(4, 1).u32(8, 0).u32(12, modules.length)
    .u64(16, moduleList).u64(24, commandLine).u64(32, layout.rsdp)
    .u64(40, map).u32(48, ranges.length);
  return layout.placeStructure("start info", info.bytes);
}

function moduleTable(modules: readonly PlacedModule[]): Uint8Array {
  const table = new Structure(modules.length * MODULE_BYTES);
  modules.forEach((module, index) => {
    const at = index * MODULE_BYTES;
    table.u64(at, module.address).u64(at + 8, module.sizeBytes).u64(at + 16, module.commandLineAddress);
  });
  return table.bytes;
}

function memoryMapTable(map: readonly MemoryRange[]): Uint8Array {
  const table = new Structure(map.length * MEMORY_MAP_ENTRY_BYTES);
  map.forEach((range, index) => {
    const at = index * MEMORY_MAP_ENTRY_BYTES;
    table.u64(at, range.address).u64(at + 8, range.sizeBytes).u32(at + 16, range.type);
  });
  return table.bytes;
}
