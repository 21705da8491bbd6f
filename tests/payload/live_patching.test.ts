/** Payloads on a running guest: each kind of change is seen by it, nothing of its work is lost, and refusals change nothing. */

import { assert, assertEquals } from "@std/assert";
import { EAGAIN, EBUSY, EEXIST, EINVAL, EIO, ENOENT, EPERM } from "../../src/linux/errno.ts";
import { viewAt } from "../../src/linux/mapping.ts";
import { nativeSymbols } from "../../src/linux/native_symbols.ts";
import { buildPayload } from "../../src/payload/build.ts";
import { edit, type PayloadDefinition, replace } from "../../src/payload/definition.ts";
import { encodePayload } from "../../src/payload/format.ts";
import { LivePatching } from "../../src/payload/live_patching.ts";
import { PayloadError } from "../../src/payload/payload_error.ts";
import { parsePublicKey, signPayload } from "../../src/payload/signature.ts";
import { ANY_KVM, program, testWith } from "../support/capabilities.ts";
import { holdings } from "../support/holdings.ts";
import { PatchedGuest } from "../support/patched_guest.ts";
import { buildExample } from "./build_example.ts";
import { compile, LIVEPATCH_H } from "./native_machine.ts";
import { built, patched, scratch, SLOW } from "./patching.ts";
import { refused } from "./refused.ts";

testWith(
  [ANY_KVM],
  "a device's bug is fixed while the guest prints through it, and is there again after the revert",
  async () => {
    await using run = await patched();
    const { guest, patching } = run;
    await guest.until(0);
    const { name, state } = await patching.upload(await buildExample("fix-uart"));
    assertEquals([name, state, patching.list().length], ["fix-uart", "CHECKED", 1]);
    const { pausedMs } = await patching.apply(name, SLOW);
    assert(pausedMs > 0);
    assertEquals(patching.get(name).state, "APPLIED");
    await guest.until(0xff);
    await patching.revert(name, SLOW);
    await guest.until(0);
    await patching.unload(name);
    assertEquals(patching.list(), []);
    await guest.end();
  },
);

testWith([ANY_KVM], "what serves a guest's xenstore is replaced, and the guest's watch is heard of", async () => {
  const halt: PayloadDefinition = {
    name: "halt",
    modules: {
      "src/xenstore/shutdown_request.ts": edit(replace("tools.write(path, reason);", 'tools.write(path, "halt");')),
    },
  };
  await using run = await patched("wait", 1, "xenstore");
  const { guest, patching } = run;
  await guest.expect(/waiting/);
  await patching.upload(await built(halt));
  await patching.apply("halt", SLOW);
  guest.machine.requestShutdown("poweroff");
  await guest.expect(/told to halt/);
  await patching.revert("halt", SLOW);
  guest.machine.requestShutdown("poweroff");
  await guest.expect(/told to poweroff/);
  await guest.end();
});

testWith([ANY_KVM], "a running model gets one more port, which is nobody's again after the revert", async () => {
  await using run = await patched("port=0x4e9");
  const { guest, patching } = run;
  await patching.upload(await buildExample("add-port"));
  assertEquals(await guest.lines(2), [0xff, 0xff]);
  await patching.apply("add-port", SLOW);
  await guest.until(0xe9);
  const claimed = () => guest.machine.statistics.servers[0].ranges.some(({ first }) => first === 0x4e9);
  assertEquals(claimed(), true);
  await patching.revert("add-port", SLOW);
  await guest.until(0xff);
  assertEquals(claimed(), false);
  await guest.end();
});

testWith([ANY_KVM], "an exit handler is instrumented, and is as before after the revert", async () => {
  await using run = await patched();
  const { guest, patching } = run, counted = () => guest.machine.statistics.exits["reason 63"] ?? 0;
  await patching.upload(await buildExample("count-exits"));
  await patching.apply("count-exits", SLOW);
  for (let tries = 0; counted() === 0 && tries < 1000; tries++) await guest.lines(1); // some were said before
  assert(counted() > 0);
  await patching.revert("count-exits", SLOW);
  const after = counted();
  await guest.lines(3);
  assertEquals(counted(), after);
  await guest.end();
});

testWith(
  [ANY_KVM],
  "the rule of selection is replaced: of two models that claim a port, the other one is asked",
  async () => {
    const model = (value: number) => ({
      module: new URL("./constant_model.ts", import.meta.url).href,
      configuration: value,
    });
    await using guest = await PatchedGuest.start("watch", {
      vcpus: 2,
      cmdline: "port=0x600",
      deviceModels: [model(1), model(2)],
    });
    await using patching = new LivePatching(guest.succession);
    await guest.until(2);
    await patching.upload(await buildExample("selection-rule"));
    await patching.apply("selection-rule", SLOW);
    await guest.until(1);
    await patching.revert("selection-rule", SLOW);
    await guest.until(2);
    await guest.end();
  },
);

testWith(
  [ANY_KVM],
  "payloads lie one on the other: only the top one reverts, and each lies on what it was built for",
  async () => {
    await using run = await patched();
    const { guest, patching } = run;
    const low = await built(scratch("low", "0x11")), high = await built(scratch("high", "0x22", "0x11"), [low]);
    const other = await built(scratch("other", "0x33"));
    for (const payload of [low, high, other]) await patching.upload(payload);
    await refused(patching.upload(low), EEXIST, "low: there is one already");
    await refused(
      patching.apply("high", SLOW),
      EINVAL,
      /^high: depends on [0-9a-f]{64}, and would lie on [0-9a-f]{64}$/,
    );
    await patching.apply("low", SLOW);
    await refused(patching.apply("low", SLOW), EINVAL, "low: applied already");
    await refused(patching.unload("low"), EINVAL, "low: applied");
    await patching.apply("high", SLOW);
    await guest.until(0x22);
    await refused(patching.revert("low", SLOW), EBUSY, "low: high lies on it");
    await refused(patching.apply("other", SLOW), EINVAL, "other: depends on");
    await refused(patching.apply("other", { ...SLOW, nodeps: true }), EINVAL, "Uart.readByte is not as expected");
    await patching.replace("other", SLOW);
    await guest.until(0x33);
    assertEquals(patching.list().map(({ state }) => state), ["CHECKED", "CHECKED", "APPLIED"]);
    await patching.replace("low", SLOW);
    await guest.until(0x11);
    await patching.revert("low", SLOW);
    await guest.until(0);
    await refused(patching.revert("low", SLOW), EINVAL, "low: not applied");
    for (const operation of ["apply", "revert", "replace", "unload"] as const) {
      await refused(patching[operation]("nothing"), ENOENT, "no payload nothing");
    }
    await guest.end();
  },
);

testWith([ANY_KVM], "a payload whose model does not begin has not taken the state of the one before", async () => {
  await using run = await patched("", 1, "echo");
  const { guest, patching } = run;
  await guest.expect(/> /);
  const path = "src/devices/uart.ts", begins = "this.#fifo = new ReceiverFifo(state);";
  const modules = {
    [path]: edit(replace(begins, `${begins} if (state.byteLength > 0) throw new RangeError("broken");`)),
  };
  await patching.upload(await built({ name: "broken", modules, handOver: { [path]: "reset" } }));
  await refused(patching.apply("broken", SLOW), EIO, /RangeError: broken/);
  assertEquals(patching.get("broken").state, "CHECKED");
  guest.type("there\n");
  await guest.expect(/echo: there/);
  guest.type("quit 0\n");
  await guest.end();
});

testWith(
  [ANY_KVM],
  "what keeps state is not applied again after its revert, and one operation runs at a time",
  async () => {
    await using guest = await PatchedGuest.start("watch", { vcpus: 2 });
    const { succession } = guest, during: number[] = [];
    await using patching = new LivePatching({
      prepare: (...generation) => {
        during.push(patching.get("once").rc);
        return succession.prepare(...generation);
      },
      take: (...generation) => succession.take(...generation),
    });
    await patching.upload(await built({ ...scratch("once", "0x55"), again: false }));
    const first = patching.apply("once", SLOW);
    await refused(patching.revert("once", SLOW), EAGAIN, "an operation on once runs");
    await first;
    await refused(patching.apply("once", SLOW), EINVAL, "once: applied already");
    assertEquals([during, patching.get("once").rc], [[-EAGAIN], 0], "what has not begun has no result");
    await patching.revert("once", SLOW);
    await refused(patching.apply("once", SLOW), EINVAL, "once: was reverted, and keeps state");
    await guest.until(0);
    await guest.end();
  },
);

testWith([ANY_KVM], "with keys, only what one of them has signed is taken", async () => {
  await using guest = await PatchedGuest.start("watch", { vcpus: 1 });
  const pair = async () => {
    const keys = await crypto.subtle.generateKey("Ed25519", true, ["sign", "verify"]) as CryptoKeyPair;
    const pem = async (what: string, format: "pkcs8" | "spki", key: CryptoKey) =>
      `-----BEGIN ${what}-----\n${
        new Uint8Array(await crypto.subtle.exportKey(format, key)).toBase64()
      }\n-----END ${what}-----\n`;
    return {
      secret: await pem("PRIVATE KEY", "pkcs8", keys.privateKey),
      public: await pem("PUBLIC KEY", "spki", keys.publicKey),
    };
  };
  const [mine, theirs] = [await pair(), await pair()];
  await using patching = new LivePatching(guest.succession, { keys: [await parsePublicKey("mine.pem", mine.public)] });
  const bytes = await built(scratch("signed", "0x66"));
  await refused(patching.upload(bytes), EPERM, "signed: not signed");
  await refused(patching.upload(await signPayload(bytes, "theirs", theirs.secret)), EPERM, "signed: signed by key");
  await patching.upload(await signPayload(bytes, "mine", mine.secret));
  await patching.apply("signed", SLOW);
  await guest.until(0x66);
  await guest.end();
});

testWith([ANY_KVM, program("gcc", "gcc")], "machine code comes with a payload, and goes with it", async () => {
  await using run = await patched("", 3);
  const { guest, patching } = run, directory = await Deno.makeTempDir({ prefix: "xenolith-native-" });
  await using _ = { [Symbol.asyncDispose]: () => Deno.remove(directory, { recursive: true }) };
  const counting = `${LIVEPATCH_H}
extern int xl_ioctl_value(int descriptor, unsigned request, unsigned argument);
long entries;
int run(int vcpu, void *clock) { entries++; return xl_ioctl_value(vcpu, 0xae80, 0); }
REPLACE(run, "xl_run", 16, .new_addr = run);`;
  await Deno.writeFile(`${directory}/loop.o`, await compile(counting));
  await Deno.writeTextFile(`${directory}/fix.ts`, "");
  const definition = { name: "native", native: { loop: "./loop.o" } };
  const bytes = await encodePayload(await buildPayload(definition, new URL(`file://${directory}/fix.ts`)));
  const { address } = nativeSymbols().get("xl_run")!, begins = () => new Uint8Array(viewAt(address, 16)).slice();
  const before = begins();
  for (let round = 0; round < 3; round++) {
    await patching.upload(bytes);
    await patching.apply("native", SLOW);
    assertEquals(begins()[0], 0xe9, "it leads elsewhere");
    await guest.lines(5);
    await patching.revert("native", SLOW);
    assertEquals(begins(), before);
    await guest.lines(5);
    await patching.unload("native");
  }
  await guest.end();
});

testWith([ANY_KVM], "operations in any order under load end where they began, and leave nothing behind", async () => {
  const count = Number(Deno.env.get("XENOLITH_PATCHES") ?? 24),
    seed = Deno.env.get("XENOLITH_SEED") ?? `${Date.now() % 1e6}`;
  await using run = await patched("", 4);
  const { guest, patching } = run;
  const payloads = [
    await built(scratch("a", "0x11")),
    await built(scratch("b", "0x22")),
    await buildExample("count-exits"),
  ];
  const names = ["a", "b", "count-exits"];
  let state = Number(seed) || 1;
  const random = (below: number) => (state = state * 48271 % 2147483647) % below;
  const settle = async () => {
    const applied = patching.list().filter(({ state }) => state === "APPLIED").reverse();
    for (const { name } of applied) await patching.revert(name, SLOW);
    for (const { name } of patching.list()) await patching.unload(name);
  };
  await patching.upload(payloads[0]);
  await patching.apply("a", SLOW);
  await settle();
  await guest.lines(100); // a Worker's thread ends a while after its isolate
  const { descriptors, threads } = holdings();
  for (let round = 0; round < count; round++) {
    const which = random(3), name = names[which], nodeps = { ...SLOW, nodeps: true };
    const operations = [
      () => patching.upload(payloads[which]),
      () => patching.apply(name, nodeps),
      () => patching.revert(name, SLOW),
      () => patching.replace(name, SLOW),
      () => patching.unload(name),
    ];
    try {
      await operations[random(operations.length)]();
    } catch (error) {
      assert(error instanceof PayloadError, `seed ${seed}: ${error}`);
    }
    await guest.lines(1);
  }
  await settle();
  const isMore = () => holdings().descriptors > descriptors || holdings().threads > threads;
  for (let tries = 0; isMore() && tries < 1000; tries++) await guest.lines(1);
  assertEquals(isMore(), false, `seed ${seed}: ${JSON.stringify([holdings(), { descriptors, threads }])}`);
  await guest.until(0);
  await guest.end();
});
