/** The relocations of x86-64 objects: what each makes of a symbol, and which values fit into its field. */

import { hex } from "../boot/bytes.ts";
import { EINVAL, EOPNOTSUPP, EOVERFLOW } from "../linux/errno.ts";
import { R_X86_64 } from "./elf_abi.ts";
import type { ElfRelocation } from "./elf_object.ts";
import { PayloadError } from "./payload_error.ts";

interface Kind {
  readonly name: `${keyof typeof R_X86_64}`;
  readonly sizeBytes: 0 | 4 | 8;
  /** From what the field counts: 0, its own address; and whether to the symbol or to its entry in the GOT. */
  readonly value: "S + A" | "S + A - P" | "GOT + A - P";
  /** What the processor makes of a field of 32 bits: the upper half are zeroes, or copies of the sign. */
  readonly extends?: "zero" | "sign";
}

/** x86-64 psABI, table 4.9. A call through the PLT becomes a direct one: all that can be called is near. */
const KINDS: readonly Kind[] = [
  { name: "NONE", sizeBytes: 0, value: "S + A" },
  { name: "64", sizeBytes: 8, value: "S + A" },
  { name: "PC64", sizeBytes: 8, value: "S + A - P" },
  { name: "32", sizeBytes: 4, value: "S + A", extends: "zero" },
  { name: "32S", sizeBytes: 4, value: "S + A", extends: "sign" },
  { name: "PC32", sizeBytes: 4, value: "S + A - P", extends: "sign" },
  { name: "PLT32", sizeBytes: 4, value: "S + A - P", extends: "sign" },
  { name: "GOTPCREL", sizeBytes: 4, value: "GOT + A - P", extends: "sign" },
  { name: "GOTPCRELX", sizeBytes: 4, value: "GOT + A - P", extends: "sign" },
  { name: "REX_GOTPCRELX", sizeBytes: 4, value: "GOT + A - P", extends: "sign" },
];

const BY_TYPE = new Map<number, Kind>(KINDS.map((kind) => [R_X86_64[kind.name], kind]));

/** The payload that is relocated. */
export interface Relocated {
  readonly name: string;
  /** The address of the symbol that a relocation is for. @throws {PayloadError} ENOENT nobody has it */
  symbol(relocation: ElfRelocation): bigint;
  /** The address of the symbol's entry in the global offset table, with the symbol's address in it. */
  gotEntry(relocation: ElfRelocation): bigint;
}

/**
 * Fills in one place.
 * @param address of the section in the payload @param bytes the section, in its place in memory
 * @throws {PayloadError} EINVAL outside the section; EOPNOTSUPP unknown type; EOVERFLOW out of range; ENOENT
 */
export function relocate(relocation: ElfRelocation, address: bigint, bytes: Uint8Array, payload: Relocated): void {
  const { type, section, offset, symbol, addend } = relocation;
  const where = `${payload.name}: ${section.name}+${hex(offset)}`, kind = BY_TYPE.get(type);
  if (kind === undefined) throw new PayloadError(EOPNOTSUPP, `${where}: unknown relocation type ${type}`);
  if (kind.sizeBytes === 0) return;
  if (!(offset <= section.sizeBytes - kind.sizeBytes && section.bytes.length > 0)) {
    throw new PayloadError(EINVAL, `${where}: relocation R_X86_64_${kind.name} lies outside the section`);
  }
  if (symbol.index === 0) throw new PayloadError(EINVAL, `${where}: relocation R_X86_64_${kind.name} without a symbol`);
  const target = kind.value === "GOT + A - P" ? payload.gotEntry(relocation) : payload.symbol(relocation);
  const from = kind.value === "S + A" ? 0n : address + BigInt(offset), exact = target + addend - from;
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
