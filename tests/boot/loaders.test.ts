import { assertEquals, assertThrows } from "@std/assert";
import { loaderOf, LOADERS, planBoot } from "../../src/boot/loaders.ts";
import { ImageError } from "../../src/boot/plan.ts";
import {
  bootSectorImage,
  bzImageFile,
  concatenate,
  elfImage,
  multibootElf,
  multibootFlat,
  multibootHeader,
  pvhImage,
  requestFor,
  TEXT,
} from "./images.ts";

Deno.test("loaderOf() takes the loader by the image's bytes", () => {
  const cases: [image: Uint8Array, format: string][] = [
    [pvhImage(32), "ELF with a Xen PVH note"],
    [pvhImage(64), "ELF with a Xen PVH note"],
    [multibootElf(), "Multiboot"],
    [multibootFlat(), "Multiboot"],
    [bzImageFile(), "Linux bzImage"],
    [elfImage({ bits: 64, parts: [] }), "ELF"],
    [bootSectorImage(), "boot sector"],
    [TEXT, "flat real-mode image"],
  ];
  for (const [image, format] of cases) assertEquals(loaderOf(image).format, format);
});

Deno.test("loaderOf() refuses an empty file", () => {
  assertThrows(() => loaderOf(new Uint8Array()), ImageError, "unknown image format: 0 bytes that begin with nothing");
});

Deno.test("planBoot() says what an ELF file lacks to be a kernel", () => {
  const parts = [{ type: 1, bytes: TEXT, physicalAddress: 0x10_0000 }];
  const plain = elfImage({ bits: 64, parts });
  const deep = concatenate(plain, new Uint8Array(0x4000 - plain.length), multibootHeader(3));
  const cases: [image: Uint8Array, message: string][] = [
    [plain, "ELF: neither a Xen PVH note (type 18) nor a Multiboot header"],
    [deep, "nor a Multiboot header: the one at 0x4000 is not in the first 8192 bytes"],
    [plain.slice(0, 30), "ELF: e_entry at 0x18, 0x8 bytes, lies outside the file of 0x1e bytes"],
    [pvhImage().slice(0, 200), "ELF: note segment 0 at 0xb0"],
  ];
  for (const [image, message] of cases) assertThrows(() => planBoot(requestFor(image)), ImageError, message);
});

Deno.test("planBoot() refuses an entry that 32-bit code cannot have", () => {
  const image = multibootElf(64, 3, {
    entry: 2n ** 32n + 12n,
    parts: [{ type: 1, bytes: concatenate(multibootHeader(3), TEXT), physicalAddress: 2 ** 32 }],
  });
  assertThrows(
    () => planBoot(requestFor(image, { memoryBytes: 5 * 2 ** 30 })),
    ImageError,
    "Multiboot (ELF64): entry 0x10000000c beyond 4 GiB",
  );
});

Deno.test("every loader answers whether an image is its own without throwing", () => {
  for (const image of [new Uint8Array(), new Uint8Array(7), new Uint8Array(512), pvhImage().slice(0, 70)]) {
    for (const loader of LOADERS) loader.recognises(image);
  }
});
