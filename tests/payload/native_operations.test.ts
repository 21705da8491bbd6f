/** Machine code that comes by the operations: several payloads of it, on each other, while vCPU threads run. */

import { assertEquals, assertGreater } from "@std/assert";
import { ControlClient } from "../../src/cli/control_client.ts";
import { EBUSY, EINVAL, EIO } from "../../src/linux/errno.ts";
import { viewAt } from "../../src/linux/mapping.ts";
import { nativeCode, nativeSymbols } from "../../src/linux/native_symbols.ts";
import { ControlServer } from "../../src/machine/control_server.ts";
import { buildPayload } from "../../src/payload/build.ts";
import { payloadCommands } from "../../src/payload/control_commands.ts";
import { edit, type PayloadDefinition, replace } from "../../src/payload/definition.ts";
import { encodePayload } from "../../src/payload/format.ts";
import { LivePatching } from "../../src/payload/live_patching.ts";
import { ANY_KVM, program, testWith } from "../support/capabilities.ts";
import { PatchedGuest } from "../support/patched_guest.ts";
import { buildExample } from "./build_example.ts";
import { compile, LIVEPATCH_H } from "./native_machine.ts";
import { SLOW } from "./patching.ts";
import { refused } from "./refused.ts";

const GCC = program("gcc", "gcc");

const RUN = `${LIVEPATCH_H}
long entries;
extern int xl_ioctl_value(int descriptor, unsigned request, unsigned argument);
int run(int vcpu, void *clock)
{
  __atomic_fetch_add(&entries, 1, __ATOMIC_RELAXED);
  return xl_ioctl_value(vcpu, 0xae80, 0);
}
REPLACE(run, "xl_run", 16, .new_addr = run);`;

const PAUSE = `${LIVEPATCH_H}
void pause(void) {}
REPLACE(pause, "xl_pause", 5, .new_addr = pause);`;

/** Uses the first one's symbol, in its second object; that one uses the first. */
const USER = ["extern long entries; long *where = &entries;", "extern long *where; long **mine = &where;"];

/** A payload of these objects, and perhaps modules, to be applied again and again. */
async function native(
  name: string,
  sources: readonly string[],
  modules: PayloadDefinition["modules"] = {},
): Promise<Uint8Array<ArrayBuffer>> {
  const directory = await Deno.makeTempDir({ prefix: "xenolith-native-" });
  await using _ = { [Symbol.asyncDispose]: () => Deno.remove(directory, { recursive: true }) };
  const objects: Record<string, string> = {};
  for (const [index, source] of sources.entries()) {
    objects[`part${index}`] = `./${index}.o`;
    await Deno.writeFile(`${directory}/${index}.o`, await compile(source));
  }
  const definition = { name, again: true, native: objects, modules };
  return await encodePayload(await buildPayload(definition, new URL(`file://${directory}/fix.ts`)));
}

/** Our own machine code, as it is now. */
function code(): Uint8Array {
  const { first, end } = nativeCode();
  return new Uint8Array(viewAt(first, Number(end - first))).slice();
}

testWith(
  [ANY_KVM, GCC],
  "any applied payload replaces all, whatever machine code they have",
  async () => {
    await using guest = await PatchedGuest.start("watch", { vcpus: 2, carrier: "native" });
    await using patching = new LivePatching(guest.succession);
    const bare = code(), names = ["run", "pause"];
    for (const bytes of [await native("run", [RUN]), await native("pause", [PAUSE])]) await patching.upload(bytes);
    const applied = () => patching.list().filter(({ state }) => state === "APPLIED").map(({ name }) => name);
    const alone = new Map<string, Uint8Array>();
    for (const name of names) {
      await patching.apply(name, SLOW);
      alone.set(name, code());
      await patching.revert(name, SLOW);
      assertEquals(code(), bare);
    }
    for (const name of names) {
      for (const below of names) await patching.apply(below, { ...SLOW, nodeps: true });
      await guest.lines(5);
      await patching.replace(name, SLOW);
      assertEquals([applied(), code()], [[name], alone.get(name)!]);
      await guest.lines(5);
      await patching.revert(name, SLOW);
      assertEquals([applied(), code()], [[], bare]);
    }
    await guest.end();
  },
);

testWith(
  [ANY_KVM, GCC],
  "a payload whose machine code another one uses is not unloaded, and stays as it is",
  async () => {
    await using guest = await PatchedGuest.start("watch", { vcpus: 1 });
    await using patching = new LivePatching(guest.succession);
    const run = await native("run", [RUN]), user = await native("user", USER);
    for (let round = 0; round < 2; round++) {
      await patching.upload(run);
      await patching.upload(user);
      for (let tries = 0; tries < 2; tries++) {
        await refused(patching.unload("run"), EBUSY, "run/part0: user/part0 uses it");
        assertEquals(patching.get("run").rc, 0);
      }
      await patching.apply("run", SLOW);
      await guest.lines(3);
      await refused(patching.unload("run"), EINVAL, "run: applied");
      await patching.revert("run", SLOW);
      await patching.unload("user");
      await patching.unload("run");
    }
    await guest.end();
  },
);

testWith([ANY_KVM, GCC], "machine code goes back with the modules that fail once they have taken over", async () => {
  await using guest = await PatchedGuest.start("watch", { vcpus: 2, carrier: "native" });
  await using patching = new LivePatching(guest.succession);
  const console = "src/devices/debug_console.ts", port = "for (const port of";
  await patching.upload(await native("run", [RUN]));
  await patching.apply("run", SLOW);
  const before = code();
  const throwing = edit(replace(port, `throw new Error("not today");\n  ${port}`));
  await patching.upload(await native("fails", [PAUSE], { [console]: throwing }));
  for (const operation of ["apply", "replace", "apply"] as const) {
    await refused(patching[operation]("fails", { ...SLOW, nodeps: true }), EIO, "not today");
    assertEquals([code(), patching.get("fails").state, patching.get("run").state], [before, "CHECKED", "APPLIED"]);
    await guest.lines(5);
  }
  await guest.end();
});

/** The counter of examples/payloads/vcpu_loop.c, by the jump to its `enter` and the `lock incq` at which that begins. */
function entriesCounter(): () => bigint {
  const word = (address: bigint) => BigInt(new DataView(viewAt(address, 4)).getInt32(0, true));
  const { address } = nativeSymbols().get("xl_vcpu_enter")!, enter = address + 5n + word(address + 1n);
  const counter = new BigInt64Array(viewAt(enter + 8n + word(enter + 4n), 8));
  return () => Atomics.load(counter, 0);
}

testWith(
  [ANY_KVM, GCC],
  "the example's loop of vCPU threads is uploaded, applied and reverted by the control socket",
  async () => {
    const directory = await Deno.makeTempDir({ prefix: "xenolith-native-" });
    await using _ = { [Symbol.asyncDispose]: () => Deno.remove(directory, { recursive: true }) };
    const file = `${directory}/loop.xpl`, socket = `${directory}/control`;
    await Deno.writeFile(file, await buildExample("vcpu-loop"));
    await using guest = await PatchedGuest.start("watch", { vcpus: 2, carrier: "native" });
    await using patching = new LivePatching(guest.succession);
    await using control = new ControlServer(socket);
    control.serve(guest.machine, payloadCommands(patching));
    using client = await ControlClient.connect(socket);
    const bare = code(), name = "vcpu-loop", named = { name, limit_ms: SLOW.limitMs };
    await client.execute("payload-upload", { file });
    let counted = 0n;
    for (let round = 0; round < 2; round++) {
      await client.execute("payload-apply", named);
      const entries = entriesCounter();
      for (let tries = 0; entries() === counted && tries < 1000; tries++) await guest.lines(1); // some were said before
      assertGreater(entries(), counted, "the threads do not come by");
      await client.execute("payload-revert", named);
      assertEquals(code(), bare);
      counted = entries();
      await guest.lines(20);
      assertEquals(entries(), counted);
    }
    await client.execute("payload-unload", { name });
    await guest.end();
  },
);
