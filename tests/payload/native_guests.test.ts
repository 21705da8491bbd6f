/** A native payload beside a guest that runs: it replaces what enters the guest, again and again, and nothing is lost. */

import { assertEquals, assertGreater } from "@std/assert";
import { boot } from "xenolith/testing";
import { nativeCode } from "../../src/linux/native_symbols.ts";
import { viewAt } from "../../src/linux/mapping.ts";
import { KVM, program, testWith } from "../support/capabilities.ts";
import { compile, LIVEPATCH_H, NativeMachine } from "./native_machine.ts";

const ROUNDS = 30;

/** For each carrier what it enters the guest by: both count how often that is. */
const ENTRIES = {
  worker: `${LIVEPATCH_H}
#define KVM_RUN 0xae80
long entries;
extern int xl_ioctl_value(int descriptor, unsigned request, unsigned argument);
int run(int vcpu, void *clock)
{
  __atomic_fetch_add(&entries, 1, __ATOMIC_RELAXED);
  return xl_ioctl_value(vcpu, KVM_RUN, 0);
}
REPLACE(run, "xl_run", 16, .new_addr = run);`,
  // rbx is the struct thread, whose descriptor is at 0 and whose clock at 16.
  native: `${LIVEPATCH_H}
long entries;
void enter(void);
asm(".globl enter\\n.type enter, @function\\nenter: lock incq entries(%rip)\\n"
    "mov (%rbx), %edi\\nlea 16(%rbx), %rsi\\ncall xl_run\\njmp xl_vcpu_left\\n.size enter, . - enter");
REPLACE(enter, "xl_vcpu_enter", 11, .new_addr = enter);`,
};

/** Applies and reverts the payload while a guest talks: with it, without it, and asleep at every change. */
async function besideGuest(test: NativeMachine, object: Uint8Array, carrier: keyof typeof ENTRIES): Promise<void> {
  await using vm = await boot("guests/echo.img", { timeoutMs: 60_000, carrier });
  const talk = async (line: string) => {
    vm.console.send(`${line}\n`);
    await vm.console.expect(`echo: ${line}\n> `);
  };
  await vm.console.expect("> ");
  for (let round = 0; round < ROUNDS; round++) {
    const payload = test.payloads.load(object, "entries");
    const entries = () => new BigInt64Array(viewAt(payload.addressOf("entries"), 8))[0];
    await vm.pause();
    payload.apply();
    vm.resume();
    await talk(`with ${round}`);
    await vm.pause();
    payload.revert();
    const counted = entries();
    vm.resume();
    await talk(`without ${round}`);
    assertGreater(counted, 20n, "an entry after each of its exits");
    assertEquals(entries(), counted);
    payload[Symbol.dispose]();
  }
  vm.console.send("quit 7\n");
  assertEquals((await vm.exited).status, 7);
}

for (const carrier of ["native", "worker"] as const) {
  const name = `a payload replaces what enters the guest, while one runs, and nothing is lost (${carrier})`;
  testWith([KVM, program("gcc", "gcc")], name, async () => {
    using test = new NativeMachine();
    const { first, end } = nativeCode();
    const code = () => new Uint8Array(viewAt(first, Number(end - first))).slice();
    const before = code(), none = test.holdings, object = await compile(ENTRIES[carrier]);
    await besideGuest(test, object, carrier);
    assertEquals([code(), test.holdings], [before, none]);
  });
}
