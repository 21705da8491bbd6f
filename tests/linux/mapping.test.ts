import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { LinuxError } from "../../src/linux/linux_error.ts";
import { Mapping, pointerTo, viewAt } from "../../src/linux/mapping.ts";
import { MemoryFile } from "../../src/linux/memory_file.ts";
import { mappingsIn } from "./process.ts";

const PAGE = 4096, SUPERPAGE = 2 << 20;
const LIMIT_PROGRAM = new URL("./mapping_limit.ts", import.meta.url).pathname;

Deno.test("Mapping.anonymous() gives zeroed memory that lives until it is disposed", () => {
  const mapping = Mapping.anonymous(3 * PAGE, "a test");
  const bytes = new Uint8Array(mapping.buffer);
  assertEquals(bytes.length, 3 * PAGE);
  assertEquals(bytes.every((byte) => byte === 0), true);
  bytes[3 * PAGE - 1] = 1;
  assertEquals(new Uint8Array(viewAt(mapping.address, 3 * PAGE))[3 * PAGE - 1], 1);
  assert(mappingsIn(mapping.address, 3 * PAGE).length > 0);
  mapping[Symbol.dispose]();
  assertEquals(mappingsIn(mapping.address, 3 * PAGE), []);
});

Deno.test("Mapping, disposed twice, unmaps nothing of its successor", () => {
  const mapping = Mapping.anonymous(16 * PAGE, "a test");
  mapping[Symbol.dispose]();
  using successor = Mapping.anonymous(16 * PAGE, "its successor");
  mapping[Symbol.dispose]();
  assert(mappingsIn(successor.address, 16 * PAGE).length > 0);
});

Deno.test("Mapping.reserve() gives aligned address space of exactly the size, without access", () => {
  for (const alignment of [PAGE, SUPERPAGE, 64 << 20]) {
    for (const size of [PAGE, SUPERPAGE, 5 * PAGE]) {
      using mapping = Mapping.reserve(size, alignment, "a test");
      assertEquals(mapping.address % BigInt(alignment), 0n);
      assertEquals(mapping.sizeBytes, size);
      const inside = mappingsIn(mapping.address, size);
      assertEquals(inside.reduce((sum, { start, end }) => sum + Number(end - start), 0) >= size, true);
      for (const { line } of inside) assertMatch(line, / ---p /);
    }
  }
});

Deno.test("Mapping.reserve() keeps nothing beside the range, and dispose() nothing at all", () => {
  for (const alignment of [PAGE, SUPERPAGE, 1 << 30]) {
    const before = inaccessibleBytes();
    const mapping = Mapping.reserve(SUPERPAGE, alignment, "a test");
    assertEquals(inaccessibleBytes() - before, SUPERPAGE);
    mapping[Symbol.dispose]();
    assertEquals(inaccessibleBytes(), before);
  }
});

/** All address space without access: what reserve() gives and nobody else asks for meanwhile. */
function inaccessibleBytes(): number {
  return mappingsIn(0n, 2 ** 47).filter(({ line }) => line.includes(" ---p "))
    .reduce((sum, { start, end }) => sum + Number(end - start), 0);
}

Deno.test("Mapping.place() shows a part of a file at its place, and leaves the rest as it was", () => {
  using file = MemoryFile.create("test", 4 * PAGE);
  using whole = Mapping.file(file, 4 * PAGE);
  new Uint8Array(whole.buffer).forEach((_, index, bytes) => bytes[index] = Math.floor(index / PAGE) + 1);
  using range = Mapping.reserve(8 * PAGE, PAGE, "a test");
  range.place(2 * PAGE, 2 * PAGE, file, PAGE);
  const placed = new Uint8Array(viewAt(range.address + BigInt(2 * PAGE), 2 * PAGE));
  assertEquals([placed[0], placed[PAGE - 1], placed[PAGE], placed[2 * PAGE - 1]], [2, 2, 3, 3]);
  placed[0] = 0x77;
  assertEquals(new Uint8Array(whole.buffer)[PAGE], 0x77);
  const protections = Array.from({ length: 8 }, (_, page) => {
    const [{ line }] = mappingsIn(range.address + BigInt(page * PAGE), PAGE);
    return line.split(" ")[1];
  });
  assertEquals(protections, ["---p", "---p", "rw-s", "rw-s", "---p", "---p", "---p", "---p"]);
});

Deno.test("Mapping.place() again replaces what was placed, at once and under a view", () => {
  using file = MemoryFile.create("test", 2 * PAGE);
  using whole = Mapping.file(file, 2 * PAGE);
  new Uint8Array(whole.buffer)[0] = 1;
  new Uint8Array(whole.buffer)[PAGE] = 2;
  using range = Mapping.reserve(PAGE, PAGE, "a test");
  range.place(0, PAGE, file, 0);
  const view = new Uint8Array(range.buffer);
  assertEquals(view[0], 1);
  range.place(0, PAGE, file, PAGE);
  assertEquals(view[0], 2);
});

Deno.test("Mapping.place() refuses what is outside its range: MAP_FIXED would replace somebody else's memory", () => {
  using file = MemoryFile.create("test", 4 * PAGE);
  using range = Mapping.reserve(2 * PAGE, PAGE, "a test");
  for (const [offset, size] of [[-PAGE, PAGE], [PAGE, 2 * PAGE], [2 * PAGE, PAGE], [0, 3 * PAGE], [NaN, PAGE]]) {
    assertThrows(() => range.place(offset, size, file, 0), RangeError, "a test");
    assertThrows(() => range.placeZeroes(offset, size), RangeError, "a test");
    assertThrows(() => range.unplace(offset, size), RangeError, "a test");
  }
  assertThrows(() => range.place(0, PAGE, file, -PAGE), RangeError, "a test");
  const gone = Mapping.reserve(PAGE, PAGE, "gone");
  gone[Symbol.dispose]();
  assertThrows(() => gone.place(0, PAGE, file, 0), RangeError, "gone");
});

Deno.test("Mapping.placeZeroes() shows zeroes that are in no file, and unplace() takes all access away", () => {
  using file = MemoryFile.create("test", 4 * PAGE);
  using whole = Mapping.file(file, 4 * PAGE);
  new Uint8Array(whole.buffer).fill(7);
  using range = Mapping.reserve(4 * PAGE, PAGE, "a test");
  const protections = () =>
    Array.from({ length: 4 }, (_, page) => mappingsIn(range.addressOf(page * PAGE), PAGE)[0].line.split(" ")[1]);
  range.place(0, 4 * PAGE, file, 0);
  range.placeZeroes(PAGE, 2 * PAGE);
  assertEquals(protections(), ["rw-s", "rw-p", "rw-p", "rw-s"]);
  const bytes = new Uint8Array(range.buffer);
  assertEquals([bytes[PAGE - 1], bytes[PAGE], bytes[3 * PAGE - 1], bytes[3 * PAGE]], [7, 0, 0, 7]);
  bytes[PAGE] = 1;
  assertEquals(new Uint8Array(whole.buffer)[PAGE], 7);
  range.unplace(0, 3 * PAGE);
  assertEquals(protections(), ["---p", "---p", "---p", "rw-s"]);
  range.unplace(3 * PAGE, PAGE);
  assertEquals(mappingsIn(range.address, 4 * PAGE).length, 1, "one mapping, as it was reserved");
});

Deno.test("Mapping.addressOf() is exact for every byte", () => {
  using range = Mapping.reserve(2 ** 40, PAGE, "a test");
  for (const offset of [0, 1, PAGE, 2 ** 32 - 1, 2 ** 32, 2 ** 40 - 1]) {
    assertEquals(range.addressOf(offset), range.address + BigInt(offset));
  }
});

Deno.test("Mapping.place() finds pages of a file behind 4 GiB, at addresses behind 4 GiB", () => {
  const far = 2 ** 33 + 5 * PAGE;
  using file = MemoryFile.create("test", far + PAGE);
  using range = Mapping.reserve(2 ** 34, PAGE, "a test");
  range.place(2 ** 33, PAGE, file, far);
  new Uint8Array(viewAt(range.addressOf(2 ** 33), 1))[0] = 9;
  using page = Mapping.file(file, PAGE, far);
  assertEquals(new Uint8Array(page.buffer)[0], 9);
});

Deno.test("Mapping.place() at the host's limit of mappings is a typed error", async () => {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    // Nothing else may need memory at that moment.
    args: ["run", "--no-check", "--allow-all", "--v8-flags=--single-threaded,--expose-gc", LIMIT_PROGRAM],
  }).output();
  assertEquals(code, 0, new TextDecoder().decode(stderr));
  assertMatch(
    new TextDecoder().decode(stdout),
    /^mmap: a test \(4096 bytes\): the host allows .* no more mappings: ENOMEM/,
  );
});

Deno.test("Mapping says what it wanted when Linux refuses", () => {
  using file = MemoryFile.create("test", PAGE);
  assertThrows(() => Mapping.anonymous(0, "nothing"), LinuxError, "mmap: nothing (0 bytes): EINVAL");
  assertThrows(() => Mapping.file(file, PAGE, 1), LinuxError, "EINVAL");
  assertThrows(() => Mapping.anonymous(2 ** 48, "all of it"), LinuxError, `mmap: all of it (${2 ** 48} bytes): ENOMEM`);
  using range = Mapping.reserve(PAGE, PAGE, "a test");
  assertThrows(() => range.place(0, PAGE, file, 1), LinuxError, "mmap: a test (4096 bytes): EINVAL");
});

Deno.test("pointerTo() refuses the null address", () => {
  assertThrows(() => pointerTo(0n), RangeError, "null");
});
