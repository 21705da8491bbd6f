/** Damaged images of every format: a plan that can be carried out, or an ImageError. XENOLITH_PROPERTY_RUNS in all. */

import { assert } from "@std/assert";
import fc from "fast-check";
import { planBoot } from "../../src/boot/loaders.ts";
import { backedRanges } from "../../src/boot/memory_map.ts";
import { type BootPlan, type BootRequest, ImageError } from "../../src/boot/plan.ts";
import {
  bootSectorImage,
  bzImageFile,
  elfImage,
  littleEndian,
  multibootElf,
  multibootFlat,
  TEXT,
  xenNote,
} from "./images.ts";

const RUNS = Number(Deno.env.get("XENOLITH_PROPERTY_RUNS") ?? 100_000);

function twoSegments(bits: 32 | 64): Uint8Array {
  const load = { type: 1, bytes: TEXT, memoryBytes: 0x1000 };
  return elfImage({
    bits,
    parts: [
      { type: 4, bytes: xenNote(littleEndian(0x10_0000, 4)) },
      { ...load, physicalAddress: 0x10_0000 },
      { ...load, physicalAddress: 0x10_1000 },
    ],
  });
}

/** Good images, each with the part of the file in which its headers are. */
const IMAGES: readonly { readonly format: string; readonly image: Uint8Array; readonly headers: [number, number] }[] = [
  { format: "ELF32 with a PVH note", image: twoSegments(32), headers: [0, 200] },
  { format: "ELF64 with a PVH note", image: twoSegments(64), headers: [0, 300] },
  { format: "Multiboot ELF32", image: multibootElf(32), headers: [0, 120] },
  { format: "Multiboot ELF64", image: multibootElf(64), headers: [0, 150] },
  { format: "Multiboot with load addresses", image: multibootFlat(), headers: [16, 48] },
  { format: "64-bit bzImage", image: bzImageFile(), headers: [0x1f1, 0x270] },
  { format: "boot sector", image: bootSectorImage(), headers: [500, 512] },
  { format: "flat image", image: TEXT, headers: [0, 16] },
  { format: "32-bit bzImage", image: bzImageFile({ xloadFlags: 0 }), headers: [0x1f1, 0x270] },
];

// The second is where the images' kernels lie.
const EXTREMES = [
  0n,
  0x10_0000n,
  1n,
  0x7fff_ffffn,
  0x8000_0000n,
  0xffff_f000n,
  0xffff_ffffn,
  2n ** 32n,
  2n ** 52n,
  2n ** 53n - 1n,
]
  .concat([2n ** 53n, 2n ** 63n, 2n ** 64n - 4096n, 2n ** 64n - 1n]);

/** One damage: its kind, where, and two numbers that the kind understands. */
type Damage = readonly [kind: number, inHeaders: boolean, at: number, value: number];

const damages = fc.array(fc.tuple(fc.nat(7), fc.boolean(), fc.nat(0xffff), fc.nat(0xffff)), {
  minLength: 1,
  maxLength: 4,
});

function damaged(original: Uint8Array, headers: [number, number], list: readonly Damage[]): Uint8Array {
  let image = original.slice();
  for (const [kind, inHeaders, where, value] of list) {
    if (image.length < 16) break;
    const [from, to] = inHeaders && headers[1] < image.length ? headers : [0, image.length];
    const at = from + where % (to - from);
    if (kind === 0) image = image.slice(0, at);
    else if (kind === 1) image.copyWithin(at, value % image.length, value % image.length + 32);
    else if (kind <= 4) image[at] ^= 1 << value % 8;
    else writeExtreme(image, at, kind, value);
  }
  return image;
}

// Mostly where fields are: at even offsets.
function writeExtreme(image: Uint8Array, at: number, kind: number, value: number): void {
  const sizeBytes = kind === 7 ? 8 : 4;
  const offset = Math.min(value & 0x8000 ? at : at & ~1, image.length - sizeBytes);
  const extreme = EXTREMES[value % EXTREMES.length];
  const view = new DataView(image.buffer, image.byteOffset);
  if (sizeBytes === 8) view.setBigUint64(offset, extreme, true);
  else view.setUint32(offset, Number(extreme & 0xffff_ffffn), true);
}

const machines = fc.record({
  memoryBytes: fc.constantFrom(1 << 20, 2 << 20, 64 << 20, 5 * 2 ** 30),
  vcpus: fc.constantFrom(1, 1, 1, 2),
  commandLine: fc.constantFrom("", "", "a"),
  initrd: fc.constantFrom(undefined, undefined, new Uint8Array(), new Uint8Array(5000)),
  xen: fc.constantFrom("auto", "on", "off"),
  regions: fc.constantFrom([], [{ address: 2 ** 33, sizeBytes: 2 ** 30 }]),
  deviceTree: fc.boolean(),
  virtio: fc.constantFrom([], [{ address: 0xd000_0000, sizeBytes: 512, gsi: 5, trigger: "edge" as const }]),
  modules: fc.constantFrom([], [], [{ name: "module", bytes: new Uint8Array(100), commandLine: "its own" }]),
});

function planOrError(request: BootRequest): BootPlan | undefined {
  try {
    return planBoot(request);
  } catch (error) {
    if (!(error instanceof ImageError) || error.message.includes("\n")) throw error;
    return undefined;
  }
}

function checkPlan({ segments, memoryMap }: BootPlan, request: BootRequest): void {
  const backed = backedRanges(request.memoryBytes);
  let end = 0;
  let bytes = 0;
  for (const segment of segments) {
    assert(segment.address >= end, `${segment.what} overlaps`);
    end = segment.address + segment.sizeBytes;
    const within = backed.some((r) => segment.address >= r.address && end <= r.address + r.sizeBytes);
    assert(within, `${segment.what} lies outside of memory`);
    bytes += segment.bytes.length;
  }
  assert(bytes < 1 << 20, `${bytes} bytes for a small image`);
  assert(memoryMap.length < 16);
}

for (const { format, image, headers } of IMAGES) {
  Deno.test(`planBoot() of a damaged ${format} gives a sound plan or an ImageError`, () => {
    let plans = 0;
    const property = fc.property(damages, machines, (list, machine) => {
      const request = { ...machine, image: damaged(image, headers, list) };
      const plan = planOrError(request);
      if (!plan) return;
      plans++;
      checkPlan(plan, request);
    });
    // A failure's message carries seed and path; both can be given here to see it again.
    const numRuns = Math.ceil(RUNS / IMAGES.length);
    fc.assert(property, { numRuns });
    // Both outcomes must be common, else the property says little.
    assert(numRuns < 1000 || (plans > numRuns / 50 && plans < numRuns * 0.98), `${plans} plans of ${numRuns}`);
  });
}
