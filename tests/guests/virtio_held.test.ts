/** A virtio disk whose device model is killed while the guest reads and writes. */

import { assertEquals, assertMatch } from "@std/assert";
import { boot } from "xenolith/testing";
import { ANY_KVM, testWith } from "../support/capabilities.ts";
import { start } from "../support/command.ts";
import { childProcesses } from "../support/host.ts";

/** How often; each time the guest waits until the next model has loaded its code. */
const KILLS = Number(Deno.env.get("XENOLITH_KILLS") ?? 4);

/** The models' processes of this process. */
function models(): number[] {
  return childProcesses().filter(({ command }) => command.includes("model-process")).map(({ pid }) => pid);
}

testWith(
  [ANY_KVM],
  "a virtio disk's model is killed over and over: with --hold each request is done once",
  async () => {
    const disk = await Deno.makeTempFile({ prefix: "xenolith-disk-" });
    await using _ = { [Symbol.asyncDispose]: () => Deno.remove(disk) };
    await Deno.truncate(disk, 1 << 20);
    await using vm = await boot("guests/virtio-held.img", {
      disks: [disk],
      hold: true,
      timeoutMs: 60_000 + KILLS * 10_000,
    });
    for (let kill = 0; kill < KILLS; kill++) {
      const [model] = models();
      await vm.console.expect(/virtio-held: \d+\n/);
      Deno.kill(model, "SIGKILL");
      while (models().every((pid) => pid === model)) await vm.console.expect(/virtio-held: \d+\n/);
    }
    vm.console.send("\n");
    const { status, reason } = await vm.exited;
    assertEquals(status, 0, `${reason}\n${vm.console.text}`);
    assertMatch(vm.console.text, /virtio-held: \d+ requests, each done once\n$/);
    await vm[Symbol.asyncDispose]();
    assertEquals(models(), []);
  },
);

testWith([ANY_KVM], "without --hold the end of a virtio disk's model is the end of the run, in one line", async () => {
  const disk = await Deno.makeTempFile({ prefix: "xenolith-disk-" });
  await using _ = { [Symbol.asyncDispose]: () => Deno.remove(disk) };
  await Deno.truncate(disk, 1 << 20);
  await using vm = await boot("guests/virtio-held.img", { disks: [disk], timeoutMs: 60_000 });
  await vm.console.expect(/virtio-held: \d+\n/);
  for (const model of models()) Deno.kill(model, "SIGKILL");
  const { status, reason } = await vm.exited;
  assertEquals([status, reason], [70, `the device model of disk ${disk} ended by SIGKILL`]);
});

testWith([ANY_KVM], "a hypervisor that is killed leaves nothing: its models remove what it cannot", async () => {
  const TMPDIR = await Deno.makeTempDir({ prefix: "xenolith-test-" }), disk = `${TMPDIR}/disk`;
  await using _ = { [Symbol.asyncDispose]: () => Deno.remove(TMPDIR, { recursive: true }) };
  await Deno.writeFile(disk, new Uint8Array(1 << 20));
  const args = ["guests/virtio-held.img", "--disk", disk, "--rng", "--hold"];
  await using command = start("run", args, { environment: { TMPDIR } });
  await command.stdout.expect("virtio-held: ");
  assertEquals([...Deno.readDirSync(TMPDIR)].length, 2);
  command.kill("SIGKILL");
  await command.stderr.ended; // of the models, too
  assertEquals(Array.from(Deno.readDirSync(TMPDIR), ({ name }) => name), ["disk"]);
});
