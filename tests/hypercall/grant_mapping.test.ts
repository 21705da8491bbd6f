/** grant_table_op over RAM, frames and a table as they are: mapping and unmapping what the table grants. */

import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { PAGE_SIZE } from "../../src/memory/address.ts";
import { GNTMAP, GNTST, GTF } from "../../src/hypercall/abi/grant_table.ts";
import { DOMID_SELF } from "../../src/hypercall/abi/xen.ts";
import { testWith, USERFAULT } from "../support/capabilities.ts";
import { HOLE, ONES } from "../memory/test_placed.ts";
import { DOMID, OTHER, PAGE, TARGET, testBoth, TestGrants, testOp } from "./test_grants.ts";

const RUNS = Number(Deno.env.get("XENOLITH_PROPERTY_RUNS") ?? 200);
const { host_map: MAP, readonly: READ_ONLY } = GNTMAP;
const { reading: READING, writing: WRITING } = GTF;

testBoth("a grant of its own appears where the guest maps it, and is in use until it is unmapped", (guest) => {
  const { test } = guest;
  guest.grant(9, PAGE);
  const first = guest.map(9, HOLE, MAP);
  assertEquals([first.status, first.bus, test.look(HOLE), guest.status(9)], [
    GNTST.okay,
    (test.bank.firstMfn + 8) * PAGE_SIZE,
    8,
    READING | WRITING,
  ]);
  const second = guest.map(9, HOLE + 1, MAP | READ_ONLY);
  assertEquals([second.status, test.look(HOLE + 1), guest.references], [GNTST.okay, 8, 4]);
  assertEquals([guest.unmap(first.handle, HOLE), guest.status(9), test.look(HOLE)], [GNTST.okay, READING, "exits"]);
  assertEquals([guest.unmap(second.handle, HOLE + 1, second.bus), guest.status(9)], [GNTST.okay, 0]);
  assertEquals([guest.unmap(second.handle, HOLE + 1), guest.unmap(77, HOLE)], [GNTST.bad_handle, GNTST.bad_handle]);
});

testBoth("what an entry does not grant is not mapped, and leaves no trace", (guest) => {
  const { permit_access: ACCESS } = GTF;
  const cases: [flags: number, domid: number, gfn: number, map: number, status: number][] = [
    [GTF.invalid, DOMID, PAGE, MAP, GNTST.general_error],
    [GTF.accept_transfer, DOMID, PAGE, MAP, GNTST.general_error],
    [GTF.transitive, DOMID, PAGE, MAP, GNTST.general_error],
    [ACCESS, OTHER, PAGE, MAP, GNTST.general_error],
    [ACCESS | GTF.sub_page, DOMID, PAGE, MAP, GNTST.general_error],
    [ACCESS | GTF.readonly, DOMID, PAGE, MAP, GNTST.general_error],
    [ACCESS, DOMID, HOLE + 5, MAP, GNTST.bad_page],
    [ACCESS, DOMID, PAGE, 0, GNTST.bad_gntref],
    [ACCESS, DOMID, PAGE, MAP | GNTMAP.device_map, GNTST.general_error],
    [ACCESS, DOMID, PAGE, MAP | GNTMAP.contains_pte, GNTST.general_error],
    [ACCESS, DOMID, PAGE, MAP | 0x1_0000, GNTST.general_error],
    [ACCESS | GTF.readonly, DOMID, PAGE, MAP | READ_ONLY, GNTST.okay],
  ];
  for (const [flags, domid, gfn, map, status] of cases) {
    guest.grant(9, gfn, flags, domid);
    const before = guest.flags(9), result = guest.map(9, HOLE, map);
    assertEquals(result.status, status, `flags 0x${flags.toString(16)} of ${domid}, map 0x${map.toString(16)}`);
    if (status === GNTST.okay) assertEquals(guest.unmap(result.handle, HOLE), GNTST.okay);
    assertEquals([guest.status(9), guest.flags(9), guest.references], [0, before, 0]);
  }
  guest.grant(9, PAGE);
  assertEquals([guest.map(guest.grantTable.entries, HOLE, MAP).status, guest.map(9, HOLE, MAP, DOMID_SELF).status], [
    GNTST.bad_gntref,
    GNTST.bad_domain,
  ]);
  assertEquals([guest.map(9, HOLE, MAP, OTHER).status, guest.map(9, HOLE, MAP, 0).status], [
    GNTST.bad_domain,
    GNTST.general_error,
  ]);
  assertEquals(guest.map(9, PAGE, MAP | READ_ONLY).status, GNTST.general_error, "read-only in RAM");
  assertEquals(guest.status(9), 0);
});

testBoth("a mapping ends only where it is, and once", (guest) => {
  guest.grant(9, PAGE);
  const { handle, bus } = guest.map(9, HOLE, MAP);
  assertEquals([guest.map(9, HOLE, MAP).status, guest.grantTable.pin(9)], [GNTST.general_error, 1], "there is one");
  assertEquals([guest.unmap(handle, HOLE + 1), guest.unmap(handle, HOLE, bus + PAGE_SIZE)], [
    GNTST.general_error,
    GNTST.general_error,
  ]);
  assertEquals(
    [guest.unmap(handle, 0), guest.status(9)],
    [GNTST.okay, READING | WRITING],
    "of nothing nothing is unmapped",
  );
  assertEquals([guest.unmap(handle, HOLE, bus), guest.unmap(handle, HOLE)], [GNTST.okay, GNTST.bad_handle]);
});

testBoth("a mapping over RAM gives that page back", (guest) => {
  const { test } = guest;
  guest.grant(9, PAGE);
  const { status, handle } = guest.map(9, TARGET, MAP);
  assertEquals([status, guest.caller.call.invalidates, test.look(TARGET)], [GNTST.okay, true, 8]);
  assertEquals([guest.unmap(handle, TARGET), test.look(TARGET), test.ram.populate(TARGET, 1)], [GNTST.okay, ONES, 1]);
});

testOp("an entry that changes all the time is given up, not waited for", (guest) => {
  const { grantTable: table } = guest, { compareExchange } = Atomics;
  guest.grant(9, PAGE);
  let attempts = 0;
  Atomics.compareExchange = ((words: Int32Array, at: number, ...rest: [number, number]) => {
    if (words === table.shared) {
      attempts++;
      words[at] ^= GTF.PWT;
    }
    return compareExchange(words, at, ...rest);
  }) as typeof compareExchange;
  try {
    assertEquals(guest.map(9, HOLE, MAP).status, GNTST.general_error);
  } finally {
    Atomics.compareExchange = compareExchange;
  }
  assertEquals([attempts, guest.references, guest.status(9)], [5, 0, 0]);
});

testOp("there are as many handles as maptrack frames hold, and each is used again", (guest) => {
  const { grantTable: table } = guest, handles = [];
  for (let handle; (handle = table.newHandle()) >= 0;) handles.push(handle);
  assertEquals([handles.length, handles[0], handles.at(-1)], [1024 * 256, 0, 1024 * 256 - 1]);
  guest.grant(9, PAGE);
  assertEquals(guest.map(9, HOLE, MAP).status, GNTST.no_device_space);
  table.putHandle(77);
  const { status, handle } = guest.map(9, HOLE, MAP);
  assertEquals([status, handle, guest.unmap(77, HOLE)], [GNTST.okay, 77, GNTST.okay]);
});

testWith([USERFAULT], "grant_table_op: whatever is mapped, copied and unmapped, pins and references balance", () => {
  const gfns = [PAGE, PAGE + 1, TARGET, HOLE, HOLE + 1],
    gfn = fc.constantFrom(...gfns),
    ref = fc.integer({ min: 8, max: 11 });
  const flags = fc.constantFrom(0, 1, 1, 1, 5, 3, 1 | GTF.sub_page);
  const step = fc.oneof(
    fc.record({ op: fc.constant("grant"), ref, gfn, flags }),
    fc.record({ op: fc.constant("map"), ref, gfn, readOnly: fc.boolean() }),
    fc.record({ op: fc.constant("unmap"), pick: fc.nat(9), gfn }),
    fc.record({ op: fc.constant("copy"), ref, gfn, to: ref }),
    fc.record({ op: fc.constant("decrease"), gfn }),
    fc.record({ op: fc.constant("populate"), gfn }),
  );
  type Step = {
    op: string;
    ref?: number;
    gfn?: number;
    to?: number;
    pick?: number;
    flags?: number;
    readOnly?: boolean;
  };
  const property = fc.property(fc.constantFrom(1, 2), fc.array(step, { maxLength: 30 }), (version, steps) => {
    using guest = new TestGrants(64);
    guest.setVersion(version);
    const mapped: { handle: number; gfn: number; ref: number; readOnly: boolean }[] = [];
    for (const { op, ref = 8, gfn = PAGE, to = 8, pick = 0, flags = 1, readOnly = false } of steps as Step[]) {
      // What the guest does to entries that are in use is its own affair, but for the bits that say so.
      if (op === "grant") guest.grant(ref, gfn, flags | (version === 1 ? guest.status(ref) : 0), DOMID, 0, 64);
      else if (op === "map") {
        const { status, handle } = guest.map(ref, gfn, readOnly ? MAP | READ_ONLY : MAP);
        if (status === GNTST.okay) mapped.push({ handle, gfn, ref, readOnly });
      } else if (op === "unmap" && mapped.length > 0) {
        const at = pick % mapped.length, { handle } = mapped[at];
        if (guest.unmap(handle, gfn) === GNTST.okay) mapped.splice(at, 1);
      } else if (op === "copy") guest.copy({ ref }, { ref: to, offset: 32 }, 16);
      else if (op === "decrease") guest.test.placed.decrease(gfn, 1);
      else if (op === "populate") guest.test.ram.populate(gfn, 1);
      for (let entry = 8; entry < 12; entry++) {
        const uses = mapped.filter(({ ref }) => ref === entry),
          writes = uses.filter(({ readOnly }) => !readOnly).length;
        assertEquals(guest.grantTable.pin(entry), writes + (uses.length - writes) * 0x100);
        assertEquals((guest.status(entry) & READING) !== 0, uses.length > 0);
      }
    }
    // Mappings are still where they were made, or the guest has taken them away by other means: by another's handle, say.
    let shown = 0;
    for (const gfn of gfns) {
      const isShown = mapped.some(({ ref }) => guest.grantFrames.unmapGrant(gfn, guest.grantTable.mfn(ref)) === 0);
      if (isShown) shown++;
    }
    assertEquals([guest.references, shown <= mapped.length], [mapped.length, true]);
  });
  fc.assert(property, { numRuns: RUNS });
});
