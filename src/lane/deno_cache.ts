/** Packages from Deno's cache on this host, for a machine that has no network. */

import type { CpioWriter } from "./cpio.ts";
import { PLACES } from "./init.ts";

/**
 * Adds the npm packages of these names, in every version that the host has. One that it does not have is left out: what
 * needs it in the machine fails there as it does on a host without a network.
 * @param wanted a package's name, as "iced-x86" or "@scope/name"; default: all that there are
 */
export async function denoPackages(archive: CpioWriter, wanted?: readonly string[]): Promise<void> {
  const { npmCache: directory } = await denoDirectories();
  for (const registry of list(directory)) {
    const names = list(`${directory}/${registry}`).flatMap((name) =>
      name.startsWith("@") ? list(`${directory}/${registry}/${name}`).map((inner) => `${name}/${inner}`) : [name]
    );
    for (const name of names.filter((name) => wanted?.includes(name) ?? true)) {
      addTree(archive, `${directory}/${registry}/${name}`, `${PLACES.denoDirectory}/npm/${registry}/${name}`);
    }
  }
}

/** Adds a directory with all that is in it. @param leaveOut whether a path below `from` stays behind */
export function addTree(
  archive: CpioWriter,
  from: string,
  to: string,
  leaveOut: (path: string) => boolean = () => false,
): void {
  archive.directory(to);
  for (const { name, isDirectory, isFile } of Deno.readDirSync(from)) {
    const path = `${from}/${name}`;
    if (leaveOut(path)) continue;
    if (isDirectory) addTree(archive, path, `${to}/${name}`, leaveOut);
    else if (isFile) {
      archive.file(`${to}/${name}`, Deno.readFileSync(path), (Deno.statSync(path).mode ?? 0o644) & 0o777);
    }
  }
}

/** Adds the JavaScript that Deno has made of the TypeScript below `root`, which it then need not make again. */
export async function emittedCode(archive: CpioWriter, root: string): Promise<void> {
  const { typescriptCache } = await denoDirectories();
  const path = `file${root}`;
  if (list(`${typescriptCache}/file`).length === 0) return;
  addTree(archive, `${typescriptCache}/${path}`, `${PLACES.denoDirectory}/gen/${path}`);
}

async function denoDirectories(): Promise<{ npmCache: string; typescriptCache: string }> {
  const { stdout } = await new Deno.Command(Deno.execPath(), { args: ["info", "--json"], stdin: "null" }).output();
  return JSON.parse(new TextDecoder().decode(stdout));
}

function list(directory: string): string[] {
  try {
    return [...Deno.readDirSync(directory)].filter(({ isDirectory }) => isDirectory).map(({ name }) => name);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}
