/** The machine's root file system: busybox, Deno, the kernel's modules and /init. A job's files come on top of it. */

import type { Cache } from "./cache.ts";
import { CpioWriter } from "./cpio.ts";
import { addExecutable } from "./executables.ts";
import { INIT, PLACES } from "./init.ts";
import type { Kernel } from "./kernel.ts";
import { find, run } from "./programs.ts";

/** Part of the entry's name: what was made by another layout is not used. */
const LAYOUT = 1;

/** The path of the initramfs for `kernel` and the Deno that runs us. @throws {LaneUnavailable} */
export async function base(cache: Cache, kernel: Kernel): Promise<string> {
  const parts = [find("busybox"), Deno.execPath(), `${kernel.directory}/release`].map(identity);
  const name = `base-${await digest([
    `${LAYOUT}`,
    INIT,
    Deno.readTextFileSync(`${kernel.directory}/release`),
    ...parts,
  ])}`;
  return `${await cache.entry(name, (directory) => write(`${directory}/initramfs`, kernel))}/initramfs`;
}

async function write(path: string, kernel: Kernel): Promise<void> {
  using file = Deno.openSync(path, { create: true, write: true });
  const archive = new CpioWriter((bytes) => {
    for (let written = 0; written < bytes.length;) written += file.writeSync(bytes.subarray(written));
  });
  for (const directory of ["/dev", "/proc", "/sys", "/tmp", "/root", PLACES.denoDirectory]) {
    archive.directory(directory);
  }
  archive.file("/init", INIT, 0o755);
  archive.file("/etc/passwd", `root:x:0:0:root:/root:${PLACES.programs}/sh\n`);
  archive.file("/etc/group", "root:x:0:\n");
  archive.file("/etc/hosts", "127.0.0.1 localhost\n");
  archive.file(PLACES.order, kernel.modules.map((module) => `${module}\n`).join(""));
  for (const module of kernel.modules) {
    archive.file(`${PLACES.modules}/${module}.ko`, Deno.readFileSync(`${kernel.directory}/modules/${module}.ko`));
  }
  archive.file(PLACES.busybox, Deno.readFileSync(find("busybox")), 0o755);
  for (const applet of (await run("busybox", ["--list"])).stdout.trim().split("\n")) {
    if (applet !== "busybox") archive.link(`${PLACES.programs}/${applet}`, "busybox");
  }
  archive.link("/bin/sh", PLACES.busybox);
  // The native one, also when a wrapper (npm's, a link) started it.
  await addExecutable(archive, PLACES.deno, Deno.execPath());
  archive.end();
}

/** Changes when the file does. */
function identity(path: string): string {
  const { size, mtime } = Deno.statSync(path);
  return `${path} ${size} ${mtime?.getTime()}`;
}

async function digest(parts: string[]): Promise<string> {
  const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(parts.join("\0")));
  return new Uint8Array(hash).toHex().slice(0, 16);
}
