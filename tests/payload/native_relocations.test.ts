/** relocate(): what each type of relocation writes, up to the last value that fits, and what it refuses. */

import { assertEquals, assertThrows } from "@std/assert";
import { EINVAL, ENOENT, EOPNOTSUPP, EOVERFLOW } from "../../src/linux/errno.ts";
import { R_X86_64 } from "../../src/payload/elf_abi.ts";
import { type ElfRelocation, parseElfObject } from "../../src/payload/elf_object.ts";
import { relocate, relocationKind } from "../../src/payload/native_relocations.ts";
import { PayloadError } from "../../src/payload/payload_error.ts";
import { objectFile, TEXT } from "./object_builder.ts";

const SECTION = 0x7f12_3456_7000n, OFFSET = 4, PLACE = SECTION + 4n, SECTION_BYTES = 16;
/** Of the symbol's entry in the global offset table. */
const GOT = PLACE + 0x1000n;
/** Of the table. */
const TABLE = PLACE + 0x800n;
const UNUSED = 0xaa;

type Type = `${keyof typeof R_X86_64}`;

/** A relocation in a section of 16 bytes. */
function relocation(type: number, addend: bigint, offset = OFFSET, symbol: string | number = "target"): ElfRelocation {
  const object = objectFile({
    sections: [{ name: ".text", flags: TEXT, bytes: new Uint8Array(SECTION_BYTES) }],
    symbols: [{ name: "target" }],
    relocations: [{ section: ".text", offset, type, symbol, addend }],
  });
  return parseElfObject(object, "test").relocations[0];
}

/** What stands in the section afterwards. */
function relocated(one: ElfRelocation, symbol: bigint): Uint8Array {
  const bytes = new Uint8Array(SECTION_BYTES).fill(UNUSED);
  relocate(one, SECTION, bytes, { name: "test", symbol: () => symbol, gotEntry: () => GOT, gotAddress: TABLE });
  return bytes;
}

/** A field of the section, whose other bytes must be as they were. */
function field(bytes: Uint8Array, sizeBytes: number): bigint {
  const rest = [...bytes.subarray(0, OFFSET), ...bytes.subarray(OFFSET + sizeBytes)];
  assertEquals(rest, new Array(SECTION_BYTES - sizeBytes).fill(UNUSED));
  return bytes.subarray(OFFSET, OFFSET + sizeBytes).reduceRight((sum, byte) => sum << 8n | BigInt(byte), 0n);
}

Deno.test("each type of relocation writes S, A and P as the psABI has them, up to the limits of its field", () => {
  const low = -(2n ** 31n), high = 2n ** 31n - 1n;
  const cases: [type: Type, symbol: bigint, addend: bigint, value: bigint][] = [
    ["64", 0x1234_5678_9abc_def0n, 0n, 0x1234_5678_9abc_def0n],
    ["64", 8n, -9n, -1n],
    ["64", 2n ** 64n - 1n, 2n, 1n],
    ["PC64", PLACE, 0n, 0n],
    ["PC64", 0n, 0n, -PLACE],
    ["PC64", PLACE - 2n ** 40n, 1n, 1n - 2n ** 40n],
    ["32", 0n, 0n, 0n],
    ["32", 2n ** 32n, -1n, 2n ** 32n - 1n],
    ["32S", 0n, high, high],
    ["32S", 0n, low, low],
    ["32S", 2n ** 64n - 1n, 0n, -1n],
  ];
  for (const type of ["PC32", "PLT32"] as const) {
    cases.push([type, PLACE, -4n, -4n], [type, PLACE + high, 0n, high], [type, PLACE + low + 4n, -4n, low]);
  }
  for (const type of ["GOTPCREL", "GOTPCRELX", "REX_GOTPCRELX"] as const) {
    cases.push([type, 0n, -4n, 0x1000n - 4n], [type, 0n, high - 0x1000n, high], [type, 0n, low - 0x1000n, low]);
  }
  const table: [type: Type, value: bigint][] = [
    ["GOTOFF64", PLACE - 1n - TABLE],
    ["PLTOFF64", PLACE - 1n - TABLE],
    ["GOTPC64", 0x7ffn],
    ["GOTPC32", 0x7ffn],
    ["GOT64", 0x7ffn],
    ["GOT32", 0x7ffn],
    ["GOTPLT64", 0x7ffn],
    ["GOTPCREL64", 0xfffn],
  ];
  for (const [type, value] of table) cases.push([type, PLACE, -1n, value]);
  for (const [type, symbol, addend, value] of cases) {
    const sizeBytes = type.endsWith("64") ? 8 : 4, what = `${type}: ${symbol} + ${addend}`;
    const bytes = relocated(relocation(R_X86_64[type], addend), symbol);
    assertEquals(field(bytes, sizeBytes), BigInt.asUintN(sizeBytes * 8, value), what);
  }
  const nothing = relocated(relocation(R_X86_64.NONE, 1n, 99, 0), 2n);
  assertEquals(nothing, new Uint8Array(SECTION_BYTES).fill(UNUSED));
  const taken = new Set(["NONE", ...cases.map(([type]) => type)]);
  for (const [name, type] of Object.entries(R_X86_64)) {
    assertEquals(relocationKind(type)?.name === name, taken.has(name), name);
  }
});

Deno.test("a value that does not fit is refused: symbol, section, offset, value and range in one line", () => {
  const low = -(2n ** 31n), high = 2n ** 31n - 1n, signed = "is not -2^31 to 2^31 - 1";
  const cases: [type: Type, symbol: bigint, addend: bigint, problem: string][] = [
    ["32", 2n ** 32n, 0n, "0x100000000 is not 0 to 2^32 - 1"],
    ["32", 0n, -1n, "0xffffffffffffffff is not 0 to 2^32 - 1"],
    ["32S", high, 1n, `0x80000000 ${signed}`],
    ["32S", 0n, low - 1n, `-0x80000001 ${signed}`],
    ["32S", SECTION, 0n, `0x7f1234567000 ${signed}`],
  ];
  for (const type of ["PC32", "PLT32"] as const) {
    cases.push([type, PLACE + high, 1n, `0x80000000 ${signed}`], [type, PLACE + low, -1n, `-0x80000001 ${signed}`]);
  }
  for (const type of ["GOTPCREL", "GOTPCRELX", "REX_GOTPCRELX"] as const) {
    cases.push([type, 0n, high, `0x80000fff ${signed}`], [type, 0n, low - 0x1001n, `-0x80000001 ${signed}`]);
  }
  for (const [type, symbol, addend, problem] of cases) {
    const error = assertThrows(() => relocated(relocation(R_X86_64[type], addend), symbol), PayloadError);
    const message = `test: .text+0x4: relocation R_X86_64_${type} for target is out of range: ${problem}`;
    assertEquals([error.errno, error.message], [EOVERFLOW, message]);
  }
});

Deno.test("a relocation of unknown type, outside its section, or for no symbol is refused", () => {
  const type = R_X86_64.PC32;
  const cases: [one: ElfRelocation, errno: number, message: string][] = [
    [relocation(99, 0n), EOPNOTSUPP, "test: .text+0x4: unknown relocation type 99: payloads cannot have it"],
    [
      relocation(R_X86_64.TPOFF32, 0n),
      EOPNOTSUPP,
      "test: .text+0x4: relocation R_X86_64_TPOFF32: payloads cannot have it",
    ],
    [relocation(type, 0n, 13), EINVAL, "test: .text+0xd: relocation R_X86_64_PC32 lies outside the section"],
    [relocation(R_X86_64["64"], 0n, 9), EINVAL, "test: .text+0x9: relocation R_X86_64_64 lies outside the section"],
    [relocation(type, 0n, 2 ** 60), EINVAL, "test: .text+0x1000000000000000: relocation R_X86_64_PC32 lies outside"],
    [relocation(type, 0n, OFFSET, 0), EINVAL, "test: .text+0x4: relocation R_X86_64_PC32 without a symbol"],
  ];
  for (const [one, errno, message] of cases) {
    const error = assertThrows(() => relocated(one, 0n), PayloadError, message);
    assertEquals(error.errno, errno);
  }
  const missing = new PayloadError(ENOENT, "not there");
  const nobody = {
    name: "test",
    symbol: (): bigint => {
      throw missing;
    },
    gotEntry: () => 0n,
    gotAddress: 0n,
  };
  const error = assertThrows(() => relocate(relocation(type, 0n), SECTION, new Uint8Array(16), nobody), PayloadError);
  assertEquals(error, missing);
});
