/** Frames in extended regions: what may stand there and what not, what KVM has slots for, and what is lent to devices. */

import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { EBUSY, EEXIST, EINVAL, ENOENT, ENOMEM } from "../../src/linux/errno.ts";
import { LinuxError } from "../../src/linux/linux_error.ts";
import { viewAt } from "../../src/linux/mapping.ts";
import { type Gfn, PAGE_SIZE, SUPERPAGE_FRAMES, SUPERPAGE_SIZE } from "../../src/memory/address.ts";
import { P2M_TYPE, p2mType } from "../../src/memory/p2m.ts";
import { RegionFrames, tallyOf } from "../../src/memory/region_frames.ts";
import { chunkOf, hostOf, MAX_LOANS, REGION_TABLE_BYTES, RegionTable } from "../../src/memory/region_table.ts";
import { SPECIAL_FRAME } from "../../src/memory/special_frames.ts";
import { TRANSPORT } from "../../src/memory/stage_area.ts";
import { testWith, USERFAULT } from "../support/capabilities.ts";
import { HOLE, ONES, OTHER_REGION, OTHER_REGION_PAGES, RAM, REGION, REGION_PAGES, TestPlaced } from "./test_placed.ts";
import { SERVER } from "./test_windows.ts";

const CHUNK = SUPERPAGE_FRAMES, GRANT = SPECIAL_FRAME.GRANT, SHARED_BYTE = 0x80, LAST = REGION + REGION_PAGES - 1;

function testRegions(name: string, body: (test: TestPlaced) => void | Promise<void>): void {
  testWith([USERFAULT], name, async () => {
    using test = new TestPlaced(false);
    await body(test);
  });
}

/** Nobody claims memory. */
function reclaim({ placed }: TestPlaced, first: number, count: number): number {
  return placed.reclaim(first, count, (end) => (end(), 0));
}

function tally(test: TestPlaced, index = 0) {
  return tallyOf(test.table.regions.all[index], test.table, test.p2m);
}

testRegions("a frame in a region is shown by its chunk's slot; the rest of the chunk reads as ones", (test) => {
  const { placed, bank } = test;
  assertEquals([test.chunks, test.look(REGION)], [[], "exits"]);
  assertEquals(placed.mapGrant(REGION + 1, bank.firstMfn + 3, false), 0);
  assertEquals([test.chunks, test.runs], [[[REGION, CHUNK]], []]);
  assertEquals([REGION, REGION + 1, REGION + 2].map((gfn) => test.look(gfn)), [ONES, 3, ONES]);
  assertEquals(placed.mapGrant(REGION + 2, bank.firstMfn + 9, false), 0);
  assertEquals([test.chunks, test.look(REGION + 2)], [[[REGION, CHUNK]], 9], "without a slot more");
  assertEquals(placed.place(LAST, test.sharedInfo), 0);
  assertEquals([test.chunks, test.look(LAST)], [[[REGION, CHUNK], [REGION + 2 * CHUNK, CHUNK]], SHARED_BYTE]);
  assertEquals(placed.place(OTHER_REGION + 7, test.special(GRANT)), 0);
  assertEquals(test.chunks.at(-1), [OTHER_REGION, OTHER_REGION_PAGES]);
  assertEquals([tally(test), tally(test, 1)], [
    { grants: 2, special: 1, device: 0, lent: 0 },
    { grants: 0, special: 1, device: 0, lent: 0 },
  ]);
  assertEquals([placed.unmapGrant(REGION + 1, bank.firstMfn + 3), placed.remove(LAST), placed.remove(LAST)], [
    0,
    0,
    ENOENT,
  ]);
  assertEquals([test.look(REGION + 1), test.look(LAST), test.machine.references], [ONES, ONES, 2]);
});

testRegions("the guest's own RAM cannot stand in a region, nor can anything that it brings later", async (test) => {
  const { placed, ram, stage } = test, before = ram.reservation;
  test.memory.write(RAM * PAGE_SIZE, Uint8Array.of(0x5a));
  assertEquals([placed.move(RAM, REGION), placed.gaveBack, test.look(RAM)], [EBUSY, false, 0x5a]);
  assertEquals([ram.populate(REGION, 1), ram.reservation, test.chunks], [0, before, []]);
  const error = assertThrows(() => stage.mapRam(LAST * PAGE_SIZE, PAGE_SIZE, test.bank, 0), LinuxError);
  assertEquals(error.errno, EBUSY);
  for (const [first, count] of [[REGION, 1], [REGION - 1, 2], [LAST, 2], [REGION - 9, REGION_PAGES + 18]] as const) {
    for (const transport of [TRANSPORT.EXIT, TRANSPORT.FAULT] as const) {
      const refused = await assertRejects(() => test.add(count, transport, first as Gfn), LinuxError);
      assertEquals(refused.errno, EBUSY, `${first} + ${count}`);
    }
  }
  await test.add(1, TRANSPORT.FAULT, REGION - 1 as Gfn);
  await test.add(1, TRANSPORT.EXIT, LAST + 1 as Gfn);
});

testRegions("a frame moves between RAM, regions and where there is nothing, and is in one place", (test) => {
  const { placed } = test;
  for (const gfn of [RAM + 8, REGION, HOLE, REGION + CHUNK, OTHER_REGION, REGION, REGION, RAM + 8]) {
    assertEquals(placed.place(gfn, test.sharedInfo), 0);
    assertEquals([test.look(gfn), test.machine.references], [SHARED_BYTE, 1]);
    assertEquals(test.table.gfnOfSpecial(test.sharedInfo), gfn);
    for (const other of [RAM + 8, REGION, REGION + CHUNK, OTHER_REGION]) {
      assertEquals(test.look(other) === SHARED_BYTE, other === gfn, `0x${other.toString(16)}`);
    }
  }
  assertEquals(test.runs, []);
});

testRegions("a grant that is read-only cannot be written to", (test) => {
  assertEquals(test.placed.mapGrant(REGION, test.bank.firstMfn + 3, true), 0);
  assertEquals([test.look(REGION), p2mType(test.p2m.lookup(REGION))], [3, P2M_TYPE.GRANT_MAP_RO]);
  const region = test.table.regions.all[0], address = hostOf(region, REGION).toString(16).padStart(12, "0");
  const line = Deno.readTextFileSync("/proc/self/maps").split("\n").find((line) => line.startsWith(address));
  assertEquals(line?.split(" ")[1], "r--s");
  assertEquals(test.placed.mapGrant(REGION, test.bank.firstMfn + 4, false), EBUSY, "a grant is there");
});

testRegions("where KVM refuses a slot nothing is placed, and it can be tried again", (test) => {
  test.kvm.refusal = new LinuxError("ioctl", ENOMEM, "a slot");
  assertEquals(test.placed.mapGrant(REGION, test.bank.firstMfn, false), ENOMEM);
  assertEquals([test.chunks, test.machine.references, p2mType(test.p2m.lookup(REGION))], [[], 0, P2M_TYPE.INVALID]);
  test.placed.place(RAM + 8, test.sharedInfo);
  test.kvm.refusal = new LinuxError("ioctl", ENOMEM, "a slot");
  assertEquals([test.placed.place(REGION, test.sharedInfo), test.look(RAM + 8)], [ENOMEM, SHARED_BYTE]);
  assertEquals([test.placed.place(REGION, test.sharedInfo), test.look(REGION)], [0, SHARED_BYTE]);
});

testRegions("there are as many frames at places of others as the host's mappings are enough for", (test) => {
  const { placed, bank } = test;
  test.table.limitMappings(7); // two for each frame, and one for the chunk
  const map = (page: number) => placed.mapGrant(REGION + page, bank.firstMfn + page, false);
  assertEquals([map(0), map(1), placed.place(HOLE, test.sharedInfo), map(2)], [0, 0, 0, ENOMEM]);
  assertEquals([placed.place(HOLE + 1, test.special(GRANT)), placed.move(RAM, HOLE + 2)], [ENOMEM, ENOMEM]);
  assertEquals([placed.unmapGrant(REGION, bank.firstMfn), map(2), map(0)], [0, 0, ENOMEM]);
  assertEquals([map(CHUNK), placed.unmapGrant(REGION + 1, bank.firstMfn + 1), map(CHUNK)], [ENOMEM, 0, ENOMEM]);
});

testRegions("after a window by exit that was looked at, the guest can place frames where it was", async (test) => {
  const { placed, map } = test, gfn = REGION + CHUNK;
  assertEquals(placed.lend(gfn, CHUNK), 0);
  test.bring(4, 0x40);
  const window = await test.add(4, TRANSPORT.EXIT, gfn as Gfn);
  assertEquals([map.map(SERVER, gfn, 4, 0, 0, false), map.runs.ensure(test.kvm.vm, gfn)], [0, true]);
  map.close(window);
  await test.stage.removeWindow(window);
  assertEquals(test.chunks, [[gfn, 4]], "KVM has the slot still");
  assertEquals([reclaim(test, gfn, CHUNK), placed.mapGrant(gfn, test.bank.firstMfn + 5, false)], [0, 0]);
  assertEquals([test.chunks, test.look(gfn), test.table.staleRuns], [[[gfn, CHUNK]], 5, 0]);
});

testRegions("a chunk that is lent before it could be shown is not shown", (test) => {
  const frames = new RegionFrames(test.table, test.p2m, test.banks, test.kvm.vm), region = test.table.regions.all[0];
  assertEquals(test.table.lock.hold(() => frames.show(region, REGION, test.bank.firstMfn, false)), 0);
  assertEquals(test.placed.lend(REGION, CHUNK), 0);
  frames.ensure(region, REGION);
  assertEquals(test.chunks, []);
});

testRegions("a loan is none if KVM keeps a slot of it", (test) => {
  assertEquals([test.placed.place(REGION, test.sharedInfo), test.placed.remove(REGION)], [0, 0]);
  test.kvm.refusal = new LinuxError("ioctl", ENOMEM, "a slot");
  assertEquals([test.placed.lend(REGION, CHUNK), tally(test).lent], [ENOMEM, 0]);
  assertEquals([test.placed.lend(REGION, CHUNK), test.chunks], [0, []]);
});

testRegions("pages of a window that were taken back do not count any more", async (test) => {
  assertEquals(test.placed.lend(REGION, CHUNK), 0);
  test.bring(8, 0x40);
  for (const transport of [TRANSPORT.EXIT, TRANSPORT.FAULT] as const) {
    const window = await test.add(8, transport, REGION);
    assertEquals(test.map.map(SERVER, REGION, 8, 0, 0, false), 0);
    test.map.revoke(SERVER, REGION + 2, 4);
    test.map.flush();
    assertEquals(tally(test).device, 4);
    test.map.close(window);
    await test.stage.removeWindow(window);
  }
});

testRegions("regions are only where nothing is", (test) => {
  const error = assertThrows(() => test.stage.addRegions([{ address: 0, sizeBytes: SUPERPAGE_SIZE }]), LinuxError);
  assertEquals(error.errno, EEXIST);
  assertEquals(assertThrows(() => test.stage.mapPage(LAST as Gfn, test.bank), LinuxError).errno, EBUSY);
});

testRegions(
  "what is lent device models can have windows in, and nothing else can be there until it is taken back",
  async (test) => {
    const { placed, table } = test, range = [REGION + CHUNK, 2 * CHUNK] as const;
    assertEquals(placed.mapGrant(REGION, test.bank.firstMfn, false), 0);
    assertEquals([placed.lend(...range), tally(test).lent], [0, 2 * CHUNK]);
    assertEquals([placed.mapGrant(REGION + CHUNK, test.bank.firstMfn, false), placed.place(LAST, test.sharedInfo)], [
      EBUSY,
      EBUSY,
    ]);
    test.bring(4, 0x40);
    for (const [transport, first] of [[TRANSPORT.EXIT, range[0] + 9], [TRANSPORT.FAULT, LAST - 3]] as const) {
      const window = await test.add(4, transport, first as Gfn);
      assertEquals(test.map.map(SERVER, first, 4, 0, 0, false), 0);
      assertEquals(tally(test), { grants: 1, special: 0, device: 4, lent: 2 * CHUNK });
      assertEquals(reclaim(test, ...range), EBUSY);
      test.map.close(window);
      await test.stage.removeWindow(window);
    }
    const across = await assertRejects(() => test.add(2, TRANSPORT.EXIT, range[0] - 1 as Gfn), LinuxError);
    assertEquals(across.errno, EBUSY);
    assertEquals([reclaim(test, range[0], CHUNK), reclaim(test, REGION, CHUNK), reclaim(test, ...range)], [
      EINVAL,
      EINVAL,
      0,
    ]);
    assertEquals([reclaim(test, ...range), tally(test).lent], [EINVAL, 0]);
    assertEquals([placed.mapGrant(REGION + CHUNK, test.bank.firstMfn + 1, false), test.look(REGION + CHUNK)], [0, 1]);
    assertEquals(table.regions.isKeptFree(LAST, 1), true);
  },
);

testRegions("a chunk that is lent has no slot any more", (test) => {
  assertEquals([test.placed.place(REGION, test.sharedInfo), test.placed.lend(REGION, CHUNK)], [0, EBUSY]);
  assertEquals([test.placed.remove(REGION), test.chunks.length, test.placed.lend(REGION, CHUNK)], [0, 1, 0]);
  assertEquals([test.chunks, reclaim(test, REGION, CHUNK)], [[], 0]);
  assertEquals([test.placed.place(REGION + 1, test.sharedInfo), test.look(REGION + 1), test.look(REGION)], [
    0,
    SHARED_BYTE,
    ONES,
  ]);
});

testRegions("loans are of whole chunks of one region, and do not overlap", (test) => {
  const { placed } = test;
  for (
    const [first, count, errno] of [
      [REGION, 0, EINVAL],
      [REGION, -CHUNK, EINVAL],
      [REGION, 1, EINVAL],
      [REGION + 1, CHUNK, EINVAL],
      [REGION, REGION_PAGES + CHUNK, EINVAL],
      [HOLE, CHUNK, EINVAL],
      [REGION - CHUNK, CHUNK, EINVAL],
      [2 ** 52, CHUNK, EINVAL],
      [REGION, 2 ** 52, EINVAL],
      [REGION + CHUNK, CHUNK, 0],
      [REGION, 2 * CHUNK, EBUSY],
      [REGION + CHUNK, CHUNK, EBUSY],
      [REGION, CHUNK, 0],
      [OTHER_REGION, OTHER_REGION_PAGES, 0],
    ]
  ) assertEquals(placed.lend(first, count), errno, `0x${first.toString(16)} + ${count}`);
});

Deno.test("RegionTable has room for 32 loans, and forgets those that end", () => {
  const table = new RegionTable(new ArrayBuffer(REGION_TABLE_BYTES));
  table.begin([{ first: 0 as Gfn, count: 100 * CHUNK, host: 0 }], -1);
  for (let loan = 0; loan < MAX_LOANS; loan++) assertEquals(table.lend(2 * loan * CHUNK, CHUNK), true);
  assertEquals([table.lend(99 * CHUNK, CHUNK), table.lentPages(table.all[0])], [false, MAX_LOANS * CHUNK]);
  table.endLoan(table.loanAround(4 * CHUNK, CHUNK));
  assertEquals([table.hasLoan(4 * CHUNK, CHUNK), table.hasLoan(6 * CHUNK, CHUNK)], [false, true]);
  assertEquals([table.lend(99 * CHUNK, CHUNK), table.hasLoan(99 * CHUNK + 1, 1)], [true, true]);
});

Deno.test("large regions have larger chunks, so that there are never more than 528", () => {
  for (
    const [sizes, chunkPages] of [[[1], 512], [[512], 512], [[513], 1024], [[300, 300], 1024], [
      [2 ** 20],
      2 ** 20,
    ]] as const
  ) {
    const table = new RegionTable(new ArrayBuffer(REGION_TABLE_BYTES));
    let first = 0;
    table.begin(
      sizes.map((chunks) => {
        const region = { first: first as Gfn, count: chunks * CHUNK, host: 0 };
        first += 2 * chunks * CHUNK;
        return region;
      }),
      -1,
    );
    assertEquals(table.chunkPages, chunkPages, `${sizes}`);
    const last = table.all.at(-1)!;
    assertEquals(chunkOf(last, last.first + last.count - 1, chunkPages) < 528, true);
  }
});

testRegions("the file of ones is filled when it is first needed", (test) => {
  const ones = () => new Uint8Array(viewAt(BigInt(hostOf(test.table.regions.all[0], REGION)), SUPERPAGE_SIZE));
  assertEquals(test.table.regions.onesFilled, false);
  assertEquals(test.placed.place(LAST, test.sharedInfo), 0);
  assertEquals([test.placed.place(REGION, test.sharedInfo), test.placed.remove(REGION)], [0, 0]);
  assertEquals(ones().every((byte) => byte === 0xff), true);
});
