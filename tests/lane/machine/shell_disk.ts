/** Initial RAM disks for Linux guests: a shell, and what a test adds. */

import { CpioWriter } from "../../../src/lane/cpio.ts";
import { find } from "../../../src/lane/programs.ts";

/** The guest's first process: what a shell needs, and a shell on the console. */
const INIT = `#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
exec /bin/busybox setsid /bin/busybox cttyhack /bin/busybox sh
`;

/** @param commands that the shell has, of busybox's @param files beside them, by their paths; all are executable */
export function shellDisk(
  commands: readonly string[],
  files: Readonly<Record<string, Uint8Array | string>> = {},
): Uint8Array<ArrayBuffer> {
  const bytes: number[] = [];
  const archive = new CpioWriter((chunk) => {
    for (const byte of chunk) bytes.push(byte);
  });
  archive.file("/bin/busybox", Deno.readFileSync(find("busybox")), 0o755);
  for (const name of commands) archive.link(`/bin/${name}`, "busybox");
  archive.file("/init", INIT, 0o755);
  for (const [path, file] of Object.entries(files)) archive.file(path, file, 0o755);
  archive.end();
  return Uint8Array.from(bytes);
}
