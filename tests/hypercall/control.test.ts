/** The calls of tool stacks and device models: which error a domU gets for what. */

import { assertEquals } from "@std/assert";
import { dmOp, domctl, mmuextOp, pagingDomctlCont, platformOp, sysctl } from "../../src/hypercall/control.ts";
import type { Call } from "../../src/hypercall/call.ts";
import { type Caller } from "../../src/hypercall/domains.ts";
import { E2BIG, EACCES, EFAULT, EINVAL, EOPNOTSUPP, EPERM, ESRCH } from "../../src/linux/errno.ts";
import { assertAnswersAnything, TestCaller, WIDTHS } from "./calls.ts";

const DOMAIN: Caller = { domid: 1 };
const DOMCTL_VERSION = 0x15, SELF = 0x7ff0, IO = 0x7ff1, XEN = 0x7ff2, INVALID = 0x7ff4;

type Hypercall = (domain: Caller, call: Call) => number;

const VERSIONED: Record<string, [hypercall: Hypercall, version: number, bytes: number]> = {
  sysctl: [sysctl, 0x15, 136],
  platform_op: [platformOp, 0x0300_0001, 136],
  domctl: [domctl, DOMCTL_VERSION, 144],
};

/** What a domctl gets: subop, domain, error. */
const DOMCTLS = [
  [1, 77, EPERM],
  [5, 77, EPERM],
  [1000, 77, EPERM],
  [2, 0, EPERM],
  [2, 1, EPERM],
  [2, 77, ESRCH],
  [2, SELF, ESRCH],
  [2, 0xffff, ESRCH],
  [37, IO, EPERM],
  [47, IO, EPERM],
  [37, 77, ESRCH],
  [45, INVALID, EPERM],
  [56, INVALID, EPERM],
  [45, 77, ESRCH],
  [2, INVALID, ESRCH],
  [0xffff_ffff, 1, EPERM],
] as const;

for (const bits of WIDTHS) {
  Deno.test(`the version comes before the privilege, ${bits} bits`, () => {
    for (const [name, [hypercall, version, bytes]] of Object.entries(VERSIONED)) {
      const caller = new TestCaller(bits);
      for (const other of [0, version - 1, version + 1, 0xffff_ffff]) {
        caller.put(1, other);
        assertEquals(hypercall(DOMAIN, caller.with(caller.pointer())), -EACCES, name);
      }
      caller.put(1, version);
      assertEquals(hypercall(DOMAIN, caller.with(caller.readOnly())), -EPERM, name);
      for (const pointer of [0n, caller.missing(), caller.missing(bytes - 1)]) {
        assertEquals(hypercall(DOMAIN, caller.with(pointer)), -EFAULT, name);
      }
    }
  });

  Deno.test(`a domctl's domain comes before the privilege, mostly, ${bits} bits`, () => {
    const caller = new TestCaller(bits);
    for (const [subop, domid, error] of DOMCTLS) {
      caller.put(subop, DOMCTL_VERSION, domid);
      assertEquals(domctl(DOMAIN, caller.with(caller.pointer())), -error, `domctl ${subop} of ${domid}`);
    }
  });

  Deno.test(`the continuation of a domctl is one of shadow_op only, ${bits} bits`, () => {
    const caller = new TestCaller(bits);
    const cont = (subop: number, version: number, domid: number) => {
      caller.put(subop, version, domid);
      return pagingDomctlCont(DOMAIN, caller.with(caller.pointer()));
    };
    assertEquals([cont(2, DOMCTL_VERSION, 1), cont(10, 3, 1)], [-EOPNOTSUPP, -EOPNOTSUPP]);
    assertEquals([cont(10, DOMCTL_VERSION, 1), cont(10, DOMCTL_VERSION, 77)], [-EPERM, -ESRCH]);
    caller.put(10, DOMCTL_VERSION, 1);
    assertEquals(pagingDomctlCont(DOMAIN, caller.with(caller.readOnly())), -EFAULT);
    assertEquals(pagingDomctlCont(DOMAIN, caller.with(caller.missing(143))), -EFAULT);
  });

  Deno.test(`dm_op reads its buffers, and then refuses, ${bits} bits`, () => {
    const caller = new TestCaller(bits), bytes = bits === 64 ? 32 : 16;
    const dm = (domid: number, buffers: number, pointer = caller.pointer()) =>
      dmOp(DOMAIN, caller.with(domid, buffers, pointer));
    assertEquals([0, 1, 77, SELF, 0x1_0001].map((domid) => dm(domid, 2)), [-EPERM, -EPERM, -ESRCH, -ESRCH, -EPERM]);
    assertEquals([dm(1, 3), dm(1, 0xffff_ffff)], [-E2BIG, -E2BIG]);
    assertEquals([dm(1, 0, caller.missing()), dm(1, 2, caller.missing(bytes))], [-EPERM, -EPERM]);
    assertEquals([dm(1, 1, caller.missing()), dm(1, 2, caller.missing(bytes - 1))], [-EFAULT, -EFAULT]);
  });

  Deno.test(`mmuext_op finds no domain with page tables for it, ${bits} bits`, () => {
    const caller = new TestCaller(bits);
    const expected = [[SELF, EINVAL], [1, ESRCH], [0, EINVAL], [77, ESRCH], [IO, EPERM], [XEN, EPERM]];
    for (const [domid, error] of expected) {
      assertEquals(mmuextOp(DOMAIN, caller.with(caller.missing(), 1, 0, domid)), -error, `domain ${domid}`);
    }
  });
}

Deno.test("the control calls answer anything", () => {
  for (const hypercall of [sysctl, platformOp, domctl, pagingDomctlCont, dmOp, mmuextOp]) {
    assertAnswersAnything([0, 1, 0x1_0000], (call) => hypercall(DOMAIN, call));
  }
});
