/** Processes of our own, of which each runs code that is somebody else's. */

/** What they may do beside their system calls: words of `deno run`. */
export const PERMISSIONS = ["--no-prompt", "--cached-only", "--allow-ffi", "--allow-read", "--allow-write"] as const;

/** Ends one at once, if it has not ended. */
export function kill(child: Deno.ChildProcess): void {
  try {
    child.kill("SIGKILL");
  } catch (error) {
    if (!(error instanceof TypeError)) throw error; // it has been reaped, and is nobody's any more
  }
}
