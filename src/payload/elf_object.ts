/** Relocatable ELF64 objects of x86-64 (`gcc -c`): sections, symbols and relocations, all of them checked. */

import { hex, ImageReader } from "../boot/bytes.ts";
import { isElf, requireX86 } from "../boot/elf.ts";
import { EINVAL, EOPNOTSUPP } from "../linux/errno.ts";
import {
  EHDR,
  ET_REL,
  RELA,
  RELA_BYTES,
  SHDR,
  SHDR_BYTES,
  SHF,
  SHN,
  SHT,
  STB,
  STT,
  SYM,
  SYM_BYTES,
} from "./elf_abi.ts";
import { PayloadError } from "./payload_error.ts";

/** A section, in its place in the table: index 0 is none. */
export interface ElfSection {
  readonly index: number;
  readonly name: string;
  /** One of SHT. */
  readonly type: number;
  /** Of SHF. */
  readonly flags: number;
  readonly sizeBytes: number;
  /** A power of two. */
  readonly align: number;
  /** What is in the file: nothing of NOBITS. */
  readonly bytes: Uint8Array;
}

/** A symbol, in its place in the table: index 0 is none. */
export interface ElfSymbol {
  readonly index: number;
  /** A section's own symbol has the section's name. */
  readonly name: string;
  /** One of STB. */
  readonly binding: number;
  /** One of STT. */
  readonly type: number;
  /** Where its value counts from: a section's beginning, 0, or somebody else's symbol of this name. */
  readonly place: ElfSection | "absolute" | "undefined";
  readonly value: bigint;
  readonly sizeBytes: number;
}

/** A place in a section to be filled in. */
export interface ElfRelocation {
  /** R_X86_64_*, known or not. */
  readonly type: number;
  readonly section: ElfSection;
  /** In the section; may lie outside of it. */
  readonly offset: number;
  readonly symbol: ElfSymbol;
  readonly addend: bigint;
}

export interface ElfObject {
  readonly sections: readonly ElfSection[];
  readonly symbols: readonly ElfSymbol[];
  /** Those of sections that are loaded. */
  readonly relocations: readonly ElfRelocation[];
}

/** A section's header as it stands. */
interface Header {
  readonly name: number;
  readonly link: number;
  readonly info: number;
  readonly entryBytes: number;
}

interface Sections {
  readonly sections: readonly ElfSection[];
  readonly headers: readonly Header[];
}

/**
 * Parses an object.
 * @param name begins the messages
 * @throws {PayloadError} EINVAL not such an object, or damaged; EOPNOTSUPP it has what cannot be loaded
 */
export function parseElfObject(object: Uint8Array, name: string): ElfObject {
  const reader = new ImageReader(name, object, (message) => new PayloadError(EINVAL, message));
  if (!isElf(object)) throw reader.error("not an ELF file");
  if (reader.u8(4, "ELF class") === 1) throw reader.error("ELF32; ELF64 is needed");
  requireX86(reader, [ET_REL], "an object file (gcc -c) is needed");
  const parts = parseSections(reader);
  const tables = parts.sections.filter(({ type }) => type === SHT.SYMTAB);
  if (tables.length !== 1) throw reader.error(`${tables.length} symbol tables; one is needed`);
  const symbols = parseSymbols(reader, parts, tables[0]);
  return { sections: parts.sections, symbols, relocations: parseRelocations(reader, parts, symbols, tables[0]) };
}

/** A common symbol of objects that have but what gcc's linker plugin makes code of. */
const LTO_MARK = "__gnu_lto_slim";

/** What is well-formed, but not for us. */
function unsupported(reader: ImageReader, message: string): PayloadError {
  return new PayloadError(EOPNOTSUPP, `${reader.format}: ${message}`);
}

function parseSections(reader: ImageReader): Sections {
  const table = reader.number64(EHDR.shoff, "e_shoff"), count = reader.u16(EHDR.shnum, "e_shnum");
  const entryBytes = reader.u16(EHDR.shentsize, "e_shentsize"), names = reader.u16(EHDR.shstrndx, "e_shstrndx");
  if (count === 0) throw reader.error("no sections");
  if (entryBytes !== SHDR_BYTES) throw reader.error(`e_shentsize is ${entryBytes}, not ${SHDR_BYTES}`);
  reader.bytes(table, count * SHDR_BYTES, "section header table");
  const nameless: ElfSection[] = [], headers: Header[] = [];
  for (let index = 0; index < count; index++) {
    const at = table + index * SHDR_BYTES;
    nameless.push(parseSection(reader, index, at));
    headers.push({
      name: reader.u32(at + SHDR.name, "sh_name"),
      link: reader.u32(at + SHDR.link, "sh_link"),
      info: reader.u32(at + SHDR.info, "sh_info"),
      entryBytes: reader.number64(at + SHDR.entsize, "sh_entsize"),
    });
  }
  const strings = stringTable(reader, nameless, names, "e_shstrndx");
  const sections = nameless.map((section, index) => ({ ...section, name: strings(headers[index].name, "sh_name") }));
  for (const section of sections) requireLoadable(reader, section);
  return { sections, headers };
}

function parseSection(reader: ImageReader, index: number, at: number): ElfSection {
  const type = reader.u32(at + SHDR.type, "sh_type"), sizeBytes = reader.number64(at + SHDR.size, "sh_size");
  const align = Math.max(1, reader.number64(at + SHDR.addralign, "sh_addralign"));
  if (!isPowerOfTwo(align)) throw reader.error(`section ${index}: aligned to ${align}, which is no power of two`);
  const offset = reader.number64(at + SHDR.offset, "sh_offset");
  const isInFile = type !== SHT.NULL && type !== SHT.NOBITS;
  const bytes = isInFile ? reader.bytes(offset, sizeBytes, `section ${index}`) : new Uint8Array();
  const flags = reader.number64(at + SHDR.flags, "sh_flags");
  return { index, name: "", type, flags, sizeBytes, align, bytes };
}

function isPowerOfTwo(value: number): boolean {
  return Number.isInteger(Math.log2(value));
}

function requireLoadable(reader: ImageReader, { name, type, flags }: ElfSection): void {
  if (!has(flags, SHF.ALLOC)) return;
  const isData = type === SHT.PROGBITS || type === SHT.NOBITS || type === SHT.NOTE || type === SHT.X86_64_UNWIND;
  const isConstructors = type === SHT.INIT_ARRAY || type === SHT.FINI_ARRAY || type === SHT.PREINIT_ARRAY ||
    /^\.(init|fini|ctors(\..*)?|dtors(\..*)?)$/.test(name);
  if (has(flags, SHF.TLS)) throw unsupported(reader, `section ${name}: thread-local storage`);
  if (isConstructors) throw unsupported(reader, `section ${name}: constructors and destructors are not run`);
  if (!isData) throw unsupported(reader, `section ${name}: unknown type ${hex(type)}`);
  if (has(flags, SHF.COMPRESSED)) throw unsupported(reader, `section ${name}: compressed`);
  if (has(flags, SHF.WRITE) && has(flags, SHF.EXECINSTR)) {
    throw unsupported(reader, `section ${name}: writable and executable at once`);
  }
}

/** Whether a section has one of SHF: flags may have more than 32 bits. */
export function has(flags: number, flag: number): boolean {
  return Math.floor(flags / flag) % 2 === 1;
}

/** Looks up strings of the string table with this number. */
function stringTable(reader: ImageReader, sections: readonly ElfSection[], index: number, field: string) {
  const table = sections.at(index);
  if (index >= sections.length || table?.type !== SHT.STRTAB) {
    throw reader.error(`${field} ${index} is no string table`);
  }
  const text = new TextDecoder();
  return (offset: number, field: string): string => {
    const end = offset < table.bytes.length ? table.bytes.indexOf(0, offset) : -1;
    if (end < 0) throw reader.error(`${field} ${hex(offset)} lies outside its string table`);
    const string = text.decode(table.bytes.subarray(offset, end));
    if (/\p{Cc}/u.test(string)) throw reader.error(`${field} ${hex(offset)} is a name with control characters`);
    return string;
  };
}

/** The entries of a table that is a section. */
function entriesOf(reader: ImageReader, { headers }: Sections, table: ElfSection, entryBytes: number): number {
  const stated = headers[table.index].entryBytes;
  if (stated !== entryBytes) throw reader.error(`${table.name}: sh_entsize is ${stated}, not ${entryBytes}`);
  if (table.sizeBytes % entryBytes !== 0) throw reader.error(`${table.name}: ${table.sizeBytes} bytes end in an entry`);
  return table.sizeBytes / entryBytes;
}

function parseSymbols(reader: ImageReader, parts: Sections, table: ElfSection): ElfSymbol[] {
  const count = entriesOf(reader, parts, table, SYM_BYTES), fields = new ImageReader(reader.format, table.bytes);
  const strings = stringTable(reader, parts.sections, parts.headers[table.index].link, `${table.name}: sh_link`);
  return Array.from({ length: count }, (_, index) => {
    const at = index * SYM_BYTES, info = fields.u8(at + SYM.info, "st_info"), binding = info >> 4, type = info & 15;
    const ownName = strings(fields.u32(at + SYM.name, "st_name"), "st_name");
    const sectionIndex = fields.u16(at + SYM.shndx, "st_shndx"), value = fields.u64(at + SYM.value, "st_value");
    const section = parts.sections.at(sectionIndex < parts.sections.length ? sectionIndex : 0)!;
    const name = type === STT.SECTION ? section.name : ownName, what = `symbol ${name === "" ? index : name}`;
    if (name === LTO_MARK) throw unsupported(reader, "compiled with -flto: there is no machine code in it");
    requireKnown(reader, what, binding, type, sectionIndex);
    const place = placeOf(reader, what, sectionIndex, parts.sections);
    if (typeof place === "object" && value > BigInt(place.sizeBytes)) {
      throw reader.error(
        `${what} at ${hex(value)} lies outside section ${place.name} of ${hex(place.sizeBytes)} bytes`,
      );
    }
    const size = fields.u64(at + SYM.size, "st_size");
    return { index, name, binding, type, place, value, sizeBytes: Number(size) };
  });
}

function requireKnown(reader: ImageReader, what: string, binding: number, type: number, section: number): void {
  if (type === STT.COMMON || section === SHN.COMMON) {
    throw unsupported(reader, `${what} is common: it has no place (gcc -fno-common gives it one)`);
  }
  if (type === STT.TLS) throw unsupported(reader, `${what} is thread-local`);
  if (type === STT.GNU_IFUNC) throw unsupported(reader, `${what} is an indirect function (IFUNC)`);
  if (type > STT.FILE) throw unsupported(reader, `${what} has the unknown type ${type}`);
  if (binding > STB.WEAK) throw unsupported(reader, `${what} has the unknown binding ${binding}`);
}

function placeOf(
  reader: ImageReader,
  what: string,
  index: number,
  sections: readonly ElfSection[],
): ElfSymbol["place"] {
  if (index === SHN.UNDEF) return "undefined";
  if (index === SHN.ABS) return "absolute";
  if (index >= sections.length) throw reader.error(`${what} is in the unknown section ${hex(index)}`);
  return sections[index];
}

function parseRelocations(
  reader: ImageReader,
  parts: Sections,
  symbols: readonly ElfSymbol[],
  symbolTable: ElfSection,
): ElfRelocation[] {
  return parts.sections.flatMap((table) => {
    if (table.type !== SHT.RELA && table.type !== SHT.REL) return [];
    const { info, link } = parts.headers[table.index], section = parts.sections.at(info);
    if (info === 0 || info >= parts.sections.length || section === undefined) {
      throw reader.error(`${table.name}: relocates the unknown section ${info}`);
    }
    if (!has(section.flags, SHF.ALLOC)) return [];
    if (table.type === SHT.REL) throw unsupported(reader, `${table.name}: relocations without addends (SHT_REL)`);
    if (link !== symbolTable.index) throw reader.error(`${table.name}: sh_link ${link} is not the symbol table`);
    const count = entriesOf(reader, parts, table, RELA_BYTES);
    return Array.from({ length: count }, (_, index) => parseRelocation(reader, table, index, section, symbols));
  });
}

function parseRelocation(
  reader: ImageReader,
  table: ElfSection,
  index: number,
  section: ElfSection,
  symbols: readonly ElfSymbol[],
): ElfRelocation {
  const fields = new ImageReader(reader.format, table.bytes), at = index * RELA_BYTES;
  const number = fields.u32(at + RELA.info + 4, "r_info");
  if (number >= symbols.length) {
    throw reader.error(`${table.name}: entry ${index} is for symbol ${number} of ${symbols.length}`);
  }
  return {
    type: fields.u32(at + RELA.info, "r_info"),
    section,
    // Rounded, if it is beyond any file: then it lies outside the section as well.
    offset: Number(fields.u64(at + RELA.offset, "r_offset")),
    symbol: symbols[number],
    addend: BigInt.asIntN(64, fields.u64(at + RELA.addend, "r_addend")),
  };
}
