/** parseElfObject(): what it reads, what it refuses, and that damage of any kind is one line (XENOLITH_PROPERTY_RUNS). */

import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { EINVAL, EOPNOTSUPP } from "../../src/linux/errno.ts";
import { EHDR, R_X86_64, SHDR, SHF, SHN, SHT, STB, STT } from "../../src/payload/elf_abi.ts";
import { parseElfObject } from "../../src/payload/elf_object.ts";
import { PayloadError } from "../../src/payload/payload_error.ts";
import { DATA, objectFile, type ObjectParts, READ_ONLY, type SectionPart, TEXT } from "./object_builder.ts";

const RUNS = Number(Deno.env.get("XENOLITH_PROPERTY_RUNS") ?? 2000);

const WHOLE: ObjectParts = {
  sections: [
    { name: ".text", flags: TEXT, bytes: new Uint8Array(32), align: 16 },
    { name: ".rodata", flags: READ_ONLY, bytes: Uint8Array.of(1, 2, 3) },
    { name: ".data", flags: DATA, bytes: new Uint8Array(16), align: 8 },
    { name: ".bss", flags: DATA, type: SHT.NOBITS, sizeBytes: 2 ** 33, align: 32 },
    { name: ".comment", bytes: new Uint8Array(4) },
  ],
  symbols: [
    { name: "file.c", section: SHN.ABS, type: STT.FILE, binding: STB.LOCAL },
    { name: "", section: ".data", type: STT.SECTION, binding: STB.LOCAL },
    { name: "function", section: ".text", type: STT.FUNC, value: 16n, sizeBytes: 16 },
    { name: "constant", section: SHN.ABS, value: -5n },
    { name: "elsewhere", binding: STB.WEAK },
    { name: "end", section: ".text", value: 32n },
  ],
  relocations: [
    { section: ".text", offset: 4, type: R_X86_64.PLT32, symbol: "elsewhere", addend: -4n },
    { section: ".data", offset: 8, type: R_X86_64["64"], symbol: 2, addend: 1n },
    { section: ".comment", offset: 99, type: 77, symbol: "end" },
  ],
};

/** The whole object with these bytes changed. */
function altered(change: (view: DataView, sectionTable: number) => void, parts = WHOLE): Uint8Array {
  const object = objectFile(parts), view = new DataView(object.buffer);
  change(view, Number(view.getBigUint64(EHDR.shoff, true)));
  return object;
}

function withSection(section: Partial<SectionPart>): Uint8Array {
  return objectFile({ sections: [{ name: ".odd", flags: READ_ONLY, bytes: new Uint8Array(8), ...section }] });
}

/** Where a field of a section's header is. */
function header(table: number, index: number, field: number): number {
  return table + index * 64 + field;
}

Deno.test("parseElfObject() reads sections, symbols, and the relocations of what is loaded", () => {
  const { sections, symbols, relocations } = parseElfObject(objectFile(WHOLE), "test");
  assertEquals(
    sections.slice(1, 6).map(({ name, sizeBytes, align, bytes }) => [name, sizeBytes, align, bytes.length]),
    [[".text", 32, 16, 32], [".rodata", 3, 1, 3], [".data", 16, 8, 16], [".bss", 2 ** 33, 32, 0], [
      ".comment",
      4,
      1,
      4,
    ]],
  );
  const places = symbols.map(({ name, place, value }) => [name, typeof place === "string" ? place : place.name, value]);
  assertEquals(places, [
    ["", "undefined", 0n],
    ["file.c", "absolute", 0n],
    [".data", ".data", 0n],
    ["function", ".text", 16n],
    ["constant", "absolute", 2n ** 64n - 5n],
    ["elsewhere", "undefined", 0n],
    ["end", ".text", 32n],
  ]);
  assertEquals(
    relocations.map(({ type, section, offset, symbol, addend }) => [
      type,
      section.name,
      offset,
      symbol.name,
      addend,
    ]),
    [[R_X86_64.PLT32, ".text", 4, "elsewhere", -4n], [R_X86_64["64"], ".data", 8, ".data", 1n]],
  );
});

Deno.test("parseElfObject() says in one line what is wrong with an object", () => {
  const symbol = (changes: Partial<NonNullable<ObjectParts["symbols"]>[number]>) =>
    objectFile({ ...WHOLE, relocations: [], symbols: [{ name: "odd", section: ".text", ...changes }] });
  const cases: [object: Uint8Array, errno: number, message: string][] = [
    [new Uint8Array(), EINVAL, "not an ELF file"],
    [new TextEncoder().encode("#!/bin/sh\n"), EINVAL, "not an ELF file"],
    [objectFile(WHOLE).subarray(0, 40), EINVAL, "e_shoff at 0x28, 0x8 bytes, lies outside the file of 0x28 bytes"],
    [objectFile(WHOLE).subarray(0, -1), EINVAL, "section header table at 0x"],
    [objectFile({ fileType: 2 }), EINVAL, "e_type 2, an executable; an object file (gcc -c) is needed"],
    [objectFile({ fileType: 3 }), EINVAL, "e_type 3, a shared object; an object file"],
    [objectFile({ machine: 183 }), EINVAL, "ELF64 for machine 183; 62 (x86-64) is needed"],
    [objectFile({ fileClass: 1, machine: 3 }), EINVAL, "ELF32; ELF64 is needed"],
    [objectFile({ fileClass: 1, machine: 62 }), EINVAL, "ELF32; ELF64 is needed"],
    [altered((view) => view.setUint8(5, 2)), EINVAL, "not little-endian"],
    [altered((view) => view.setUint16(EHDR.shnum, 0, true)), EINVAL, "no sections"],
    [altered((view) => view.setUint16(EHDR.shentsize, 40, true)), EINVAL, "e_shentsize is 40, not 64"],
    [altered((view) => view.setUint16(EHDR.shnum, 60, true)), EINVAL, "section header table at 0x"],
    [altered((view) => view.setUint16(EHDR.shstrndx, 99, true)), EINVAL, "e_shstrndx 99 is no string table"],
    [altered((view) => view.setUint16(EHDR.shstrndx, 1, true)), EINVAL, "e_shstrndx 1 is no string table"],
    [
      altered((view, table) => view.setBigUint64(header(table, 2, SHDR.offset), 0x7777n, true)),
      EINVAL,
      "section 2 at 0x7777, 0x3 bytes, lies outside the file",
    ],
    [
      altered((view, table) => view.setBigUint64(header(table, 2, SHDR.size), 2n ** 60n, true)),
      EINVAL,
      "sh_size 0x1000000000000000 is beyond any file or memory",
    ],
    [
      altered((view, table) => view.setUint32(header(table, 2, SHDR.name), 0xffff, true)),
      EINVAL,
      "sh_name 0xffff lies outside its string table",
    ],
    [objectFile({ withoutSymbols: true }), EINVAL, "0 symbol tables; one is needed"],
    [withSection({ align: 24 }), EINVAL, "section 1: aligned to 24, which is no power of two"],
    [withSection({ name: "a\nb" }), EINVAL, "is a name with control characters"],
    [withSection({ type: 0x6000_0000 }), EOPNOTSUPP, "section .odd: unknown type 0x60000000"],
    [withSection({ type: SHT.INIT_ARRAY }), EOPNOTSUPP, "section .odd: constructors and destructors are not run"],
    ...[".ctors", ".dtors.65535", ".init", ".fini"].map((name): [Uint8Array, number, string] => [
      withSection({ name }),
      EOPNOTSUPP,
      `section ${name}: constructors and destructors are not run`,
    ]),
    [withSection({ flags: DATA | SHF.TLS }), EOPNOTSUPP, "section .odd: thread-local storage"],
    [withSection({ flags: DATA | SHF.EXECINSTR }), EOPNOTSUPP, "section .odd: writable and executable at once"],
    [withSection({ flags: READ_ONLY | SHF.COMPRESSED }), EOPNOTSUPP, "section .odd: compressed"],
    [
      symbol({ section: SHN.COMMON }),
      EOPNOTSUPP,
      "symbol odd is common: it has no place (gcc -fno-common gives it one)",
    ],
    [symbol({ type: STT.COMMON }), EOPNOTSUPP, "symbol odd is common"],
    [symbol({ type: STT.TLS }), EOPNOTSUPP, "symbol odd is thread-local"],
    [symbol({ type: STT.GNU_IFUNC }), EOPNOTSUPP, "symbol odd is an indirect function (IFUNC)"],
    [symbol({ type: 13 }), EOPNOTSUPP, "symbol odd has the unknown type 13"],
    [symbol({ binding: 10 }), EOPNOTSUPP, "symbol odd has the unknown binding 10"],
    [symbol({ section: 77 }), EINVAL, "symbol odd is in the unknown section 0x4d"],
    [symbol({ section: SHN.XINDEX }), EINVAL, "symbol odd is in the unknown section 0xffff"],
    [symbol({ value: 33n }), EINVAL, "symbol odd at 0x21 lies outside section .text of 0x20 bytes"],
    [
      objectFile({ ...WHOLE, relocations: [{ section: ".text", offset: 0, type: 1, symbol: 50 }] }),
      EINVAL,
      ".rela.text: entry 0 is for symbol 50 of 7",
    ],
    [
      altered((view, table) => view.setUint32(header(table, 6, SHDR.info), 50, true)),
      EINVAL,
      ".rela.text: relocates the unknown section 50",
    ],
    [
      altered((view, table) => view.setUint32(header(table, 6, SHDR.type), SHT.REL, true)),
      EOPNOTSUPP,
      ".rela.text: relocations without addends (SHT_REL)",
    ],
    [
      altered((view, table) => view.setUint32(header(table, 6, SHDR.link), 1, true)),
      EINVAL,
      ".rela.text: sh_link 1 is not the symbol table",
    ],
    [
      altered((view, table) => view.setBigUint64(header(table, 6, SHDR.entsize), 16n, true)),
      EINVAL,
      ".rela.text: sh_entsize is 16, not 24",
    ],
    [
      altered((view, table) => view.setBigUint64(header(table, 6, SHDR.size), 23n, true)),
      EINVAL,
      ".rela.text: 23 bytes end in an entry",
    ],
    [
      altered((view, table) => view.setUint32(header(table, 9, SHDR.link), 1, true)),
      EINVAL,
      ".symtab: sh_link 1 is no string table",
    ],
  ];
  for (const [object, errno, message] of cases) {
    const error = assertThrows(() => parseElfObject(object, "test"), PayloadError, "test: ");
    assertEquals(error.message.includes(message), true, `${error.message} for ${message}`);
    assertEquals([error.errno, error.message.includes("\n")], [errno, false], message);
  }
});

Deno.test("parseElfObject() reads a damaged object or says in one line why not, whatever the damage", () => {
  const object = objectFile(WHOLE);
  const damage = fc.record({
    writes: fc.array(
      fc.record({ at: fc.nat(object.length - 1), value: fc.oneof(fc.constantFrom(0, 1, 0xff), fc.nat(255)) }),
    ),
    keep: fc.oneof({ weight: 3, arbitrary: fc.constant(object.length) }, fc.nat(object.length)),
  });
  let parsed = 0, refused = 0;
  const property = fc.property(damage, ({ writes, keep }) => {
    const copy = object.slice(0, keep);
    for (const { at, value } of writes) if (at < keep) copy[at] = value;
    try {
      parseElfObject(copy, "test");
      parsed++;
    } catch (error) {
      assert(error instanceof PayloadError, String(error));
      assert(/^test: [^\p{Cc}]+$/u.test(error.message), error.message);
      refused++;
    }
  });
  fc.assert(property, { numRuns: RUNS });
  assert(parsed > 0 && refused > 0, `${parsed} parsed, ${refused} refused`);
});
