/**
 * Debian's stock kernel with its root on a virtio disk, a virtio disk that qemu-storage-daemon serves, and a virtio
 * console: what it writes is where it is to be.
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { bundle } from "../../../src/cli/lane_program.ts";
import { Cache } from "../../../src/lane/cache.ts";
import { denoPackages } from "../../../src/lane/deno_cache.ts";
import { addExecutable } from "../../../src/lane/executables.ts";
import { kernel } from "../../../src/lane/kernel.ts";
import { find, pathOf } from "../../../src/lane/programs.ts";
import { program } from "../../support/capabilities.ts";
import { STORAGE_DAEMON, storageDaemonArguments } from "../../support/storage_daemon.ts";
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
if [ -b /dev/vdb ]; then
  /bin/busybox mount -t ext4 /dev/vdb /mnt
  /bin/busybox grep " /mnt " /proc/mounts
  echo "by Linux $(/bin/busybox uname -r), beside the root" >/mnt/written
  /bin/busybox cp /mnt/known /mnt/copy
  /bin/busybox sync
  /bin/busybox umount /mnt && echo "served: done"
fi
until [ -c /dev/hvc0 ] && /bin/busybox grep agent /sys/class/virtio-ports/*/name; do /bin/busybox usleep 1000; done
echo "by the virtio console" >/dev/hvc0
/bin/busybox sync
/bin/busybox mount -o remount,ro / && echo done
/bin/busybox poweroff -f
`;

/** The daemon's disk in the machine, its socket, and a file that is on the disk from the start. */
const SERVED = "/out/served", SOCKET = "/served.socket";
const KNOWN = Array.from({ length: 20_000 }, (_, line) => `line ${line}\n`).join("");

const DAEMON_NAME = "qemu-storage-daemon";
const DAEMON = `${DAEMON_NAME} ${storageDaemonArguments(SERVED, SOCKET).join(" ")} --daemonize && `;
const RUN =
  "exec deno run --quiet --allow-all --cached-only --no-config /lane/xenolith.js run --memory 192M --disk /out/disk " +
  '--virtio-console stdio,agent=/tmp/agent --initrd /initrd --cmdline "console=ttyS0 quiet"';

/** One boot for all tests, which takes longer than anything that they look at. */
let booting: Promise<Booted> | undefined;
const booted = () => booting ??= boot();

laneTest("Debian's kernel lives on an ext4 on a virtio disk, which it leaves clean, with what it wrote", async () => {
  const { said, release, files } = await booted();
  assertMatch(said, /^\/dev\/vda \/ ext4 rw/m);
  assertMatch(said, /IO-APIC +5-edge +virtio0/);
  assertMatch(said, /^\/sys\/class\/virtio-ports\/vport\dp1\/name:agent$|^agent$/m);
  assertMatch(said, /^by the virtio console$/m);
  assertMatch(said, /^done$/m);
  assertEquals(/virtio.*(fail|error|busy)/i.exec(said), null);
  await withCleanDisk(files.get("disk")!, async (read) => {
    assertEquals(text(await read("/written")), `by Linux ${release}\n`);
    assertEquals(await read("/copy"), Deno.readFileSync(find("busybox")));
  });
}, NEEDS);

laneTest("beside it an ext4 that qemu-storage-daemon serves is left clean, with what was written", async () => {
  const { said, release, files } = await booted();
  assertMatch(said, /^\/dev\/vdb \/mnt ext4 rw/m);
  assertMatch(said, /IO-APIC +6-edge +virtio1/);
  assertMatch(said, /^served: done$/m);
  await withCleanDisk(files.get("served")!, async (read) => {
    assertEquals(text(await read("/written")), `by Linux ${release}, beside the root\n`);
    assertEquals(text(await read("/copy")), KNOWN);
  });
}, [...NEEDS, STORAGE_DAEMON]);

/** What a boot has left behind. */
interface Booted {
  /** On the consoles, with lines that end as they do here. */
  readonly said: string;
  /** The kernel's. */
  readonly release: string;
  /** The disks: "disk", and "served" where this host has the daemon. */
  readonly files: ReadonlyMap<string, Uint8Array>;
}

async function boot(): Promise<Booted> {
  const { bzImage, directory, release } = await debianKernel(), isServed = STORAGE_DAEMON.present;
  const busybox = Deno.readFileSync(find("busybox"));
  const disk = await makeDisk({ "bin/busybox": busybox, "sbin/init": DISK_INIT }, "12M");
  const drivers = DRIVERS.flatMap((name) => {
    const path = `${directory}/modules/${name}.ko`;
    return exists(path) ? [[`/${name}.ko`, Deno.readFileSync(path)]] : [];
  });
  const initrd = shellDisk([], { "/init": EARLY_INIT, ...Object.fromEntries(drivers) });
  const script = isServed ? `${DAEMON}${RUN} --vhost-user-blk ${SOCKET} /vmlinuz` : `${RUN} /vmlinuz`;
  const { status, stdout, stderr, files } = await inLane(script, { memoryMiB: 640, timeoutMs: 240_000 }, {
    async files(archive) {
      archive.file("/out/disk", disk);
      archive.file("/initrd", initrd);
      archive.file("/vmlinuz", Deno.readFileSync(bzImage));
      if (isServed) {
        archive.file(SERVED, await makeDisk({ known: KNOWN }, "4M"));
        await addExecutable(archive, `/bin/${DAEMON_NAME}`, pathOf(DAEMON_NAME)!);
      }
      await denoPackages(archive, ["iced-x86"]);
      archive.file("/lane/xenolith.js", await bundle());
    },
  });
  const said = text(stdout).replaceAll("\r", "");
  assertEquals(status, 0, `${said}\n${stderr}`);
  return { said, release, files };
}

async function debianKernel() {
  const found = await kernel(new Cache());
  return { ...found, release: Deno.readTextFileSync(`${found.directory}/release`).trim() };
}

/** An ext4 with `content`, which are executables by their paths, and with places to mount file systems at. */
async function makeDisk(content: Readonly<Record<string, Uint8Array | string>>, size: string): Promise<Uint8Array> {
  return await withScratch(async (scratch) => {
    const tree = `${scratch}/tree`, disk = `${scratch}/disk`;
    for (const name of ["bin", "sbin", "proc", "sys", "dev", "mnt"]) {
      Deno.mkdirSync(`${tree}/${name}`, { recursive: true });
    }
    for (const [path, file] of Object.entries(content)) {
      Deno.writeFileSync(`${tree}/${path}`, typeof file === "string" ? new TextEncoder().encode(file) : file, {
        mode: 0o755,
      });
    }
    const { status, stderr } = await tool("mkfs.ext4", "-q", "-d", tree, disk, size);
    assert(status === 0, stderr);
    return Deno.readFileSync(disk);
  });
}

/** Finds nothing to mend on an ext4, and has `body` read files of it. */
async function withCleanDisk(
  bytes: Uint8Array,
  body: (read: (path: string) => Promise<Uint8Array>) => Promise<void>,
): Promise<void> {
  await withScratch(async (scratch) => {
    const disk = `${scratch}/disk`;
    Deno.writeFileSync(disk, bytes);
    const { status, stdout, stderr } = await tool("e2fsck", "-fn", disk), said = text(stdout) + stderr;
    assertEquals(status, 0, said);
    assertEquals(/.*journal recovery.*/i.exec(said), null); // a journal that is not empty does not count as an error
    await body(async (path) => (await tool("debugfs", "-R", `cat ${path}`, disk)).stdout);
  });
}

async function withScratch<T>(body: (directory: string) => Promise<T>): Promise<T> {
  const directory = Deno.makeTempDirSync({ prefix: "xenolith-root-" });
  try {
    return await body(directory);
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
}

function text(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
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
