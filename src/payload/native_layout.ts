/** Where the sections of an object go: those with the same permissions together, each kind from a page of its own. */

import { EINVAL, ENOMEM } from "../linux/errno.ts";
import { ACCESS, type Access } from "../linux/mapping.ts";
import { PAGE_SIZE, roundUp } from "../memory/address.ts";
import { R_X86_64, SHF, SHT, STB } from "./elf_abi.ts";
import { type ElfObject, type ElfSection, type ElfSymbol, has } from "./elf_object.ts";
import { relocationKind } from "./native_relocations.ts";
import { PayloadError } from "./payload_error.ts";

/** Sections with the same permissions. */
export type Kind = "text" | "readOnly" | "data";

/** In the order in which they lie in the payload's frames. */
export const KINDS: readonly Kind[] = ["text", "readOnly", "data"];

/** What the payload's own view of each allows. */
export const KIND_ACCESS: Readonly<Record<Kind, Access>> = { text: ACCESS.RX, readOnly: ACCESS.R, data: ACCESS.RW };

/** A place in the memory of a kind. */
export interface Place {
  readonly kind: Kind;
  readonly offset: number;
}

export interface NativeLayout {
  /** Of each section that is loaded. */
  readonly places: ReadonlyMap<ElfSection, Place>;
  readonly pages: Readonly<Record<Kind, number>>;
  /** The entry of each symbol in the global offset table: eight bytes of read-only data. */
  readonly got: ReadonlyMap<ElfSymbol, Place>;
  /** The table's beginning, an entry that is nobody's; undefined: nothing asks for it. */
  readonly gotBase: Place | undefined;
  /** A byte of text that is `int3`: where calls of weak symbols lead that nobody has; undefined: there are none. */
  readonly trap: Place | undefined;
}

const GOT_ENTRY_BYTES = 8;

/**
 * Lays an object out.
 * @param mostBytes what the arena has for all of it @param name begins the messages
 * @throws {PayloadError} EINVAL nothing is to be loaded, or aligned to more than a page; ENOMEM it is too large
 */
export function layOut(object: ElfObject, mostBytes: number, name: string): NativeLayout {
  const ends: Record<Kind, number> = { text: 0, readOnly: 0, data: 0 };
  const take = (kind: Kind, sizeBytes: number, align: number): Place => {
    const offset = roundUp(ends[kind], align);
    ends[kind] = offset + sizeBytes;
    if (ends[kind] > mostBytes) throw tooLarge(name, mostBytes);
    return { kind, offset };
  };
  const places = new Map<ElfSection, Place>(), got = new Map<ElfSymbol, Place>();
  for (const section of object.sections) {
    if (!has(section.flags, SHF.ALLOC)) continue;
    if (section.align > PAGE_SIZE) {
      throw new PayloadError(EINVAL, `${name}: section ${section.name}: aligned to ${section.align}, more than a page`);
    }
    places.set(section, take(kindOf(section), section.sizeBytes, section.align));
  }
  let gotBase: Place | undefined, trap: Place | undefined;
  for (const { type, symbol } of object.relocations) {
    const { to, from } = relocationKind(type) ?? {},
      takeEntry = () => take("readOnly", GOT_ENTRY_BYTES, GOT_ENTRY_BYTES);
    if (to === "table" || from === "table") gotBase ??= takeEntry();
    if (to === "entry" && !got.has(symbol)) got.set(symbol, takeEntry());
    if (type === R_X86_64.PLT32 && symbol.place === "undefined" && symbol.binding === STB.WEAK) {
      trap ??= take("text", 1, 1);
    }
  }
  const pagesOf = (kind: Kind) => roundUp(ends[kind], PAGE_SIZE) / PAGE_SIZE;
  const pages = { text: pagesOf("text"), readOnly: pagesOf("readOnly"), data: pagesOf("data") };
  const all = pages.text + pages.readOnly + pages.data;
  if (all === 0) throw new PayloadError(EINVAL, `${name}: nothing to load`);
  if (all * PAGE_SIZE > mostBytes) throw tooLarge(name, mostBytes);
  return { places, pages, got, gotBase, trap };
}

function kindOf({ flags }: ElfSection): Kind {
  if (has(flags, SHF.EXECINSTR)) return "text";
  return has(flags, SHF.WRITE) ? "data" : "readOnly";
}

function tooLarge(name: string, mostBytes: number): PayloadError {
  return new PayloadError(ENOMEM, `${name}: larger than the whole payload arena of ${mostBytes} bytes`);
}

/** Whether a section has something in the file that belongs into memory. */
export function hasBytes({ type }: ElfSection): boolean {
  return type !== SHT.NOBITS;
}
