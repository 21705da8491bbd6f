/** Debian's stock kernel as our own guest, on the lane's kvm_amd. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { Cache } from "../../../src/lane/cache.ts";
import { kernel } from "../../../src/lane/kernel.ts";
import { start } from "../../support/command.ts";
import { shellDisk } from "./shell_disk.ts";
import { laneTest } from "./support.ts";

laneTest("Debian's kernel boots, unmodified, to a shell that obeys, and powers off with status 0", async () => {
  const directory = Deno.makeTempDirSync({ prefix: "xenolith-linux-" });
  try {
    const { bzImage } = await kernel(new Cache());
    Deno.writeFileSync(`${directory}/initrd`, shellDisk(["cat", "poweroff", "sleep", "uname"]));
    const options = ["--memory", "256M", "--cmdline", "console=ttyS0 quiet", "--initrd", `${directory}/initrd`];
    const startMs = performance.now();
    await using run = start("run", ["--lane", "--json", "-", ...options, bzImage], { patienceMs: 240_000 });
    await run.stdout.expect("/ # ");
    console.log(`${((performance.now() - startMs) / 1000).toFixed(1)} s to the shell`);
    await run.type("echo the answer is $((6 * 7)); uname -r\n");
    await run.stdout.expect("the answer is 42");
    await run.type("cat /proc/interrupts /proc/uptime; sleep 1; cat /proc/uptime; poweroff -f\n");
    const { status, stdout, stderr } = await run.finished();
    assertEquals(status, 0, stderr);
    assertMatch(stderr, /"outcome":"poweroff"/);
    // Characters came by interrupt, the local APIC's timer ticks, and a second is a second.
    assertMatch(stdout, /IO-APIC +4-edge +ttyS0/);
    assert(Number(/LOC: +(\d+)/.exec(stdout)?.[1]) > 10, stdout);
    const [before, after] = [...stdout.matchAll(/^(\d+\.\d+) \d+\.\d+\r?$/gm)].map(([, uptime]) => Number(uptime));
    assert(after - before >= 1 && after - before < 3, `${before} .. ${after}`);
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
});
