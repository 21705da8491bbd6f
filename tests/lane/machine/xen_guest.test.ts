/** Debian 13's stock kernel as a Xen PVH domU of ours, in the lane, whose 6.12 kernel has KVM_CAP_XEN_HVM. */

import { assertEquals, assertMatch } from "@std/assert";
import { Cache } from "../../../src/lane/cache.ts";
import { CpioWriter } from "../../../src/lane/cpio.ts";
import { kernelElf } from "../../../src/lane/decompress.ts";
import { denoPackages } from "../../../src/lane/deno_cache.ts";
import { kernel } from "../../../src/lane/kernel.ts";
import { find } from "../../../src/lane/programs.ts";
import { bundle } from "../../../src/cli/lane_program.ts";
import { start } from "../../support/command.ts";
import { inLane, laneKernel, laneTest } from "./support.ts";

/** Such kernels make hypercalls by VMCALL or VMMCALL alone, and no longer by the hypercall page. */
const LANE_KERNEL = "6.12", NEEDS = [await laneKernel(LANE_KERNEL)];

/** The guest's first process: what a shell needs, and a shell on Xen's console. */
const INIT = `#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
exec /bin/busybox setsid /bin/busybox cttyhack /bin/busybox sh
`;

/** What Linux calls when xenstore's control/shutdown says so. */
const POWEROFF = `#!/bin/busybox sh
exec /bin/busybox poweroff -f
`;

const OPTIONS = ["--memory", "256M", "--cmdline", "console=hvc0"];

/** The kernel of the bzImage, as Xen's tool stack takes it out, and an initial RAM disk. */
async function images(): Promise<{ readonly kernel: Uint8Array; readonly initrd: Uint8Array }> {
  const { bzImage } = await kernel(new Cache(), LANE_KERNEL);
  const elf = await kernelElf(Deno.readFileSync(bzImage));
  return { kernel: elf!, initrd: initrd() };
}

laneTest("Debian's kernel boots as a Xen PVH domU to a shell on hvc0, and powers off with status 0", async () => {
  const directory = Deno.makeTempDirSync({ prefix: "xenolith-domu-" });
  try {
    const { kernel, initrd } = await images();
    Deno.writeFileSync(`${directory}/vmlinux`, kernel);
    Deno.writeFileSync(`${directory}/initrd`, initrd);
    const args = ["--lane", "--lane-kernel", LANE_KERNEL, "--json", "-", ...OPTIONS, "--initrd", `${directory}/initrd`];
    await using run = start("run", [...args, `${directory}/vmlinux`], { patienceMs: 240_000 });
    await run.stdout.expect("/ # ");
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
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
}, NEEDS);

laneTest("Debian's kernel as a Xen PVH domU powers off when --stop asks it to", async () => {
  const { kernel, initrd } = await images();
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

function initrd(): Uint8Array {
  const bytes: number[] = [];
  const archive = new CpioWriter((chunk) => {
    for (const byte of chunk) bytes.push(byte);
  });
  archive.file("/bin/busybox", Deno.readFileSync(find("busybox")), 0o755);
  for (const name of ["cat", "dmesg", "grep", "poweroff", "sleep"]) archive.link(`/bin/${name}`, "busybox");
  archive.file("/sbin/poweroff", POWEROFF, 0o755);
  archive.file("/init", INIT, 0o755);
  archive.end();
  return Uint8Array.from(bytes);
}
