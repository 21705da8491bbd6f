/** The commands as users start them: a process of their own, with the permissions that deno.json's task gives them. */

import { assertEquals } from "@std/assert";

/** The repository. */
export const ROOT = new URL("../../", import.meta.url);

/** The tasks that are commands. */
export type CommandName = "run" | "doctor" | "dm" | "payload" | "dev";

const PATIENCE_MS = 40_000;

/** How a command ended, and what it said. */
export interface Finished {
  readonly status: number;
  readonly stdout: string;
  readonly stdoutBytes: Uint8Array;
  readonly stderr: string;
  /** The lines of stderr. */
  readonly lines: readonly string[];
}

/** What a command is started with. */
export interface StartOptions {
  /** Bytes for stdin, which then ends; "null" is /dev/null, "open" stays open for {@linkcode Command.type}. */
  readonly stdin?: Uint8Array<ArrayBuffer> | string | "null" | "open";
  /** Words before the command, such as `prlimit`. They must end in becoming the command (exec). */
  readonly prefix?: readonly string[];
  readonly environment?: Record<string, string>;
  /** The repository, or a copy of it. */
  readonly root?: URL;
  /** A command that comes to no end by then is ended, and its test fails; default 40 s. */
  readonly patienceMs?: number;
}

/** The words that `deno task NAME ARGUMENTS` runs. */
export function taskWords(name: CommandName, args: readonly string[]): string[] {
  const { tasks } = JSON.parse(Deno.readTextFileSync(new URL("deno.json", ROOT)));
  const [deno, ...words] = tasks[name].split(" ");
  assertEquals(deno, "deno");
  return [Deno.execPath(), ...words, ...args];
}

/** Runs a command to its end. */
export async function finish(
  name: CommandName,
  args: readonly string[],
  options: StartOptions = {},
): Promise<Finished> {
  await using command = start(name, args, { stdin: "null", ...options });
  return await command.finished();
}

/** Starts a command. */
export function start(name: CommandName, args: readonly string[], options: StartOptions = {}): Command {
  return new Command([...options.prefix ?? [], ...taskWords(name, args)], options);
}

/** A running command. Leaving `await using` kills it. */
export class Command implements AsyncDisposable {
  readonly stdout: Captured;
  readonly stderr: Captured;
  readonly #child: Deno.ChildProcess;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>> | undefined;
  readonly #timer: ReturnType<typeof setTimeout>;
  readonly #patienceMs: number;
  #late = false;

  constructor(words: readonly string[], options: StartOptions) {
    const stdin = options.stdin ?? "open";
    this.#child = new Deno.Command(words[0], {
      args: words.slice(1),
      cwd: options.root ?? ROOT,
      stdin: stdin === "null" ? "null" : "piped",
      stdout: "piped",
      stderr: "piped",
      env: options.environment ?? {},
    }).spawn();
    this.#patienceMs = options.patienceMs ?? PATIENCE_MS;
    this.#timer = setTimeout(() => {
      this.#late = true;
      this.kill("SIGKILL");
    }, this.#patienceMs);
    this.stdout = new Captured(this.#child.stdout);
    this.stderr = new Captured(this.#child.stderr);
    if (stdin === "null") return;
    this.#writer = this.#child.stdin.getWriter();
    if (stdin === "open") return;
    const bytes = typeof stdin === "string" ? new TextEncoder().encode(stdin) : stdin;
    this.#writer.write(bytes).then(() => this.#writer!.close()).catch(() => {}); // EPIPE: it ended before it read all
  }

  get pid(): number {
    return this.#child.pid;
  }

  async type(text: string): Promise<void> {
    await this.#writer!.write(new TextEncoder().encode(text));
  }

  kill(signal: Deno.Signal): void {
    try {
      this.#child.kill(signal);
    } catch {
      // It has ended.
    }
  }

  /** Waits for the end. Fails if a signal killed it: a status is what a command chooses. */
  async finished(): Promise<Finished> {
    const { code, signal } = await this.#child.status;
    await Promise.all([this.stdout.ended, this.stderr.ended]);
    if (this.#late) throw new Error(`no end within ${this.#patienceMs} ms\n${this.stdout.text}\n${this.stderr.text}`);
    assertEquals(signal, null, `killed by a signal: ${this.stderr.text}`);
    const stderr = this.stderr.text;
    return {
      status: code,
      stdout: this.stdout.text,
      stdoutBytes: this.stdout.bytes,
      stderr,
      lines: stderr === "" ? [] : stderr.replace(/\n$/, "").split("\n"),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#timer);
    this.kill("SIGKILL");
    await this.#writer?.close().catch(() => {});
    await this.#child.status;
    await Promise.all([this.stdout.ended, this.stderr.ended]);
  }
}

/** A stream of a process, collected. */
export class Captured {
  /** Resolves when there will be no more. */
  readonly ended: Promise<void>;
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #chunks: Uint8Array[] = [];
  #changed = Promise.withResolvers<void>();
  #open = true;

  constructor(stream: ReadableStream<Uint8Array>) {
    this.#reader = stream.getReader();
    this.ended = this.#collect();
  }

  get bytes(): Uint8Array {
    return new Uint8Array(this.#chunks.flatMap((chunk) => Array.from(chunk)));
  }

  get text(): string {
    return new TextDecoder().decode(this.bytes);
  }

  /** Waits until it contains `text`. */
  async expect(text: string): Promise<void> {
    while (!this.text.includes(text)) {
      if (!this.#open) throw new Error(`ended without ${JSON.stringify(text)}: ${JSON.stringify(this.text)}`);
      await this.#changed.promise;
    }
  }

  /** Resolves when more has come, or the end. */
  get next(): Promise<void> {
    return this.#changed.promise;
  }

  /** Closes the reading end. */
  async close(): Promise<void> {
    await this.#reader.cancel();
  }

  async #collect(): Promise<void> {
    for (;;) {
      const { value, done } = await this.#reader.read();
      this.#open = !done;
      if (value !== undefined) this.#chunks.push(value);
      this.#changed.resolve();
      this.#changed = Promise.withResolvers();
      if (done) return;
    }
  }
}

/** Fails unless the command ended with `status` and one line on stderr that matches; stdout may hold the console. */
export function assertOneLine(finished: Finished, status: number, pattern: RegExp): void {
  const { lines } = finished;
  const said = JSON.stringify({ status: finished.status, stderr: finished.stderr });
  assertEquals({ status: finished.status, lines: lines.length }, { status, lines: 1 }, said);
  assertEquals(pattern.test(lines[0]), true, `${lines[0]}\ndoes not match ${pattern}`);
}
