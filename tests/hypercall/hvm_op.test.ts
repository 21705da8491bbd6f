/** hvm_op: parameters, and what else an HVM guest asks for. */

import { assertEquals } from "@std/assert";
import { HVM_NR_PARAMS, HVM_PARAM, HVMOP } from "../../src/hypercall/abi/hvm.ts";
import { type HvmDomain, hvmOp } from "../../src/hypercall/hvm_op.ts";
import { callbackOf } from "../../src/hypercall/hvm_params.ts";
import { EFAULT, EINVAL, ENODEV, ENOENT, ENOSYS, EOPNOTSUPP, EPERM, ESRCH } from "../../src/linux/errno.ts";
import { assertAnswersAnything, recording, TestCaller, WIDTHS } from "./calls.ts";

const SELF = 0x7ff0, P = HVM_PARAM;

/** A parameter holds its index, and TOP and 16 times its index in its high half, until it is set. */
const TOP = 0xab00_0000;

function scene() {
  const values = new Map<number, [number, number]>();
  const { domain, log } = recording<HvmDomain>({
    domid: 1,
    vcpus: 3,
    now: () => 3 * 2 ** 32 + 9,
    memType: (gfn) => gfn === 5 ? 1 : 2,
    paramLow: (index) => values.get(index)?.[0] ?? index,
    paramHigh: (index) => values.get(index)?.[1] ?? TOP + index * 16,
    setParam: (index, low, high) => void values.set(index, [low, high]),
  });
  const changes = () => log.filter((line) => !/^(param|now|memType)/.test(line));
  return { domain, changes };
}

/** A subop with a structure of 32-bit words. */
function op(caller: TestCaller, domain: HvmDomain, subop: number, ...words: number[]): number {
  caller.put(...words);
  return hvmOp(domain, caller.with(subop, caller.pointer()));
}

const READABLE = new Set<number>([
  P.CALLBACK_IRQ,
  P.STORE_PFN,
  P.STORE_EVTCHN,
  P.VM86_TSS,
  P.CONSOLE_PFN,
  P.CONSOLE_EVTCHN,
  P.ACPI_IOPORTS_LOCATION,
  P.VM_GENERATION_ID_ADDR,
  P.ALTP2M,
  P.X87_FIP_WIDTH,
  P.VM86_TSS_SIZED,
]);
const WRITABLE = new Set(
  [...READABLE].filter((index) => ![P.STORE_PFN, P.CONSOLE_PFN, P.ALTP2M].some((readOnly) => readOnly === index)),
);

for (const bits of WIDTHS) {
  Deno.test(`a guest reads and sets the parameters that are its own, and no other, ${bits} bits`, () => {
    for (let index = 0; index < HVM_NR_PARAMS; index++) {
      const caller = new TestCaller(bits), { domain, changes } = scene();
      assertEquals(op(caller, domain, HVMOP.get_param, SELF, index), READABLE.has(index) ? 0 : -EPERM, `${index}`);
      if (READABLE.has(index)) {
        const isTss = index === P.VM86_TSS, stored = isTss ? P.VM86_TSS_SIZED : index;
        assertEquals([0, 4, 8, 12].map((at) => caller.data.getUint32(at, true)), [
          SELF,
          index,
          stored,
          isTss ? 0 : TOP + stored * 16,
        ]);
      }
      const set = op(caller, domain, HVMOP.set_param, 1, index, 0, index === P.VM86_TSS_SIZED ? 104 : 0);
      const expected = index === P.ACPI_IOPORTS_LOCATION ? -ENODEV : WRITABLE.has(index) ? 0 : -EPERM;
      assertEquals(set, expected, `parameter ${index}`);
      assertEquals(changes().some((line) => line.startsWith("setParam(")), expected === 0);
    }
  });

  Deno.test(`parameters that are none, other domains and bad pointers, ${bits} bits`, () => {
    const caller = new TestCaller(bits), { domain, changes } = scene();
    for (const subop of [HVMOP.get_param, HVMOP.set_param]) {
      for (const index of [HVM_NR_PARAMS, 0xffff_ffff]) assertEquals(op(caller, domain, subop, 2, index), -EINVAL);
      assertEquals(op(caller, domain, subop, 0, P.STORE_EVTCHN), -EPERM);
      assertEquals(op(caller, domain, subop, 2, P.STORE_EVTCHN), -ESRCH);
      for (const pointer of [0n, caller.missing(), caller.missing(15)]) {
        assertEquals(hvmOp(domain, caller.with(subop, pointer)), -EFAULT);
      }
    }
    caller.put(SELF, P.STORE_PFN);
    assertEquals(hvmOp(domain, caller.with(HVMOP.get_param, caller.readOnly())), -EFAULT);
    assertEquals(changes(), []);
  });

  Deno.test(`a parameter's value is checked where Xen checks it, ${bits} bits`, () => {
    const set = (index: number, low: number, high: number) => {
      const caller = new TestCaller(bits), { domain, changes } = scene();
      return [op(caller, domain, HVMOP.set_param, SELF, index, low, high), ...changes()];
    };
    assertEquals(set(P.STORE_EVTCHN, 0xffff_ffff, 7), [0, `setParam(2, ${0xffff_ffff}, 7)`]);
    assertEquals([0, 4, 8].map((width) => set(P.X87_FIP_WIDTH, width, 0)[0]), [0, 0, 0]);
    assertEquals([set(P.X87_FIP_WIDTH, 2, 0), set(P.X87_FIP_WIDTH, 8, 1)], [[-EINVAL], [-EINVAL]]);
    assertEquals(set(P.VM86_TSS, 0x5000, 0), [0, `setParam(37, ${0x5000}, 128)`]);
    assertEquals(set(P.VM86_TSS, 0, 0), [0, "setParam(37, 0, 0)"]);
    assertEquals(set(P.VM86_TSS_SIZED, 0x5000, 104), [0, `setParam(37, ${0x5000}, 104)`]);
    assertEquals(set(P.VM86_TSS_SIZED, 0x5000, 0xffff_ffff), [0, `setParam(37, ${0x5000}, 8329)`]);
    assertEquals(set(P.VM86_TSS, 0, 1), [-EINVAL, "crash(HVM_PARAM_VM86_TSS above 4 GiB)"]);
    assertEquals(set(P.VM86_TSS_SIZED, 0, 103), [-EINVAL, "crash(HVM_PARAM_VM86_TSS_SIZED of 103 bytes)"]);
    assertEquals(set(P.CALLBACK_IRQ, 0xf3, 2 << 24), [
      0,
      `setParam(0, 243, ${2 << 24})`,
      'setCallback({ kind: "vector", vector: 243 })',
      `latchSharedInfo(${bits})`,
    ]);
  });

  Deno.test(`set_evtchn_upcall_vector, ${bits} bits`, () => {
    const caller = new TestCaller(bits), { domain, changes } = scene();
    const set = (vcpu: number, vector: number) => op(caller, domain, HVMOP.set_evtchn_upcall_vector, vcpu, vector);
    assertEquals([set(9, 0xf), set(0, 0), set(3, 0x10), set(0xffff_ffff, 0xff)], [-EINVAL, -EINVAL, -ENOENT, -ENOENT]);
    assertEquals([set(0, 0x10), set(2, 0xabff)], [0, 0]);
    assertEquals(hvmOp(domain, caller.with(HVMOP.set_evtchn_upcall_vector, caller.missing(7))), -EFAULT);
    assertEquals(changes(), ["setUpcallVector(0, 16)", "setUpcallVector(2, 255)"]);
  });

  Deno.test(`get_time and get_mem_type, ${bits} bits`, () => {
    const caller = new TestCaller(bits), { domain } = scene();
    new Uint8Array(caller.data.buffer).fill(0xaa);
    assertEquals(hvmOp(domain, caller.with(HVMOP.get_time, caller.pointer(4092))), 0);
    assertEquals(caller.data.getBigUint64(4092, true), 3n * 2n ** 32n + 9n);
    for (const pointer of [0n, caller.missing(), caller.readOnly()]) {
      assertEquals(hvmOp(domain, caller.with(HVMOP.get_time, pointer)), -EFAULT);
    }
    const type = (domid: number, gfn: number, gfnHigh = 0) => {
      const result = op(caller, domain, HVMOP.get_mem_type, domid, 0, gfn, gfnHigh);
      return result === 0 ? caller.data.getUint16(2, true) : result;
    };
    assertEquals([type(SELF, 5), type(1, 6), type(SELF, 5, 1), type(0, 5), type(7, 5)], [1, 2, 2, -EPERM, -ESRCH]);
    caller.put(SELF, 0, 5);
    for (const pointer of [caller.readOnly(), caller.missing(15)]) {
      assertEquals(hvmOp(domain, caller.with(HVMOP.get_mem_type, pointer)), -EFAULT);
    }
  });

  Deno.test(`what has nothing to do here, ${bits} bits`, () => {
    const caller = new TestCaller(bits), { domain, changes } = scene(), pointer = caller.pointer();
    const trace = (event: number, bytes: number) => op(caller, domain, HVMOP.xentrace, event | bytes << 16);
    assertEquals([trace(0xfff, 28), trace(0, 0), trace(0x1000, 0), trace(1, 29)], [0, 0, -EINVAL, -EINVAL]);
    assertEquals(hvmOp(domain, caller.with(HVMOP.xentrace, caller.missing(31))), -EFAULT);
    const dying = (domid: number) => op(caller, domain, HVMOP.pagetable_dying, domid);
    assertEquals([SELF, 1, 0, 5].map(dying), [-EINVAL, -EINVAL, -EOPNOTSUPP, -ESRCH]);
    assertEquals(hvmOp(domain, caller.with(HVMOP.pagetable_dying, caller.missing(15))), -EFAULT);
    assertEquals(hvmOp(domain, caller.with(HVMOP.guest_request_vm_event)), 0);
    assertEquals(hvmOp(domain, caller.with(HVMOP.guest_request_vm_event, pointer)), -EINVAL);
    assertEquals(hvmOp(domain, caller.with(HVMOP.altp2m, caller.missing())), -EOPNOTSUPP);
    assertEquals(changes(), []);
    assertEquals(hvmOp(domain, caller.with(HVMOP.flush_tlbs, pointer)), -EINVAL);
    assertEquals(hvmOp(domain, caller.with(HVMOP.flush_tlbs)), 0);
    assertEquals(changes(), ["flushTlbs()"]);
  });

  Deno.test(`the tool stack's subops of old are unknown, ${bits} bits`, () => {
    const caller = new TestCaller(bits), { domain } = scene();
    const old = [2, 3, 4, 6, 7, 8, 12, 13, 14, 16, 17, 18, 19, 20, 21, 22, 26, 0xffff_ffff];
    for (const subop of old) assertEquals(op(caller, domain, subop, SELF), -ENOSYS, `subop ${subop}`);
    if (bits === 64) assertEquals(hvmOp(domain, caller.with(2n ** 32n + 1n, caller.pointer())), -ENOSYS);
  });
}

Deno.test("callbackOf() says by which interrupt events come", () => {
  assertEquals(callbackOf(0, 0), { kind: "none" });
  assertEquals(callbackOf(9, 0), { kind: "gsi", gsi: 9 });
  assertEquals(callbackOf(0x1ff, 0x00ff_ffff), { kind: "gsi", gsi: 0xff });
  assertEquals(callbackOf(5 << 11 | 2, 1 << 24), { kind: "intx", device: 5, pin: 2 });
  assertEquals(callbackOf(0xf3, 2 << 24), { kind: "vector", vector: 0xf3 });
  assertEquals(callbackOf(0xf3, 0xff00_0000), { kind: "none" });
});

Deno.test("hvm_op answers anything", () => {
  const { domain } = scene();
  assertAnswersAnything(Object.values(HVMOP), (call) => hvmOp(domain, call));
});
