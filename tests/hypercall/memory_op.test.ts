/** memory_op over a domain that writes down what is asked of it: checks, their order, and what is done, for both widths. */

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
  FOREIGN_MEMORY_MAP,
  MEMORY_EXCHANGE,
  MEMORY_MAP,
  MEMORY_RESERVATION,
  REMOVE_FROM_PHYSMAP,
  RESERVED_DEVICE_MEMORY_MAP,
  XENMAPSPACE,
  XENMEM,
  XENMEMF,
} from "../../src/hypercall/abi/memory.ts";
import { DOMID_SELF } from "../../src/hypercall/abi/xen.ts";
import { type MemoryDomain, memoryOp } from "../../src/hypercall/memory_op.ts";
import { assertAnswersAnything, TestCaller, WIDTHS } from "./calls.ts";

const DOMID = 5, OTHER = 9, LIST = 512, ERRORS = 1024, GFNS = 1536;
const MAP = [
  { address: 0, sizeBytes: 0x9fc00, type: 1 },
  { address: 0x9fc00, sizeBytes: 0x400, type: 2 },
  { address: 2 ** 32, sizeBytes: 2 ** 33, type: 1 },
];

/** Has gfns 0 to 99, of which those from 50 on are out. */
class TestMemoryDomain implements MemoryDomain {
  readonly domid = DOMID;
  readonly currentReservation = 50;
  readonly maximumReservation = 100;
  readonly maximumGfn = 99;
  readonly maximumRamPage = 4096;
  readonly memoryMap = MAP;
  readonly isEnding = false;
  gaveBack = false;
  result = 0;
  readonly log: string[] = [];

  decrease(gfn: number, count: number): number {
    return Math.max(0, Math.min(count, 50 - gfn));
  }

  populate(gfn: number, count: number): number {
    return gfn < 50 ? 0 : Math.max(0, Math.min(count, 100 - gfn));
  }

  placeSharedInfo(gfn: number): number {
    return this.#note(`shared info at ${gfn}`);
  }

  placeGrantFrame(index: number, isStatus: boolean, gfn: number): number {
    return this.#note(`${isStatus ? "status" : "grants"} ${index} at ${gfn}`);
  }

  move(from: number, to: number): number {
    return this.#note(`${from} to ${to}`);
  }

  remove(gfn: number): number {
    return this.#note(`remove ${gfn}`);
  }

  #note(what: string): number {
    this.log.push(what);
    return this.result;
  }
}

/** xen_memory_reservation; by default of the caller itself, and of what its list has. */
interface GivenReservation {
  readonly at?: number;
  readonly gfns?: readonly number[];
  readonly extents?: number;
  readonly order?: number;
  readonly flags?: number;
  readonly domid?: number;
}

/** A caller with structures in its data, and its calls. */
class TestGuest extends TestCaller {
  readonly domain = new TestMemoryDomain();

  /** @param start from where on a list is done */
  do(subop: number, pointer: bigint, start = 0): number {
    return memoryOp(this.domain, this.with(BigInt(start) << 6n | BigInt(subop), pointer));
  }

  long(at: number, value: number | bigint): void {
    if (this.bits === 64) this.data.setBigUint64(at, BigInt(value), true);
    else this.data.setUint32(at, Number(value), true);
  }

  longs(at: number, values: readonly (number | bigint)[]): void {
    values.forEach((value, index) => this.long(at + index * (this.bits / 8), value));
  }

  reservation(given: GivenReservation): void {
    const { at = 0, gfns = [], order = 0, flags = 0, domid = DOMID_SELF } = given, { extents = gfns.length } = given;
    const layout = MEMORY_RESERVATION[this.bits];
    this.long(at + layout.extent_start, this.pointer(LIST));
    this.long(at + layout.nr_extents, extents);
    this.data.setUint32(at + layout.extent_order, order, true);
    this.data.setUint32(at + layout.mem_flags, flags, true);
    this.data.setUint16(at + layout.domid, domid, true);
    this.longs(LIST, gfns);
  }
}

function testOp(name: string, body: (guest: TestGuest) => void): void {
  for (const bits of WIDTHS) Deno.test(`memory_op ${name} (${bits} bits)`, () => body(new TestGuest(bits)));
}

const { decrease_reservation: DECREASE, populate_physmap: POPULATE, increase_reservation: INCREASE } = XENMEM;

testOp("decrease_reservation and populate_physmap do extents up to the first that cannot be done", (guest) => {
  const cases: [subop: number, gfns: number[], order: number, start: number, result: number][] = [
    [DECREASE, [1, 2, 3], 0, 0, 3],
    [DECREASE, [1, 50, 3], 0, 0, 1],
    [DECREASE, [0, 49], 1, 0, 1],
    [DECREASE, [1, 2, 3], 0, 2, 3],
    [DECREASE, [50, 2, 3], 0, 1, 3],
    [DECREASE, [1, 2], 0, 2, 2],
    [DECREASE, [1, 2], 0, 7, 7],
    [DECREASE, [], 0, 0, 0],
    [DECREASE, [1], 10, 0, 0],
    [POPULATE, [50, 51], 0, 0, 2],
    [POPULATE, [50, 1], 0, 0, 1],
    [POPULATE, [96], 2, 0, 1],
    [POPULATE, [97], 2, 0, 0],
    [POPULATE, [0xffff_ffff], 0, 0, 0],
    [INCREASE, [1], 0, 0, 0],
  ];
  for (const [subop, gfns, order, start, result] of cases) {
    guest.reservation({ gfns, order });
    assertEquals(guest.do(subop, guest.pointer(), start), result, `${subop}, [${gfns}], order ${order}, from ${start}`);
    assertEquals(guest.call.invalidates, subop === DECREASE && (result > start || order === 1));
  }
});

testOp("reservations with bad arguments do nothing, and say how many were done before", (guest) => {
  const one = { gfns: [60] };
  for (
    const bad of [
      { ...one, domid: OTHER },
      { ...one, domid: 0 },
      { ...one, flags: 12 },
      { ...one, flags: XENMEMF.exact_node_request | 1 << 8 },
      { ...one, flags: XENMEMF.populate_on_demand },
      { ...one, extents: 2 ** 26 },
    ]
  ) {
    guest.reservation(bad);
    assertEquals(guest.do(POPULATE, guest.pointer()), 0, JSON.stringify(bad));
  }
  for (
    const flags of [0, 13, 64, 1 << 8, XENMEMF.exact_node_request, XENMEMF.vnode | 1 << 8 | XENMEMF.exact_node_request]
  ) {
    guest.reservation({ ...one, flags });
    assertEquals(guest.do(POPULATE, guest.pointer()), 1, `flags 0x${flags.toString(16)}`);
  }
  assertEquals([guest.do(POPULATE, guest.missing()), guest.do(POPULATE, guest.missing(7), 3)], [0, 3]);
  guest.reservation({ gfns: [60, 61] });
  guest.long(MEMORY_RESERVATION[guest.bits].extent_start, guest.missing(guest.bits / 8));
  guest.longs(2 * 4096 - guest.bits / 8, [60]);
  assertEquals(guest.do(POPULATE, guest.pointer()), 1, "the list goes on where nothing is");
});

testOp("numbers are the domain's own", (guest) => {
  const results: [subop: number, result: number][] = [
    [XENMEM.current_reservation, 50],
    [XENMEM.maximum_reservation, 100],
    [XENMEM.maximum_gpfn, 99],
  ];
  for (const [subop, result] of results) {
    for (
      const [domid, expected] of [[DOMID_SELF, result], [DOMID, result], [0, -EPERM], [OTHER, -ESRCH], [0x7ff1, -ESRCH]]
    ) {
      guest.put(domid);
      assertEquals(guest.do(subop, guest.pointer()), expected);
    }
    assertEquals([guest.do(subop, guest.missing(1)), guest.do(subop, guest.pointer(), 1)], [-EFAULT, -EINVAL]);
  }
  assertEquals([guest.do(XENMEM.maximum_ram_page, 0n), guest.do(XENMEM.maximum_ram_page, 0n, 1)], [4096, -EINVAL]);
});

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

testOp("memory_map gives as many entries as there is room for", (guest) => {
  const layout = MEMORY_MAP[guest.bits], { data } = guest, at = 4096 - 30; // the second entry crosses a page
  const ask = (room: number, buffer: bigint) => {
    data.setUint32(layout.nr_entries, room, true);
    guest.long(layout.buffer, buffer);
    return [guest.do(XENMEM.memory_map, guest.pointer()), data.getUint32(layout.nr_entries, true)];
  };
  assertEquals(ask(7, 0n), [0, 3]);
  assertEquals(ask(2, guest.pointer(at)), [0, 2]);
  assertEquals(data.getUint32(at + 40, true), 0, "no more than there was room for");
  assertEquals(ask(128, guest.pointer(at)), [0, 3]);
  MAP.forEach(({ address, sizeBytes, type }, index) => {
    const entry = at + index * 20;
    assertEquals(data.getBigUint64(entry, true), BigInt(address));
    assertEquals(data.getBigUint64(entry + 8, true), BigInt(sizeBytes));
    assertEquals(data.getUint32(entry + 16, true), type);
  });
  assertEquals(ask(0, guest.pointer(at)), [0, 0]);
  assertEquals([ask(3, guest.missing(59))[0], ask(2, guest.missing(40))[0]], [-EFAULT, 0]);
  assertEquals(guest.do(XENMEM.memory_map, guest.pointer(), 1), -ENOSYS);
  assertEquals(guest.do(XENMEM.memory_map, guest.readOnly()), -EFAULT);
});

testOp("set_memory_map is refused after its arguments", (guest) => {
  const layout = FOREIGN_MEMORY_MAP[guest.bits], SET = XENMEM.set_memory_map;
  for (
    const [entries, domid, result] of [[1025, OTHER, -EINVAL], [3, OTHER, -ESRCH], [3, DOMID, -EPERM], [3, 0, -EPERM]]
  ) {
    guest.data.setUint32(layout.map, entries, true);
    guest.data.setUint16(layout.domid, domid, true);
    assertEquals(guest.do(SET, guest.pointer()), result);
  }
  assertEquals(guest.do(SET, guest.missing()), -EFAULT);
});

testOp("exchange cannot take frames from a guest whose second stage is kept for it", (guest) => {
  const layout = MEMORY_EXCHANGE[guest.bits], EXCHANGE = XENMEM.exchange;
  const ask = (given: GivenReservation, taken: GivenReservation, exchanged = 0) => {
    guest.reservation({ at: layout.in, gfns: [1, 2], ...given });
    guest.reservation({ at: layout.out, gfns: [1, 2], ...taken });
    guest.long(layout.nr_exchanged, exchanged);
    return guest.do(EXCHANGE, guest.pointer());
  };
  assertEquals([ask({}, {}), ask({}, {}, 2), ask({}, {}, 3)], [-EINVAL, 0, -EINVAL]);
  assertEquals([ask({ order: 10 }, { order: 10 }), ask({ order: 1 }, {}), ask({ order: 1 }, { extents: 4 })], [
    -EPERM,
    -EINVAL,
    -EINVAL,
  ]);
  assertEquals([ask({ domid: OTHER }, {}), ask({ domid: OTHER }, { domid: OTHER }), ask({ domid: 0 }, { domid: 0 })], [
    -EINVAL,
    -ESRCH,
    -EPERM,
  ]);
  ask({}, {});
  guest.long(layout.in + MEMORY_RESERVATION[guest.bits].extent_start, guest.missing());
  assertEquals([guest.do(EXCHANGE, guest.pointer()), guest.do(EXCHANGE, guest.missing(8))], [-EFAULT, -EFAULT]);
  assertEquals([guest.do(EXCHANGE, guest.readOnly()), guest.do(EXCHANGE, guest.pointer(), 1)], [-EFAULT, -EINVAL]);
});

testOp("what only others may, and what there is none of, is refused with Xen's numbers", (guest) => {
  const wide = guest.bits === 64;
  guest.put(DOMID_SELF);
  const results: [subop: number, result: number][] = [
    [XENMEM.claim_pages, wide ? -EINVAL : -ENOSYS],
    [XENMEM.machine_memory_map, -ENOSYS],
    [XENMEM.machphys_mfn_list, -ENOSYS],
    [XENMEM.machphys_mapping, -ENOSYS],
    [XENMEM.machphys_compat_mfn_list, -ENOSYS],
    [XENMEM.paging_op, -ENOSYS],
    [XENMEM.sharing_op, -ENOSYS],
    [XENMEM.get_sharing_freed_pages, 0],
    [XENMEM.get_sharing_shared_pages, 0],
    [XENMEM.get_vnumainfo, -EOPNOTSUPP],
    [XENMEM.acquire_resource, -EACCES],
    [8, -ENOSYS],
    [29, -ENOSYS],
    [63, -ENOSYS],
  ];
  for (const [subop, result] of results) assertEquals(guest.do(subop, guest.pointer()), result, `subop ${subop}`);
  for (const [domid, result] of [[DOMID, -EPERM], [OTHER, -ESRCH], [0, -EPERM]]) {
    guest.put(domid << 16, ...new Array(7).fill(0), domid); // where access_op and the target have their domain
    assertEquals(guest.do(XENMEM.access_op, guest.pointer()), result);
    for (const subop of [XENMEM.get_pod_target, XENMEM.set_pod_target]) {
      assertEquals(guest.do(subop, guest.pointer()), result);
    }
  }
  for (const subop of [XENMEM.access_op, XENMEM.get_pod_target, XENMEM.set_pod_target, XENMEM.get_vnumainfo]) {
    assertEquals(guest.do(subop, guest.missing(4)), -EFAULT, `subop ${subop}`);
  }
  assertEquals(guest.do(XENMEM.acquire_resource, guest.missing()), wide ? -EACCES : -EFAULT);
  assertEquals(guest.do(XENMEM.get_vnumainfo, guest.pointer(), 1), -EINVAL);
  guest.put(DOMID_SELF | 1 << 16);
  assertEquals(guest.do(XENMEM.get_vnumainfo, guest.pointer()), -EINVAL, "padding");
});

Deno.test("memory_op claim_pages looks at its arguments before it refuses (64 bits)", () => {
  const guest = new TestGuest(64), layout = MEMORY_RESERVATION[64], CLAIM = XENMEM.claim_pages;
  const ask = (given: GivenReservation) => {
    guest.reservation({ extents: 3, ...given });
    guest.long(layout.extent_start, 0);
    return guest.do(CLAIM, guest.pointer());
  };
  assertEquals([ask({ domid: DOMID }), ask({ domid: 0 }), ask({ domid: OTHER }), ask({})], [
    -EPERM,
    -EPERM,
    -EINVAL,
    -EINVAL,
  ]);
  assertEquals([ask({ domid: DOMID, order: 1 }), ask({ domid: DOMID, flags: 1 }), guest.do(CLAIM, guest.missing())], [
    -EINVAL,
    -EINVAL,
    -EFAULT,
  ]);
});

testOp("reserved_device_memory_map says that there is none", (guest) => {
  const layout = RESERVED_DEVICE_MEMORY_MAP[guest.bits], ASK = XENMEM.reserved_device_memory_map;
  guest.put(1, 5);
  assertEquals([guest.do(ASK, guest.pointer()), guest.data.getUint32(layout.nr_entries, true)], [0, 0]);
  assertEquals([guest.do(ASK, guest.readOnly()), guest.do(ASK, guest.missing(layout.bytes - 1))], [-EFAULT, -EFAULT]);
  guest.put(2);
  assertEquals(guest.do(ASK, guest.pointer()), -EINVAL);
});

Deno.test("memory_op answers anything", () => {
  const domain = new TestMemoryDomain();
  assertAnswersAnything(Object.values(XENMEM), (call, random) => {
    call.low[0] |= (random() % 4) << 6;
    call.high[0] = 0; // where a list is gone on with is what it gives, however much that is
    return memoryOp(domain, call);
  });
});
