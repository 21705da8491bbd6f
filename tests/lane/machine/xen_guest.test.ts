/** Debian 13's stock kernel as a Xen PVH domU of ours, in the lane, whose 6.12 kernel has KVM_CAP_XEN_HVM. */

import { assertEquals, assertMatch } from "@std/assert";
import { denoPackages } from "../../../src/lane/deno_cache.ts";
import { bundle } from "../../../src/cli/lane_program.ts";
import { domuImages, LANE_KERNEL, OPTIONS, withDomu } from "./domu.ts";
import { inLane, laneKernel, laneTest } from "./support.ts";

const NEEDS = [await laneKernel(LANE_KERNEL)];

laneTest("Debian's kernel boots as a Xen PVH domU to a shell on hvc0, and powers off with status 0", async () => {
  await withDomu(await domuImages(), ["--json", "-"], async (run) => {
    await run.type("cat /proc/interrupts /sys/hypervisor/type /sys/hypervisor/uuid; dmesg | grep -i xen\n");
    await run.stdout.expect("Booting");
    await run.type("cat /proc/uptime; sleep 1; cat /proc/uptime; poweroff -f\n");
    const { status, stdout, stderr } = await run.finished();
    assertEquals(status, 0, stderr);
    assertMatch(stderr, /"outcome":"poweroff"/);
    assertMatch(stdout, /Booting (paravirtualized )?kernel on Xen PVH/);
    assertMatch(stdout, /Xen: using vcpuop timer interface/);
    assertMatch(stdout, /xen-percpu +-virq +timer0/);
    assertMatch(stdout, /^xen\r?$/m);
    const [before, after] = [...stdout.matchAll(/^(\d+\.\d+) \d+\.\d+\r?$/gm)].map(([, uptime]) => Number(uptime));
    assertEquals(after - before >= 1 && after - before < 3, true, `${before} .. ${after}`);
  });
}, NEEDS);

laneTest("Debian's kernel as a Xen PVH domU powers off when --stop asks it to", async () => {
  const { kernel, initrd } = await domuImages();
  const xenolith = "deno run --quiet --allow-all --cached-only --no-config /x/xenolith.js run";
  const script = `mkfifo /x/in; sleep 1000 >/x/in &
${xenolith} --control /x/control ${OPTIONS.map((word) => `"${word}"`).join(" ")} --initrd /x/initrd /x/vmlinux \\
  </x/in >/x/console &
domain=$!
until grep -q '/ # ' /x/console; do sleep 1; done
${xenolith} --stop /x/control || echo "--stop: status $?"
wait $domain; echo "domain: status $?"; cat /x/console`;
  const { stdout, stderr } = await inLane(script, { kernel: LANE_KERNEL, memoryMiB: 768, timeoutMs: 240_000 }, {
    async files(archive) {
      archive.file("/x/vmlinux", kernel);
      archive.file("/x/initrd", initrd);
      archive.file("/x/xenolith.js", await bundle());
      await denoPackages(archive, ["iced-x86"]);
    },
  });
  const text = new TextDecoder().decode(stdout);
  assertMatch(text, /^domain: status 0$/m, `${text}\n${stderr}`);
}, NEEDS);
