/** The console of a booted guest as a test uses it: text out, text in, expectations. */

import { Socket } from "node:net";

/** An expectation that was not met: the pattern, the last lines, what the vCPUs are doing. */
export class ExpectError extends Error {
  static {
    this.prototype.name = "ExpectError";
  }
}

/** How {@linkcode TestConsole.expect} waits. */
export interface ExpectOptions {
  /** How long to wait for the pattern; default 10 s. */
  readonly timeoutMs?: number;
}

const DEFAULT_TIMEOUT_MS = 10_000, LAST_LINES = 12;

/** A guest's console. Output is kept from the start, so nothing is missed by expecting it late. */
export class TestConsole {
  readonly #output: Socket;
  readonly #input: Socket;
  readonly #decoder = new TextDecoder();
  readonly #ended = Promise.withResolvers<void>();
  #changed = Promise.withResolvers<void>();
  #text = "";
  #consumed = 0;
  #open = true;

  /**
   * Use `boot()`, which makes one.
   * @param output, input descriptors of pipes, which then belong to the console
   * @param describe what the machine is doing, for failures
   */
  constructor(output: number, input: number, private readonly describe: () => string) {
    this.#output = new Socket({ fd: output, readable: true, writable: false });
    this.#input = new Socket({ fd: input, readable: false, writable: true });
    this.#input.on("error", () => {}); // EPIPE: the guest is gone, and takes no more input
    this.#output.on("data", (bytes) => this.#append(this.#decoder.decode(bytes, { stream: true })));
    for (const event of ["end", "close", "error"]) this.#output.on(event, () => this.#end());
  }

  /** Everything that the guest has said. */
  get text(): string {
    return this.#text;
  }

  /** Resolves when the guest can say nothing more. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  /** Types into the guest. */
  send(text: string): void {
    this.#input.write(text);
  }

  /** Closes the guest's input. */
  endInput(): void {
    this.#input.end();
  }

  /**
   * Waits until the output since the last match matches, and consumes it up to the end of the match.
   * @returns the match
   * @throws {ExpectError} the time is over, or the guest has ended
   */
  async expect(pattern: RegExp | string, options: ExpectOptions = {}): Promise<RegExpExecArray> {
    const expression = typeof pattern === "string"
      ? new RegExp(RegExp.escape(pattern))
      : new RegExp(pattern.source, pattern.flags.replace(/[gy]/g, ""));
    const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    const timeout = Promise.withResolvers<"timeout">();
    const timer = setTimeout(timeout.resolve, timeoutMs, "timeout");
    try {
      for (;;) {
        const match = expression.exec(this.#text.slice(this.#consumed));
        if (match !== null) {
          this.#consumed += match.index + match[0].length;
          return match;
        }
        if (!this.#open) throw this.#failure(pattern, "the guest ended");
        const event = await Promise.race([this.#changed.promise, timeout.promise]);
        if (event === "timeout") throw this.#failure(pattern, `nothing within ${timeoutMs} ms`);
      }
    } finally {
      clearTimeout(timer);
    }
  }

  /** Closes both pipes. */
  close(): void {
    this.#end();
    this.#output.destroy();
    this.#input.destroy();
  }

  #append(text: string): void {
    this.#text += text;
    this.#notify();
  }

  #end(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#ended.resolve();
    this.#notify();
  }

  #notify(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }

  #failure(pattern: RegExp | string, why: string): ExpectError {
    const wanted = pattern instanceof RegExp ? String(pattern) : JSON.stringify(pattern);
    const unread = this.#text.slice(this.#consumed).split("\n").slice(-LAST_LINES).map((line) => `  | ${line}`);
    return new ExpectError([`console: expected ${wanted}: ${why}`, ...unread, this.describe()].join("\n"));
  }
}
