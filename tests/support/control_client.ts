/** A client of the control socket. */

/** An answer: `return` or `error`, and the request's id. */
export interface Answer {
  readonly id?: unknown;
  readonly return?: Record<string, unknown>;
  readonly error?: string;
}

export class ControlClient implements Disposable {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #decoder = new TextDecoder();
  #rest = "";

  private constructor(private readonly connection: Deno.UnixConn) {
    this.#reader = connection.readable.getReader();
  }

  static async connect(path: string): Promise<ControlClient> {
    return new ControlClient(await Deno.connect({ transport: "unix", path }));
  }

  /** Sends bytes as they are. */
  async send(text: string): Promise<void> {
    const bytes = new TextEncoder().encode(text);
    for (let sent = 0; sent < bytes.length;) sent += await this.connection.write(bytes.subarray(sent));
  }

  /** The next line, parsed; undefined when the server has closed. */
  async answer(): Promise<Answer | undefined> {
    while (!this.#rest.includes("\n")) {
      const { value, done } = await this.#reader.read();
      if (done) return undefined;
      this.#rest += this.#decoder.decode(value, { stream: true });
    }
    const end = this.#rest.indexOf("\n");
    const line = this.#rest.slice(0, end);
    this.#rest = this.#rest.slice(end + 1);
    return JSON.parse(line);
  }

  /** Sends a command and returns what it returned. */
  async execute(execute: string): Promise<Record<string, unknown>> {
    await this.send(JSON.stringify({ execute }) + "\n");
    const answer = await this.answer();
    if (answer?.return === undefined) throw new Error(`${execute}: ${JSON.stringify(answer)}`);
    return answer.return;
  }

  [Symbol.dispose](): void {
    try {
      this.connection.close();
    } catch {
      // The server closed it.
    }
  }
}
