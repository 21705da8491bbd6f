/** vcpu_op: vCPUs up and down, their areas and timers. What `initialise` accepts is in vcpu_context.test.ts. */

import { assertEquals } from "@std/assert";
import { VCPUOP } from "../../src/hypercall/abi/vcpu.ts";
import { type VcpuDomain, vcpuOp } from "../../src/hypercall/vcpu_op.ts";
import { EEXIST, EFAULT, EINVAL, ENOENT, ENOSYS, ENXIO, ETIME } from "../../src/linux/errno.ts";
import { assertAnswersAnything, recording, TestCaller, WIDTHS } from "./calls.ts";

const VCPUS = 4, NOW = 5e9;
const TIME = [2 ** 40 + 1, 2, 3, 4];

/** vCPU 0 calls and is up, 1 is initialised and down, 2 is not initialised, 3 has no vcpu_info. */
function scene(given: Partial<VcpuDomain> = {}) {
  return recording<VcpuDomain>({
    vcpus: VCPUS,
    sharedInfoBits: 64,
    allowed: { cr4: 0x20, efer: 0xd01 },
    now: () => NOW,
    isInitialised: (vcpu) => vcpu < 2,
    initialise: () => true,
    isUp: (vcpu) => vcpu === 0,
    runstate: () => ({ state: 1, stateEntryTime: 2 ** 33 + 5, time: TIME }),
    hasVcpuInfo: (vcpu) => vcpu < 3,
    hasRegisteredVcpuInfo: () => false,
    registerVcpuInfo: (_vcpu, gfn) => gfn < 1000 ? 0 : -EINVAL,
    ...given,
  });
}

/** What a call changed. */
function changes(log: readonly string[]): string[] {
  return log.filter((line) => !/^(is|has|now|runstate\()/.test(line));
}

/** struct vcpu_hvm_context of 64-bit mode: what Xen asks for and no more. */
function putContext(caller: TestCaller) {
  caller.put(1);
  caller.data.setUint32(8 + 80, 0x8000_0000, true);
  caller.data.setUint32(8 + 96, 0x20, true);
  caller.data.setUint32(8 + 104, 0x100, true);
}

for (const bits of WIDTHS) {
  Deno.test(`up, down, is_up and send_nmi of every vCPU, ${bits} bits`, () => {
    const caller = new TestCaller(bits), { domain, log } = scene();
    const op = (subop: number, vcpu: number, pointer = 0n) => vcpuOp(domain, caller.with(subop, vcpu, pointer));
    assertEquals([0, 1, 2, 4].map((vcpu) => op(VCPUOP.is_up, vcpu)), [1, 0, 0, -ENOENT]);
    assertEquals([1, 2, 4].map((vcpu) => op(VCPUOP.up, vcpu)), [0, -EINVAL, -ENOENT]);
    assertEquals([1, 0xffff_ffff].map((vcpu) => op(VCPUOP.down, vcpu)), [0, -ENOENT]);
    assertEquals([op(VCPUOP.send_nmi, 1), op(VCPUOP.send_nmi, 1, caller.pointer())], [0, -EINVAL]);
    assertEquals([op(VCPUOP.get_physid, 0), op(14, 0), op(0xffff_ffff, 0)], [-EINVAL, -ENOSYS, -ENOSYS]);
    assertEquals(changes(log), ["up(1)", "down(1)", "sendNmi(1)"]);
  });

  Deno.test(`the last vCPU that goes down ends the domain, ${bits} bits`, () => {
    const caller = new TestCaller(bits), { domain, log } = scene();
    assertEquals(vcpuOp(domain, caller.with(VCPUOP.down, 0)), 0);
    assertEquals(changes(log), ["shutDown(0)"]);
  });

  Deno.test(`initialise asks for a vcpu_info, then the structure, then a vCPU that is new, ${bits} bits`, () => {
    const caller = new TestCaller(bits), { domain, log } = scene();
    putContext(caller);
    const initialise = (vcpu: number, pointer = caller.pointer()) =>
      vcpuOp(domain, caller.with(VCPUOP.initialise, vcpu, pointer));
    assertEquals(initialise(3, caller.missing()), -EINVAL);
    assertEquals(initialise(1, caller.missing(127)), -EFAULT);
    assertEquals(initialise(1), -EEXIST);
    assertEquals(changes(log), []);
    assertEquals(initialise(2, caller.readOnly()), 0);
    assertEquals(changes(log).map((line) => line.slice(0, 13)), ["initialise(2,"]);
    caller.data.setUint32(8 + 96, 0x21, true);
    assertEquals(initialise(2), -EINVAL, "a bit of cr4 that the guest's CPUID does not have");
    const other = scene({ initialise: () => false });
    putContext(caller);
    assertEquals(vcpuOp(other.domain, caller.with(VCPUOP.initialise, 2, caller.pointer())), -EEXIST);
  });

  Deno.test(`get_runstate_info has the layout of ${bits} bits`, () => {
    const caller = new TestCaller(bits), { domain } = scene(), at = bits === 64 ? 8 : 4, bytes = at + 40;
    for (const { buffer } of [caller.data, caller.call.scratch]) new Uint8Array(buffer).fill(0xaa);
    assertEquals(vcpuOp(domain, caller.with(VCPUOP.get_runstate_info, 2, caller.pointer(4080))), 0);
    const read = (offset: number) => Number(caller.data.getBigUint64(4080 + offset, true));
    assertEquals(caller.data.getUint32(4080, true), 1);
    assertEquals([0, 8, 16, 24, 32].map((offset) => read(at + offset)), [2 ** 33 + 5, ...TIME]);
    if (bits === 64) assertEquals(caller.data.getUint32(4084, true), 0, "the gap tells nothing");
    assertEquals(caller.data.getUint8(4080 + bytes), 0xaa);
    for (const pointer of [0n, caller.missing(), caller.missing(bytes - 1), caller.readOnly()]) {
      assertEquals(vcpuOp(domain, caller.with(VCPUOP.get_runstate_info, 0, pointer)), -EFAULT);
    }
  });

  Deno.test(`areas are registered wherever they are, ${bits} bits`, () => {
    const areas = {
      setRunstateArea: VCPUOP.register_runstate_memory_area,
      setTimeArea: VCPUOP.register_vcpu_time_memory_area,
    };
    for (const [name, subop] of Object.entries(areas)) {
      const caller = new TestCaller(bits), { domain, log } = scene();
      caller.put(0x1234_5678, bits === 64 ? 0xffff_8880 : 0);
      assertEquals(vcpuOp(domain, caller.with(subop, 1, caller.pointer())), 0);
      caller.put();
      assertEquals(vcpuOp(domain, caller.with(subop, 1, caller.pointer())), 0);
      const high = bits === 64 ? 0xffff_8880 : 0;
      assertEquals(changes(log), [`${name}(1, ${0x1234_5678}, ${high})`, `${name}(1, 0, 0)`]);
      caller.put(0x1000, 1);
      assertEquals(vcpuOp(domain, caller.with(subop, 1, caller.pointer())), bits === 64 ? 0 : -EFAULT);
      for (const pointer of [0n, caller.missing(), caller.missing(7)]) {
        assertEquals(vcpuOp(domain, caller.with(subop, 1, pointer)), -EFAULT);
      }
    }
  });

  Deno.test(`register_vcpu_info takes a place within a page, once, ${bits} bits`, () => {
    const register = (vcpu: number, offset: number, given: Partial<VcpuDomain> = {}, gfn = 5, gfnHigh = 0) => {
      const caller = new TestCaller(bits), { domain, log } = scene(given);
      caller.put(gfn, gfnHigh, offset, 0xffff_ffff);
      return [vcpuOp(domain, caller.with(VCPUOP.register_vcpu_info, vcpu, caller.pointer())), ...changes(log)];
    };
    assertEquals(register(0, 4032), [0, "registerVcpuInfo(0, 5, 4032)"]);
    assertEquals(register(1, 8), [0, "registerVcpuInfo(1, 5, 8)"], "of another that is down");
    assertEquals(register(1, 8, { isUp: () => true }), [-EINVAL]);
    for (const offset of [4040, 4, 1, 0xffff_fff8]) assertEquals(register(0, offset), [-ENXIO], `${offset}`);
    assertEquals(register(0, 4, { sharedInfoBits: 32 }), [0, "registerVcpuInfo(0, 5, 4)"]);
    assertEquals(register(0, 2, { sharedInfoBits: 32 }), [-ENXIO]);
    assertEquals(register(0, 8, { hasRegisteredVcpuInfo: () => true }), [-EINVAL]);
    assertEquals(register(0, 0, {}, 5, 7), [-EINVAL, `registerVcpuInfo(0, ${7 * 2 ** 32 + 5}, 0)`]);
    assertEquals(register(4, 0), [-ENOENT]);
    const caller = new TestCaller(bits);
    for (const pointer of [0n, caller.missing(), caller.missing(15)]) {
      assertEquals(vcpuOp(scene().domain, caller.with(VCPUOP.register_vcpu_info, 0, pointer)), -EFAULT);
    }
  });

  Deno.test(`periodic timers have a shortest and a longest period, ${bits} bits`, () => {
    const caller = new TestCaller(bits), { domain, log } = scene();
    const set = (low: number, high: number) => {
      caller.put(low, high);
      return vcpuOp(domain, caller.with(VCPUOP.set_periodic_timer, 2, caller.pointer()));
    };
    assertEquals([set(999_999, 0), set(0, 0), set(0, 2 ** 30), set(1, 0xffff_ffff)], new Array(4).fill(-EINVAL));
    assertEquals([set(1_000_000, 0), set(0xffff_ffff, 2 ** 30 - 1)], [0, 0]);
    assertEquals(vcpuOp(domain, caller.with(VCPUOP.stop_periodic_timer, 2)), 0);
    assertEquals(vcpuOp(domain, caller.with(VCPUOP.set_periodic_timer, 2, caller.missing(7))), -EFAULT);
    assertEquals(changes(log), [
      "setPeriodicTimer(2, 1000000)",
      `setPeriodicTimer(2, ${2 ** 62})`,
      "setPeriodicTimer(2, 0)",
    ]);
  });

  Deno.test(`singleshot timers are one's own, and what is past is so with the flag only, ${bits} bits`, () => {
    const caller = new TestCaller(bits, 1), { domain, log } = scene();
    const set = (at: number, flags: number, high = Math.floor(at / 2 ** 32)) => {
      caller.put(at, high, flags);
      return vcpuOp(domain, caller.with(VCPUOP.set_singleshot_timer, 1, caller.pointer()));
    };
    assertEquals([set(NOW - 1, 1), set(NOW - 1, 3), set(0, 1)], new Array(3).fill(-ETIME));
    assertEquals([set(NOW, 1), set(NOW - 1, 0), set(NOW + 9, 2), set(7, 1, 0x8000_0000)], [0, 0, 0, 0]);
    assertEquals(vcpuOp(domain, caller.with(VCPUOP.stop_singleshot_timer, 1)), 0);
    for (const subop of [VCPUOP.set_singleshot_timer, VCPUOP.stop_singleshot_timer]) {
      assertEquals(vcpuOp(domain, caller.with(subop, 0, caller.missing())), -EINVAL);
    }
    const missing = caller.missing(bits === 64 ? 15 : 11);
    assertEquals(vcpuOp(domain, caller.with(VCPUOP.set_singleshot_timer, 1, missing)), -EFAULT);
    const times = [NOW, NOW - 1, NOW + 9, 0, Infinity];
    assertEquals(changes(log), times.map((at) => `setSingleshotTimer(1, ${at})`));
  });
}

Deno.test("vcpu_op answers anything", () => {
  assertAnswersAnything(Object.values(VCPUOP), (call, random) => {
    const coin = () => random() % 2 === 0;
    const { domain } = scene({ hasVcpuInfo: coin, isInitialised: coin, isUp: coin, hasRegisteredVcpuInfo: coin });
    return vcpuOp(domain, call);
  });
});
