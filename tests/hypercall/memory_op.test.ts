/** memory_op over a domain that writes down what is asked of it: checks, their order, and what is done, for both widths. */

import { assertEquals } from "@std/assert";
import { EACCES, EFAULT, EINVAL, ENOSYS, EOPNOTSUPP, EPERM, ESRCH } from "../../src/linux/errno.ts";
import {
  FOREIGN_MEMORY_MAP,
  MEMORY_EXCHANGE,
  MEMORY_MAP,
  MEMORY_RESERVATION,
  RESERVED_DEVICE_MEMORY_MAP,
  XENMEM,
  XENMEMF,
} from "../../src/hypercall/abi/memory.ts";
import { DOMID_SELF } from "../../src/hypercall/abi/xen.ts";
import { memoryOp } from "../../src/hypercall/memory_op.ts";
import { assertAnswersAnything } from "./calls.ts";
import { DOMID, type GivenReservation, MAP, OTHER, TestGuest, TestMemoryDomain, testOp } from "./test_memory.ts";

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
