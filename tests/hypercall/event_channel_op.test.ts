/** event_channel_op: what a domU is answered to each subop, for 64-bit and 32-bit callers. */

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { EVTCHNOP } from "../../src/hypercall/abi/event_channel.ts";
import { DOMID_SELF, HYPERCALL, NR_VIRQS, VIRQ } from "../../src/hypercall/abi/xen.ts";
import { Call, type CallerMemory } from "../../src/hypercall/call.ts";
import { eventChannelOp, EVTCHNOP_RESET_CONT, isGlobalVirq } from "../../src/hypercall/event_channel_op.ts";
import { errnoName } from "../../src/linux/errno.ts";
import { DOMID, GuestScene } from "../events/guest_scene.ts";

const RUNS = Number(Deno.env.get("XENOLITH_PROPERTY_RUNS") ?? 1000);
const VCPUS = 4, PIRQS = 16, FIRST_MMIO = 0x100;

/** Where a caller has one page, of which the second half is read-only. */
const PAGE = 0x7000, READ_ONLY = PAGE + 2048, NOWHERE = 0x9000;

/** A guest that calls. */
class Caller implements Disposable {
  readonly guest = GuestScene.create(VCPUS);
  readonly page = new Uint8Array(4096);
  readonly #call: Call;
  readonly #domain = {
    channels: this.guest.channels,
    physicalInterrupts: PIRQS,
    isMemory: (gfn: number) => gfn < FIRST_MMIO,
  };

  constructor(private readonly bits: 32 | 64 = 64) {
    const within = (low: number, high: number, bytes: number) =>
      high === 0 && low >= PAGE && low + bytes <= PAGE + this.page.length;
    const memory: CallerMemory = {
      read: (low, high, target, at, bytes) => {
        if (!within(low, high, bytes)) return false;
        target.set(this.page.subarray(low - PAGE, low - PAGE + bytes), at);
        return true;
      },
      write: (low, high, source, at, bytes) => {
        if (!within(low, high, bytes) || low + bytes > READ_ONLY) return false;
        this.page.set(source.subarray(at, at + bytes), low - PAGE);
        return true;
      },
    };
    this.#call = new Call(1, memory);
  }

  /** Calls with a structure of words. @returns the result, by its name if it is an error, and the words afterwards */
  call(subop: number, words: readonly number[], at = PAGE): { result: number | string; words: number[] } {
    new Uint32Array(this.page.buffer, at & 4095, words.length).set(words);
    this.#call.begin(HYPERCALL.event_channel_op, this.bits);
    this.#call.low.fill(0).set([subop, at]);
    const result = eventChannelOp(this.#domain, this.#call);
    return {
      result: result < 0 ? errnoName(-result) : result,
      words: [...new Uint32Array(this.page.buffer, at & 4095, words.length)],
    };
  }

  /** Any call at all: what a register may hold. */
  callRaw(subop: number, low: number, high: number): number {
    this.#call.begin(HYPERCALL.event_channel_op, this.bits);
    this.#call.low.fill(0).set([subop, low]);
    this.#call.high.fill(0).set([0, high]);
    return eventChannelOp(this.#domain, this.#call);
  }

  [Symbol.dispose](): void {
    this.guest[Symbol.dispose]();
  }
}

/** The ports that every row of the table finds: 1 offered to domain 0, 2 and 3 a loop, 4 VIRQ_TIMER of vCPU 2, then. */
const CONSOLE_VIRQ = 5, IPI = 6, PIRQ = 7, OFFERED = 8, BACK_END = 9, FREE = 10, INVALID = 64;

function prepare({ guest }: Caller): void {
  const { channels } = guest;
  guest.addBackEnd(0);
  channels.allocUnbound(0);
  channels.allocUnbound(DOMID);
  channels.bindInterdomain(DOMID, 2);
  channels.bindVirq(VIRQ.TIMER, 2, false);
  channels.bindVirq(VIRQ.CONSOLE, 0, true);
  channels.bindIpi(3);
  channels.bindPirq(5);
  channels.allocUnbound(DOMID);
  channels.allocUnbound(0);
  channels.backEndPorts.attach(BACK_END, 0, 21);
}

/** Two domids in a word. */
const domids = (first: number, second: number) => (first | (second << 16)) >>> 0;
const SELF = DOMID_SELF, STRANGER = 77, HUGE = 0xffff_ffff;

type Row = [words: number[], result: number | string, after?: number[]];

const TABLE: Record<string, [subop: number, rows: Row[]]> = {
  alloc_unbound: [EVTCHNOP.alloc_unbound, [
    [[domids(SELF, 0), 99], 0, [domids(SELF, 0), FREE]],
    [[domids(DOMID, SELF), 99], 0, [domids(DOMID, SELF), FREE]],
    [[domids(SELF, STRANGER), 99], 0, [domids(SELF, STRANGER), FREE]],
    [[domids(0, SELF), 99], "EPERM"],
    [[domids(STRANGER, SELF), 99], "ESRCH"],
    [[domids(0x7ff1, SELF), 99], "ESRCH"],
  ]],
  bind_interdomain: [EVTCHNOP.bind_interdomain, [
    [[SELF, OFFERED, 99], 0, [SELF, OFFERED, FREE]],
    [[DOMID, OFFERED, 99], 0, [DOMID, OFFERED, FREE]],
    [[SELF, 1, 99], "EINVAL"],
    [[SELF, 2, 99], "EINVAL"],
    [[SELF, FREE, 99], "EINVAL"],
    [[SELF, INVALID, 99], "EINVAL"],
    [[SELF, HUGE, 99], "EINVAL"],
    [[0, OFFERED, 99], "EINVAL"],
    [[STRANGER, OFFERED, 99], "ESRCH"],
  ]],
  bind_virq: [EVTCHNOP.bind_virq, [
    [[VIRQ.TIMER, 1, 99], 0, [VIRQ.TIMER, 1, FREE]],
    [[VIRQ.DOM_EXC, 0, 99], 0, [VIRQ.DOM_EXC, 0, FREE]],
    [[VIRQ.ARCH_7, 0, 99], 0, [VIRQ.ARCH_7, 0, FREE]],
    [[NR_VIRQS, 0, 99], "EINVAL"],
    [[HUGE, 0, 99], "EINVAL"],
    [[VIRQ.CONSOLE, 1, 99], "EINVAL"],
    [[VIRQ.CONSOLE, HUGE, 99], "EINVAL"],
    [[VIRQ.TIMER, VCPUS, 99], "ENOENT"],
    [[VIRQ.TIMER, HUGE, 99], "ENOENT"],
    [[VIRQ.TIMER, 2, 99], "EEXIST"],
    [[VIRQ.CONSOLE, 0, 99], "EEXIST"],
  ]],
  bind_pirq: [EVTCHNOP.bind_pirq, [
    [[6, 0, 99], 0, [6, 0, FREE]],
    [[6, 1, 99], 0, [6, 1, FREE]],
    [[5, 0, 99], "EEXIST"],
    [[PIRQS, 0, 99], "EINVAL"],
    [[HUGE, 0, 99], "EINVAL"],
  ]],
  bind_ipi: [EVTCHNOP.bind_ipi, [
    [[3, 99], 0, [3, FREE]],
    [[VCPUS, 99], "ENOENT"],
    [[HUGE, 99], "ENOENT"],
  ]],
  close: [
    EVTCHNOP.close,
    [
      ...[1, 2, 3, 4, CONSOLE_VIRQ, IPI, PIRQ, OFFERED, BACK_END].map((port): Row => [[port], 0]),
      ...[0, FREE, INVALID, 4096, HUGE].map((port): Row => [[port], "EINVAL"]),
    ],
  ],
  send: [
    EVTCHNOP.send,
    [
      ...[1, 2, 3, IPI, OFFERED, BACK_END].map((port): Row => [[port], 0]),
      ...[0, 4, CONSOLE_VIRQ, PIRQ, FREE, INVALID, 4096, HUGE].map((port): Row => [[port], "EINVAL"]),
    ],
  ],
  status: [EVTCHNOP.status, [
    [[SELF, 0, 9, 9, 9, 9], 0, [SELF, 0, 0, 0, 9, 9]],
    [[SELF, FREE, 9, 9, 9, 9], 0, [SELF, FREE, 0, 0, 9, 9]],
    [[SELF, 1, 9, 9, 9, 9], 0, [SELF, 1, 1, 0, 0, 9]],
    [[SELF, 1, 9, 9, 0x12340009, 9], 0, [SELF, 1, 1, 0, 0x12340000, 9]],
    [[DOMID, OFFERED, 9, 9, 9, 9], 0, [DOMID, OFFERED, 1, 0, DOMID, 9]],
    [[SELF, 2, 9, 9, 9, 9], 0, [SELF, 2, 2, 0, DOMID, 3]],
    [[SELF, 3, 9, 9, 9, 9], 0, [SELF, 3, 2, 0, DOMID, 2]],
    [[SELF, BACK_END, 9, 9, 9, 9], 0, [SELF, BACK_END, 2, 0, 0, 21]],
    [[SELF, PIRQ, 9, 9, 9, 9], 0, [SELF, PIRQ, 3, 0, 5, 9]],
    [[SELF, 4, 9, 9, 9, 9], 0, [SELF, 4, 4, 2, VIRQ.TIMER, 9]],
    [[SELF, CONSOLE_VIRQ, 9, 9, 9, 9], 0, [SELF, CONSOLE_VIRQ, 4, 0, VIRQ.CONSOLE, 9]],
    [[SELF, IPI, 9, 9, 9, 9], 0, [SELF, IPI, 5, 3, 9, 9]],
    [[SELF, INVALID, 9, 9, 9, 9], "EINVAL"],
    [[SELF, HUGE, 9, 9, 9, 9], "EINVAL"],
    [[0, 1, 9, 9, 9, 9], "EPERM"],
    [[STRANGER, 1, 9, 9, 9, 9], "ESRCH"],
  ]],
  bind_vcpu: [
    EVTCHNOP.bind_vcpu,
    [
      ...[1, 2, CONSOLE_VIRQ, PIRQ, OFFERED, BACK_END].map((port): Row => [[port, 3], 0]),
      ...[0, 4, IPI, FREE, INVALID, HUGE].map((port): Row => [[port, 3], "EINVAL"]),
      [[1, VCPUS], "ENOENT"],
      [[HUGE, HUGE], "ENOENT"],
    ],
  ],
  unmask: [
    EVTCHNOP.unmask,
    [
      ...[0, 1, 4, IPI, FREE, 63].map((port): Row => [[port], 0]),
      ...[INVALID, 4096, HUGE].map((port): Row => [[port], "EINVAL"]),
    ],
  ],
  reset: [EVTCHNOP.reset, [
    [[SELF], 0],
    [[DOMID], 0],
    [[0], "EPERM"],
    [[STRANGER], "ESRCH"],
  ]],
  reset_cont: [EVTCHNOP_RESET_CONT, [
    [[SELF], "EBUSY"],
    [[0], "EPERM"],
    [[STRANGER], "ESRCH"],
  ]],
  init_control: [EVTCHNOP.init_control, [
    [[1, 0, 0, 0, 9, 9], "ENOSYS"],
    [[1, 0, 4096 - 72, VCPUS - 1, 9, 9], "ENOSYS"],
    [[1, 0, 4096 - 64, 0, 9, 9], "EINVAL"],
    [[1, 0, 4, 0, 9, 9], "EINVAL"],
    [[1, 0, HUGE, 0, 9, 9], "EINVAL"],
    [[FIRST_MMIO, 0, 0, 0, 9, 9], "EINVAL"],
    [[1, 1, 0, 0, 9, 9], "EINVAL"],
    [[HUGE, HUGE, 0, 0, 9, 9], "EINVAL"],
    [[HUGE, HUGE, 4, VCPUS, 9, 9], "ENOENT"],
  ]],
  expand_array: [EVTCHNOP.expand_array, [
    [[1, 0], "ENOSYS"],
    [[HUGE, HUGE], "ENOSYS"],
  ]],
  set_priority: [EVTCHNOP.set_priority, [
    [[1, 7], "ENOSYS"],
    [[FREE, HUGE], "ENOSYS"],
    [[INVALID, 7], "EINVAL"],
    [[HUGE, 7], "EINVAL"],
  ]],
};

for (const bits of [64, 32] as const) {
  for (const [name, [subop, rows]] of Object.entries(TABLE)) {
    Deno.test(`event_channel_op ${name} answers a ${bits}-bit domU as Xen does`, () => {
      for (const [words, result, after] of rows) {
        using caller = new Caller(bits);
        prepare(caller);
        assertEquals(caller.call(subop, words), { result, words: after ?? words }, `${name} ${words}`);
      }
    });
  }
}

Deno.test("a structure that cannot be read is EFAULT, whatever else is wrong", () => {
  using caller = new Caller();
  prepare(caller);
  for (const [name, [subop, [[words]]]] of Object.entries(TABLE)) {
    assertEquals(caller.call(subop, words, NOWHERE).result, "EFAULT", name);
    const bytes = name.startsWith("reset") ? 2 : words.length * 4; // struct evtchn_reset is a domid alone
    assertEquals(caller.callRaw(subop, PAGE + 4096 - bytes + 1, 0), -14, `${name}: its last byte is missing`);
    assertEquals(caller.callRaw(subop, PAGE, 1), -14, `${name}: above 4 GiB`);
  }
});

Deno.test("a result that cannot be stored is EFAULT, and the port stays bound, as with Xen", () => {
  for (const name of ["alloc_unbound", "bind_interdomain", "bind_virq", "bind_pirq", "bind_ipi"]) {
    using caller = new Caller();
    prepare(caller);
    const [subop, [[words]]] = TABLE[name];
    assertEquals(caller.call(subop, words, READ_ONLY).result, "EFAULT", name);
    assert(caller.guest.table.state(FREE) > 1, name);
  }
  using caller = new Caller();
  assertEquals(caller.call(EVTCHNOP.status, [SELF, 0, 9, 9, 9, 9], READ_ONLY).result, "EFAULT");
});

Deno.test("subops that there are not are ENOSYS, without a look at the structure", () => {
  using caller = new Caller();
  for (const subop of [15, 16, 0x7fff_ffff, 0xffff_ffff]) {
    assertEquals(caller.call(subop, [], NOWHERE).result, "ENOSYS");
  }
});

Deno.test("of the virtual interrupts only a vCPU's timer, debug and profiling ones are its own", () => {
  const own = Object.entries(VIRQ).filter(([, virq]) => !isGlobalVirq(virq)).map(([name]) => name);
  assertEquals(own, ["TIMER", "DEBUG", "XENOPROF", "XENPMU"]);
});

Deno.test("no ports left is ENOSPC", () => {
  using caller = new Caller(32);
  caller.guest.table.bits = 32;
  for (let port = 1; port < 1024; port++) assertEquals(caller.call(EVTCHNOP.bind_ipi, [0, 0]).words, [0, port]);
  for (const name of ["alloc_unbound", "bind_interdomain", "bind_virq", "bind_pirq", "bind_ipi"]) {
    const [subop, [[words]]] = TABLE[name];
    assertEquals(caller.call(subop, words).result, "ENOSPC", name);
  }
});

const word = fc.oneof(fc.constantFrom(0, 1, 2, 3, SELF, DOMID, HUGE, 4096), fc.nat(80), fc.nat(HUGE));

Deno.test("any calls with any arguments get an answer, and the domain can still be reset", () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(16), fc.array(word, { minLength: 6, maxLength: 6 })), { size: "+1" }),
      (calls) => {
        using caller = new Caller();
        prepare(caller);
        for (const [subop, words] of calls) {
          const { result } = caller.call(subop, words);
          assert(typeof result === "string" ? result.startsWith("E") : result === 0, `${subop} ${words}: ${result}`);
        }
        assertEquals(caller.call(EVTCHNOP.reset, [SELF]).result, 0);
        assertEquals(caller.call(EVTCHNOP.bind_ipi, [0, 0]).words, [0, 1]);
      },
    ),
    { numRuns: RUNS },
  );
});
