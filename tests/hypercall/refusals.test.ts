/** The small calls, and those that are refused whatever they say: set_timer_op, vm_assist, REFUSALS. */

import { assertEquals } from "@std/assert";
import { HYPERCALL, VMASST_CMD, VMASST_TYPE } from "../../src/hypercall/abi/xen.ts";
import { refuse } from "../../src/hypercall/refusals.ts";
import { setTimerOp } from "../../src/hypercall/set_timer_op.ts";
import type { SingleshotTimers } from "../../src/hypercall/vcpu_op.ts";
import { type AssistedDomain, vmAssist } from "../../src/hypercall/vm_assist.ts";
import { EINVAL, ENOSYS, EOPNOTSUPP, EPERM } from "../../src/linux/errno.ts";
import { assertAnswersAnything, recording, TestCaller, WIDTHS } from "./calls.ts";

const NOW = 7e9;

for (const bits of WIDTHS) {
  Deno.test(`set_timer_op sets, stops, and does not believe in two weeks, ${bits} bits`, () => {
    const set = (at: number) => {
      const caller = new TestCaller(bits, 2), { domain, log } = recording<SingleshotTimers>({ now: () => NOW });
      const time = BigInt.asUintN(64, BigInt(at));
      const call = bits === 64 ? caller.with(time) : caller.with(time & 0xffff_ffffn, time >> 32n);
      assertEquals(setTimerOp(domain, call), 0);
      return log.filter((line) => line !== "now()");
    };
    const at = (time: number) => [`setSingleshotTimer(2, ${time})`];
    assertEquals(set(0), at(Infinity));
    assertEquals([set(1), set(NOW + 5), set(NOW + 2 ** 50 - 1)], [at(1), at(NOW + 5), at(NOW + 2 ** 50 - 1)]);
    assertEquals([set(NOW + 2 ** 50), set(-1), set(-(2 ** 63))], new Array(3).fill(at(NOW + 1e8)));
  });

  Deno.test(`vm_assist has one thing for an HVM guest, ${bits} bits`, () => {
    const caller = new TestCaller(bits), { domain, log } = recording<AssistedDomain>({});
    const assist = (command: number, type: number) => vmAssist(domain, caller.with(command, type));
    for (const type of [...Object.values(VMASST_TYPE), 6, 64, 0xffff_ffff]) {
      const isOurs = type === VMASST_TYPE.runstate_update_flag;
      assertEquals(assist(VMASST_CMD.enable, type), isOurs ? 0 : -EINVAL);
      assertEquals(assist(2, type), isOurs ? -ENOSYS : -EINVAL);
    }
    assertEquals(assist(VMASST_CMD.disable, VMASST_TYPE.runstate_update_flag), 0);
    assertEquals(log, ["setRunstateUpdateFlag(true)", "setRunstateUpdateFlag(false)"]);
  });

  Deno.test(`what is not for a domU is unknown to it, but for two, ${bits} bits`, () => {
    const caller = new TestCaller(bits);
    for (const number of [...Object.values(HYPERCALL), 11, 43, 56, 64, 0xffff_ffff, 2 ** 40]) {
      const call = caller.with();
      call.number = number;
      const others: Record<number, number> = { [HYPERCALL.xenpmu_op]: -EOPNOTSUPP, [HYPERCALL.hypfs_op]: -EPERM };
      assertEquals(refuse(undefined, call), others[number] ?? -ENOSYS, `hypercall ${number}`);
    }
  });
}

Deno.test("set_timer_op and vm_assist answer anything", () => {
  const timers = recording<SingleshotTimers>({ now: () => NOW }), assisted = recording<AssistedDomain>({});
  assertAnswersAnything([0, 1], (call) => setTimerOp(timers.domain, call));
  assertAnswersAnything([0, 1], (call) => vmAssist(assisted.domain, call));
});
