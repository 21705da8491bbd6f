/** Our subop of memory_op: what it tells of extended regions, what it refuses, and what is asked of the domain. */

import { assertEquals } from "@std/assert";
import { EBUSY, EFAULT, EINVAL, ENOBUFS, ENOSYS, EOPNOTSUPP, EPERM, ESRCH } from "../../src/linux/errno.ts";
import {
  EXTENDED_REGION,
  EXTENDED_REGIONS,
  EXTENDED_REGIONS_VERSION,
  REGIONS_OP,
  XENMEM_extended_regions,
} from "../../src/hypercall/abi/ours.ts";
import { DOMID_SELF } from "../../src/hypercall/abi/xen.ts";
import { DOMID, LIST, OTHER, type TestGuest, testOp } from "./test_memory.ts";

interface Given {
  readonly version?: number;
  readonly op?: number;
  readonly domid?: number;
  readonly pad?: number;
  readonly room?: number;
  readonly first?: bigint;
  readonly count?: bigint;
  readonly list?: bigint;
}

function put(guest: TestGuest, given: Given): void {
  const { version = EXTENDED_REGIONS_VERSION, op = REGIONS_OP.get, domid = DOMID_SELF, pad = 0 } = given;
  const { data } = guest, at = EXTENDED_REGIONS;
  data.setUint32(at.version, version, true);
  data.setUint32(at.op, op, true);
  data.setUint16(at.domid, domid, true);
  data.setUint16(at.pad, pad, true);
  data.setUint32(at.nr_regions, given.room ?? 0, true);
  data.setBigUint64(at.first_gfn, given.first ?? 0n, true);
  data.setBigUint64(at.nr_gfns, given.count ?? 0n, true);
  data.setBigUint64(at.granularity, 0n, true);
  data.setBigUint64(at.regions, given.list ?? 0n, true);
}

function ask(guest: TestGuest, given: Given): number {
  put(guest, given);
  return guest.do(XENMEM_extended_regions, guest.pointer());
}

/** A region of the list, by its fields in their order. */
function told(guest: TestGuest, index: number): bigint[] {
  return [0, 8, 16, 24, 32, 40].map((at) => guest.data.getBigUint64(LIST + index * EXTENDED_REGION.bytes + at, true));
}

testOp("extended_regions tells each region and what is in it, as far as there is room", (guest) => {
  const first = [0x10_0000n, 0x4000n, 10n, 20n, 30n, 0n], second = [0x20_0000n, 0x4000n, 11n, 21n, 31n, 512n];
  const none = [0n, 0n, 0n, 0n, 0n, 0n];
  for (
    const [room, list, result, lists] of [
      [0, 0n, 0, [none, none]],
      [9, 0n, 0, [none, none]],
      [0, guest.pointer(LIST), -ENOBUFS, [none, none]],
      [1, guest.pointer(LIST), -ENOBUFS, [first, none]],
      [2, guest.pointer(LIST), 0, [first, second]],
      [9, guest.pointer(LIST), 0, [first, second]],
    ] as const
  ) {
    guest.put();
    assertEquals(ask(guest, { room, list }), result, `room ${room}`);
    assertEquals([told(guest, 0), told(guest, 1)], lists as unknown as bigint[][], `room ${room}`);
    assertEquals(guest.data.getUint32(EXTENDED_REGIONS.nr_regions, true), 2, `room ${room}`);
    assertEquals(guest.data.getBigUint64(EXTENDED_REGIONS.granularity, true), 512n);
  }
});

testOp("extended_regions lends and takes back what the domain lets it", (guest) => {
  const range = { first: 0x10_0200n, count: 0x400n };
  assertEquals(ask(guest, { ...range, op: REGIONS_OP.lend }), 0);
  assertEquals(ask(guest, { ...range, op: REGIONS_OP.reclaim, domid: DOMID }), 0);
  guest.domain.result = EBUSY;
  assertEquals(ask(guest, { ...range, op: REGIONS_OP.lend }), -EBUSY);
  const gfns = `${0x10_0200} + ${0x400}`;
  assertEquals(guest.domain.log, [`lend ${gfns}`, `reclaim ${gfns}`, `lend ${gfns}`]);
});

testOp("extended_regions refuses other versions, and says which one it speaks", (guest) => {
  for (const version of [0, 2, 0xffff_ffff]) {
    assertEquals(ask(guest, { version, op: 99, domid: OTHER }), -EOPNOTSUPP);
    assertEquals(guest.data.getUint32(EXTENDED_REGIONS.version, true), EXTENDED_REGIONS_VERSION);
  }
});

testOp("extended_regions refuses what makes no sense, in this order", (guest) => {
  const cases: [Given, number][] = [
    [{ pad: 1, domid: OTHER }, EINVAL],
    [{ domid: OTHER, op: 3 }, ESRCH],
    [{ domid: 0 }, EPERM],
    [{ op: 3 }, EINVAL],
    [{ room: 2, list: guest.missing() }, EFAULT],
  ];
  for (const [given, errno] of cases) assertEquals(ask(guest, given), -errno, Deno.inspect(given));
  assertEquals(guest.do(XENMEM_extended_regions, guest.missing()), -EFAULT);
  put(guest, {});
  assertEquals(guest.do(XENMEM_extended_regions, guest.readOnly()), -EFAULT, "what cannot be told");
  assertEquals(guest.do(XENMEM_extended_regions, guest.pointer(), 1), -ENOSYS, "it is not gone on with");
  assertEquals(guest.domain.log, []);
});
