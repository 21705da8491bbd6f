/** Executables of this host, for machines: each with the shared libraries that it is linked with. */

import type { CpioWriter } from "./cpio.ts";
import { run } from "./programs.ts";

/**
 * Adds an executable, and its shared libraries where they are on this host. The dynamic linker finds them there as long as
 * they are in Debian's own directories, since it has no cache in the machine. What the executable opens only when it runs
 * (dlopen) stays behind.
 * @param place its path in the machine @param path of a file on this host
 * @throws {LaneUnavailable} there is no ldd
 */
export async function addExecutable(archive: CpioWriter, place: string, path: string): Promise<void> {
  archive.file(place, Deno.readFileSync(path), 0o755);
  for (const library of await sharedLibraries(path)) archive.file(library, Deno.readFileSync(library), 0o755);
}

/** The files that the dynamic linker maps, itself included: every path that ldd(1) prints; none if it is static. */
async function sharedLibraries(executable: string): Promise<string[]> {
  const { stdout } = await run("ldd", [executable]);
  return [...new Set(stdout.match(/\/\S+/g) ?? [])];
}
