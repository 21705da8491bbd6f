/** Machines that end as they should not: each says how, in one line. */

import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { LaneDied, LanePanic, LaneTimeout } from "../../../src/lane/errors.ts";
import { LaneMachine } from "../../../src/lane/machine.ts";
import { inLane, laneTest, startShell } from "./support.ts";

laneTest("a machine that takes too long is killed: LaneTimeout, status 124", async () => {
  const error = await assertRejects(() => inLane("while :; do :; done", { timeoutMs: 6000 }), LaneTimeout);
  assertEquals([error.status, error.message], [124, "the lane's machine did not end within 6 s"]);
});

laneTest("a kernel that panics: LanePanic with its line, status 69", async () => {
  const error = await assertRejects(() => inLane("echo c >/proc/sysrq-trigger"), LanePanic);
  assertEquals(error.status, 69);
  assertMatch(error.message, /^the lane's kernel panicked: Kernel panic - not syncing: .*$/);
});

laneTest("a QEMU that is killed: LaneDied with the signal, status 69", async () => {
  await using run = await startShell("echo ready; while :; do :; done");
  await run.machine.stdout.getReader().read();
  Deno.kill(run.machine.pid, "SIGKILL");
  const error = await assertRejects(() => run.ended, LaneDied);
  assertEquals([error.status, error.how], [69, "signal SIGKILL"]);
});

laneTest("a machine that is switched off before its command has ended: LaneDied", async () => {
  const error = await assertRejects(() => inLane("poweroff -f"), LaneDied);
  assertMatch(error.message, /^the lane's machine died \(status 0\): .*Power down$/);
});

laneTest("a QEMU that does not start: LaneDied with what it says", async () => {
  const configuration = { memoryMiB: 64, clock: "skip idle", terminal: false, timeoutMs: 0 } as const;
  const start = async () => {
    await using machine = await LaneMachine.start({
      ...configuration,
      kernelImage: "/dev/null",
      initramfs: "/dev/null",
    });
    await machine.result();
  };
  const error = await assertRejects(start, LaneDied);
  assertMatch(error.message, /^the lane's machine died \(status 1\): qemu\S*: \S.*$/);
});

laneTest("a machine ends when the process that drives it is killed", async () => {
  const program = `
    import { startShell } from ${JSON.stringify(import.meta.resolve("./support.ts"))};
    const run = await startShell("echo ready; while :; do :; done");
    await run.machine.stdout.getReader().read();
    console.log(run.machine.pid);
    await run.ended;`;
  const driver = new Deno.Command(Deno.execPath(), {
    args: ["run", "--allow-all", "--no-check", `data:application/typescript,${encodeURIComponent(program)}`],
    cwd: new URL("../../../", import.meta.url),
    stdout: "piped",
  }).spawn();
  const reader = driver.stdout.getReader();
  const pid = new TextDecoder().decode((await reader.read()).value).trim();
  driver.kill("SIGKILL");
  await driver.status;
  await reader.cancel();
  const { success } = await new Deno.Command("tail", { args: [`--pid=${pid}`, "-f", "/dev/null"] }).output();
  assert(success);
});
