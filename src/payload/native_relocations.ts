/** The relocations of x86-64 objects: what each makes of a symbol, and which values fit into its field. */

import { hex } from "../boot/bytes.ts";
import { EINVAL, EOPNOTSUPP, EOVERFLOW } from "../linux/errno.ts";
import { R_X86_64 } from "./elf_abi.ts";
import type { ElfRelocation } from "./elf_object.ts";
import { PayloadError } from "./payload_error.ts";

/** What a relocation makes of a symbol. */
export interface RelocationKind {
  readonly name: `${keyof typeof R_X86_64}`;
  readonly sizeBytes: 0 | 4 | 8;
  /** What it leads to: the symbol, its entry in the global offset table, or the table. */
  readonly to: "symbol" | "entry" | "table";
  /** From where the field counts: 0, its own address, or the table. */
  readonly from: "zero" | "place" | "table";
  /** What the processor makes of a field of 32 bits: the upper half are zeroes, or copies of the sign. */
  readonly extends?: "zero" | "sign";
}

/** x86-64 psABI, table 4.9. A call through the PLT becomes a direct one: all that can be called is near. */
const KINDS: readonly RelocationKind[] = [
  { name: "NONE", sizeBytes: 0, to: "symbol", from: "zero" },
  { name: "64", sizeBytes: 8, to: "symbol", from: "zero" },
  { name: "PC64", sizeBytes: 8, to: "symbol", from: "place" },
  { name: "GOTOFF64", sizeBytes: 8, to: "symbol", from: "table" },
  { name: "PLTOFF64", sizeBytes: 8, to: "symbol", from: "table" },
  { name: "GOTPC64", sizeBytes: 8, to: "table", from: "place" },
  { name: "GOT64", sizeBytes: 8, to: "entry", from: "table" },
  { name: "GOTPLT64", sizeBytes: 8, to: "entry", from: "table" },
  { name: "GOTPCREL64", sizeBytes: 8, to: "entry", from: "place" },
  { name: "32", sizeBytes: 4, to: "symbol", from: "zero", extends: "zero" },
  { name: "32S", sizeBytes: 4, to: "symbol", from: "zero", extends: "sign" },
  { name: "PC32", sizeBytes: 4, to: "symbol", from: "place", extends: "sign" },
  { name: "PLT32", sizeBytes: 4, to: "symbol", from: "place", extends: "sign" },
  { name: "GOTPC32", sizeBytes: 4, to: "table", from: "place", extends: "sign" },
  { name: "GOT32", sizeBytes: 4, to: "entry", from: "table", extends: "sign" },
  { name: "GOTPCREL", sizeBytes: 4, to: "entry", from: "place", extends: "sign" },
  { name: "GOTPCRELX", sizeBytes: 4, to: "entry", from: "place", extends: "sign" },
  { name: "REX_GOTPCRELX", sizeBytes: 4, to: "entry", from: "place", extends: "sign" },
];

const BY_TYPE = new Map<number, RelocationKind>(KINDS.map((kind) => [R_X86_64[kind.name], kind]));

/** Undefined: payloads cannot have it. */
export function relocationKind(type: number): RelocationKind | undefined {
  return BY_TYPE.get(type);
}

/** The payload that is relocated. */
export interface Relocated {
  readonly name: string;
  /** The address of the symbol that a relocation is for. @throws {PayloadError} ENOENT nobody has it */
  symbol(relocation: ElfRelocation): bigint;
  /** The address of the symbol's entry in the global offset table, with the symbol's address in it. */
  gotEntry(relocation: ElfRelocation): bigint;
  /** The address of the table; asked for only by relocations that need one. */
  readonly gotAddress: bigint;
}

/**
 * Fills in one place.
 * @param address of the section in the payload @param bytes the section, in its place in memory
 * @throws {PayloadError} EINVAL outside the section; EOPNOTSUPP unknown type; EOVERFLOW out of range; ENOENT
 */
export function relocate(relocation: ElfRelocation, address: bigint, bytes: Uint8Array, payload: Relocated): void {
  const { type, section, offset, symbol, addend } = relocation;
  const where = `${payload.name}: ${section.name}+${hex(offset)}`, kind = relocationKind(type);
  if (kind === undefined) throw new PayloadError(EOPNOTSUPP, `${where}: ${nameOf(type)}: payloads cannot have it`);
  if (kind.sizeBytes === 0) return;
  if (!(offset <= section.sizeBytes - kind.sizeBytes && section.bytes.length > 0)) {
    throw new PayloadError(EINVAL, `${where}: relocation R_X86_64_${kind.name} lies outside the section`);
  }
  if (symbol.index === 0) throw new PayloadError(EINVAL, `${where}: relocation R_X86_64_${kind.name} without a symbol`);
  const to = kind.to === "table"
    ? payload.gotAddress
    : kind.to === "entry"
    ? payload.gotEntry(relocation)
    : payload.symbol(relocation);
  const from = kind.from === "zero" ? 0n : kind.from === "table" ? payload.gotAddress : address + BigInt(offset);
  const exact = to + addend - from;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (kind.sizeBytes === 8) return view.setBigUint64(offset, BigInt.asUintN(64, exact), true);
  const [fits, range] = kind.extends === "zero"
    ? [BigInt.asUintN(32, exact) === BigInt.asUintN(64, exact), "0 to 2^32 - 1"]
    : [BigInt.asIntN(32, exact) === BigInt.asIntN(64, exact), "-2^31 to 2^31 - 1"];
  if (!fits) {
    const value = kind.extends === "zero" ? BigInt.asUintN(64, exact) : BigInt.asIntN(64, exact);
    const what = `relocation R_X86_64_${kind.name} for ${symbol.name}`;
    throw new PayloadError(
      EOVERFLOW,
      `${where}: ${what} is out of range: ${value < 0n ? "-" : ""}${hex(value < 0n ? -value : value)} is not ${range}`,
    );
  }
  view.setUint32(offset, Number(BigInt.asUintN(32, exact)), true);
}

/** As elf.h calls it. */
function nameOf(type: number): string {
  const name = Object.entries(R_X86_64).find(([, value]) => value === type)?.[0];
  return name === undefined ? `unknown relocation type ${type}` : `relocation R_X86_64_${name}`;
}
