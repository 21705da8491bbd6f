/** Debian 13's stock kernel as a Xen PVH domU: its images, and how it is booted in the lane, whose kernel is the same. */

import { Cache } from "../../../src/lane/cache.ts";
import { kernelElf } from "../../../src/lane/decompress.ts";
import { kernel } from "../../../src/lane/kernel.ts";
import { type Command, start } from "../../support/command.ts";
import { shellDisk } from "./shell_disk.ts";

/** Such kernels make hypercalls by VMCALL or VMMCALL alone, and no longer by the hypercall page. */
export const LANE_KERNEL = "6.12";

/** What Linux calls when xenstore's control/shutdown says so. */
const POWEROFF = `#!/bin/busybox sh
exec /bin/busybox poweroff -f
`;

export const OPTIONS = ["--memory", "256M", "--cmdline", "console=hvc0"];

/** The kernel of the bzImage, as Xen's tool stack takes it out, and an initial RAM disk. */
export interface DomuImages {
  readonly kernel: Uint8Array;
  readonly initrd: Uint8Array;
}

/** @param files for the RAM disk, beside a shell: executables by their paths @param modules of the kernel, for /NAME.ko */
export async function domuImages(
  files: Readonly<Record<string, Uint8Array>> = {},
  modules: readonly string[] = [],
): Promise<DomuImages> {
  const { bzImage, directory } = await kernel(new Cache(), LANE_KERNEL);
  const elf = await kernelElf(Deno.readFileSync(bzImage));
  const drivers = modules.map((name) => [`/${name}.ko`, Deno.readFileSync(`${directory}/modules/${name}.ko`)]);
  const commands = ["cat", "dmesg", "grep", "insmod", "poweroff", "sleep"];
  const initrd = shellDisk(commands, { "/sbin/poweroff": POWEROFF, ...files, ...Object.fromEntries(drivers) });
  return { kernel: elf!, initrd };
}

/** Runs it in the lane until `body` is done with it. */
export async function withDomu(
  { kernel, initrd }: DomuImages,
  options: readonly string[],
  body: (run: Command) => Promise<void>,
): Promise<void> {
  const directory = Deno.makeTempDirSync({ prefix: "xenolith-domu-" });
  try {
    Deno.writeFileSync(`${directory}/vmlinux`, kernel);
    Deno.writeFileSync(`${directory}/initrd`, initrd);
    const args = ["--lane", "--lane-kernel", LANE_KERNEL, ...options, ...OPTIONS, "--initrd", `${directory}/initrd`];
    await using run = start("run", [...args, `${directory}/vmlinux`], { patienceMs: 240_000 });
    await run.stdout.expect("/ # ");
    await body(run);
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
}
