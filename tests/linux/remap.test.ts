/** Changing what stands at addresses: files in place of files, private copies, discarding in batches. */

import { assert, assertEquals } from "@std/assert";
import { EBADF, EINVAL } from "../../src/linux/errno.ts";
import { Mapping, viewAt } from "../../src/linux/mapping.ts";
import { MemoryFile } from "../../src/linux/memory_file.ts";
import * as remap from "../../src/linux/remap.ts";
import { mappingsIn, openDescriptors } from "./process.ts";

const PAGE = 4096, PAGES = 8;

/** A file whose page n is full of `base + n`. */
function filled(base: number): MemoryFile {
  const file = MemoryFile.create("remap-test", PAGES * PAGE);
  using mapping = Mapping.file(file, PAGES * PAGE);
  const bytes = new Uint8Array(mapping.buffer);
  for (let page = 0; page < PAGES; page++) bytes.fill(base + page, page * PAGE, (page + 1) * PAGE);
  return file;
}

/** The first byte of each page. */
function shown(address: number, pages = PAGES): number[] {
  return Array.from({ length: pages }, (_, page) => new Uint8Array(viewAt(BigInt(address + page * PAGE), 1))[0]);
}

Deno.test("placeShared() shows other pages in place, and leaves those beside them", () => {
  using one = filled(0x10), other = filled(0x20);
  using mapping = Mapping.file(one, PAGES * PAGE);
  const at = Number(mapping.address);
  assertEquals(remap.placeShared(at + 2 * PAGE, 2 * PAGE, other.number, 5 * PAGE), 0);
  assertEquals(shown(at), [0x10, 0x11, 0x25, 0x26, 0x14, 0x15, 0x16, 0x17]);
  new Uint8Array(viewAt(BigInt(at + 2 * PAGE), 1))[0] = 0x99;
  const byte = new Uint8Array(1);
  assertEquals([remap.readAt(other.number, byte, 5 * PAGE), byte[0]], [1, 0x99]);
});

Deno.test("placePrivate() shows a copy: what is written there reaches nobody", () => {
  using one = filled(0x10), other = filled(0x20);
  using mapping = Mapping.file(one, PAGES * PAGE);
  const at = Number(mapping.address);
  assertEquals(remap.placePrivate(at, PAGE, other.number, PAGE), 0);
  new Uint8Array(viewAt(BigInt(at), 1))[0] = 0x99;
  const byte = new Uint8Array(1);
  assertEquals([shown(at, 2), remap.readAt(other.number, byte, PAGE), byte[0]], [[0x99, 0x11], 1, 0x21]);
});

Deno.test("what cannot be placed is an error number, and leaves what was there", () => {
  using one = filled(0x10);
  using mapping = Mapping.file(one, PAGES * PAGE);
  const at = Number(mapping.address);
  assertEquals(remap.placeShared(at, PAGE, -1, 0), -EBADF);
  assertEquals(remap.placeShared(at, PAGE, one.number, 17), -EINVAL);
  assertEquals(remap.mapGuarded(PAGE, -1, 0), -EBADF);
  assertEquals(remap.mapGuarded(PAGE, one.number, 17), -EINVAL);
  assertEquals(remap.unmap(at + 1, PAGE), -EINVAL);
  assertEquals(shown(at)[0], 0x10);
});

Deno.test("mapGuarded() and unmap() are the beginning and the end of address space of its own", () => {
  using file = filled(0x30);
  const at = remap.mapGuarded(2 * PAGE, file.number, 3 * PAGE);
  assert(at > 0);
  assertEquals(shown(at, 2), [0x33, 0x34]);
  assertEquals(remap.forbid(at, PAGE), 0);
  assertEquals(mappingsIn(BigInt(at), 2 * PAGE).map(({ line }) => line.split(" ")[1]), ["---s", "rw-s"]);
  assertEquals(mappingsIn(BigInt(at + 2 * PAGE), PAGE).map(({ line }) => line.split(" ")[1]), ["---p"], "the guard");
  assertEquals(remap.unmap(at, 3 * PAGE), 0);
  assertEquals(mappingsIn(BigInt(at), 3 * PAGE), []);
});

Deno.test("discard() takes pages out, and a file's come back as they were", () => {
  using file = filled(0x40);
  using mapping = Mapping.file(file, PAGES * PAGE), anonymous = Mapping.anonymous(PAGES * PAGE, "discarded");
  const bytes = new Uint8Array(anonymous.buffer).fill(1);
  assertEquals(remap.discard(Number(mapping.address), PAGES * PAGE), 0);
  assertEquals(remap.discard(Number(anonymous.address), PAGE), 0);
  assertEquals([shown(Number(mapping.address))[7], bytes[0], bytes[PAGE]], [0x47, 0, 1]);
});

Deno.test("punchHole() empties pages of a file, allocateBlocks() gives it memory, and neither changes its size", () => {
  using file = filled(0x50);
  const blocks = () => Deno.statSync(`/proc/self/fd/${file.number}`).blocks! / (PAGE / 512);
  assertEquals([remap.punchHole(file.number, 2 * PAGE, 3 * PAGE), blocks()], [0, PAGES - 3]);
  const page = new Uint8Array(PAGE);
  assertEquals([remap.readAt(file.number, page, 3 * PAGE), page.every((byte) => byte === 0)], [PAGE, true]);
  assertEquals([remap.allocateBlocks(file.number, 2 * PAGE, PAGE), blocks()], [0, PAGES - 2]);
  assertEquals(Deno.statSync(`/proc/self/fd/${file.number}`).size, PAGES * PAGE);
  assertEquals(remap.punchHole(-1, 0, PAGE), -EBADF);
});

Deno.test("readAt() and writeAt() stop at the file's end", () => {
  using file = filled(0x60);
  const bytes = new Uint8Array(8).fill(9);
  assertEquals(remap.writeAt(file.number, bytes.subarray(0, 4), 2 * PAGE - 2), 4);
  assertEquals([remap.readAt(file.number, bytes, 2 * PAGE - 4), [...bytes]], [8, [0x61, 0x61, 9, 9, 9, 9, 0x62, 0x62]]);
  assertEquals(remap.readAt(file.number, bytes, PAGES * PAGE - 3), 3);
  assertEquals(remap.readAt(file.number, bytes, PAGES * PAGE), 0);
});

for (const how of ["machine code", "process_madvise"] as const) {
  for (const [what, pages] of [["one", [3]], ["neighbours", [1, 2, 3]], ["scattered ones", [0, 2, 3, 6]]] as const) {
    Deno.test(`a list of pages (${what}) is discarded by ${how}, and nothing beside them`, () => {
      using pidfd = how === "machine code" ? undefined : remap.openPidfd();
      if (how === "process_madvise" && pidfd === undefined) return; // Linux before 6.13
      using anonymous = Mapping.anonymous(PAGES * PAGE, "discarded");
      const at = Number(anonymous.address), list = new remap.DiscardList(), number = pidfd?.number ?? -1;
      for (let round = 0; round < 2; round++) {
        new Uint8Array(anonymous.buffer).fill(1);
        for (const page of pages) assertEquals(list.add(at + page * PAGE, PAGE, number), 0);
        assertEquals(shown(at), Array(PAGES).fill(1), "not yet");
        assertEquals(list.discard(number), 0);
        assertEquals(
          shown(at),
          Array.from({ length: PAGES }, (_, page) => (pages as readonly number[]).includes(page) ? 0 : 1),
        );
        assertEquals(list.discard(number), 0, "once");
      }
    });
  }
}

Deno.test("a list longer than one call takes is discarded in several", () => {
  const pages = 5000;
  using pidfd = remap.openPidfd(), anonymous = Mapping.anonymous(pages * PAGE, "discarded");
  for (const number of [-1, ...(pidfd === undefined ? [] : [pidfd.number])]) {
    const bytes = new Uint8Array(anonymous.buffer),
      list = new remap.DiscardList(),
      at = Number(anonymous.address);
    for (let page = 0; page < pages; page++) bytes[page * PAGE] = 1;
    for (let page = 0; page < pages; page += 2) assertEquals(list.add(at + page * PAGE, PAGE, number), 0);
    assertEquals(list.discard(number), 0);
    for (let page = 0; page < pages; page++) assertEquals(bytes[page * PAGE], page % 2, `page ${page}`);
  }
});

Deno.test("a list that cannot be discarded says so, and is empty afterwards", () => {
  using file = filled(1);
  const at = remap.mapGuarded(PAGE, file.number, 0), list = new remap.DiscardList(), number = -1;
  assertEquals(remap.unmap(at, 2 * PAGE), 0);
  list.add(at, PAGE, number);
  assert(list.discard(number) < 0);
  assertEquals(list.discard(number), 0);
});

Deno.test("openPidfd() gives a descriptor where it is of use, and leaves none where it is not", () => {
  const count = () => openDescriptors().filter((target) => target.includes("pidfd")).length, before = count();
  const pidfd = remap.openPidfd();
  assertEquals(count(), before + (pidfd === undefined ? 0 : 1));
  pidfd?.[Symbol.dispose]();
  assertEquals(count(), before);
});
