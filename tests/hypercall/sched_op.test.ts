/** sched_op: who waits for what, and how a domain ends. */

import { assertEquals } from "@std/assert";
import { SCHEDOP, SHUTDOWN } from "../../src/hypercall/abi/sched.ts";
import { AFTER } from "../../src/hypercall/call.ts";
import { MAX_POLL_PORTS, type SchedDomain, schedOp } from "../../src/hypercall/sched_op.ts";
import { EFAULT, EINVAL, ENOSPC, ENOSYS, EPERM, ESRCH } from "../../src/linux/errno.ts";
import { assertAnswersAnything, recording, TestCaller, type Width, WIDTHS } from "./calls.ts";

/** Port 7 is pending, ports from 16 on are none; `events`: something can be delivered. */
function scene(events = false) {
  const polled: number[][] = [], taken = [false, false];
  const { domain, log } = recording<SchedDomain>({
    domid: 1,
    hasEvents: () => events,
    pollPort: (port) => port >= 16 ? -EINVAL : port === 7 ? 1 : 0,
    poll: (_vcpu, ports, count) => void polled.push([...ports.subarray(0, count)]),
    takeWatchdog: (watchdog) => !taken[watchdog] && (taken[watchdog] = true),
    isWatchdogTaken: (watchdog) => taken[watchdog],
    stopWatchdog: (watchdog) => void (taken[watchdog] = false),
  });
  return { domain, log, polled };
}

/** struct sched_poll in the data, its list of ports behind it. */
function putPoll(caller: TestCaller, ports: readonly number[], timeout: readonly [number, number], list?: bigint) {
  const pointer = list ?? caller.pointer(64), count = ports.length;
  caller.put();
  if (caller.bits === 64) caller.data.setBigUint64(0, pointer, true);
  else caller.data.setUint32(0, Number(pointer), true);
  caller.data.setUint32(caller.bits === 64 ? 8 : 4, count, true);
  timeout.forEach((half, index) => caller.data.setUint32((caller.bits === 64 ? 16 : 8) + index * 4, half, true));
  ports.slice(0, 200).forEach((port, index) => caller.data.setUint32(64 + index * 4, port, true));
}

function polls(bits: Width, ports: readonly number[], timeout: readonly [number, number], events = false) {
  const caller = new TestCaller(bits, 3), { domain, log, polled } = scene(events);
  putPoll(caller, ports, timeout);
  const result = schedOp(domain, caller.with(SCHEDOP.poll, caller.pointer()));
  const waits = log.filter((line) => line.startsWith("poll("));
  return { result, after: caller.call.after, waits, polled };
}

for (const bits of WIDTHS) {
  Deno.test(`yield, block and unknown subops, ${bits} bits`, () => {
    for (const events of [false, true]) {
      const caller = new TestCaller(bits, 2), { domain, log } = scene(events);
      assertEquals(schedOp(domain, caller.with(SCHEDOP.yield)), 0);
      assertEquals(caller.call.after, AFTER.RETURN);
      assertEquals(schedOp(domain, caller.with(SCHEDOP.block)), 0);
      assertEquals(caller.call.after, events ? AFTER.RETURN : AFTER.BLOCK, "nobody sleeps over an event");
      assertEquals(log, ["enableEvents(2)", "hasEvents(2)"]);
      for (const subop of [8, 0xffff_ffff]) assertEquals(schedOp(domain, caller.with(subop)), -ENOSYS);
      assertEquals(schedOp(domain, caller.with(SCHEDOP.pin_override, caller.missing())), -EPERM);
    }
  });

  Deno.test(`shutdown takes any reason, of which it keeps a byte, ${bits} bits`, () => {
    const caller = new TestCaller(bits), { domain, log } = scene();
    const reasons = [...Object.values(SHUTDOWN), 6, 255];
    for (const reason of reasons) {
      caller.put(reason + 0x1_2300);
      assertEquals(schedOp(domain, caller.with(SCHEDOP.shutdown, caller.pointer(0))), 0);
      assertEquals(schedOp(domain, caller.with(SCHEDOP.shutdown_code, caller.pointer(0))), 0);
    }
    assertEquals(log, reasons.flatMap((reason) => [`shutDown(${reason})`, `setShutdownCode(${reason})`]));
    for (const subop of [SCHEDOP.shutdown, SCHEDOP.shutdown_code]) {
      for (const pointer of [0n, caller.missing(), caller.missing(3)]) {
        assertEquals(schedOp(domain, caller.with(subop, pointer)), -EFAULT);
      }
    }
    assertEquals(log.length, reasons.length * 2);
  });

  Deno.test(`poll waits for its ports and its time, ${bits} bits`, () => {
    assertEquals(polls(bits, [1, 2], [0, 0]), {
      result: 0,
      after: AFTER.POLL,
      waits: ["poll(3, ..., 2, Infinity)"],
      polled: [[1, 2]],
    });
    assertEquals(polls(bits, [], [1000, 0]).waits, ["poll(3, ..., 0, 1000)"]);
    assertEquals(polls(bits, [], [1000, 2]).waits, [`poll(3, ..., 0, ${2 * 2 ** 32 + 1000})`]);
    assertEquals(polls(bits, [3], [5, 0x8000_0000]).waits, ["poll(3, ..., 1, 0)"], "a negative time is past");
    const many = Array.from({ length: MAX_POLL_PORTS }, (_, index) => index % 7);
    assertEquals(polls(bits, many, [0, 0]).polled, [many]);
  });

  Deno.test(`poll returns at once for an event, a pending port or a wrong one, ${bits} bits`, () => {
    const none = { after: AFTER.RETURN, waits: [], polled: [] };
    assertEquals(polls(bits, [1, 7, 99], [0, 0]), { result: 0, ...none }, "what is behind it is not looked at");
    assertEquals(polls(bits, [1, 99, 7], [0, 0]), { result: -EINVAL, ...none });
    assertEquals(polls(bits, [99], [0, 0], true), { result: 0, ...none });
    assertEquals(polls(bits, new Array(MAX_POLL_PORTS + 1).fill(1), [0, 0], true), { result: -EINVAL, ...none });
  });

  Deno.test(`poll and bad pointers, ${bits} bits`, () => {
    const caller = new TestCaller(bits), { domain } = scene();
    for (const pointer of [0n, caller.missing(), caller.missing(bits === 64 ? 23 : 15)]) {
      assertEquals(schedOp(domain, caller.with(SCHEDOP.poll, pointer)), -EFAULT);
    }
    for (const list of [0n, caller.missing(), caller.missing(3)]) {
      putPoll(caller, [1, 2], [0, 0], list);
      assertEquals(schedOp(domain, caller.with(SCHEDOP.poll, caller.pointer())), -EFAULT);
    }
    putPoll(caller, [], [0, 0], 0n);
    assertEquals(schedOp(domain, caller.with(SCHEDOP.poll, caller.pointer())), 0, "no ports, no list");
  });

  Deno.test(`remote_shutdown is refused, ${bits} bits`, () => {
    const caller = new TestCaller(bits), { domain, log } = scene();
    for (const [domid, error] of [[0, EPERM], [1, EPERM], [2, ESRCH], [0x7ff0, ESRCH], [0xffff, ESRCH]]) {
      caller.put(domid);
      assertEquals(schedOp(domain, caller.with(SCHEDOP.remote_shutdown, caller.pointer())), -error, `domain ${domid}`);
    }
    assertEquals(schedOp(domain, caller.with(SCHEDOP.remote_shutdown, caller.missing(7))), -EFAULT);
    assertEquals(log, []);
  });

  Deno.test(`watchdogs are taken, set again and given back, ${bits} bits`, () => {
    const caller = new TestCaller(bits), { domain, log } = scene();
    const watchdog = (id: number, seconds: number) => {
      caller.put(id, seconds);
      return schedOp(domain, caller.with(SCHEDOP.watchdog, caller.pointer()));
    };
    const calls = [[1, 5], [0, 10], [0, 20], [0, 30], [2, 40], [1, 0], [1, 5], [0, 0], [3, 1], [0xffff_ffff, 1]];
    assertEquals(calls.map(([id, seconds]) => watchdog(id, seconds)), [
      -EINVAL,
      1,
      2,
      -ENOSPC,
      0,
      0,
      -EINVAL,
      1,
      -EINVAL,
      -EINVAL,
    ]);
    assertEquals(log.filter((line) => /^(set|stop)/.test(line)), [
      "setWatchdog(0, 10)",
      "setWatchdog(1, 20)",
      "setWatchdog(1, 40)",
      "stopWatchdog(0)",
      "setWatchdog(0, 0)",
    ]);
    assertEquals(schedOp(domain, caller.with(SCHEDOP.watchdog, caller.missing(7))), -EFAULT);
  });
}

Deno.test("sched_op answers anything", () => {
  const { domain } = scene();
  assertAnswersAnything(Object.values(SCHEDOP), (call) => schedOp(domain, call));
});
