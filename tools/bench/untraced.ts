/** A copy of the program that traces nothing and counts nothing by range: what tracing costs is the difference. */

import { path } from "./harness.ts";

/** What is copied; guests are only linked. */
const PARTS = ["src", "tools/bench", "deno.json"], GUESTS = "guests";

/** What traces, and in how many statements. */
const TRACER = "src/domain/vcpu_requests.ts", TRACING = /^ *this\.#trace(d|\.begin)\(.*\);\n/gm, STATEMENTS = 4;

/** The copy, for as long as it is needed. */
export class UntracedCopy implements AsyncDisposable {
  private constructor(private readonly directory: string) {}

  /** @throws {Error} the source does not trace as it did */
  static async make(): Promise<UntracedCopy> {
    const made = new UntracedCopy(await Deno.makeTempDir({ prefix: "xenolith-bench-" }));
    try {
      for (const part of PARTS) await copy(path(part), made.path(part));
      await Deno.symlink(path(GUESTS), made.path(GUESTS));
      const source = await Deno.readTextFile(made.path(TRACER)), found = source.match(TRACING)?.length;
      if (found !== STATEMENTS) throw new Error(`${found} tracing statements in ${TRACER}, not ${STATEMENTS}`);
      await Deno.writeTextFile(made.path(TRACER), source.replaceAll(TRACING, ""));
      return made;
    } catch (error) {
      await made[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The path of a file in it. */
  path(file: string): string {
    return `${this.directory}/${file}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.directory, { recursive: true });
  }
}

/** Copies a file, or a directory and all that is in it. */
async function copy(from: string, to: string): Promise<void> {
  if ((await Deno.stat(from)).isFile) return await Deno.copyFile(from, to);
  await Deno.mkdir(to, { recursive: true });
  for await (const { name } of Deno.readDir(from)) await copy(`${from}/${name}`, `${to}/${name}`);
}
