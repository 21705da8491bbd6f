/** physdev_op: a guest without pirqs. */

import { assertEquals } from "@std/assert";
import { MAP_PIRQ_TYPE, PHYSDEV_MAP_PIRQ, PHYSDEVOP } from "../../src/hypercall/abi/physdev.ts";
import { physdevOp } from "../../src/hypercall/physdev_op.ts";
import { EFAULT, EINVAL, ENOSYS, EPERM, ESRCH } from "../../src/linux/errno.ts";
import { assertAnswersAnything, TestCaller, WIDTHS } from "./calls.ts";

const DOMAIN = { domid: 1 };
const DOMAINS = [[0x7ff0, EPERM], [1, EPERM], [0, EPERM], [9, ESRCH]];

for (const bits of WIDTHS) {
  Deno.test(`map_pirq and unmap_pirq are refused, and the others unknown, ${bits} bits`, () => {
    const caller = new TestCaller(bits);
    for (const subop of [...Object.values(PHYSDEVOP), 0, 22, 0xffff_ffff]) {
      const isKnown = subop === PHYSDEVOP.map_pirq || subop === PHYSDEVOP.unmap_pirq;
      for (const [domid, error] of DOMAINS) {
        caller.put(domid);
        assertEquals(physdevOp(DOMAIN, caller.with(subop, caller.pointer())), isKnown ? -error : -ENOSYS, `${subop}`);
      }
      if (isKnown) continue;
      assertEquals(physdevOp(DOMAIN, caller.with(subop, caller.missing())), -ENOSYS);
    }
  });

  Deno.test(`map_pirq gives its structure back, the type as an older one, ${bits} bits`, () => {
    const caller = new TestCaller(bits), { bytes, table_base } = PHYSDEV_MAP_PIRQ[bits];
    const map = (type: number, table = 0) => {
      caller.put(0x7ff0, type);
      caller.data.setUint32(table_base, table, true);
      return physdevOp(DOMAIN, caller.with(PHYSDEVOP.map_pirq, caller.pointer()));
    };
    for (const [type, after] of [[MAP_PIRQ_TYPE.GSI, MAP_PIRQ_TYPE.GSI], [MAP_PIRQ_TYPE.MSI_SEG, MAP_PIRQ_TYPE.MSI]]) {
      assertEquals(map(type), -EPERM);
      assertEquals(caller.data.getUint32(4, true), after);
    }
    assertEquals([map(MAP_PIRQ_TYPE.MULTI_MSI, 1), map(MAP_PIRQ_TYPE.MULTI_MSI)], [-EINVAL, -EPERM]);
    for (const pointer of [0n, caller.missing(), caller.missing(bytes - 1), caller.readOnly()]) {
      assertEquals(physdevOp(DOMAIN, caller.with(PHYSDEVOP.map_pirq, pointer)), -EFAULT);
    }
    assertEquals(physdevOp(DOMAIN, caller.with(PHYSDEVOP.unmap_pirq, caller.missing(7))), -EFAULT);
  });
}

Deno.test("physdev_op answers anything", () => {
  assertAnswersAnything(Object.values(PHYSDEVOP), (call) => physdevOp(DOMAIN, call));
});
