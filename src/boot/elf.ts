/** The parts of an x86 ELF file that say what to load: header, program headers, notes (System V ABI, chapters 4, 5). */

import { hex, ImageReader } from "./bytes.ts";
import type { Segment } from "./plan.ts";

/** Program header types that matter here. */
const PT_LOAD = 1;
const PT_NOTE = 4;

const MACHINES = { 32: { code: 3, name: "386" }, 64: { code: 62, name: "x86-64" } } as const;
const FILE_TYPES = new Map([
  [1, "an object file that is not linked"],
  [2, "an executable"],
  [3, "a shared object"],
  [4, "a core dump"],
]);

/** A program header of type PT_LOAD or PT_NOTE. */
export interface ProgramHeader {
  /** Its place in the table. */
  readonly index: number;
  readonly type: typeof PT_LOAD | typeof PT_NOTE;
  readonly offset: number;
  /** A bigint: kernels use the top of the 64-bit address space. */
  readonly virtualAddress: bigint;
  readonly physicalAddress: number;
  readonly fileBytes: number;
  readonly memoryBytes: number;
  readonly align: number;
}

/** A parsed file; what its program headers point at is checked by {@linkcode elfSegments}, {@linkcode elfNotes}. */
export interface Elf {
  readonly reader: ImageReader;
  readonly bits: 32 | 64;
  /** e_entry as it stands: physical or virtual, see {@linkcode physicalEntry}. */
  readonly entry: bigint;
  readonly programHeaders: readonly ProgramHeader[];
}

/** An entry of a PT_NOTE segment. */
export interface ElfNote {
  readonly name: string;
  readonly type: number;
  readonly descriptor: Uint8Array;
}

/** Whether the file begins as an ELF file does. */
export function isElf(image: Uint8Array): boolean {
  return image.length >= 4 && image[0] === 0x7f && image[1] === 0x45 && image[2] === 0x4c && image[3] === 0x46;
}

/**
 * Parses a little-endian x86 executable of either class.
 *
 * @param format begins the messages
 * @throws {ImageError} not such a file, or a header outside of it
 */
export function parseElf(image: Uint8Array, format: string): Elf {
  const reader = new ImageReader(format, image), bits = requireX86(reader, [2, 3], "an executable is needed");
  const entry = bits === 32 ? BigInt(reader.u32(24, "e_entry")) : reader.u64(24, "e_entry");
  return { reader, bits, entry, programHeaders: parseProgramHeaders(reader, bits) };
}

/**
 * Reads what every ELF file begins with.
 *
 * @param fileTypes the values of e_type that will do; @param needed the message's end for any other
 * @returns its class
 * @throws the reader's error: not a little-endian x86 file of such a type
 */
export function requireX86(reader: ImageReader, fileTypes: readonly number[], needed: string): 32 | 64 {
  const fileClass = reader.u8(4, "ELF class");
  if (fileClass !== 1 && fileClass !== 2) throw reader.error(`ELF class ${fileClass} is neither 32 nor 64 bits`);
  const bits = fileClass === 1 ? 32 : 64;
  if (reader.u8(5, "ELF data encoding") !== 1) throw reader.error("not little-endian");

  const fileType = reader.u16(16, "e_type");
  if (!fileTypes.includes(fileType)) {
    throw reader.error(`e_type ${fileType}, ${FILE_TYPES.get(fileType) ?? "unknown"}; ${needed}`);
  }
  const machine = reader.u16(18, "e_machine");
  if (machine !== MACHINES[bits].code) {
    throw reader.error(`ELF${bits} for machine ${machine}; ${MACHINES[bits].code} (${MACHINES[bits].name}) is needed`);
  }
  return bits;
}

function parseProgramHeaders(reader: ImageReader, bits: 32 | 64): ProgramHeader[] {
  const table = bits === 32 ? reader.u32(28, "e_phoff") : reader.number64(32, "e_phoff");
  const entryBytes = reader.u16(bits === 32 ? 42 : 54, "e_phentsize");
  const count = reader.u16(bits === 32 ? 44 : 56, "e_phnum");
  const expected = bits === 32 ? 32 : 56;
  if (count === 0) throw reader.error("no program headers");
  if (entryBytes !== expected) throw reader.error(`e_phentsize is ${entryBytes}, not ${expected}`);
  reader.bytes(table, count * entryBytes, "program header table");

  const headers: ProgramHeader[] = [];
  for (let index = 0; index < count; index++) {
    const at = table + index * entryBytes;
    const type = reader.u32(at, "p_type");
    // The fields of other types mean other things and need not be addresses.
    if (type !== PT_LOAD && type !== PT_NOTE) continue;
    const fields = bits === 32 ? programHeader32(reader, at) : programHeader64(reader, at);
    headers.push({ index, type, ...fields });
  }
  return headers;
}

type ProgramHeaderFields = Omit<ProgramHeader, "index" | "type">;

function programHeader32(reader: ImageReader, at: number): ProgramHeaderFields {
  return {
    offset: reader.u32(at + 4, "p_offset"),
    virtualAddress: BigInt(reader.u32(at + 8, "p_vaddr")),
    physicalAddress: reader.u32(at + 12, "p_paddr"),
    fileBytes: reader.u32(at + 16, "p_filesz"),
    memoryBytes: reader.u32(at + 20, "p_memsz"),
    align: reader.u32(at + 28, "p_align"),
  };
}

function programHeader64(reader: ImageReader, at: number): ProgramHeaderFields {
  return {
    offset: reader.number64(at + 8, "p_offset"),
    virtualAddress: reader.u64(at + 16, "p_vaddr"),
    physicalAddress: reader.number64(at + 24, "p_paddr"),
    fileBytes: reader.number64(at + 32, "p_filesz"),
    memoryBytes: reader.number64(at + 40, "p_memsz"),
    align: reader.number64(at + 48, "p_align"),
  };
}

/** The segments to load, at their physical addresses. @throws {ImageError} one is not in the file, or shrinks */
export function elfSegments(elf: Elf): Segment[] {
  const segments: Segment[] = [];
  for (const header of elf.programHeaders) {
    const { index, fileBytes, memoryBytes, physicalAddress } = header;
    if (header.type !== PT_LOAD || memoryBytes === 0) continue;
    if (fileBytes > memoryBytes) {
      throw elf.reader.error(`segment ${index}: ${hex(fileBytes)} bytes in the file, ${hex(memoryBytes)} in memory`);
    }
    // One without bytes in the file may carry any offset.
    const bytes = fileBytes === 0 ? new Uint8Array() : elf.reader.bytes(header.offset, fileBytes, `segment ${index}`);
    segments.push({ what: `kernel segment ${index}`, address: physicalAddress, sizeBytes: memoryBytes, bytes });
  }
  if (segments.length === 0) throw elf.reader.error("no segment to load");
  return segments;
}

/**
 * The physical address of e_entry. Kernels linked to run elsewhere than they are loaded mostly state it as a virtual
 * address: then it lies in a segment's virtual range, and has that segment's displacement.
 *
 * @throws {ImageError} it is no physical address either way
 */
export function physicalEntry(elf: Elf): number {
  let entry = elf.entry;
  for (const { type, virtualAddress, physicalAddress, memoryBytes } of elf.programHeaders) {
    const offset = elf.entry - virtualAddress;
    if (type === PT_LOAD && offset >= 0n && offset < BigInt(memoryBytes)) {
      entry = BigInt(physicalAddress) + offset;
      break;
    }
  }
  if (entry > BigInt(Number.MAX_SAFE_INTEGER)) throw elf.reader.error(`entry ${hex(entry)} lies in no segment`);
  return Number(entry);
}

/** The notes of all PT_NOTE segments. @throws {ImageError} one is not in the file, or does not end in its segment */
export function elfNotes(elf: Elf): ElfNote[] {
  return elf.programHeaders.filter((header) => header.type === PT_NOTE).flatMap((header) => {
    const bytes = elf.reader.bytes(header.offset, header.fileBytes, `note segment ${header.index}`);
    // 64-bit files use 8 for a few notes of their own (GNU properties) and 4 for all others.
    return parseNotes(new ImageReader(`${elf.reader.format}: note segment ${header.index}`, bytes), header.align);
  });
}

function parseNotes(reader: ImageReader, align: number): ElfNote[] {
  const unit = align === 8 ? 8 : 4;
  const padded = (size: number) => Math.ceil(size / unit) * unit;
  const notes: ElfNote[] = [];
  for (let at = 0; at + 12 <= reader.image.length;) {
    const nameBytes = reader.u32(at, "n_namesz");
    const descriptorBytes = reader.u32(at + 4, "n_descsz");
    const name = reader.bytes(at + 12, nameBytes, "note name");
    const descriptorAt = at + padded(12 + nameBytes);
    notes.push({
      name: latin1(name),
      type: reader.u32(at + 8, "n_type"),
      descriptor: reader.bytes(descriptorAt, descriptorBytes, "note descriptor"),
    });
    at = descriptorAt + padded(descriptorBytes);
  }
  return notes;
}

// Long names are nobody's: there is no need to build a string of them.
function latin1(name: Uint8Array): string {
  return String.fromCharCode(...name.subarray(0, 16)).replace(/\0$/, "");
}
