/** FrameTable: every count, every refusal, and any sequence against a naive model (XENOLITH_PROPERTY_RUNS runs). */

import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import type { Mfn } from "../../src/memory/address.ts";
import { FRAME_TYPE, FrameError, FrameTable, type FrameType } from "../../src/memory/frame_table.ts";

const RUNS = Number(Deno.env.get("XENOLITH_PROPERTY_RUNS") ?? 1000);
const FIRST = 0x1200, FRAMES = 4;
const mfn = (frame: number) => FIRST + frame as Mfn;

function table(): { frames: FrameTable; words: Int32Array } {
  const memory = new ArrayBuffer(FrameTable.sizeBytes(FRAMES));
  return { frames: new FrameTable(memory, FIRST as Mfn, FRAMES), words: new Int32Array(memory) };
}

Deno.test("get() and put() count references to one frame and to all", () => {
  const { frames } = table();
  frames.get(mfn(0));
  frames.get(mfn(0));
  frames.get(mfn(3));
  assertEquals([0, 1, 2, 3].map((frame) => frames.referencesTo(mfn(frame))), [2, 0, 0, 1]);
  assertEquals(frames.references, 3);
  frames.put(mfn(0));
  frames.put(mfn(3));
  assertEquals([0, 1, 2, 3].map((frame) => frames.referencesTo(mfn(frame))), [1, 0, 0, 0]);
  assertEquals(frames.references, 1);
});

Deno.test("put() refuses to give back what nobody holds, and changes nothing", () => {
  const { frames, words } = table();
  frames.get(mfn(1));
  const before = words.slice();
  assertThrows(() => frames.put(mfn(0)), FrameError, "mfn 0x1200 has no reference to give back");
  assertEquals(words, before);
});

Deno.test("a frame that is used as one type cannot be had as another until every use is given back", () => {
  const { frames, words } = table();
  frames.getType(mfn(2), FRAME_TYPE.WRITABLE);
  frames.getType(mfn(2), FRAME_TYPE.WRITABLE);
  assertEquals(frames.typeOf(mfn(2)), { type: FRAME_TYPE.WRITABLE, count: 2 });
  const before = words.slice();
  const refusal = "mfn 0x1202 is in use as type 1, not 2";
  assertThrows(() => frames.getType(mfn(2), FRAME_TYPE.READ_ONLY), FrameError, refusal);
  assertEquals(words, before, "a refused use leaves a reference behind");
  frames.putType(mfn(2));
  assertThrows(() => frames.getType(mfn(2), FRAME_TYPE.READ_ONLY), FrameError, refusal);
  frames.putType(mfn(2));
  assertEquals(frames.typeOf(mfn(2)), { type: FRAME_TYPE.NONE, count: 0 });
  frames.getType(mfn(2), FRAME_TYPE.READ_ONLY);
  assertEquals(frames.typeOf(mfn(2)), { type: FRAME_TYPE.READ_ONLY, count: 1 });
});

Deno.test("putType() refuses to give back a use that nobody has, and changes nothing", () => {
  const { frames, words } = table();
  frames.get(mfn(1));
  const before = words.slice();
  assertThrows(() => frames.putType(mfn(1)), FrameError, "mfn 0x1201 has no type to give back");
  assertEquals(words, before);
});

Deno.test("a plain reference holds no type", () => {
  const { frames } = table();
  frames.get(mfn(0));
  assertEquals(frames.typeOf(mfn(0)), { type: FRAME_TYPE.NONE, count: 0 });
  frames.getType(mfn(0), FRAME_TYPE.READ_ONLY);
  assertEquals(frames.referencesTo(mfn(0)), 2);
});

Deno.test("no count overflows into another: the last reference that fits the counts is the last that is given", () => {
  const { frames, words } = table();
  frames.getType(mfn(0), FRAME_TYPE.WRITABLE);
  const reference = 2, type = 3, most = 2 ** 28 - 1;
  words[reference] = most - 1;
  words[type] = words[type] - 1 + (most - 1);
  frames.getType(mfn(0), FRAME_TYPE.WRITABLE);
  assertEquals(frames.typeOf(mfn(0)), { type: FRAME_TYPE.WRITABLE, count: most });
  const before = words.slice();
  assertThrows(() => frames.getType(mfn(0), FRAME_TYPE.WRITABLE), FrameError, `has ${most} references already`);
  assertThrows(() => frames.get(mfn(0)), FrameError, `has ${most} references already`);
  assertEquals(words, before);
});

Deno.test("every operation refuses frames of other banks, and what is no frame number at all", () => {
  const { frames, words } = table();
  for (const foreign of [0, FIRST - 1, FIRST + FRAMES, NaN, Infinity, -1, FIRST + 0.5] as Mfn[]) {
    for (
      const operation of [
        () => frames.get(foreign),
        () => frames.put(foreign),
        () => frames.getType(foreign, FRAME_TYPE.WRITABLE),
        () => frames.putType(foreign),
        () => frames.referencesTo(foreign),
        () => frames.typeOf(foreign),
      ]
    ) assertThrows(operation, FrameError, "is not of this bank");
  }
  assertEquals(words.every((word) => word === 0), true);
});

/** The same in the plainest words: each frame's plain references and its uses. */
class NaiveFrame {
  plain = 0;
  uses = 0;
  type: FrameType = FRAME_TYPE.NONE;

  apply(operation: string, type: FrameType): boolean {
    if (operation === "get") this.plain++;
    else if (operation === "put" && this.plain > 0) this.plain--;
    else if (operation === "getType" && (this.uses === 0 || this.type === type)) {
      [this.uses, this.type] = [this.uses + 1, type];
    } else if (operation === "putType" && this.uses > 0) this.type = --this.uses === 0 ? FRAME_TYPE.NONE : this.type;
    else return false;
    return true;
  }
}

Deno.test("FrameTable counts as the naive model does, whatever is asked of it", () => {
  const action = fc.record({
    operation: fc.constantFrom("get", "put", "getType", "putType"),
    frame: fc.nat(FRAMES - 1),
    type: fc.constantFrom(FRAME_TYPE.WRITABLE, FRAME_TYPE.READ_ONLY),
  });
  const property = fc.property(fc.array(action, { maxLength: 100 }), (actions) => {
    const { frames } = table(), model = Array.from({ length: FRAMES }, () => new NaiveFrame());
    for (const { operation, frame, type } of actions) {
      const naive = model[frame];
      // Giving a use's reference back as a plain one is the caller's error, which no count can tell.
      if (operation === "put" && naive.plain === 0 && naive.uses > 0) continue;
      const body = () => frames[operation as "getType"](mfn(frame), type);
      if (naive.apply(operation, type)) body();
      else assertThrows(body, FrameError);
      assertEquals(frames.referencesTo(mfn(frame)), naive.plain + naive.uses);
      assertEquals(frames.typeOf(mfn(frame)), { type: naive.type, count: naive.uses });
      assertEquals(frames.references, model.reduce((sum, { plain, uses }) => sum + plain + uses, 0));
    }
  });
  fc.assert(property, { numRuns: RUNS });
});
