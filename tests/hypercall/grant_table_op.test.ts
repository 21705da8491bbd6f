/** grant_table_op over RAM, frames and a table as they are: the size and the version of the table, its entries, refusals. */

import { assert, assertEquals } from "@std/assert";
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
import { HOLE } from "../memory/test_placed.ts";
import { assertAnswersAnything } from "./calls.ts";
import { DOMID, LIST, OTHER, PAGE, TARGET, testBoth, TestGrants, testOp } from "./test_grants.ts";

const { host_map: MAP } = GNTMAP;
const { reading: READING } = GTF;

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
  guest.setVersion(2);
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
  assertEquals(guest.setVersion(2), [0, 2]);
  assertEquals([guest.flags(0), guest.status(0), table.shared[table.headerAt(0) + 2]], [
    GTF.permit_access | GTF.readonly,
    0,
    0x111,
  ]);
  assertEquals([table.shared[table.headerAt(0)] >>> 16, guest.flags(8)], [3, 0]);
  assertEquals(guest.place(0, true, HOLE), 0);
  table.setStatusBits(0, READING);
  assertEquals([guest.setVersion(1), guest.flags(0), table.gfnOf(0, true)], [
    [0, 1],
    GTF.permit_access | GTF.readonly | READING,
    -1,
  ]);
  assertEquals([guest.test.look(HOLE), guest.references, table.statusFrames], ["exits", 0, 0]);
  assertEquals([guest.setVersion(3), guest.setVersion(0), guest.setVersion(1)], [[-EINVAL, 1], [-EINVAL, 1], [
    0,
    1,
  ]]);
  for (const [flags, gfn] of [[GTF.transitive, 1], [GTF.permit_access, 2 ** 33]]) {
    assertEquals(guest.setVersion(2), [0, 2]);
    guest.grant(3, gfn, flags);
    assertEquals(guest.setVersion(1), [-ERANGE, 2]);
    guest.grant(3, 0, GTF.invalid);
    assertEquals(guest.setVersion(1), [0, 1]);
  }
  guest.grant(8, PAGE);
  const { status, handle } = guest.map(8, HOLE, MAP);
  assertEquals([status, guest.setVersion(2)], [GNTST.okay, [-EBUSY, 1]]);
  assertEquals([guest.unmap(handle, HOLE), guest.setVersion(2)], [GNTST.okay, [0, 2]]);
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
  guest.setVersion(2);
  assertEquals([guest.place(0, true, HOLE), ask(1)], [0, [0, GNTST.okay]]);
  assertEquals([data.getBigUint64(LIST, true), ask(1, OTHER), ask(1, 0)], [
    BigInt(HOLE),
    [0, GNTST.bad_domain],
    [0, GNTST.permission_denied],
  ]);
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

testWith([USERFAULT], "grant_table_op answers anything", () => {
  using guest = new TestGrants(64);
  assertAnswersAnything([...Object.values(GNTTABOP)], (call, random) => {
    call.low[2] = random() % 8;
    return grantTableOp(guest, call);
  });
  assert(guest.grantTable.frames <= 64);
});
