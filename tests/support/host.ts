/** Hosts that lack something: the same machine with less of it, for one command. */

import { type Capability, program } from "./capabilities.ts";
import type { StartOptions } from "./command.ts";

function succeeds(command: string, ...args: readonly string[]): boolean {
  try {
    return new Deno.Command(command, { args: [...args], stdin: "null", stderr: "null" }).outputSync().success;
  } catch {
    return false;
  }
}

/** The right to have mounts of one's own. */
export const MOUNTS: Capability = {
  present: succeeds("unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"),
  reason: "unshare -m and mount need root",
};

/** The right to have a network of one's own, with tap interfaces in it. */
export const OWN_NETWORK: Capability = {
  present: succeeds("unshare", "-n", "ip", "tuntap", "add", "dev", "tap0", "mode", "tap"),
  reason: "unshare -n and /dev/net/tun need root (CAP_SYS_ADMIN and CAP_NET_ADMIN), and ip (Debian: iproute2)",
};

const AS_NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] as const;

/** The right to become somebody else, who can run Deno and read the repository. */
export const SETPRIV: Capability = {
  present: succeeds(AS_NOBODY[0], ...AS_NOBODY.slice(1), Deno.execPath(), "--version"),
  reason: "setpriv needs root, and an unprivileged user has to be able to run Deno",
};

export const PRLIMIT = program("prlimit", "util-linux");

/** Words that run a command, as `exec` does, after `script` in a mount namespace of its own. */
export function withMounts(script: string): string[] {
  return ["unshare", "-m", "sh", "-c", `set -e; ${script}; exec "$@"`, "sh"];
}

/** What starts a command as an unprivileged user, with a copy of the packages in Deno's cache. */
export async function asNobody(): Promise<AsyncDisposable & { readonly options: StartOptions }> {
  const directory = await Deno.makeTempDir({ prefix: "xenolith-test-" });
  const { stdout } = await new Deno.Command(Deno.execPath(), { args: ["info", "--json"] }).output();
  const { denoDir } = JSON.parse(new TextDecoder().decode(stdout));
  await Deno.mkdir(`${directory}/deno`);
  await new Deno.Command("cp", { args: ["-r", `${denoDir}/npm`, `${directory}/deno`] }).output();
  await new Deno.Command("chmod", { args: ["-R", "a+rwX", directory] }).output();
  return {
    options: { prefix: AS_NOBODY, environment: { DENO_DIR: `${directory}/deno`, HOME: directory } },
    [Symbol.asyncDispose]: () => Deno.remove(directory, { recursive: true }),
  };
}

/** The processes that this one has started. */
export function childProcesses(): { readonly pid: number; readonly command: string }[] {
  const tasks = Array.from(Deno.readDirSync("/proc/self/task"), ({ name }) => name);
  const pids = tasks.flatMap((task) => Deno.readTextFileSync(`/proc/self/task/${task}/children`).split(" "));
  return pids.filter((pid) => pid !== "").map((pid) => {
    return { pid: Number(pid), command: Deno.readTextFileSync(`/proc/${pid}/cmdline`).replaceAll("\0", " ") };
  });
}
