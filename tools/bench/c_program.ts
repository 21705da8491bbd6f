/** The C programs that figures are compared with: built when they are needed, told how much to do, line by line. */

import { TextLineStream } from "./text_lines.ts";
import { missing, path, runProgram } from "./harness.ts";

/** What a round of work took. */
export interface Round {
  /** How much was done. */
  readonly count: number;
  /** User and system time of all threads of the process. */
  readonly cpuNs: number;
  readonly wallNs: number;
}

/** A running C program: reads a count from stdin, does it, answers with both times. */
export class CProgram implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;
  readonly #lines: ReadableStreamDefaultReader<string>;

  private constructor(private readonly directory: string, executable: string, args: string[]) {
    this.#child = new Deno.Command(executable, { args, stdin: "piped", stdout: "piped" }).spawn();
    this.#writer = this.#child.stdin.getWriter();
    this.#lines = this.#child.stdout.pipeThrough(new TextDecoderStream()).pipeThrough(new TextLineStream()).getReader();
  }

  /** Builds and starts tools/bench/NAME.c. @returns null, with the reason on stderr, where there is no compiler */
  static async start(name: string, args: string[] = []): Promise<CProgram | null> {
    const directory = await Deno.makeTempDir({ prefix: "xenolith-bench-" });
    try {
      const executable = `${directory}/${name}`, source = path(`tools/bench/${name}.c`);
      await runProgram("gcc", ["-O2", "-Wall", "-Wextra", "-Werror", "-pthread", "-o", executable, source]);
      return new CProgram(directory, executable, args);
    } catch (error) {
      await Deno.remove(directory, { recursive: true });
      if (!(error instanceof Deno.errors.NotFound)) throw error;
      return missing("no comparison with C: gcc is not installed (Debian: gcc libc6-dev)");
    }
  }

  /** Has it do `count` of what it does. @throws {Error} it is gone; it has said why on stderr */
  async round(count: number): Promise<Round> {
    await this.#writer.write(new TextEncoder().encode(`${count}\n`));
    const { value } = await this.#lines.read();
    if (value === undefined) throw new Error("a C program ended early");
    const [cpuNs, wallNs] = value.split(" ").map(Number);
    return { count, cpuNs, wallNs };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writer.close().catch(() => {});
    await this.#lines.cancel();
    await this.#child.status;
    await Deno.remove(this.directory, { recursive: true });
  }
}
