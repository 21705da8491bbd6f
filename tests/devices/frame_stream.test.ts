/** Frames in a stream: however it is cut, they come out as they went in, and what is nonsense is seen. */

import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { FrameReader, FrameWriter, MOST_STREAM_FRAME_BYTES, SIZE_BYTES } from "../../src/devices/frame_stream.ts";
import { ETHERNET_HEADER_BYTES, MOST_FRAME_BYTES } from "../../src/virtio/net_abi.ts";

const RUNS = Number(Deno.env.get("XENOLITH_PROPERTY_RUNS") ?? 1000);

function framed(size: number, first = 0): number[] {
  return [size >>> 24, size >> 16 & 0xff, size >> 8 & 0xff, size & 0xff, ...body(size, first)];
}

function body(size: number, first: number): number[] {
  return Array.from({ length: size }, (_, index) => (first + index) % 251);
}

/** Puts bytes in, in such pieces, and takes out what there is after each. */
function read(bytes: readonly number[], cuts: readonly number[]): (number[] | "nonsense")[] {
  const reader = new FrameReader(), frame = new Uint8Array(MOST_FRAME_BYTES), found: (number[] | "nonsense")[] = [];
  for (let at = 0, piece = 0; at < bytes.length; piece++) {
    reader.makeRoom();
    const size = Math.min(cuts[piece % cuts.length], reader.roomBytes, bytes.length - at);
    reader.bytes.set(bytes.slice(at, at + size), reader.end);
    reader.filled(size);
    at += size;
    for (let taken = reader.next(frame); taken !== 0; taken = reader.next(frame)) {
      if (taken < 0) return [...found, "nonsense"];
      found.push([...frame.subarray(0, taken)]);
    }
  }
  return found;
}

Deno.test("frames come out as they went in, however the stream is cut; runts and giants are left out", () => {
  const size = fc.oneof(
    { weight: 8, arbitrary: fc.integer({ min: 1, max: 200 }) },
    { weight: 2, arbitrary: fc.constantFrom(13, 14, 1514, MOST_FRAME_BYTES, MOST_FRAME_BYTES + 1) },
    { weight: 1, arbitrary: fc.constantFrom(65_535, MOST_STREAM_FRAME_BYTES) },
  );
  const sizes = fc.array(size, { maxLength: 12 }), cuts = fc.array(fc.integer({ min: 1, max: 5000 }), { minLength: 1 });
  fc.assert(
    fc.property(sizes, cuts, (sizes, cuts) => {
      const bytes = sizes.flatMap((size, index) => framed(size, index));
      const isFrame = (size: number) => size >= ETHERNET_HEADER_BYTES && size <= MOST_FRAME_BYTES;
      const expected = sizes.map((size, index) => body(size, index)).filter(({ length }) => isFrame(length));
      assertEquals(read(bytes, cuts), expected);
    }),
    { numRuns: Math.ceil(RUNS / 10) },
  );
});

for (const size of [0, MOST_STREAM_FRAME_BYTES + 1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff]) {
  Deno.test(`a size of 0x${size.toString(16)} is nonsense, whatever came before`, () => {
    const bytes = [...framed(60), ...[24, 16, 8, 0].map((shift) => size >>> shift & 0xff), 1, 2, 3];
    for (const cuts of [[bytes.length], [1]]) assertEquals(read(bytes, cuts), [body(60, 0), "nonsense"]);
  });
}

Deno.test("whatever comes, a reader neither throws nor runs out of room", () => {
  const bytes = fc.array(fc.constantFrom(0, 0, 0, 0, 1, 4, 14, 60, 255), { maxLength: 400 });
  fc.assert(
    fc.property(bytes, fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1 }), (bytes, cuts) => {
      for (const frame of read(bytes, cuts)) assertEquals(frame === "nonsense" || frame.length >= 14, true);
    }),
    { numRuns: RUNS },
  );
});

Deno.test("a frame that goes out in pieces is cut until its last byte is sent", () => {
  const writer = new FrameWriter(), frame = Uint8Array.from(body(MOST_FRAME_BYTES, 3));
  writer.begin(frame, 1514);
  assertEquals([writer.left, writer.isCut], [SIZE_BYTES + 1514, false]);
  assertEquals([...writer.bytes.subarray(0, SIZE_BYTES + 1514)], framed(1514, 3));
  const start = writer.address;
  writer.sent(3);
  assertEquals([writer.address - start, writer.left, writer.isCut], [3, 1515, true]);
  writer.sent(1515);
  assertEquals([writer.left, writer.isCut], [0, false]);
});
