/** The framebuffer window on a host of the test's own. XENOLITH_PROPERTY_RUNS runs of the property. */

import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { framebufferSettings } from "../../src/devices/framebuffer_configuration.ts";
import { digestOf, FRAMEBUFFER_ID, PAGE_BYTES, PAGE_PIXELS } from "../../src/devices/framebuffer_registers.ts";
import { FakeFramebuffer } from "./fake_framebuffer.ts";

const RUNS = Number(Deno.env.get("XENOLITH_PROPERTY_RUNS") ?? 500);
const SMALL = { sizeBytes: 4 * PAGE_BYTES, surfaces: 8, vramPages: 16, ahead: 1, migrations: 1 };

Deno.test("framebufferSettings() fills in what is not given", () => {
  const defaults = {
    address: 0xfd00_0000,
    sizeBytes: 0x8_0000,
    surfaces: 8,
    port: 0x510,
    vramPages: 64,
    ahead: 3,
    migrations: 2,
  };
  assertEquals(framebufferSettings(undefined), defaults);
  assertEquals(framebufferSettings(null), defaults);
  assertEquals(framebufferSettings({ ahead: 0, transport: "exit", port: undefined }), {
    ...defaults,
    ahead: 0,
    transport: "exit",
  });
});

for (
  const [configuration, says] of [
    [7, "its configuration is no object: 7"],
    [[1], "its configuration is no object: [1]"],
    [{ size: 1 }, "size is not one of address, sizeBytes, surfaces"],
    [{ address: 0x1001 }, "address 4097 is not a multiple of 4096 from 0 to"],
    [{ address: "0xfd000000" }, 'address "0xfd000000" is not a multiple of 4096'],
    [{ sizeBytes: 0 }, "sizeBytes 0 is not a multiple of 4096 from 4096 to 67108864"],
    [{ surfaces: 65 }, "surfaces 65 is not a whole number from 1 to 64"],
    [{ surfaces: 1.5 }, "surfaces 1.5 is not a whole number"],
    [{ port: 0xfff0 }, "port 65520 is not a multiple of 4 from 0 to 65504"],
    [{ vramPages: 15 }, "vramPages 15 is not a whole number from 16 to 65536"],
    [{ ahead: -1 }, "ahead -1 is not a whole number from 0 to 511"],
    [{ migrations: NaN }, "migrations null is not a whole number from 0 to 1024"],
    [{ transport: "page" }, 'transport "page" is neither "fault" nor "exit"'],
  ] as const
) {
  Deno.test(`a framebuffer refuses ${JSON.stringify(configuration)}`, () => {
    assertThrows(() => framebufferSettings(configuration), Error, `framebuffer window: ${says}`);
  });
}

Deno.test("the registers tell what there is", () => {
  const { transport } = new FakeFramebuffer({ ...SMALL, transport: "exit" });
  assertEquals(transport, "exit");
  const framebuffer = new FakeFramebuffer({ ...SMALL, address: 0x1_4000_0000 });
  assertEquals(framebuffer.get("ID"), FRAMEBUFFER_ID);
  assertEquals(framebuffer.get("WINDOW"), 0x14_0000);
  assertEquals(framebuffer.get("PAGES"), 4);
  assertEquals(framebuffer.get("SURFACES"), 8);
  assertEquals(framebuffer.get("MIGRATE"), 0);
});

Deno.test("a surface that there is not can neither be selected nor displayed", () => {
  const framebuffer = new FakeFramebuffer(SMALL);
  framebuffer.set("SELECT", 7);
  framebuffer.set("FLIP", 6);
  framebuffer.set("SELECT", 8);
  framebuffer.set("FLIP", 0xffff_ffff);
  assertEquals([framebuffer.get("SELECT"), framebuffer.get("FLIP")], [7, 6]);
});

Deno.test("a violation brings the page to VRAM, and maps the next one where it is", () => {
  const framebuffer = new FakeFramebuffer(SMALL);
  framebuffer.access(1, 0);
  const [, first, second] = framebuffer.shown;
  assertEquals([first!.memory.pages, second!.memory.pages], [16, 32]);
  assertEquals(framebuffer.shown.map((page) => page?.readOnly), [undefined, true, true, undefined]);
  assertEquals([framebuffer.violations, framebuffer.get("MIGRATE")], [1, 1]);
});

Deno.test("what is only read is read-only, and the first write makes the page writable", () => {
  const framebuffer = new FakeFramebuffer({ ...SMALL, ahead: 0 });
  framebuffer.access(0, 0);
  framebuffer.access(0, 1);
  assertEquals([framebuffer.violations, framebuffer.isWritable(0)], [1, false]);
  framebuffer.access(0, 0, 5);
  framebuffer.access(0, 1, 6);
  assertEquals([framebuffer.violations, framebuffer.isWritable(0)], [2, true]);
});

Deno.test("a page that is writable stays so when the one before it is read", () => {
  const framebuffer = new FakeFramebuffer(SMALL);
  framebuffer.access(2, 0, 1);
  framebuffer.access(1, 0);
  assertEquals(framebuffer.shown.map((page) => page?.readOnly), [undefined, true, false, false]);
});

Deno.test("on a host without read-only mappings every page is writable, and a flip takes back what was written", () => {
  const framebuffer = new FakeFramebuffer({ ...SMALL, ahead: 0 }, false);
  framebuffer.access(0, 0);
  assertEquals(framebuffer.isWritable(0), true);
  framebuffer.access(0, 9, 7);
  framebuffer.set("FLIP", 0);
  assertEquals(framebuffer.get("DIGEST"), 7 * 19);
  assertEquals(framebuffer.shown[0], undefined);
});

Deno.test("pages that were only read leave VRAM without being copied, those that were written with a copy", () => {
  for (const value of [undefined, 1]) {
    const framebuffer = new FakeFramebuffer({ ...SMALL, ahead: 0 });
    const visit = (surface: number) => {
      framebuffer.set("SELECT", surface);
      for (let page = 0; page < 4; page++) framebuffer.access(page, 0, value);
    };
    for (const surface of [0, 1, 2, 3]) visit(surface);
    assertEquals(framebuffer.copies, 16, "16 pages came to VRAM");
    visit(4);
    assertEquals(framebuffer.copies, value === undefined ? 20 : 24, "4 came, and 4 left");
  }
});

Deno.test("a surface that is selected again is there at once, as far as it is in VRAM", () => {
  const framebuffer = new FakeFramebuffer({ ...SMALL, ahead: 0 });
  for (const page of [0, 1, 3]) framebuffer.access(page, 0, page + 1);
  framebuffer.set("SELECT", 1);
  assertEquals(framebuffer.shown, new Array(4).fill(undefined));
  framebuffer.set("SELECT", 0);
  assertEquals(framebuffer.shown.map((page) => page?.readOnly), [true, true, undefined, true]);
  const { violations } = framebuffer;
  assertEquals([0, 1, 3].map((page) => framebuffer.access(page, 0)), [1, 2, 4]);
  assertEquals(framebuffer.violations, violations);
});

Deno.test("a page that changes places while it is drawn on is mapped at its new place, or at the next violation", () => {
  const framebuffer = new FakeFramebuffer({ ...SMALL, sizeBytes: 2 * PAGE_BYTES, surfaces: 9 });
  const places = () =>
    framebuffer.shown.map((page) => page === undefined ? "" : { 16: "VRAM", 18: "home" }[page.memory.pages]);
  framebuffer.access(0, 0, 1);
  framebuffer.access(1, 0, 2);
  assertEquals(places(), ["VRAM", "home"]);
  framebuffer.set("MIGRATE");
  assertEquals(places(), ["VRAM", "VRAM"]);
  framebuffer.set("MIGRATE");
  assertEquals(places(), ["", "VRAM"]);
  framebuffer.set("MIGRATE");
  assertEquals(places(), ["", ""]);
  assertEquals(framebuffer.access(0, 0), 1);
  assertEquals(places(), ["VRAM", "home"]);
  assertEquals(framebuffer.access(1, 0), 2);
});

type Step =
  | { readonly kind: "write" | "read"; readonly page: number; readonly pixel: number }
  | { readonly kind: "select" | "flip"; readonly surface: number }
  | { readonly kind: "migrate" };

const steps: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: access("write") },
  { weight: 4, arbitrary: access("read") },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("select" as const), surface: fc.nat(3) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("flip" as const), surface: fc.nat(3) }) },
  { weight: 3, arbitrary: fc.constant<Step>({ kind: "migrate" }) },
);

function access<Kind extends "write" | "read">(kind: Kind) {
  return fc.record({ kind: fc.constant(kind), page: fc.nat(11), pixel: fc.nat(PAGE_PIXELS - 1) });
}

const configurations = fc.record({
  sizeBytes: fc.integer({ min: 1, max: 12 }).map((pages) => pages * PAGE_BYTES),
  surfaces: fc.integer({ min: 1, max: 4 }),
  vramPages: fc.integer({ min: 16, max: 20 }),
  ahead: fc.nat(4),
  migrations: fc.nat(6),
  transport: fc.constantFrom("fault" as const, "exit" as const),
});

Deno.test("whatever the guest does, and whenever it writes, no pixel is lost and every digest is right", () => {
  fc.assert(
    fc.property(configurations, fc.boolean(), fc.array(steps, { maxLength: 60 }), (configuration, protects, script) => {
      const framebuffer = new FakeFramebuffer(configuration, protects), { pages } = framebuffer;
      const surfaces = Array.from({ length: configuration.surfaces }, () => new Uint32Array(pages * PAGE_PIXELS));
      let selected = 0, written = 0;
      // Other vCPUs write wherever they can without a violation.
      framebuffer.meanwhile = () => {
        for (let page = 0; page < pages; page++) {
          if (framebuffer.isWritable(page)) write(page, written % PAGE_PIXELS);
        }
      };
      const write = (page: number, pixel: number) => {
        const value = ++written;
        framebuffer.access(page, pixel, value); // if that is a violation, others write meanwhile, and this one after them
        surfaces[selected][page * PAGE_PIXELS + pixel] = value;
      };
      for (const step of script) {
        if (step.kind === "migrate") framebuffer.set("MIGRATE");
        if (step.kind === "write") write(step.page % pages, step.pixel);
        if (step.kind === "read") {
          const page = step.page % pages, expected = surfaces[selected];
          const found = framebuffer.access(page, step.pixel);
          assertEquals(found, expected[page * PAGE_PIXELS + step.pixel]);
        }
        if (step.kind === "select" && step.surface < configuration.surfaces) {
          framebuffer.set("SELECT", step.surface);
          selected = step.surface;
        }
        if (step.kind === "flip" && step.surface < configuration.surfaces) {
          framebuffer.set("FLIP", step.surface);
          assertEquals(framebuffer.get("DIGEST") >>> 0, digestOf(surfaces[step.surface], 0));
        }
      }
      framebuffer.meanwhile = () => {};
      for (const [surface, expected] of surfaces.entries()) {
        framebuffer.set("SELECT", surface);
        for (let page = 0; page < pages; page++) {
          assertEquals(framebuffer.read(page), expected.slice(page * PAGE_PIXELS, (page + 1) * PAGE_PIXELS));
        }
      }
    }),
    { numRuns: RUNS },
  );
});
