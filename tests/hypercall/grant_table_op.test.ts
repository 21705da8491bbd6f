/** grant_table_op over RAM, frames and a table as they are: the table's size and version, mapping, copying, refusals. */

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { EBUSY, EFAULT, EINVAL, ENOSYS, EPERM, ERANGE, ESRCH } from "../../src/linux/errno.ts";
import { type Gfn, PAGE_SIZE } from "../../src/memory/address.ts";
import {
  GNTMAP,
  GNTST,
  GNTTAB_CACHE_FLUSH,
  GNTTAB_GET_STATUS_FRAMES,
  GNTTAB_QUERY_SIZE,
  GNTTAB_SETUP_TABLE,
  GNTTAB_SWAP_GRANT_REF,
  GNTTABOP,
  GTF,
} from "../../src/hypercall/abi/grant_table.ts";
import { DOMID_SELF } from "../../src/hypercall/abi/xen.ts";
import { grantTableOp } from "../../src/hypercall/grant_table_op.ts";
import { testWith, USERFAULT } from "../support/capabilities.ts";
import { HOLE, ONES, RAM } from "../memory/test_placed.ts";
import { assertAnswersAnything, WIDTHS } from "./calls.ts";
import { DOMID, LIST, TestGrants } from "./test_grants.ts";

const RUNS = Number(Deno.env.get("XENOLITH_PROPERTY_RUNS") ?? 200);
const OTHER = 9, PAGE = RAM + 8, TARGET = RAM + 20, { host_map: MAP, readonly: READ_ONLY } = GNTMAP;
const READING = GTF.reading, WRITING = GTF.writing;

function testOp(name: string, body: (guest: TestGrants) => void): void {
  for (const bits of WIDTHS) {
    testWith([USERFAULT], `grant_table_op ${name} (${bits} bits)`, () => {
      using guest = new TestGrants(bits);
      body(guest);
    });
  }
}

/** The same for both versions of the table. */
function testBoth(name: string, body: (guest: TestGrants) => void): void {
  for (const version of [1, 2]) {
    testOp(`${name}, version ${version}`, (guest) => {
      assertEquals(setVersion(guest, version), [0, version]);
      body(guest);
      assertEquals(guest.references, 0);
    });
  }
}

function setVersion(guest: TestGrants, version: number): [result: number, version: number] {
  guest.data.setUint32(0, version, true);
  const result = guest.do(GNTTABOP.set_version);
  return [result, guest.data.getUint32(0, true)];
}

testOp("setup_table grows the table and says where its frames stand", (guest) => {
  const layout = GNTTAB_SETUP_TABLE[guest.bits], { data } = guest, bytes = guest.bits / 8;
  const setUp = (frames: number, dom: number = DOMID_SELF, list = guest.caller.pointer(LIST)) => {
    data.setUint16(layout.dom, dom, true);
    data.setUint32(layout.nr_frames, frames, true);
    if (guest.bits === 64) data.setBigUint64(layout.frame_list, list, true);
    else data.setUint32(layout.frame_list, Number(list), true);
    return [guest.do(GNTTABOP.setup_table), data.getInt16(layout.status, true)];
  };
  const gfn = (index: number) => data.getUint32(LIST + index * bytes, true);
  assertEquals(setUp(2), [0, GNTST.okay]);
  assertEquals([gfn(0), gfn(1), guest.grantTable.frames], [0xffff_ffff, 0xffff_ffff, 2]);
  assertEquals([guest.place(1, false, HOLE), setUp(3), gfn(1)], [0, [0, GNTST.okay], HOLE]);
  assertEquals([setUp(64), setUp(1), guest.grantTable.frames], [[0, GNTST.okay], [0, GNTST.okay], 64]);
  assertEquals(setUp(65), [0, GNTST.general_error]);
  assertEquals([setUp(1, OTHER), setUp(1, 0)], [[0, GNTST.bad_domain], [0, GNTST.permission_denied]]);
  const isWide = guest.bits === 64;
  assertEquals(setUp(3, DOMID, guest.caller.missing(2 * bytes)), [0, isWide ? GNTST.bad_virt_addr : GNTST.okay]);
  assertEquals(guest.do(GNTTABOP.setup_table, 2), -EINVAL);
  assertEquals(guest.do(GNTTABOP.setup_table, 0), isWide ? -EINVAL : 0);
  assertEquals(guest.do(GNTTABOP.setup_table, 1, guest.caller.missing(layout.bytes - 1)), -EFAULT);
  setUp(1);
  assertEquals(guest.do(GNTTABOP.setup_table, 1, guest.caller.readOnly()), -EFAULT);
});

testOp("query_size", (guest) => {
  const layout = GNTTAB_QUERY_SIZE, { data } = guest;
  const ask = (dom: number) => {
    data.setUint16(layout.dom, dom, true);
    const result = guest.do(GNTTABOP.query_size);
    return [result, data.getInt16(layout.status, true), data.getUint32(layout.nr_frames, true)];
  };
  assertEquals([ask(DOMID_SELF), data.getUint32(layout.max_nr_frames, true)], [[0, GNTST.okay, 1], 64]);
  guest.grantTable.grow(7);
  assertEquals([ask(DOMID), ask(OTHER).slice(0, 2), ask(0).slice(0, 2)], [
    [0, GNTST.okay, 7],
    [0, GNTST.bad_domain],
    [0, GNTST.permission_denied],
  ]);
  assertEquals([guest.do(GNTTABOP.query_size, 2), guest.do(GNTTABOP.query_size, 1, guest.caller.missing())], [
    -EINVAL,
    -EFAULT,
  ]);
});

testOp("frames of the table and of the status grow it as add_to_physmap asks for them", (guest) => {
  const { grantTable: table } = guest;
  assertEquals([table.frameAt(64, false), table.frameAt(0, true), table.frames], [-1, -1, 1]);
  assertEquals([guest.place(9, false, HOLE), table.frames, table.entries], [0, 10, 10 * 512]);
  setVersion(guest, 2);
  assertEquals([table.statusFrames, table.entries, table.frameAt(8, true)], [2, 10 * 256, -1]);
  assertEquals([guest.place(1, true, HOLE + 1 as Gfn), table.frames], [0, 10]);
  assertEquals([guest.place(2, true, HOLE + 2 as Gfn), table.frames, table.statusFrames], [0, 24, 3]);
  assertEquals([guest.place(7, true, HOLE + 2 as Gfn), table.frames, table.statusFrames], [0, 64, 8]);
  assertEquals([table.gfnOf(2, true), table.gfnOf(7, true)], [-1, HOLE + 2]);
});

testOp("set_version keeps the first entries and empties the others", (guest) => {
  const { grantTable: table } = guest;
  guest.grant(0, 0x111, GTF.permit_access | GTF.readonly, 3);
  guest.grant(8, 0x222);
  assertEquals(setVersion(guest, 2), [0, 2]);
  assertEquals([guest.flags(0), guest.status(0), table.shared[table.headerAt(0) + 2]], [
    GTF.permit_access | GTF.readonly,
    0,
    0x111,
  ]);
  assertEquals([table.shared[table.headerAt(0)] >>> 16, guest.flags(8)], [3, 0]);
  assertEquals(guest.place(0, true, HOLE), 0);
  table.setStatusBits(0, READING);
  assertEquals([setVersion(guest, 1), guest.flags(0), table.gfnOf(0, true)], [
    [0, 1],
    GTF.permit_access | GTF.readonly | READING,
    -1,
  ]);
  assertEquals([guest.test.look(HOLE), guest.references, table.statusFrames], ["exits", 0, 0]);
  assertEquals([setVersion(guest, 3), setVersion(guest, 0), setVersion(guest, 1)], [[-EINVAL, 1], [-EINVAL, 1], [
    0,
    1,
  ]]);
  for (const [flags, gfn] of [[GTF.transitive, 1], [GTF.permit_access, 2 ** 33]]) {
    assertEquals(setVersion(guest, 2), [0, 2]);
    guest.grant(3, gfn, flags);
    assertEquals(setVersion(guest, 1), [-ERANGE, 2]);
    guest.grant(3, 0, GTF.invalid);
    assertEquals(setVersion(guest, 1), [0, 1]);
  }
  guest.grant(8, PAGE);
  const { status, handle } = guest.map(8, HOLE, MAP);
  assertEquals([status, setVersion(guest, 2)], [GNTST.okay, [-EBUSY, 1]]);
  assertEquals([guest.unmap(handle, HOLE), setVersion(guest, 2)], [GNTST.okay, [0, 2]]);
  assertEquals(guest.do(GNTTABOP.set_version, 1, guest.caller.missing()), -EFAULT);
  assertEquals(guest.do(GNTTABOP.set_version, 1, guest.caller.readOnly()), -EFAULT);
});

testOp("get_version", (guest) => {
  for (const [dom, result] of [[DOMID_SELF, 0], [DOMID, 0], [OTHER, -ESRCH], [0, -EPERM]]) {
    guest.data.setUint16(0, dom, true);
    guest.data.setUint32(4, 77, true);
    assertEquals([guest.do(GNTTABOP.get_version), guest.data.getUint32(4, true)], [result, result === 0 ? 1 : 77]);
  }
});

testOp("get_status_frames says where those of version 2 stand", (guest) => {
  const layout = GNTTAB_GET_STATUS_FRAMES[guest.bits], { data } = guest;
  const ask = (frames: number, dom: number = DOMID_SELF) => {
    data.setUint32(layout.nr_frames, frames, true);
    data.setUint16(layout.dom, dom, true);
    const list = guest.caller.pointer(LIST);
    if (guest.bits === 64) data.setBigUint64(layout.frame_list, list, true);
    else data.setUint32(layout.frame_list, Number(list), true);
    return [guest.do(GNTTABOP.get_status_frames), data.getInt16(layout.status, true)];
  };
  assertEquals([ask(0), ask(1)], [[0, GNTST.okay], [0, GNTST.general_error]]);
  setVersion(guest, 2);
  assertEquals([guest.place(0, true, HOLE), ask(1)], [0, [0, GNTST.okay]]);
  assertEquals([data.getBigUint64(LIST, true), ask(1, OTHER), ask(1, 0)], [
    BigInt(HOLE),
    [0, GNTST.bad_domain],
    [0, GNTST.permission_denied],
  ]);
});

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

testBoth("copy goes between gfns and grants, within what is granted", (guest) => {
  const own = { domid: DOMID };
  guest.grant(9, PAGE);
  guest.grant(10, TARGET);
  guest.fill(PAGE, 100, [1, 2, 3, 4]);
  for (const source of [{ gfn: PAGE }, { ref: 9 }, { ref: 9, ...own }]) {
    for (const dest of [{ gfn: TARGET }, { ref: 10, ...own }]) {
      guest.fill(TARGET, 200, [0, 0, 0, 0, 9]);
      assertEquals(guest.copy({ ...source, offset: 100 }, { ...dest, offset: 200 }, 4), GNTST.okay);
      assertEquals(guest.bytes(TARGET, 200, 5), [1, 2, 3, 4, 9]);
      assertEquals([guest.status(9), guest.status(10), guest.references], [0, 0, 0]);
    }
  }
  assertEquals(guest.copy({ ref: 9, offset: 100 }, { ref: 9, offset: 102 }, 4), GNTST.okay);
  assertEquals(guest.bytes(PAGE, 100, 6), [1, 2, 1, 2, 3, 4], "within a page, and over itself");
  assertEquals(guest.copy({ gfn: PAGE }, { gfn: TARGET }, PAGE_SIZE), GNTST.okay);
  const statuses: [source: object, dest: object, length: number, status: number][] = [
    [{ gfn: PAGE, offset: 4000 }, { gfn: TARGET }, 97, GNTST.bad_copy_arg],
    [{ gfn: PAGE }, { gfn: TARGET, offset: 1 }, PAGE_SIZE, GNTST.bad_copy_arg],
    [{ gfn: PAGE, domid: DOMID }, { gfn: TARGET }, 4, GNTST.permission_denied],
    [{ gfn: PAGE }, { gfn: TARGET, domid: OTHER }, 4, GNTST.permission_denied],
    [{ ref: 9, domid: OTHER }, { gfn: TARGET }, 4, GNTST.bad_domain],
    [{ ref: 9, domid: 0 }, { gfn: TARGET }, 4, GNTST.general_error],
    [{ gfn: HOLE }, { gfn: TARGET }, 4, GNTST.bad_page],
    [{ gfn: PAGE }, { gfn: HOLE }, 4, GNTST.bad_page],
    [{ ref: 11 }, { gfn: TARGET }, 4, GNTST.general_error],
    [{ ref: 9 }, { ref: guest.grantTable.entries }, 4, GNTST.bad_gntref],
    [{ ref: 9 }, { ref: 0xffff_ffff }, 4, GNTST.bad_gntref],
  ];
  for (const [source, dest, length, status] of statuses) {
    assertEquals(guest.copy(source, dest, length), status, JSON.stringify([source, dest, length]));
    assertEquals([guest.status(9), guest.references], [0, 0]);
  }
  guest.grant(10, TARGET, GTF.permit_access | GTF.readonly);
  assertEquals([guest.copy({ ref: 10 }, { gfn: PAGE }, 4), guest.copy({ ref: 9 }, { ref: 10 }, 4)], [
    GNTST.okay,
    GNTST.general_error,
  ]);
});

testOp("copy keeps to the part of a page that is granted, and to no transitive grant", (guest) => {
  setVersion(guest, 2);
  guest.grant(9, PAGE, GTF.permit_access | GTF.sub_page, DOMID, 64, 32);
  const results = [[64, 32], [65, 32], [63, 4], [95, 1], [96, 1], [80, 0]].map(([offset, length]) =>
    guest.copy({ ref: 9, offset }, { gfn: TARGET, offset }, length)
  );
  assertEquals(results, [0, -1, -1, 0, -1, 0]);
  guest.grant(10, 9, GTF.transitive);
  assertEquals([guest.copy({ ref: 10 }, { gfn: TARGET }, 4), guest.status(10)], [GNTST.general_error, 0]);
  assertEquals(guest.references, 0);
});

testOp("copy of a list stops at what is not there, and statuses before it are written", (guest) => {
  guest.putCopy({ gfn: PAGE }, { gfn: TARGET }, 8, 0);
  guest.putCopy({ gfn: HOLE }, { gfn: TARGET }, 8, 1);
  guest.putCopy({ gfn: PAGE }, { gfn: TARGET }, 8, 2);
  assertEquals([guest.do(GNTTABOP.copy, 3), guest.copyStatus(), guest.copyStatus(1), guest.copyStatus(2)], [
    0,
    GNTST.okay,
    GNTST.bad_page,
    GNTST.okay,
  ]);
  assertEquals([guest.do(GNTTABOP.copy, 0), guest.do(GNTTABOP.copy, -1)], [0, -EINVAL]);
  assertEquals(guest.do(GNTTABOP.copy, 1000), -EFAULT);
  assertEquals([guest.do(GNTTABOP.copy, 1, guest.caller.missing()), guest.references], [-EFAULT, 0]);
});

testBoth("swap_grant_ref exchanges entries that are not in use", (guest) => {
  const layout = GNTTAB_SWAP_GRANT_REF, { data } = guest;
  const swap = (one: number, other: number) => {
    data.setUint32(layout.ref_a, one, true);
    data.setUint32(layout.ref_b, other, true);
    assertEquals(guest.do(GNTTABOP.swap_grant_ref), 0);
    return data.getInt16(layout.status, true);
  };
  guest.grant(9, PAGE);
  guest.grant(10, TARGET, GTF.permit_access | GTF.readonly, 3);
  assertEquals([swap(9, 10), guest.flags(9), guest.flags(10)], [
    GNTST.okay,
    GTF.permit_access | GTF.readonly,
    GTF.permit_access,
  ]);
  assertEquals([swap(9, 9), swap(9, 1 << 20), swap(1 << 20, 9)], [GNTST.okay, GNTST.bad_gntref, GNTST.bad_gntref]);
  const { handle } = guest.map(10, HOLE, MAP);
  assertEquals([swap(9, 10), swap(10, 9), guest.unmap(handle, HOLE)], [GNTST.eagain, GNTST.eagain, GNTST.okay]);
});

testOp("cache_flush looks at its arguments, and has nothing to do", (guest) => {
  const layout = GNTTAB_CACHE_FLUSH, { data, test } = guest;
  const flush = (mfn: number, offset: number, length: number, op: number) => {
    data.setBigUint64(layout["a.dev_bus_addr"], BigInt(mfn * PAGE_SIZE), true);
    data.setUint16(layout.offset, offset, true);
    data.setUint16(layout.length, length, true);
    data.setUint32(layout.op, op, true);
    return guest.do(GNTTABOP.cache_flush);
  };
  const own = test.bank.firstMfn;
  assertEquals([flush(own, 0, PAGE_SIZE, 3), flush(own, 8, 0, 3), flush(1, 8, 0, 3), flush(own, 8, 8, 0)], [
    0,
    0,
    0,
    0,
  ]);
  assertEquals([flush(own, 1, PAGE_SIZE, 1), flush(own, PAGE_SIZE, 0, 1), flush(own, 0, 8, 4), flush(1, 0, 8, 1)], [
    -EINVAL,
    -EINVAL,
    -EINVAL,
    -EINVAL,
  ]);
});

testOp("subops that Xen does not let HVM guests have, and what is none, is no subop", (guest) => {
  for (const subop of [GNTTABOP.dump_table, GNTTABOP.transfer, GNTTABOP.unmap_and_replace, 13, 0x1000, 0xffff_ffff]) {
    assertEquals([guest.do(subop), guest.do(subop, -1)], [-ENOSYS, -ENOSYS], `subop ${subop}`);
  }
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
    setVersion(guest, version);
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

testWith([USERFAULT], "grant_table_op answers anything", () => {
  using guest = new TestGrants(64);
  assertAnswersAnything([...Object.values(GNTTABOP)], (call, random) => {
    call.low[2] = random() % 8;
    return grantTableOp(guest, call);
  });
  assert(guest.grantTable.frames <= 64);
});
