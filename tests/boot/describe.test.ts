import { assertArrayIncludes, assertEquals } from "@std/assert";
import { describeImage, formatDescription } from "../../src/boot/describe.ts";
import { pvhImage, requestFor } from "./images.ts";

Deno.test("describeImage() is a plain object that survives JSON", () => {
  const description = describeImage(requestFor(pvhImage()));
  assertEquals(JSON.parse(JSON.stringify(description)), description);
  assertArrayIncludes(description.segments, [
    { what: "kernel segment 1", address: 0x10_0000, sizeBytes: 0x1000, fileBytes: 64 },
  ]);
  assertArrayIncludes(description.memoryMap, [{ address: 0x10_0000, sizeBytes: 63 << 20, type: 1, name: "RAM" }]);
});

Deno.test("formatDescription() gives format, entry, segments and memory map, one a line", () => {
  const lines = formatDescription(describeImage(requestFor(pvhImage())));
  assertArrayIncludes(lines, [
    "format      ELF64 with a Xen PVH note",
    "segment     0x100000..0x101000              0x1000  kernel segment 1",
    "memory map  0x9fc00..0xa0000                 0x400  RESERVED",
  ]);
  assertEquals(lines[1].replace(/0x9[0-9a-f]{4}$/, "X"), "entry       0x100010 in protected mode rbx=X");
});
