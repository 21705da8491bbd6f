/** PhysicalMap: what maps and revocations of windows of the fault transport do to page tables, p2m and references. */

import { assertEquals } from "@std/assert";
import * as calls from "../../src/linux/calls.ts";
import { EBADF, EINVAL, ENOENT, EPERM, errnoName } from "../../src/linux/errno.ts";
import { viewAt } from "../../src/linux/mapping.ts";
import { MemoryFile } from "../../src/linux/memory_file.ts";
import { type Mfn, PAGE_SIZE } from "../../src/memory/address.ts";
import { P2M_TYPE, p2mMfn, p2mType } from "../../src/memory/p2m.ts";
import { TRANSPORT } from "../../src/memory/stage_area.ts";
import { replacing } from "../support/replacing.ts";
import {
  FIRST,
  firstByte,
  FRAMES,
  map,
  name,
  OTHER_SERVER,
  PAGES,
  revoke,
  SERVER,
  testWindow,
} from "./test_windows.ts";

testWindow("a new window shows nothing, and each of its pages is a device model's to give", (test) => {
  assertEquals(test.show(FIRST, PAGES), Array(PAGES).fill("missing"));
  assertEquals(p2mType(test.p2m.lookup(FIRST + PAGES - 1)), P2M_TYPE.MMIO_DM);
  assertEquals(p2mType(test.p2m.lookup(FIRST + PAGES)), P2M_TYPE.INVALID);
});

testWindow("a run of frames is mapped at once, and p2m, page tables and references say the same", (test) => {
  assertEquals(map(test, 1, 4, 3), "");
  assertEquals(test.show(FIRST, PAGES), ["missing", 0x14, 0x15, 0x16, "missing", "missing", "missing", "missing"]);
  const bank = test.machine.bankOf(p2mMfn(test.p2m.lookup(FIRST + 1)))!;
  for (let page = 1; page < 4; page++) {
    const entry = test.p2m.lookup(FIRST + page), mfn = bank.firstMfn + 3 + page as Mfn;
    assertEquals([p2mType(entry), p2mMfn(entry)], [P2M_TYPE.GRANT_MAP_RW, mfn]);
    assertEquals(bank.frameTable.referencesTo(mfn), 1);
  }
  assertEquals(test.machine.references, 3);
});

testWindow("a page is remapped in place to another frame, and the first one's reference is given back", (test) => {
  map(test, 2, 1);
  map(test, 2, 9);
  assertEquals([test.seen(FIRST + 2), test.machine.references], [0x19, 1]);
  map(test, 2, 9);
  assertEquals([test.seen(FIRST + 2), test.machine.references], [0x19, 1], "the same once more");
});

testWindow("a remap of some pages leaves those beside them alone", (test) => {
  map(test, 0, 0, PAGES);
  map(test, 3, 12, 2);
  assertEquals(test.show(FIRST, PAGES), [0x10, 0x11, 0x12, 0x1c, 0x1d, 0x15, 0x16, 0x17]);
  assertEquals(test.machine.references, PAGES);
});

testWindow("one frame may be shown in many places, each with a reference", (test) => {
  for (let page = 0; page < PAGES; page++) map(test, page, 7);
  assertEquals([test.show(FIRST, 2), test.machine.references], [[0x17, 0x17], PAGES]);
  revoke(test, 0, PAGES - 1);
  assertEquals([test.seen(FIRST + PAGES - 1), test.machine.references], [0x17, 1]);
});

testWindow("what is revoked is missing, what was never mapped stays so, and both can be mapped again", (test) => {
  map(test, 1, 1, 4);
  assertEquals(revoke(test, 0, PAGES), "");
  assertEquals(test.show(FIRST, PAGES), Array(PAGES).fill("missing"));
  assertEquals(revoke(test, 0, PAGES), "", "and again");
  assertEquals([test.machine.references, test.table.areas[0].tally.revokes], [0, 4]);
  map(test, 0, 8, PAGES);
  assertEquals(test.show(FIRST, 3), [0x18, 0x19, 0x1a]);
});

testWindow("what the guest writes is in the memory, and stays there over a revocation", (test) => {
  map(test, 0, 5);
  const address = BigInt(test.table.areas[0].hostOf(FIRST));
  new Uint8Array(Deno.UnsafePointerView.getArrayBuffer(Deno.UnsafePointer.create(address)!, 1))[0] = 0x77;
  revoke(test, 0);
  assertEquals(firstByte(test.machine.bankOf(p2mMfn(test.p2m.lookup(FIRST)))!.file, 5), 0x77);
  map(test, 0, 5);
  assertEquals(test.seen(FIRST), 0x77);
});

testWindow("read-only and writable follow each other in place, over a revocation, and with another frame", (test) => {
  if (!test.table.protects) return assertEquals(map(test, 0, 0, 1, true), "EOPNOTSUPP");
  const steps: readonly (readonly [frame: number, readOnly: boolean])[] = [
    [1, true],
    [1, true],
    [1, false],
    [1, true],
    [2, true],
    [2, false],
    [3, true],
    [4, false],
  ];
  for (const between of [false, true]) {
    for (const [frame, readOnly] of steps) {
      if (between) revoke(test, 0);
      assertEquals(map(test, 0, frame, 1, readOnly), "");
      assertEquals(test.seen(FIRST), readOnly ? `${0x10 + frame} read-only` : 0x10 + frame, `${between}: ${frame}`);
      const type = readOnly ? P2M_TYPE.GRANT_MAP_RO : P2M_TYPE.GRANT_MAP_RW;
      assertEquals([p2mType(test.p2m.lookup(FIRST)), test.machine.references], [type, 1]);
    }
  }
});

testWindow("a run of which some pages are mapped already, elsewhere or read-only, is all mapped", (test) => {
  map(test, 1, 1);
  map(test, 2, 9);
  if (test.table.protects) map(test, 3, 3, 1, true);
  map(test, 5, 5);
  revoke(test, 5);
  assertEquals(map(test, 0, 0, PAGES), "");
  assertEquals(test.show(FIRST, PAGES), Array.from({ length: PAGES }, (_, page) => 0x10 + page));
  assertEquals(test.machine.references, PAGES);
});

/** Arguments of map: server, page, count, memory, frame. */
const REFUSALS: Record<string, readonly [errno: number, ...readonly number[]]> = {
  "no window": [ENOENT, SERVER, PAGES, 1, 0, 0],
  "no window, far away": [ENOENT, SERVER, 2 ** 51, 1, 0, 0],
  "another server's window": [EPERM, OTHER_SERVER, 0, 1, 0, 0],
  "no pages": [EINVAL, SERVER, 0, 0, 0, 0],
  "more than the window": [EINVAL, SERVER, 1, PAGES, 0, 0],
  "very many pages": [EINVAL, SERVER, 0, 2 ** 32 - 1, 0, 0],
  "no memory": [ENOENT, SERVER, 0, 1, 1, 0],
  "a number of no memory": [ENOENT, SERVER, 0, 1, 16, 0],
  "a large number of no memory": [ENOENT, SERVER, 0, 1, 65535, 0],
  "a frame behind the memory": [EINVAL, SERVER, 0, 1, 0, FRAMES],
  "frames over the memory's end": [EINVAL, SERVER, 0, 2, 0, FRAMES - 1],
  "a frame far behind": [EINVAL, SERVER, 0, 1, 0, 2 ** 32 - 1],
};

for (const [what, [errno, server, page, count, memory, frame]] of Object.entries(REFUSALS)) {
  testWindow(`map() of ${what} is ${errnoName(errno)} and changes nothing`, (test) => {
    map(test, 0, 0, PAGES);
    const generation = test.table.generation;
    assertEquals(name(test.map.map(server, FIRST + page, count, memory, frame, false)), errnoName(errno));
    assertEquals(test.show(FIRST, 2), [0x10, 0x11]);
    assertEquals([test.machine.references, test.table.generation], [PAGES, generation]);
  });
}

testWindow("revoke() refuses what is not in a window of that server", (test) => {
  map(test, 0, 0, PAGES);
  assertEquals(name(test.map.revoke(SERVER, FIRST + PAGES, 1)), "ENOENT");
  assertEquals(name(test.map.revoke(OTHER_SERVER, FIRST, 1)), "EPERM");
  for (const count of [0, PAGES + 1, 2 ** 32 - 1]) assertEquals(revoke(test, 0, count), "EINVAL");
  assertEquals([test.show(FIRST, 2), test.machine.references], [[0x10, 0x11], PAGES]);
});

testWindow("memory without pages gets them when it is mapped, also where its owner takes them away again", (test) => {
  const file = MemoryFile.create("window-test", FRAMES * PAGE_SIZE);
  test.adopt(file, FRAMES, 1);
  assertEquals(test.map.map(SERVER, FIRST, 4, 1, 3, false), 0);
  assertEquals(test.show(FIRST, 4), [0, 0, 0, 0]);
  const KEEP_SIZE_PUNCH_HOLE = 3;
  assertEquals(calls.fallocate(file.number, KEEP_SIZE_PUNCH_HOLE, 0n, BigInt(FRAMES * PAGE_SIZE)), 0);
  assertEquals(test.show(FIRST, 4), Array(4).fill("missing"));
  test.table.lock.hold(() => assertEquals(test.map.supply(test.table.areas[0], FIRST), 0));
  assertEquals(test.seen(FIRST), 0);
});

testWindow("memory that cannot be mapped is the host's error, and what was mapped there stays", (test) => {
  map(test, 0, 0, 2);
  const errno = replacing(test.banks, "descriptor", () => -1, () => map(test, 0, 8, PAGES));
  assertEquals([errno, test.show(FIRST, 3), test.machine.references], ["EBADF", [0x10, 0x11, "missing"], 2]);
  assertEquals(test.table.areas[0].lastError, EBADF);
  assertEquals([map(test, 0, 8, 2), test.seen(FIRST)], ["", 0x18]);
});

testWindow("more than a lock's worth of pages is mapped and revoked as a whole", async (test) => {
  const many = 1300, first = FIRST + 0x1000 as typeof FIRST;
  const area = await test.add(many, TRANSPORT.FAULT, first);
  test.bring(many, 0, 2);
  assertEquals(test.map.map(SERVER, first, many, 2, 0, false), 0);
  assertEquals([511, 512, 1024, many - 1].map((page) => test.seen(first + page)), [255, 0, 0, (many - 1) & 255]);
  assertEquals(test.machine.references, many);
  for (let page = 0; page < many; page += 2) test.map.revoke(SERVER, first + page, 1);
  test.map.flush();
  assertEquals([0, 1, 1298, 1299].map((page) => test.seen(first + page)), ["missing", 1, "missing", 1299 & 255]);
  test.map.close(area);
  await test.stage.removeWindow(area);
});

testWindow(
  "forgetBank() takes back what is mapped of it, and nothing that showed it is taken for its successor",
  (test) => {
    const bank = test.bring(4, 0x40, 1);
    test.map.map(SERVER, FIRST, 4, 1, 0, false);
    map(test, 4, 4);
    revoke(test, 3);
    test.map.forgetBank(SERVER, bank.firstMfn, bank.frames);
    bank[Symbol.dispose]();
    assertEquals([test.show(FIRST, 5), test.machine.references], [[...Array(4).fill("missing"), 0x14], 1]);
    const successor = test.bring(4, 0x50, 1);
    assertEquals(successor.firstMfn, bank.firstMfn);
    test.map.map(SERVER, FIRST, 4, 1, 0, false);
    assertEquals(test.show(FIRST, 4), [0x50, 0x51, 0x52, 0x53]);
  },
);

testWindow("close() takes all back, and a page that is waited for after that is ones", (test) => {
  map(test, 0, 0, PAGES);
  const [area] = test.table.areas;
  test.map.close(area);
  assertEquals([test.show(FIRST, PAGES), test.machine.references], [Array(PAGES).fill("missing"), 0]);
  assertEquals(p2mType(test.p2m.lookup(FIRST)), P2M_TYPE.INVALID);
  assertEquals(map(test, 0, 0), "ENOENT");
  test.table.lock.hold(() => test.map.drown(area, FIRST + 1));
  const ones = new Uint8Array(viewAt(BigInt(area.hostOf(FIRST + 1)), PAGE_SIZE));
  assertEquals([ones[0], ones[PAGE_SIZE - 1], test.seen(FIRST)], [0xff, 0xff, "missing"]);
});
