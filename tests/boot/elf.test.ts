import { assertEquals, assertThrows } from "@std/assert";
import { elfNotes, elfSegments, parseElf, physicalEntry } from "../../src/boot/elf.ts";
import { ImageError } from "../../src/boot/plan.ts";
import { concatenate, elfImage, type ElfPart, note, TEXT } from "./images.ts";

const LOAD: ElfPart = { type: 1, bytes: TEXT, physicalAddress: 0x10_0000, memoryBytes: 0x1000 };

function withPart(changes: Partial<ElfPart>, bits: 32 | 64 = 64): Uint8Array {
  return elfImage({ bits, parts: [{ ...LOAD, ...changes }] });
}

for (const bits of [32, 64] as const) {
  Deno.test(`parseElf() reads header, segments and notes of an ELF${bits} file`, () => {
    const notes = concatenate(note("GNU", 1, new Uint8Array(5)), note("Xen", 18, Uint8Array.of(1, 2, 3, 4)));
    const elf = parseElf(elfImage({ bits, parts: [LOAD, { type: 4, bytes: notes }] }), "ELF");
    assertEquals([elf.bits, elf.entry], [bits, 0x10_0000n]);
    assertEquals(elfSegments(elf), [
      { what: "kernel segment 0", address: 0x10_0000, sizeBytes: 0x1000, bytes: TEXT },
    ]);
    assertEquals(elfNotes(elf), [
      { name: "GNU", type: 1, descriptor: new Uint8Array(5) },
      { name: "Xen", type: 18, descriptor: Uint8Array.of(1, 2, 3, 4) },
    ]);
  });
}

Deno.test("parseElf() refuses what is not an x86 executable", () => {
  const cases: [image: Uint8Array, message: string][] = [
    [Uint8Array.of(0x7f, 0x45, 0x4c, 0x46), "ELF class at 0x4, 0x1 bytes, lies outside the file of 0x4 bytes"],
    [elfImage({ bits: 64, parts: [LOAD] }).fill(3, 4, 5), "ELF class 3 is neither 32 nor 64 bits"],
    [elfImage({ bits: 64, parts: [LOAD], dataEncoding: 2 }), "not little-endian"],
    [elfImage({ bits: 64, parts: [LOAD], fileType: 1 }), "e_type 1, an object file that is not linked"],
    [elfImage({ bits: 64, parts: [LOAD], machine: 183 }), "ELF64 for machine 183; 62 (x86-64) is needed"],
    [elfImage({ bits: 32, parts: [LOAD], machine: 62 }), "ELF32 for machine 62; 3 (386) is needed"],
    [elfImage({ bits: 64, parts: [] }), "no program headers"],
    [elfImage({ bits: 64, parts: [LOAD], programHeaderBytes: 32 }), "e_phentsize is 32, not 56"],
    [elfImage({ bits: 64, parts: [LOAD] }).slice(0, 100), "program header table at 0x40, 0x38 bytes, lies outside"],
    [withPart({ physicalAddress: 2 ** 60 }), "p_paddr 0x1000000000000000 is beyond any file or memory"],
  ];
  for (const [image, message] of cases) assertThrows(() => parseElf(image, "ELF"), ImageError, message);
});

Deno.test("elfSegments() refuses segments that are not in the file, or larger there than in memory", () => {
  const cases: [part: Partial<ElfPart>, message: string][] = [
    [{ offset: 0x1000 }, "segment 0 at 0x1000, 0x40 bytes, lies outside the file of 0xc0 bytes"],
    [{ fileBytes: 0x800 }, "segment 0 at 0x80, 0x800 bytes, lies outside the file of 0xc0 bytes"],
    [{ memoryBytes: 0x20 }, "segment 0: 0x40 bytes in the file, 0x20 in memory"],
    [{ memoryBytes: 0, fileBytes: 0 }, "no segment to load"],
  ];
  for (const [part, message] of cases) {
    assertThrows(() => elfSegments(parseElf(withPart(part), "ELF")), ImageError, message);
  }
});

Deno.test("elfSegments() takes a segment without bytes in the file at any offset", () => {
  const [segment] = elfSegments(parseElf(withPart({ fileBytes: 0, memoryBytes: 0x1000, offset: 0x7777 }), "ELF"));
  assertEquals([segment.sizeBytes, segment.bytes.length], [0x1000, 0]);
});

Deno.test("elfNotes() refuses a note that does not end in its segment", () => {
  const cut = note("Xen", 18, new Uint8Array(8)).subarray(0, 20);
  const elf = parseElf(elfImage({ bits: 64, parts: [{ type: 4, bytes: cut }] }), "ELF");
  assertThrows(() => elfNotes(elf), ImageError, "note segment 0: note descriptor at 0x10, 0x8 bytes, lies outside");
});

Deno.test("physicalEntry() takes e_entry for a virtual address where a segment has it", () => {
  const high = 0xffff_ffff_8000_0000n;
  const image = (entry: bigint) => elfImage({ bits: 64, entry, parts: [{ ...LOAD, virtualAddress: high }] });
  assertEquals(physicalEntry(parseElf(image(high + 0x20n), "ELF")), 0x10_0020);
  assertEquals(physicalEntry(parseElf(image(0x10_0020n), "ELF")), 0x10_0020);
  assertThrows(
    () => physicalEntry(parseElf(image(high + 0x1000n), "ELF")),
    ImageError,
    "entry 0xffffffff80001000 lies in no segment",
  );
});
