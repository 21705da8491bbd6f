/** The programs that the lane is made of, and running them. */

import { isAboutSpace, LaneUnavailable } from "./errors.ts";

/** Each program with the Debian package that brings it. */
const PACKAGES = {
  "qemu-system-x86_64": "qemu-system-x86",
  busybox: "busybox-static",
  "apt-get": "apt",
  "apt-cache": "apt",
  dpkg: "dpkg",
  ldd: "libc-bin",
} as const;

/** A program's name. */
export type Program = keyof typeof PACKAGES;

/** What a run needs once everything is prepared. */
const NEEDED: readonly Program[] = ["qemu-system-x86_64", "busybox"];

/** The path of a program. @throws {LaneUnavailable} naming the packages of all that are missing */
export function find(program: Program): string {
  const path = pathOf(program);
  if (path !== undefined) return path;
  const missing = [program, ...NEEDED].filter((name) => pathOf(name) === undefined);
  const packages = [...new Set(missing.map((name) => PACKAGES[name]))].sort().join(" ");
  throw new LaneUnavailable(`the lane needs ${program}, which is not installed (Debian: apt-get install ${packages})`);
}

/** Where a program is, if it is on the path. */
export function pathOf(program: string): string | undefined {
  return (Deno.env.get("PATH") ?? "").split(":").filter((directory) => directory !== "")
    .map((directory) => `${directory}/${program}`).find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    const { isFile, mode } = Deno.statSync(path);
    return isFile && ((mode ?? 0) & 0o111) !== 0;
  } catch {
    return false;
  }
}

/** How a program ended. */
export interface Result {
  readonly success: boolean;
  readonly stdout: string;
  /** What it said on stderr: the line that names the reason, else the last one. */
  readonly complaint: string;
}

/** Runs a program to its end. @throws {LaneUnavailable} it is missing */
export async function run(program: Program, args: string[], options: Deno.CommandOptions = {}): Promise<Result> {
  const command = new Deno.Command(find(program), { args, stdin: "null", env: { LC_ALL: "C" }, ...options });
  const { success, stdout, stderr } = await command.output();
  const text = new TextDecoder();
  const complaints = text.decode(stderr).split("\n").map((line) => line.trim()).filter((line) => line !== "");
  return { success, stdout: text.decode(stdout), complaint: complaints.find(isAboutSpace) ?? complaints.at(-1) ?? "" };
}

/** Sends bytes through a program. @returns what it made of them, or undefined when it failed */
export async function filter(program: Program, args: string[], input: Uint8Array): Promise<Uint8Array | undefined> {
  const command = new Deno.Command(find(program), { args, stdin: "piped", stdout: "piped", stderr: "null" });
  await using child = command.spawn();
  const writer = child.stdin.getWriter();
  // A program that stops reading has failed, which its status says.
  const writing = writer.write(input).then(() => writer.close()).catch(() => {});
  const { success, stdout } = await child.output();
  await writing;
  return success ? stdout : undefined;
}
