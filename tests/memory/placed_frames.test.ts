/** PlacedFrames: special frames in RAM, in its holes and outside; RAM that moves; grants; references and counts. */

import { assertEquals } from "@std/assert";
import { EBUSY, EINVAL, ENOENT, ENOMEM, EXDEV } from "../../src/linux/errno.ts";
import { LinuxError } from "../../src/linux/linux_error.ts";
import { type Gfn, PAGE_SIZE } from "../../src/memory/address.ts";
import { P2M_TYPE, p2mMfn, p2mType } from "../../src/memory/p2m.ts";
import { SPECIAL_FRAME } from "../../src/memory/special_frames.ts";
import { TRANSPORT } from "../../src/memory/stage_area.ts";
import { testWith, USERFAULT } from "../support/capabilities.ts";
import { failing, replacing } from "../support/replacing.ts";
import { HOLE, ONES, RAM, RAM_PAGES, RESERVED, TestPlaced } from "./test_placed.ts";

const PAGE = RAM + 8, GRANT = SPECIAL_FRAME.GRANT, SHARED_BYTE = 0x80;

function testPlaced(name: string, body: (test: TestPlaced) => void | Promise<void>): void {
  for (const registered of [false, true]) {
    const kind = registered ? "whose faults wait" : "as it was mapped";
    testWith([USERFAULT], `${name} (RAM ${kind})`, async () => {
      using test = new TestPlaced(registered);
      await body(test);
      assertEquals(test.table.staleRuns, 0);
    });
  }
}

testPlaced("a frame in RAM takes the page's place; when it goes, the page is out and can be populated", (test) => {
  const { placed, ram } = test, before = ram.reservation;
  assertEquals([placed.place(PAGE, test.sharedInfo), placed.gaveBack], [0, true]);
  assertEquals([test.look(PAGE), test.read(PAGE), ram.reservation], [SHARED_BYTE, SHARED_BYTE, before - 1]);
  assertEquals([test.look(PAGE - 1), test.look(PAGE + 1)], [7, 9], "its neighbours");
  test.memory.write(PAGE * PAGE_SIZE, Uint8Array.of(0x5a));
  assertEquals([test.look(PAGE), new Uint8Array(test.specials.directmap.buffer)[0]], [0x5a, 0x5a]);
  assertEquals(p2mType(test.p2m.lookup(PAGE)), P2M_TYPE.RAM_RW);
  assertEquals(test.machine.references, 1);
  assertEquals([placed.remove(PAGE), placed.gaveBack, placed.remove(PAGE)], [0, false, ENOENT]);
  assertEquals([test.look(PAGE), test.read(PAGE), ram.reservation], [ONES, undefined, before - 1]);
  assertEquals(test.machine.references, 0);
  assertEquals([ram.populate(PAGE, 1), test.look(PAGE), test.read(PAGE)], [1, 0, 0]);
  assertEquals(ram.reservation, before);
});

testPlaced("a gfn that was ballooned out takes a frame, too, and is out again afterwards", (test) => {
  const { placed, ram } = test, before = ram.reservation;
  assertEquals([ram.decrease(PAGE, 1), test.look(PAGE)], [1, ONES]);
  assertEquals([placed.place(PAGE, test.sharedInfo), placed.gaveBack, test.look(PAGE)], [0, false, SHARED_BYTE]);
  assertEquals([ram.populate(PAGE, 1), placed.decrease(PAGE, 1), test.look(PAGE)], [0, 1, ONES]);
  assertEquals([ram.populate(PAGE, 1), test.look(PAGE), ram.reservation], [1, 0, before]);
});

testPlaced("a frame outside of RAM gets a slot; those that go on share it; it goes with the last", (test) => {
  const { placed } = test, frame = (index: number) => test.special(GRANT + index);
  assertEquals([placed.place(HOLE, frame(0)), placed.gaveBack, test.runs], [0, false, [[HOLE, 1]]]);
  assertEquals([placed.place(HOLE + 1, frame(1)), placed.place(HOLE + 3, frame(3))], [0, 0]);
  assertEquals(test.runs, [[HOLE, 2], [HOLE + 3, 1]]);
  assertEquals([placed.place(HOLE + 2, frame(2)), test.runs], [0, [[HOLE, 4]]], "it closes the gap");
  assertEquals([placed.place(HOLE + 4, frame(7)), test.runs], [0, [[HOLE, 4], [HOLE + 4, 1]]], "another frame");
  for (const index of [0, 1, 2, 3]) assertEquals(test.look(HOLE + index), SHARED_BYTE + GRANT + index);
  assertEquals([placed.remove(HOLE + 1), test.runs], [0, [[HOLE, 1], [HOLE + 2, 2], [HOLE + 4, 1]]]);
  assertEquals([test.look(HOLE + 1), test.look(HOLE + 2)], ["exits", SHARED_BYTE + GRANT + 2]);
  for (const gfn of [HOLE, HOLE + 2, HOLE + 3, HOLE + 4]) assertEquals(placed.remove(gfn), 0);
  assertEquals([test.runs, test.machine.references, placed.maximumGfn], [[], 0, HOLE + 4]);
});

testPlaced("a frame that is placed again moves, between RAM and where there is none", (test) => {
  const { placed } = test;
  for (const gfn of [PAGE, HOLE, HOLE + 9, PAGE + 1, PAGE, PAGE]) {
    assertEquals(placed.place(gfn, test.sharedInfo), 0);
    assertEquals([test.look(gfn), test.machine.references], [SHARED_BYTE, 1]);
    assertEquals([test.table.gfnOfSpecial(test.sharedInfo), test.runs.length], [gfn, gfn >= HOLE ? 1 : 0]);
    for (const other of [PAGE, PAGE + 1]) assertEquals(test.look(other) === SHARED_BYTE, other === gfn);
  }
});

testPlaced("a frame that takes another's place leaves that one without any", (test) => {
  const { placed } = test;
  for (const gfn of [PAGE, HOLE]) {
    assertEquals([placed.place(gfn, test.special(GRANT)), placed.place(gfn, test.sharedInfo)], [0, 0]);
    assertEquals([test.look(gfn), test.table.gfnOfSpecial(test.special(GRANT))], [SHARED_BYTE, -1]);
    assertEquals(test.machine.references, 1);
  }
  assertEquals(test.runs, [[HOLE, 1]]);
});

testPlaced("RAM moves to another gfn, and home again; nobody else gets it meanwhile", (test) => {
  const { placed, ram } = test, before = ram.reservation;
  for (const to of [HOLE, PAGE + 1]) {
    assertEquals([placed.move(PAGE, to), placed.gaveBack], [0, true]);
    assertEquals([test.look(to), test.look(PAGE), test.read(to), test.read(PAGE)], [8, ONES, 8, undefined]);
    assertEquals(ram.reservation, to === HOLE ? before : before - 1, "what stood there is out");
    assertEquals([ram.populate(PAGE, 1), placed.move(PAGE, HOLE + 1)], [0, EINVAL]);
    assertEquals([placed.place(PAGE, test.sharedInfo), placed.remove(PAGE), test.look(PAGE)], [0, 0, ONES]);
    assertEquals([placed.move(to, HOLE + 5), test.look(HOLE + 5), test.machine.references], [0, 8, 1]);
    assertEquals([placed.move(HOLE + 5, PAGE), test.look(PAGE), test.machine.references], [0, 8, 0]);
    assertEquals([test.runs, test.read(PAGE)], [[], 8]);
  }
  assertEquals([placed.move(PAGE, HOLE), placed.remove(HOLE), ram.reservation], [0, 0, before - 2]);
  assertEquals([ram.populate(PAGE, 2), test.look(PAGE), test.look(PAGE + 1), ram.reservation], [2, 0, 0, before]);
});

testPlaced("a granted frame appears beside its home, and goes again", (test) => {
  const { placed } = test, mfn = test.bank.firstMfn + 8;
  for (const [gfn, readOnly] of [[HOLE, false], [HOLE, true], [PAGE + 2, false]] as const) {
    assertEquals([placed.mapGrant(gfn, mfn, readOnly), placed.mapGrant(gfn, mfn, readOnly)], [0, EBUSY]);
    const type = readOnly ? P2M_TYPE.GRANT_MAP_RO : P2M_TYPE.GRANT_MAP_RW;
    assertEquals([p2mType(test.p2m.lookup(gfn)), p2mMfn(test.p2m.lookup(gfn))], [type, mfn]);
    assertEquals([test.look(gfn), test.look(PAGE), test.machine.references], [8, 8, 1]);
    if (gfn === HOLE) assertEquals([...test.kvm.slots.values()].at(-1)!.readOnly, readOnly);
    assertEquals([placed.move(gfn, HOLE + 1), placed.unmapGrant(gfn, mfn + 1)], [EXDEV, EINVAL]);
    assertEquals([placed.unmapGrant(gfn, mfn), placed.unmapGrant(gfn, mfn)], [0, EINVAL]);
    assertEquals([test.look(gfn), test.machine.references], [gfn === HOLE ? "exits" : ONES, 0]);
  }
  assertEquals(placed.mapGrant(PAGE, mfn, true), EINVAL, "RAM has no slot of its own that could be read-only");
});

testPlaced("RAM that is granted goes, and its memory stays as long as somebody has it", (test) => {
  const { placed, ram } = test, mfn = test.bank.firstMfn + 8;
  assertEquals([placed.mapGrant(HOLE, mfn, false), placed.decrease(PAGE, 1)], [0, 1]);
  assertEquals([test.look(PAGE), test.look(HOLE), ram.populate(PAGE, 1)], [ONES, 8, 0]);
  assertEquals([placed.unmapGrant(HOLE, mfn), ram.populate(PAGE, 1), test.look(PAGE)], [0, 1, 0]);
});

testPlaced("what is not the guest's to change is refused, and stays", async (test) => {
  const { placed } = test, window = 0xe_0000 as Gfn, page = 0xe_1000 as Gfn;
  const area = await test.add(4, TRANSPORT.EXIT, window), own = test.machine.allocate("ioreq", 1, 1);
  test.stage.mapPage(page, own);
  for (const [gfn, errno] of [[window, EBUSY], [page, EBUSY], [RESERVED, EBUSY], [2 ** 29, EINVAL], [-1, EINVAL]]) {
    assertEquals(placed.place(gfn, test.sharedInfo), errno);
    assertEquals(placed.mapGrant(gfn, test.sharedInfo, false), errno);
    assertEquals(placed.move(PAGE, gfn), errno);
    assertEquals(placed.remove(gfn), gfn === RESERVED || errno === EINVAL ? placed.remove(gfn) : EBUSY);
  }
  assertEquals([placed.remove(HOLE), placed.move(HOLE, PAGE), placed.move(2 ** 52, PAGE)], [ENOENT, EINVAL, EINVAL]);
  assertEquals([placed.getFrame(HOLE, false), placed.getFrame(window, true), test.machine.references], [-1, -1, 0]);
  assertEquals([p2mMfn(test.p2m.lookup(page)), test.look(PAGE)], [own.firstMfn, 8]);
  test.map.close(area);
  await test.stage.removeWindow(area);
  test.stage.unmapPage(page);
});

testPlaced("getFrame() holds what stands at a gfn", (test) => {
  const { placed } = test;
  assertEquals(placed.place(HOLE, test.sharedInfo), 0);
  for (const [gfn, mfn] of [[HOLE, test.sharedInfo], [PAGE, test.bank.firstMfn + 8]]) {
    assertEquals(placed.getFrame(gfn, true), mfn);
    placed.putFrame(mfn);
  }
  assertEquals(test.machine.references, 1);
});

testPlaced("where KVM gives no slot, the frame is where it was, and what stood there is gone", (test) => {
  const { placed } = test, refuse = () => test.kvm.refusal = new LinuxError("ioctl", ENOMEM, "a slot");
  refuse();
  assertEquals([placed.place(HOLE, test.sharedInfo), test.machine.references], [ENOMEM, 0]);
  assertEquals(placed.place(PAGE, test.sharedInfo), 0);
  refuse();
  assertEquals([placed.place(HOLE, test.sharedInfo), test.look(PAGE)], [ENOMEM, SHARED_BYTE]);
  assertEquals([test.table.gfnOfSpecial(test.sharedInfo), test.machine.references], [PAGE, 1]);
  refuse();
  assertEquals([placed.move(PAGE + 1, HOLE), test.look(PAGE + 1), test.machine.references], [ENOMEM, 9, 1]);
  refuse();
  assertEquals([placed.mapGrant(HOLE, test.sharedInfo, true), test.machine.references], [ENOMEM, 1]);
  assertEquals([test.runs, test.read(HOLE)], [[], undefined]);
  assertEquals([placed.place(HOLE, test.sharedInfo), test.runs], [0, [[HOLE, 1]]]);
});

testPlaced("when a slot is to grow and KVM refuses, the frame is not placed, and the others are had again", (test) => {
  const { placed } = test, frame = (index: number) => test.special(GRANT + index);
  for (const at of [0, 1]) { // the deletion of the old one, the new one
    assertEquals(placed.place(HOLE, frame(0)), 0);
    const refusal = new LinuxError("ioctl", ENOMEM, "a slot");
    let calls = 0;
    const result = replacing(test.kvm, "setMemoryRegion", (original, ...args) => {
      if (calls++ === at) throw refusal;
      return original(...args);
    }, () => placed.place(HOLE + 1, frame(1)));
    assertEquals([result, test.table.gfnOfSpecial(frame(1))], [ENOMEM, -1]);
    assertEquals([test.look(HOLE), test.look(HOLE + 1), test.runs], [SHARED_BYTE + GRANT, "exits", [[HOLE, 1]]]);
    assertEquals([test.look(HOLE), test.machine.references, placed.remove(HOLE)], [SHARED_BYTE + GRANT, 1, 0]);
  }
  assertEquals(test.runs, []);
});

for (const method of ["register", "continue"] as const) {
  testWith([USERFAULT], `a frame in RAM whose pages cannot be registered or mapped (${method}) is not placed`, () => {
    using test = new TestPlaced(true);
    const { placed, ram } = test, before = ram.reservation, refusal = method === "register" ? -ENOMEM : -EINVAL;
    const refused = <T>(body: () => T) => replacing(test.map.userfault, method, failing(0, refusal), body);
    assertEquals([refused(() => placed.place(PAGE, test.sharedInfo)), test.look(PAGE)], [ENOMEM, 8]);
    assertEquals([refused(() => placed.move(PAGE + 1, PAGE)), test.look(PAGE), test.look(PAGE + 1)], [ENOMEM, 8, 9]);
    assertEquals([refused(() => placed.mapGrant(PAGE, test.sharedInfo, false)), test.look(PAGE)], [ENOMEM, 8]);
    assertEquals(ram.decrease(PAGE, 1), 1);
    assertEquals([refused(() => placed.place(PAGE, test.sharedInfo)), test.look(PAGE)], [ENOMEM, ONES]);
    assertEquals([ram.reservation, test.machine.references], [before - 1, 0]);
    assertEquals([placed.place(PAGE, test.sharedInfo), test.look(PAGE)], [0, SHARED_BYTE]);
    assertEquals([refused(() => placed.place(PAGE, test.special(GRANT))), test.look(PAGE)], [ENOMEM, SHARED_BYTE]);
    if (method === "continue") return;
    // Without a registration nobody fills the page when it is touched: so it is full of ones.
    assertEquals([refused(() => placed.remove(PAGE)), test.peek(PAGE), test.machine.references], [0, ONES, 0]);
  });
}

testWith([USERFAULT], "RAM on demand that gets a frame never gets its own memory", () => {
  using test = new TestPlaced(true, true);
  const { placed, ram, table } = test;
  assertEquals([placed.place(PAGE, test.sharedInfo), ram.reservation, table.populated], [0, RAM_PAGES - 1, 0]);
  assertEquals([placed.move(PAGE + 1, HOLE), table.populated, test.look(HOLE)], [0, 1, 0]);
  assertEquals([placed.remove(HOLE), table.populated, ram.reservation], [0, 0, RAM_PAGES - 2]);
});
