/** multicall: each entry is a hypercall of the caller's width, with a result of its own. */

import { assertEquals } from "@std/assert";
import { HYPERCALL, MULTICALL_ENTRY } from "../../src/hypercall/abi/xen.ts";
import { AFTER, type After, ARGUMENTS, type Call } from "../../src/hypercall/call.ts";
import { multicall } from "../../src/hypercall/multicall.ts";
import { EFAULT, EINVAL, ENOSYS } from "../../src/linux/errno.ts";
import { assertAnswersAnything, TestCaller, type Width, WIDTHS } from "./calls.ts";

/** Hypercall n < 100 results in n; other numbers are unknown. It uses the scratch, as real ones do. */
function scene(during: (call: Call) => void = () => {}) {
  const calls: number[][] = [];
  return {
    calls,
    isEnding: false,
    hypercall(call: Call): number {
      calls.push([call.number, ...Array.from({ length: ARGUMENTS }, (_, argument) => call.value(argument))]);
      call.scratch.setUint32(0, 0xdead_beef, true);
      during(call);
      return call.number < 100 ? call.number : -ENOSYS;
    },
  };
}

function putLong(caller: TestCaller, at: number, value: number) {
  if (caller.bits === 64) caller.data.setBigUint64(at, BigInt(value), true);
  else caller.data.setUint32(at, value, true);
}

/** Entries of a number and its arguments, from `at` of the data on. */
function putEntries(caller: TestCaller, at: number, ...entries: (readonly number[])[]) {
  const { op, args, bytes, long } = MULTICALL_ENTRY[caller.bits];
  entries.forEach(([number, ...values], entry) => {
    putLong(caller, at + entry * bytes + op, number);
    values.forEach((value, argument) => putLong(caller, at + entry * bytes + args + argument * long, value));
  });
}

function results(caller: TestCaller, at: number, count: number): number[] {
  const { result, bytes } = MULTICALL_ENTRY[caller.bits];
  return Array.from({ length: count }, (_, entry) => {
    const place = at + entry * bytes + result;
    return caller.bits === 64 ? Number(caller.data.getBigInt64(place, true)) : caller.data.getInt32(place, true);
  });
}

const LARGE: Record<Width, number> = { 64: 2 ** 40 + 3, 32: 0xffff_fff0 };

for (const bits of WIDTHS) {
  Deno.test(`multicall carries out its entries in their order, ${bits} bits`, () => {
    const caller = new TestCaller(bits), table = scene(), at = 4096 - MULTICALL_ENTRY[bits].bytes - 8;
    putEntries(caller, at, [17, 1, 2, 3, 4, 5, 6], [99, LARGE[bits]], [120], [LARGE[bits]]);
    assertEquals(multicall(table, caller.with(caller.pointer(at), 4)), 0);
    assertEquals(table.calls, [
      [17, 1, 2, 3, 4, 5, 6],
      [99, LARGE[bits], 0, 0, 0, 0, 0],
      [120, 0, 0, 0, 0, 0, 0],
      [LARGE[bits], 0, 0, 0, 0, 0, 0],
    ]);
    assertEquals(results(caller, at, 4), [17, 99, -ENOSYS, -ENOSYS]);
    assertEquals(multicall(table, caller.with(caller.missing(), 0)), 0);
    assertEquals(table.calls.length, 4);
  });

  Deno.test(`a multicall in a multicall is -EINVAL, ${bits} bits`, () => {
    const caller = new TestCaller(bits), table = scene();
    putEntries(caller, 0, [HYPERCALL.multicall, 0, 0], [1]);
    assertEquals(multicall(table, caller.with(caller.pointer(), 2)), 0);
    assertEquals(results(caller, 0, 2), [-EINVAL, 1]);
    assertEquals(table.calls.length, 1);
  });

  Deno.test(`multicall ends at an entry that it cannot read or answer, ${bits} bits`, () => {
    const { bytes } = MULTICALL_ENTRY[bits];
    for (const missing of [1, bytes - 1]) {
      const caller = new TestCaller(bits), table = scene(), at = 8192 - 2 * bytes - missing;
      putEntries(caller, at, [1], [2]);
      assertEquals(multicall(table, caller.with(caller.pointer(at), 0xffff_ffff)), -EFAULT);
      assertEquals([table.calls.length, results(caller, at, 2)], [2, [1, 2]]);
    }
    const caller = new TestCaller(bits), table = scene();
    putEntries(caller, 0, [1], [2]);
    assertEquals(multicall(table, caller.with(caller.readOnly(), 2)), -EFAULT);
    assertEquals(table.calls.length, 1, "the call was made, its result lost");
    for (const pointer of [0n, caller.missing()]) {
      assertEquals(multicall(table, caller.with(pointer, 1)), -EFAULT);
    }
  });

  Deno.test(`what an entry has the vCPU do comes when all are done, ${bits} bits`, () => {
    const after = (...wishes: [After, boolean][]) => {
      const caller = new TestCaller(bits), left = [...wishes];
      const table = scene((call) => [call.after, call.invalidates] = left.shift()!);
      putEntries(caller, 0, ...wishes.map((_, index) => [index]));
      assertEquals(multicall(table, caller.with(caller.pointer(), wishes.length)), 0);
      return [caller.call.after, caller.call.invalidates, caller.call.number];
    };
    const { RETURN, BLOCK, POLL } = AFTER, number = HYPERCALL.multicall;
    assertEquals(after([RETURN, false], [RETURN, false]), [RETURN, false, number]);
    assertEquals(after([POLL, false], [RETURN, true], [RETURN, false]), [POLL, true, number]);
    assertEquals(after([POLL, true], [BLOCK, false]), [BLOCK, true, number]);
  });
}

Deno.test("multicall answers anything", () => {
  assertAnswersAnything([0, 0x1_0000], (call) => multicall(scene(), call));
});

Deno.test("multicall ends with the run, however long its list is", () => {
  const caller = new TestCaller(64), table = scene(() => table.isEnding = true);
  putEntries(caller, 0, [17], [18]);
  assertEquals(multicall(table, caller.with(caller.pointer(0), 0xffff_ffff)), 0);
  assertEquals(table.calls.map(([number]) => number), [17]);
});
