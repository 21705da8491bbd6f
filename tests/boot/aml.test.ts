import { assertEquals, assertThrows } from "@std/assert";
import {
  buffer,
  concat,
  device,
  eisaId,
  integer,
  ioPorts,
  isaInterrupt,
  name,
  packageOf,
  resourceTemplate,
  scope,
  text,
} from "../../src/boot/aml.ts";

function hexOf(bytes: Uint8Array): string {
  return bytes.toHex();
}

Deno.test("integer() takes the shortest form", () => {
  const forms = [0, 1, 2, 255, 256, 65535, 65536, 0xffff_ffff].map((value) => hexOf(integer(value)));
  assertEquals(forms, ["00", "01", "0a02", "0aff", "0b0001", "0bffff", "0c00000100", "0cffffffff"]);
});

Deno.test("eisaId() packs three letters and four digits", () => {
  assertEquals(hexOf(eisaId("PNP0501")), "0c41d00501");
  assertEquals(hexOf(eisaId("PNP0B00")), "0c41d00b00");
});

Deno.test("name() encodes paths of one, two and more segments, absolute or not", () => {
  assertEquals(hexOf(name("A", integer(0))), "08" + "415f5f5f" + "00");
  assertEquals(hexOf(name("\\_S5", integer(0))), "085c" + "5f53355f" + "00");
  assertEquals(hexOf(name("\\_SB.CPU0", integer(0))), "085c2e" + "5f53425f" + "43505530" + "00");
  assertEquals(hexOf(name("A.B.C", integer(0))), "082f03" + "415f5f5f" + "425f5f5f" + "435f5f5f" + "00");
  for (const bad of ["", "lower", "5ABC", "ABCDE", "A..B"]) assertThrows(() => name(bad, integer(0)), RangeError, bad);
});

Deno.test("packageOf(), text() and resourceTemplate() nest", () => {
  assertEquals(hexOf(packageOf(text("a"), integer(5))), "12" + "07" + "02" + "0d6100" + "0a05");
  assertEquals(
    hexOf(resourceTemplate(ioPorts(0x3f8, 8), isaInterrupt(4))),
    "11" + "10" + "0a0d" + "4701f803f8030108" + "221000" + "7900",
  );
});

Deno.test("device() counts the bytes of its own length", () => {
  // The body: 4 bytes of name, and a buffer with its opcode, length, size and bytes.
  const lengthBytes = (bytes: number) => {
    const aml = device("DEV", buffer(new Uint8Array(bytes)));
    const lead = aml[2]!;
    const more = lead >> 6;
    const length = more === 0 ? lead & 63 : Array.from(aml.subarray(3, 3 + more)).reduce(
      (sum, byte, index) => sum + byte * 2 ** (4 + 8 * index),
      lead & 15,
    );
    assertEquals(length, aml.length - 2, `a buffer of ${bytes}`);
    return 1 + more;
  };
  assertEquals([10, 54, 55, 56, 4082, 4083, 4084, 4085, 2 ** 20].map(lengthBytes), [1, 1, 2, 2, 2, 2, 3, 3, 4]);
});

Deno.test("scope() holds its terms in order", () => {
  const terms = [device("A"), device("B")];
  assertEquals(scope("\\_SB", ...terms).subarray(7), concat(terms));
});
