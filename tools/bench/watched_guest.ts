/** guests/watch as a load that checks itself while the hypervisor changes: no line may be missing. */

import { Socket } from "node:net";
import { path } from "./harness.ts";
import { pipe } from "../../src/linux/descriptor.ts";
import { type Machine, startMachine, successionOf } from "../../src/machine/machine.ts";
import type { LivePatching } from "../../src/payload/live_patching.ts";

/** Its vCPUs: the first one writes lines, the others read as fast as they can. */
export const VCPUS = 4;

/** How long vCPUs and models may take to come to rest where it is not to matter. */
export const PATIENT = { limitMs: 5000 } as const;

/** The guest runs until it is told to end. */
export class WatchedGuest implements AsyncDisposable {
  readonly #output: Socket;
  readonly #input: Socket;
  #rest = "";
  #lines = 0;
  #lost: string | undefined;
  #more = Promise.withResolvers<void>();

  private constructor(
    private readonly machine: Machine,
    output: number,
    input: number,
    private readonly ends: DisposableStack,
  ) {
    this.#output = new Socket({ fd: output, readable: true, writable: false });
    this.#input = new Socket({ fd: input, readable: false, writable: true });
    this.#input.on("error", () => {}); // the guest has ended, and takes no more
    const decoder = new TextDecoder();
    this.#output.on("data", (bytes) => this.#take(decoder.decode(bytes)));
  }

  static async start(): Promise<WatchedGuest> {
    using ends = new DisposableStack();
    const output = pipe("console output"), input = pipe("console input");
    for (const end of [output.reader, output.writer, input.reader, input.writer]) ends.use(end);
    const descriptors = { input: input.reader.number, output: output.writer.number, escape: null };
    const machine = await startMachine({ image: path("guests/watch.img"), vcpus: VCPUS }, descriptors);
    return new WatchedGuest(machine, output.reader.release(), input.writer.release(), ends.move());
  }

  get succession() {
    return successionOf(this.machine);
  }

  /** Waits for so many lines more. @throws {Error} one is missing, or the guest has ended */
  async goesOn(count: number): Promise<void> {
    for (const enough = this.#lines + count; this.#lines < enough;) {
      const outcome = await Promise.race([this.#more.promise, this.machine.ended]);
      if (this.#lost !== undefined) throw new Error(`guests/watch: ${this.#lost}`);
      if (outcome !== undefined) throw new Error(`guests/watch ended: ${outcome.reason}`);
    }
  }

  /** Tells it to end. @throws {Error} it was not content */
  async end(): Promise<void> {
    this.#input.write("\n");
    const { status, reason } = await this.machine.ended;
    if (status !== 0 || this.#lost !== undefined) throw new Error(`guests/watch: ${this.#lost ?? reason}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.machine[Symbol.asyncDispose]();
    this.ends.dispose();
    this.#output.destroy();
    this.#input.destroy();
  }

  #take(text: string): void {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop()!;
    for (const line of lines) {
      if (!line.startsWith(`${this.#lines++} 0x`)) this.#lost ??= `${JSON.stringify(line)} is line ${this.#lines - 1}`;
    }
    this.#more.resolve();
    this.#more = Promise.withResolvers();
  }
}

/** Applies a payload that nobody has uploaded. */
export async function load(patching: LivePatching, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
  const { name } = await patching.upload(bytes);
  await patching.apply(name, PATIENT);
}
