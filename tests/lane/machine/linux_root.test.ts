/** Debian's stock kernel with its root on a virtio disk, and a virtio console: what it writes is where it is to be. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { bundle } from "../../../src/cli/lane_program.ts";
import { Cache } from "../../../src/lane/cache.ts";
import { denoPackages } from "../../../src/lane/deno_cache.ts";
import { kernel } from "../../../src/lane/kernel.ts";
import { find } from "../../../src/lane/programs.ts";
import { program } from "../../support/capabilities.ts";
import { shellDisk } from "./shell_disk.ts";
import { inLane, laneTest } from "./support.ts";

const TOOLS = "e2fsprogs", PATH = "/usr/sbin:/sbin:/usr/bin:/bin";
const NEEDS = ["mkfs.ext4", "e2fsck", "debugfs"].map((name) => program(name, TOOLS));

/** In the order in which they are loaded; a kernel may have some of them built in. */
const DRIVERS = ["virtio_ring", "virtio", "virtio_mmio", "virtio_blk", "virtio_console"];

/** The RAM disk's: it finds the disk, and goes on from there. */
const EARLY_INIT = `#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
for driver in ${DRIVERS.join(" ")}; do [ -f /$driver.ko ] && /bin/busybox insmod /$driver.ko; done
/bin/busybox mkdir -p /disk
/bin/busybox mount -t ext4 /dev/vda /disk
exec /bin/busybox switch_root /disk /sbin/init
`;

/** The disk's own: like every system, it makes the file system read-only at the end, so that the journal is empty. */
const DISK_INIT = `#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox grep " / " /proc/mounts
/bin/busybox grep virtio /proc/interrupts
echo "by Linux $(/bin/busybox uname -r)" >/written
/bin/busybox dd if=/bin/busybox of=/copy bs=64k 2>/dev/null
until [ -c /dev/hvc0 ] && /bin/busybox grep agent /sys/class/virtio-ports/*/name; do /bin/busybox usleep 1000; done
echo "by the virtio console" >/dev/hvc0
/bin/busybox sync
/bin/busybox mount -o remount,ro / && echo done
/bin/busybox poweroff -f
`;

const RUN =
  "exec deno run --quiet --allow-all --cached-only --no-config /lane/xenolith.js run --memory 192M --disk /out/disk " +
  '--virtio-console stdio,agent=/tmp/agent --initrd /initrd --cmdline "console=ttyS0 quiet" /vmlinuz';

laneTest("Debian's kernel lives on an ext4 on a virtio disk, which it leaves clean, with what it wrote", async () => {
  const { bzImage, directory, release } = await debianKernel();
  const busybox = Deno.readFileSync(find("busybox")), scratch = Deno.makeTempDirSync({ prefix: "xenolith-root-" });
  try {
    const disk = `${scratch}/disk`;
    await makeDisk(disk, `${scratch}/tree`, busybox);
    const drivers = DRIVERS.flatMap((name) => {
      const path = `${directory}/modules/${name}.ko`;
      return exists(path) ? [[`/${name}.ko`, Deno.readFileSync(path)]] : [];
    });
    const initrd = shellDisk([], { "/init": EARLY_INIT, ...Object.fromEntries(drivers) });
    const { status, stdout, stderr, files } = await inLane(RUN, { memoryMiB: 640, timeoutMs: 240_000 }, {
      async files(archive) {
        archive.file("/out/disk", Deno.readFileSync(disk));
        archive.file("/initrd", initrd);
        archive.file("/vmlinuz", Deno.readFileSync(bzImage));
        await denoPackages(archive, ["iced-x86"]);
        archive.file("/lane/xenolith.js", await bundle());
      },
    });
    const said = new TextDecoder().decode(stdout);
    assertEquals(status, 0, `${said}\n${stderr}`);
    assertMatch(said, /^\/dev\/vda \/ ext4 rw/m);
    assertMatch(said, /IO-APIC +5-edge +virtio0/);
    assertMatch(said, /^\/sys\/class\/virtio-ports\/vport\dp1\/name:agent\r?$|^agent\r?$/m);
    assertMatch(said, /^by the virtio console\r?$/m);
    assertMatch(said, /^done\r?$/m);
    assertEquals(/virtio.*(fail|error|busy)/i.exec(said), null);
    Deno.writeFileSync(disk, files.get("disk")!);
    assertEquals((await tool("e2fsck", "-fn", disk)).status, 0);
    const written = await tool("debugfs", "-R", "cat /written", disk);
    assertEquals(new TextDecoder().decode(written.stdout), `by Linux ${release}\n`);
    assertEquals((await tool("debugfs", "-R", "cat /copy", disk)).stdout, busybox);
  } finally {
    Deno.removeSync(scratch, { recursive: true });
  }
}, NEEDS);

async function debianKernel() {
  const found = await kernel(new Cache());
  return { ...found, release: Deno.readTextFileSync(`${found.directory}/release`).trim() };
}

/** An ext4 with a shell and what it is to do. @param tree a directory to be made, with the files */
async function makeDisk(path: string, tree: string, busybox: Uint8Array): Promise<void> {
  for (const name of ["bin", "sbin", "proc", "sys", "dev"]) Deno.mkdirSync(`${tree}/${name}`, { recursive: true });
  Deno.writeFileSync(`${tree}/bin/busybox`, busybox, { mode: 0o755 });
  Deno.writeTextFileSync(`${tree}/sbin/init`, DISK_INIT, { mode: 0o755 });
  const { status, stderr } = await tool("mkfs.ext4", "-q", "-d", tree, path, "12M");
  assert(status === 0, stderr);
}

async function tool(name: string, ...args: string[]) {
  const command = new Deno.Command(name, { args, env: { PATH }, stdout: "piped", stderr: "piped" });
  const { code, stdout, stderr } = await command.output();
  return { status: code, stdout, stderr: new TextDecoder().decode(stderr) };
}

function exists(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}
