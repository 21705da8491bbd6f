import { assert, assertEquals, assertThrows } from "@std/assert";
import { flat } from "../../src/boot/flat.ts";
import { ImageError } from "../../src/boot/plan.ts";
import { GuestMemory, requestFor } from "./images.ts";

const BIOS = 0xf_0000;

function refusal(image: Uint8Array, message: string): void {
  assertThrows(() => flat.plan(requestFor(image)), ImageError, message);
}

Deno.test("flat recognises anything but nothing", () => {
  assert(flat.recognises(Uint8Array.of(0xf4)));
  assert(!flat.recognises(new Uint8Array()));
});

Deno.test("flat puts the image at 0x1000:0 and lets the BIOS jump there", () => {
  const image = Uint8Array.of(0xb8, 0x01, 0x00, 0xe7, 0xf4);
  const plan = flat.plan(requestFor(image));
  assertEquals([plan.format, plan.entry.mode, plan.entry.code.base], ["flat real-mode image", "real", BIOS]);
  const memory = new GuestMemory(plan.segments);
  assertEquals(memory.bytes(0x1_0000, image.length), image);
  assertEquals([...memory.bytes(BIOS + 9, 5)], [1, 0x00, 0x00, 0x00, 0x10]);
  assertEquals(memory.u32(BIOS + 20), 0, "no drive");
});

Deno.test("flat takes images that leave 4 KiB of the segment for the stack", () => {
  flat.plan(requestFor(new Uint8Array(0xf000).fill(0x90)));
  refusal(
    new Uint8Array(0xf001).fill(0x90),
    "unknown image format: 0xf001 bytes, and a flat real-mode image has at most 0xf000",
  );
});

Deno.test("flat refuses what is evidently something else", () => {
  const text = (characters: string) => new TextEncoder().encode(characters);
  refusal(text("#!/bin/sh\n"), "the file is a script");
  refusal(text("console.log(1);\r\n"), "the file is text");
  refusal(Uint8Array.of(0x1f, 0x8b, 0x08, 0x00), "the file is gzip-compressed");
  refusal(Uint8Array.of(0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00, 0x00), "the file is xz-compressed");
  refusal(Uint8Array.of(0x4d, 0x5a, 0x90, 0x00), "the file is a DOS or Windows program");
  refusal(Uint8Array.of(0x50, 0x4b, 0x03, 0x04, 0x14), "the file is a zip archive");
  refusal(Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d), "the file is a PNG picture");
  refusal(text("%PDF-1.7\n\x80"), "the file is a PDF document");
  refusal(new Uint8Array(700), "the file is nothing but zeros");
});

Deno.test("flat takes code that has text in it", () => {
  flat.plan(requestFor(new TextEncoder().encode("\xebhello, world\r\n")));
});

Deno.test("flat refuses an initrd, modules and a command line", () => {
  const request = requestFor(Uint8Array.of(0xf4), { commandLine: "x" });
  assertThrows(() => flat.plan(request), ImageError, "flat real-mode image: this format cannot carry a command line");
});
