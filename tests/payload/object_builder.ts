/** Relocatable ELF64 objects, assembled by hand: with all that a compiler would never do. */

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
} from "../../src/payload/elf_abi.ts";

export interface SectionPart {
  readonly name: string;
  readonly type?: number;
  readonly flags?: number;
  readonly bytes?: Uint8Array;
  /** Of NOBITS. */
  readonly sizeBytes?: number;
  readonly align?: number;
  readonly link?: number;
  readonly info?: number;
  readonly entryBytes?: number;
}

export interface SymbolPart {
  readonly name: string;
  /** A section's name, or a number; undefined if there is neither. */
  readonly section?: string | number;
  readonly value?: bigint;
  readonly sizeBytes?: number;
  readonly binding?: number;
  readonly type?: number;
}

export interface RelocationPart {
  readonly section: string;
  readonly offset: number;
  readonly type: number;
  /** A symbol's name, or a number. */
  readonly symbol: string | number;
  readonly addend?: bigint;
}

export interface ObjectParts {
  readonly sections?: readonly SectionPart[];
  readonly symbols?: readonly SymbolPart[];
  readonly relocations?: readonly RelocationPart[];
  readonly fileType?: number;
  readonly machine?: number;
  readonly fileClass?: number;
  readonly withoutSymbols?: boolean;
}

const HEADER_BYTES = 64;
export const TEXT = SHF.ALLOC | SHF.EXECINSTR, DATA = SHF.ALLOC | SHF.WRITE, READ_ONLY = SHF.ALLOC;

/** A string table, and the offsets of its strings. */
function stringTable(strings: readonly string[]): { bytes: Uint8Array; offsets: ReadonlyMap<string, number> } {
  const offsets = new Map<string, number>([["", 0]]);
  let text = "\0";
  for (const string of strings) {
    if (offsets.has(string)) continue;
    offsets.set(string, text.length);
    text += `${string}\0`;
  }
  return { bytes: new TextEncoder().encode(text), offsets };
}

/** The parts of a table, as bytes. */
function table<T>(parts: readonly T[], entryBytes: number, write: (view: DataView, at: number, part: T) => void) {
  const bytes = new Uint8Array(parts.length * entryBytes), view = new DataView(bytes.buffer);
  for (const [index, part] of parts.entries()) write(view, index * entryBytes, part);
  return bytes;
}

/** The object. Its sections come in the order given, from index 1 on; then relocations, symbols, strings, names. */
export function objectFile({ sections: own = [], symbols = [], relocations = [], ...parts }: ObjectParts): Uint8Array {
  const sectionIndex = (name: string | number) =>
    typeof name === "number" ? name : own.findIndex((section) => section.name === name) + 1;
  const symbolIndex = (name: string | number) =>
    typeof name === "number" ? name : symbols.findIndex((symbol) => symbol.name === name) + 1;
  const relocated = [...new Set(relocations.map(({ section }) => section))];
  const symbolTable = own.length + relocated.length + 1, names = stringTable(symbols.map(({ name }) => name));
  const sections: SectionPart[] = [
    { name: "", type: SHT.NULL },
    ...own,
    ...relocated.map((section): SectionPart => ({
      name: `.rela${section}`,
      type: SHT.RELA,
      link: symbolTable,
      info: sectionIndex(section),
      entryBytes: RELA_BYTES,
      bytes: table(relocations.filter((one) => one.section === section), RELA_BYTES, (view, at, part) => {
        view.setBigUint64(at + RELA.offset, BigInt(part.offset), true);
        view.setUint32(at + RELA.info, part.type, true);
        view.setUint32(at + RELA.info + 4, symbolIndex(part.symbol), true);
        view.setBigInt64(at + RELA.addend, part.addend ?? 0n, true);
      }),
    })),
    {
      name: ".symtab",
      type: parts.withoutSymbols === true ? SHT.PROGBITS : SHT.SYMTAB,
      link: symbolTable + 1,
      entryBytes: SYM_BYTES,
      bytes: table([undefined, ...symbols], SYM_BYTES, (view, at, part) => {
        if (part === undefined) return;
        view.setUint32(at + SYM.name, names.offsets.get(part.name)!, true);
        view.setUint8(at + SYM.info, (part.binding ?? STB.GLOBAL) << 4 | (part.type ?? STT.NOTYPE));
        view.setUint16(at + SYM.shndx, part.section === undefined ? SHN.UNDEF : sectionIndex(part.section), true);
        view.setBigUint64(at + SYM.value, BigInt.asUintN(64, part.value ?? 0n), true);
        view.setBigUint64(at + SYM.size, BigInt(part.sizeBytes ?? 0), true);
      }),
    },
    { name: ".strtab", type: SHT.STRTAB, bytes: names.bytes },
  ];
  const sectionNames = stringTable([...sections.map(({ name }) => name), ".shstrtab"]);
  sections.push({ name: ".shstrtab", type: SHT.STRTAB, bytes: sectionNames.bytes });
  return assemble(sections, sectionNames.offsets, parts);
}

function assemble(sections: readonly SectionPart[], names: ReadonlyMap<string, number>, parts: ObjectParts) {
  const chunks: Uint8Array[] = [], offsets: number[] = [];
  let end = HEADER_BYTES;
  for (const { bytes = new Uint8Array() } of sections) {
    offsets.push(end);
    const padded = new Uint8Array(Math.ceil(bytes.length / 8) * 8);
    padded.set(bytes);
    chunks.push(padded);
    end += padded.length;
  }
  const object = new Uint8Array(end + sections.length * SHDR_BYTES), view = new DataView(object.buffer);
  object.set([0x7f, 0x45, 0x4c, 0x46, parts.fileClass ?? 2, 1, 1]);
  view.setUint16(16, parts.fileType ?? ET_REL, true);
  view.setUint16(18, parts.machine ?? 62, true);
  view.setBigUint64(EHDR.shoff, BigInt(end), true);
  view.setUint16(EHDR.shentsize, SHDR_BYTES, true);
  view.setUint16(EHDR.shnum, sections.length, true);
  view.setUint16(EHDR.shstrndx, sections.length - 1, true);
  for (const [index, chunk] of chunks.entries()) object.set(chunk, offsets[index]);
  for (const [index, section] of sections.entries()) {
    const at = end + index * SHDR_BYTES;
    view.setUint32(at + SHDR.name, names.get(section.name)!, true);
    view.setUint32(at + SHDR.type, section.type ?? SHT.PROGBITS, true);
    view.setBigUint64(at + SHDR.flags, BigInt(section.flags ?? 0), true);
    view.setBigUint64(at + SHDR.offset, BigInt(offsets[index]), true);
    view.setBigUint64(at + SHDR.size, BigInt(section.sizeBytes ?? section.bytes?.length ?? 0), true);
    view.setUint32(at + SHDR.link, section.link ?? 0, true);
    view.setUint32(at + SHDR.info, section.info ?? 0, true);
    view.setBigUint64(at + SHDR.addralign, BigInt(section.align ?? 1), true);
    view.setBigUint64(at + SHDR.entsize, BigInt(section.entryBytes ?? 0), true);
  }
  return object;
}
