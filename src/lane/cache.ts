/** What the lane prepares once and keeps: entries of a directory, each made whole or not at all. */

import { isAboutSpace, LaneUnavailable } from "./errors.ts";

/** Entries that nobody used for so long make room. */
const KEEP_MS = 30 * 24 * 60 * 60 * 1000;

/** A directory of prepared things, shared by all processes of a user. */
export class Cache {
  /** @param directory made when needed */
  constructor(readonly directory: string = defaultDirectory()) {}

  /**
   * An entry, which is a directory; made first if it is missing. Of processes that need it at once one makes it, and the
   * others wait. It is made beside its place and moved there when it is complete, so a preparation that is interrupted
   * leaves nothing but garbage, which the next one removes.
   * @param make fills the directory that it is given
   * @returns the entry's path
   */
  async entry(name: string, make: (directory: string) => Promise<void>): Promise<string> {
    const path = `${this.directory}/${name}`;
    if (touch(path)) return path;
    try {
      using lock = this.#openLock();
      await lock.lock(true);
      if (touch(path)) return path;
      this.#removeGarbage();
      const partial = Deno.makeTempDirSync({ dir: this.directory, prefix: PARTIAL });
      await make(partial);
      Deno.chmodSync(partial, 0o755);
      Deno.renameSync(partial, path);
      return path;
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      if (isAboutSpace(message)) throw new LaneUnavailable(`no disk space for the lane in ${this.directory}`);
      throw error;
    }
  }

  #openLock(): Deno.FsFile {
    try {
      Deno.mkdirSync(this.directory, { recursive: true });
      return Deno.openSync(`${this.directory}/lock`, { create: true, write: true });
    } catch (error) {
      const { message } = error as Error;
      if (isAboutSpace(message)) throw error;
      throw new LaneUnavailable(`the lane's cache ${this.directory} cannot be written: ${message}`);
    }
  }

  /** What interrupted preparations left, and what has gone out of use. Only with the lock held. */
  #removeGarbage(): void {
    for (const { name, isDirectory } of Deno.readDirSync(this.directory)) {
      const path = `${this.directory}/${name}`;
      if (!isDirectory) continue;
      const unusedMs = Date.now() - (Deno.statSync(path).mtime?.getTime() ?? Date.now());
      if (name.startsWith(PARTIAL) || unusedMs > KEEP_MS) Deno.removeSync(path, { recursive: true });
    }
  }
}

const PARTIAL = "partial-";

/** Marks the entry as used. @returns whether there is one */
function touch(path: string): boolean {
  try {
    const now = new Date();
    Deno.utimeSync(path, now, now);
    return true;
  } catch {
    return false;
  }
}

function defaultDirectory(): string {
  const home = Deno.env.get("HOME");
  const base = Deno.env.get("XDG_CACHE_HOME") || (home && `${home}/.cache`);
  if (base) return `${base}/xenolith`;
  throw new LaneUnavailable("the lane has no place for its cache: set HOME or XDG_CACHE_HOME");
}
