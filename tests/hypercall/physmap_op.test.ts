/** memory_op on what stands where: checks, their order, and what is asked of the domain, for both widths. */

import { assert, assertEquals } from "@std/assert";
import {
  EACCES,
  EDOM,
  EFAULT,
  EILSEQ,
  EINVAL,
  ENOMEM,
  ENOSYS,
  EOPNOTSUPP,
  EPERM,
  ESRCH,
} from "../../src/linux/errno.ts";
import {
  ADD_TO_PHYSMAP,
  ADD_TO_PHYSMAP_BATCH,
  REMOVE_FROM_PHYSMAP,
  XENMAPSPACE,
  XENMEM,
} from "../../src/hypercall/abi/memory.ts";
import { DOMID_SELF } from "../../src/hypercall/abi/xen.ts";
import { DOMID, ERRORS, GFNS, LIST, OTHER, testOp } from "./test_memory.ts";

testOp("add_to_physmap places what each space names", (guest) => {
  const layout = ADD_TO_PHYSMAP[guest.bits], status = 0x8000_0000;
  const fill = (space: number, index: number, gfn: number, size = 0, domid = DOMID_SELF) => {
    guest.data.setUint16(layout.domid, domid, true);
    guest.data.setUint16(layout.size, size, true);
    guest.data.setUint32(layout.space, space, true);
    guest.long(layout.idx, index);
    guest.long(layout.gpfn, gfn);
  };
  const cases: [space: number, index: number, result: number, log: string[]][] = [
    [XENMAPSPACE.shared_info, 0, 0, ["shared info at 7"]],
    [XENMAPSPACE.shared_info, 1, -EINVAL, []],
    [XENMAPSPACE.grant_table, 3, 0, ["grants 3 at 7"]],
    [XENMAPSPACE.grant_table, status + 2, 0, ["status 2 at 7"]],
    [XENMAPSPACE.gmfn, 4, 0, ["4 to 7"]],
    [XENMAPSPACE.gmfn_foreign, 4, -ENOSYS, []],
    [XENMAPSPACE.dev_mmio, 4, -EACCES, []],
    [6, 0, -EINVAL, []],
    [0xffff_ffff, 0, -EINVAL, []],
  ];
  for (const [space, index, result, log] of cases) {
    fill(space, index, 7);
    guest.domain.log.length = 0;
    assertEquals([guest.do(XENMEM.add_to_physmap, guest.pointer()), guest.domain.log], [result, log], `space ${space}`);
  }
  guest.domain.log.length = 0;
  fill(XENMAPSPACE.gmfn_range, 20, 30, 3);
  assertEquals(
    [guest.do(XENMEM.add_to_physmap, guest.pointer()), guest.do(XENMEM.add_to_physmap, guest.pointer(), 2)],
    [0, 0],
  );
  assertEquals(guest.domain.log, ["20 to 30", "21 to 31", "22 to 32", "22 to 32"]);
  assertEquals(guest.do(XENMEM.add_to_physmap, guest.pointer(), 4), -EILSEQ);
  assertEquals(guest.do(XENMEM.add_to_physmap, guest.pointer(), 0x1_0000), -EDOM);
  guest.domain.result = ENOMEM;
  guest.domain.gaveBack = true;
  assertEquals([guest.do(XENMEM.add_to_physmap, guest.pointer()), guest.domain.log.length], [-ENOMEM, 5]);
  assert(guest.call.invalidates);
  for (const [domid, expected] of [[0, -EPERM], [OTHER, -ESRCH]]) {
    fill(XENMAPSPACE.dev_mmio, 0, 0, 0, domid);
    assertEquals(guest.do(XENMEM.add_to_physmap, guest.pointer()), expected);
  }
  assertEquals(guest.do(XENMEM.add_to_physmap, guest.missing(layout.bytes - 1)), -EFAULT);
  assertEquals(guest.do(XENMEM.add_to_physmap, guest.missing(), 0x1_0000), guest.bits === 64 ? -EDOM : -EFAULT);
});

testOp("add_to_physmap_batch has a result for each page", (guest) => {
  const layout = ADD_TO_PHYSMAP_BATCH[guest.bits], { data, domain } = guest, BATCH = XENMEM.add_to_physmap_batch;
  const fill = (space: number, size: number, foreign = 0, domid = DOMID_SELF) => {
    data.setUint16(layout.domid, domid, true);
    data.setUint16(layout.space, space, true);
    data.setUint16(layout.size, size, true);
    data.setUint16(layout["u.foreign_domid"], foreign, true);
    guest.longs(layout.idxs, [guest.pointer(LIST), guest.pointer(GFNS), guest.pointer(ERRORS)]);
    guest.longs(LIST, [0, 1, 0]);
    guest.longs(GFNS, [10, 11, 12]);
  };
  const errors = () => [0, 1, 2].map((index) => data.getInt32(ERRORS + index * 4, true));
  fill(XENMAPSPACE.shared_info, 3);
  assertEquals([guest.do(BATCH, guest.pointer()), errors()], [0, [0, -EINVAL, 0]]);
  assertEquals(domain.log.splice(0), ["shared info at 10", "shared info at 12"]);
  assertEquals([guest.do(BATCH, guest.pointer(), 2), domain.log.splice(0)], [0, ["shared info at 12"]]);
  for (const [foreign, error] of [[DOMID_SELF, -EINVAL], [0, -EPERM], [OTHER, -EPERM]]) {
    fill(XENMAPSPACE.gmfn_foreign, 1, foreign);
    assertEquals([guest.do(BATCH, guest.pointer()), errors()[0]], [0, error]);
  }
  const refused: [space: number, domid: number, start: number, result: number][] = [
    [XENMAPSPACE.gmfn_range, OTHER, 0, -EOPNOTSUPP],
    [XENMAPSPACE.gmfn, OTHER, 0, -ESRCH],
    [XENMAPSPACE.gmfn, 0, 0, -EPERM],
    [XENMAPSPACE.dev_mmio, DOMID, 0, -EACCES],
    [XENMAPSPACE.gmfn, DOMID, 4, -EILSEQ],
    [XENMAPSPACE.gmfn, DOMID, 0x1_0000, -EDOM],
  ];
  for (const [space, domid, start, result] of refused) {
    fill(space, 3, 0, domid);
    assertEquals(guest.do(BATCH, guest.pointer(), start), result, `space ${space}, domain ${domid}`);
  }
  for (
    const [field, pointer] of [["idxs", guest.missing(8)], ["gpfns", guest.missing(8)], [
      "errs",
      guest.readOnly(),
    ]] as const
  ) {
    fill(XENMAPSPACE.gmfn, 3);
    guest.long(layout[field], pointer);
    assertEquals(guest.do(BATCH, guest.pointer()), -EFAULT, field);
  }
  assertEquals(guest.do(BATCH, guest.missing(3)), -EFAULT);
});

testOp("remove_from_physmap", (guest) => {
  const layout = REMOVE_FROM_PHYSMAP[guest.bits],
    fill = (domid: number) => {
      guest.data.setUint16(layout.domid, domid, true);
      guest.long(layout.gpfn, 0xabcd);
    };
  fill(DOMID);
  assertEquals([guest.do(XENMEM.remove_from_physmap, guest.pointer()), guest.domain.log], [0, ["remove 43981"]]);
  assertEquals([guest.call.invalidates, guest.do(XENMEM.remove_from_physmap, guest.pointer(), 1)], [false, -EINVAL]);
  fill(OTHER);
  assertEquals(guest.do(XENMEM.remove_from_physmap, guest.pointer()), -ESRCH);
  assertEquals(guest.do(XENMEM.remove_from_physmap, guest.missing(layout.bytes - 1)), -EFAULT);
});
