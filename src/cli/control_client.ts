/** A client of a run's control socket (docs/control-protocol.md). */

/** What one says to a request: `return` or `error`, and the request's id. */
export interface ControlAnswer {
  readonly id?: unknown;
  readonly return?: Record<string, unknown>;
  readonly error?: string;
  /** Positive, of an operation that was refused for a reason that has a number. */
  readonly errno?: number;
}

/** There is no run at that socket, or it is over. */
export class RunUnavailable extends Error {
  static {
    this.prototype.name = "RunUnavailable";
  }
}

/** The run has refused a command. */
export class ControlRefusal extends Error {
  static {
    this.prototype.name = "ControlRefusal";
  }

  /** @param errno positive; undefined: the reason has no number */
  constructor(message: string, readonly errno: number | undefined) {
    super(message);
  }
}

/** A connection. */
export class ControlClient implements Disposable {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #decoder = new TextDecoder();
  #rest = "";

  private constructor(private readonly connection: Deno.UnixConn) {
    this.#reader = connection.readable.getReader();
  }

  /** @param path of the socket. @throws {RunUnavailable} */
  static async connect(path: string): Promise<ControlClient> {
    try {
      return new ControlClient(await Deno.connect({ transport: "unix", path }));
    } catch (error) {
      throw new RunUnavailable((error as Error).message);
    }
  }

  /** Sends bytes as they are. */
  async send(text: string): Promise<void> {
    const bytes = new TextEncoder().encode(text);
    for (let sent = 0; sent < bytes.length;) sent += await this.connection.write(bytes.subarray(sent));
  }

  /** The next line, parsed; undefined when the server has closed. */
  async answer(): Promise<ControlAnswer | undefined> {
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

  /**
   * Has a command carried out.
   * @param members of the request, besides its name @returns what it returned
   * @throws {ControlRefusal} @throws {RunUnavailable} the run ended meanwhile
   */
  async execute(execute: string, members: Readonly<Record<string, unknown>> = {}): Promise<Record<string, unknown>> {
    const answer = await this.#asked(JSON.stringify({ ...members, execute }) + "\n");
    if (answer === undefined) throw new RunUnavailable("the run has ended");
    if (answer.error !== undefined) throw new ControlRefusal(answer.error, answer.errno);
    return answer.return ?? {};
  }

  async #asked(request: string): Promise<ControlAnswer | undefined> {
    try {
      await this.send(request);
      return await this.answer();
    } catch (error) {
      throw new RunUnavailable((error as Error).message);
    }
  }

  [Symbol.dispose](): void {
    try {
      this.connection.close();
    } catch {
      // The server closed it.
    }
  }
}
