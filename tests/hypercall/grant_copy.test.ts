/** grant_table_op over RAM, frames and a table as they are: copying between frames and what the table grants. */

import { assertEquals } from "@std/assert";
import { EFAULT, EINVAL } from "../../src/linux/errno.ts";
import { PAGE_SIZE } from "../../src/memory/address.ts";
import { GNTST, GNTTABOP, GTF } from "../../src/hypercall/abi/grant_table.ts";
import { HOLE } from "../memory/test_placed.ts";
import { DOMID, OTHER, PAGE, TARGET, testBoth, testOp } from "./test_grants.ts";

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
  guest.setVersion(2);
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
