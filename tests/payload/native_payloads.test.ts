/** NativePayloads with objects that gcc makes: they run, replace functions of ours, and leave everything as it was. */

import { assert, assertEquals, assertGreater, assertThrows } from "@std/assert";
import * as calls from "../../src/linux/calls.ts";
import { EBUSY, EEXIST, EINVAL, ENOENT } from "../../src/linux/errno.ts";
import { viewAt } from "../../src/linux/mapping.ts";
import { nativeCode, nativeSymbols } from "../../src/linux/native_symbols.ts";
import type { NativePayload } from "../../src/payload/native_payload.ts";
import { PayloadError } from "../../src/payload/payload_error.ts";
import { BareThread } from "../linux/native_threads.ts";
import { mappingsIn } from "../linux/process.ts";
import { program, testWith } from "../support/capabilities.ts";
import { compile, LIVEPATCH_H, NativeMachine } from "./native_machine.ts";

const GCC = program("gcc", "gcc");

/** All of our machine code, as it is now. */
function code(): Uint8Array {
  const { first, end } = nativeCode();
  return new Uint8Array(viewAt(first, Number(end - first))).slice();
}

const FUNCTION = { parameters: ["i32", "i32"], result: "i32" } as const;

/** Calls a function of a payload. */
function call(payload: NativePayload, name: string, ...values: number[]): number {
  const pointer = Deno.UnsafePointer.create<typeof FUNCTION>(payload.addressOf(name))!;
  const [one = 0, other = 0] = values;
  return new Deno.UnsafeFnPointer(pointer, FUNCTION).call(one, other);
}

/** A variable of a payload. */
function variable(payload: NativePayload, name: string): number {
  return new Int32Array(viewAt(payload.addressOf(name), 4))[0];
}

/** What the host says that can be done at an address. */
function permissions(address: bigint): string {
  return mappingsIn(address, 1)[0].line.split(" ")[1];
}

function refused(errno: number, message: string, body: () => unknown): void {
  const error = assertThrows(body, PayloadError, message);
  assertEquals(error.errno, errno);
}

const ARITHMETIC = `
int table[4] = { 1, 2, 3, 4 };
static int (*const functions[2])(int);
int *const pointer = &table[3];
const char text[] = "Xenolith";
int sum;
static int twice(int x) { return 2 * x; }
int __attribute__((noinline)) add(int x) { sum += x + *pointer; return sum; }
static int (*const functions[2])(int) = { add, twice };
extern int elsewhere(void) __attribute__((weak));
int run(int which, int x) { return functions[which](x); }
int letter(int at) { return text[at]; }
int has_elsewhere(void) { return elsewhere ? elsewhere() : 0; }
`;

testWith(
  [GCC],
  "code of every model that fits runs where it was placed, each part with its own permissions",
  async () => {
    const models = ["-fPIC", "-fPIE", "-mcmodel=medium", "-fno-plt", "-mcmodel=medium -fPIC -mlarge-data-threshold=4"];
    for (const option of [...models, "-mcmodel=large -fPIC", "-mcmodel=large -fno-pic"]) {
      using test = new NativeMachine();
      const payload = test.payloads.load(await compile(ARITHMETIC, ...option.split(" ")), `arithmetic ${option}`);
      const results = [call(payload, "run", 0, 10), call(payload, "run", 0, 1), call(payload, "run", 1, 21)];
      assertEquals(results, [14, 19, 42], option);
      assertEquals([variable(payload, "sum"), call(payload, "letter", 2)], [19, "n".charCodeAt(0)]);
      assertEquals(call(payload, "has_elsewhere"), 0, "a weak symbol that nobody has is 0");
      const places = { run: "r-xs", text: "r--s", table: "rw-s", sum: "rw-s" };
      for (const [name, shown] of Object.entries(places)) {
        assertEquals(permissions(payload.addressOf(name)), shown, name);
        assertEquals(test.payloads.payloadAt(payload.addressOf(name)), payload);
      }
      refused(ENOENT, "has no global symbol twice", () => payload.addressOf("twice"));
    }
  },
);

testWith([GCC], "payloads call our code and earlier payloads, which stay for as long as they are needed", async () => {
  using test = new NativeMachine();
  const none = test.holdings;
  const base = test.payloads.load(
    await compile("int counter = 5; int count(int by) { return counter += by; }"),
    "base",
  );
  const user = test.payloads.load(
    await compile(
      `
extern int counter, count(int), xl_ioctl_value(int, unsigned, unsigned);
int both(int by) { return count(by) * 1000 + counter; }
int bad(void) { return xl_ioctl_value(-1, 0, 0); }`,
      "-fPIC",
    ),
    "user",
  );
  assertEquals([call(user, "both", 2), call(user, "bad"), variable(base, "counter")], [7007, -9, 7]);
  assertEquals(test.payloads.payloads, [base, user]);
  refused(EBUSY, "base: user uses it", () => base[Symbol.dispose]());
  refused(EEXIST, "base: is loaded", () => test.payloads.load(new Uint8Array(), "base"));
  const again = await compile("int count(int by) { return by; }");
  refused(EEXIST, "again: symbol count exists already", () => test.payloads.load(again, "again"));
  const missing = await compile("extern int nobody(void); int f(void) { return 1 + nobody(); }");
  refused(ENOENT, "missing: .text+0x5: symbol nobody is not defined", () => test.payloads.load(missing, "missing"));
  user[Symbol.dispose]();
  user[Symbol.dispose]();
  base[Symbol.dispose]();
  assertEquals([test.payloads.payloads, test.holdings], [[], none]);
  refused(EINVAL, "user: was unloaded", () => user.apply());
});

const REPLACEMENTS = `${LIVEPATCH_H}
int clocks, pauses, runs, descriptor;
struct clock { long guest, outside, last; };
extern int xl_ioctl_value(int, unsigned, unsigned);
double clock(void) { clocks++; return 42.5; }
void pause(void) { pauses++; }
int run(int fd, struct clock *clock) { runs++; descriptor = fd; clock->guest = 77; return -1000 - runs; }
REPLACE(clock, "xl_clock", 16, .new_addr = clock);
REPLACE(pause, "xl_pause", 16, .new_addr = pause, .expect = { 1, 3, 0, { 0xf3, 0x90, 0xc3 } });
REPLACE(run, "xl_run", 16, .new_addr = run);
`;

testWith(
  [GCC],
  "a payload replaces functions of ours for every caller; reverted, all is as it was before",
  async () => {
    using test = new NativeMachine();
    const before = code(), none = test.holdings, object = await compile(REPLACEMENTS);
    const payload = test.payloads.load(object, "replacements");
    assertEquals([payload.state, code()], ["CHECKED", before]);
    payload.apply();
    assertEquals(payload.state, "APPLIED");
    for (const name of ["xl_clock", "xl_pause", "xl_run"]) {
      const { address } = nativeSymbols().get(name)!;
      const [jump] = new Uint8Array(viewAt(address, 1));
      assertEquals([jump, permissions(address)], [0xe9, "r-xp"], name);
    }
    assertEquals([calls.clock(), calls.clock()], [42.5, 42.5]);
    calls.pause();
    const words = new BigInt64Array(3);
    assertEquals(calls.run(123, Deno.UnsafePointer.of(words)), -1001);
    const counters = () => ["clocks", "pauses", "runs", "descriptor"].map((name) => variable(payload, name));
    assertEquals([counters(), words[0]], [[2, 1, 1, 123], 77n]);

    refused(EINVAL, "replacements: is APPLIED, not CHECKED", () => payload.apply());
    refused(EINVAL, "replacements: is applied; revert it first", () => payload[Symbol.dispose]());
    payload.revert();
    assertEquals([payload.state, code()], ["CHECKED", before]);
    assertGreater(calls.clock(), 1000);
    calls.pause();
    assertEquals([calls.run(-1, Deno.UnsafePointer.of(words)), counters()], [-9, [2, 1, 1, 123]]);
    refused(EINVAL, "replacements: is CHECKED, not APPLIED", () => payload.revert());
    refused(EINVAL, "replacements: keeps state and was applied before; load it again", () => payload.apply());
    payload[Symbol.dispose]();
    assertEquals(test.holdings, none);
  },
);

/** The loop of a vCPU's thread: counts its turns, and otherwise does what native.asm does. */
const LOOP = `${LIVEPATCH_H}
int turns;
void enter(void);
asm(".globl enter\\n.type enter, @function\\nenter: lock incl turns(%rip)\\n"
    "mov (%rbx), %edi\\nlea 16(%rbx), %rsi\\ncall xl_run\\njmp xl_vcpu_left\\n.size enter, . - enter");
REPLACE(enter, "xl_vcpu_enter", 11, .new_addr = enter);
`;

testWith(
  [GCC],
  "a payload replaces the loop of vCPU threads that run already, while they are out of the guest",
  async () => {
    const EBADF = 9;
    using test = new NativeMachine(), threads = new DisposableStack();
    const bare = [0, 1, 2].map(() => threads.use(new BareThread(-1)));
    const turn = () => {
      for (const one of bare) {
        one.armed = true;
        one.thread.enter();
        one.awaitDoorbell();
        assertEquals([one.thread.isOut, one.thread.result], [true, -EBADF]);
      }
    };
    turn();
    const ids = bare.map(({ id }) => id), payload = test.payloads.load(await compile(LOOP), "loop");
    turn();
    payload.apply();
    for (let round = 0; round < 5; round++) turn();
    assertEquals(variable(payload, "turns"), 15);
    payload.revert();
    turn();
    assertEquals([variable(payload, "turns"), bare.map(({ id }) => id)], [15, ids], "the same threads");
  },
);

testWith([GCC], "payloads that replace the same function are a stack: only the top reverts", async () => {
  using test = new NativeMachine();
  const before = code();
  const replacing = (value: number, expectation = "") =>
    compile(`${LIVEPATCH_H}
double clock(void) { return ${value}; }
REPLACE(clock, "xl_clock", 16, .new_addr = clock ${expectation});`);
  const [one, two] = [
    test.payloads.load(await replacing(1), "one"),
    test.payloads.load(await replacing(2), "two"),
  ];
  one.apply();
  two.apply();
  assertEquals(calls.clock(), 2);
  refused(EBUSY, "one: two was applied after it", () => one.revert());
  two.revert();
  assertEquals(calls.clock(), 1);
  const strict = await replacing(3, ", .expect = { 1, 2, 0, { 0x0f, 0x31 } }");
  const three = test.payloads.load(strict, "three");
  const { address } = nativeSymbols().get("xl_clock")!;
  const found = new Uint8Array(viewAt(address, 2)).toHex();
  refused(EINVAL, `three: xl_clock: expected 0f31, found ${found}`, () => three.apply());
  assertEquals([three.state, calls.clock()], ["CHECKED", 1]);
  one.revert();
  three.apply();
  assertEquals(calls.clock(), 3);
  three.revert();
  one.apply();
  assertEquals(calls.clock(), 1, "without state it may be applied again");
  test.payloads[Symbol.dispose]();
  assertEquals(code(), before);
});

testWith(
  [GCC],
  "functions of payloads can be replaced, parts of functions by name and offset, and by nops",
  async () => {
    using test = new NativeMachine();
    const before = code();
    const base = test.payloads.load(await compile("int value; int get(void) { return value + 1; }"), "base");
    const better = test.payloads.load(
      await compile(`${LIVEPATCH_H}
int get(void) { return 100; }
REPLACE(get, "get", 7, .new_addr = get);`),
      "better",
    );
    assertEquals(call(base, "get"), 1);
    better.apply();
    assertEquals([call(base, "get"), permissions(base.addressOf("get"))], [100, "r-xs"]);
    refused(EBUSY, "base: better uses it", () => base[Symbol.dispose]());
    better.revert();
    assertEquals(call(base, "get"), 1);

    // rdtsc; shl rdx, 32; or rax, rdx: without the last two, 32 bits are left of the clock.
    const nops = test.payloads.load(
      await compile(`${LIVEPATCH_H}\nREPLACE(nop, "xl_clock+0x2", 14, .new_size = 7);`),
      "nops",
    );
    nops.apply();
    const { address } = nativeSymbols().get("xl_clock")!;
    assertEquals(new Uint8Array(viewAt(address, 10)).toHex(), "0f310f1f8000000000f2");
    assert(calls.clock() < 2 ** 32);
    nops.revert();
    const byAddress = `${LIVEPATCH_H}
extern void xl_clock(void);
REPLACE(nop, 0, 14, .old_addr = (char *)xl_clock + 2, .new_size = 0);`;
    test.payloads.load(await compile(byAddress), "by address").apply();
    assertEquals(code(), before);
  },
);
