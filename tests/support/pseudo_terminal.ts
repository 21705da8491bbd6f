/** A pseudo-terminal: the keyboard and screen of a command in a test. */

import type { Capability } from "./capabilities.ts";
import { Captured } from "./command.ts";

/** How often the screen's reader looks whether it is to end: closing a descriptor does not wake who polls it. */
const LOOK_MS = 50;

const O_RDWR = 2, O_NOCTTY = 0x100, O_CLOEXEC = 0x80000, POLLIN = 1;

const SYMBOLS = {
  posix_openpt: { parameters: ["i32"], result: "i32" }, // flags
  grantpt: { parameters: ["i32"], result: "i32" }, // master
  unlockpt: { parameters: ["i32"], result: "i32" }, // master
  ptsname_r: { parameters: ["i32", "buffer", "usize"], result: "i32" }, // master, name, size
  open: { parameters: ["buffer", "i32"], result: "i32" }, // path, flags
  close: { parameters: ["i32"], result: "i32" }, // fd
  write: { parameters: ["i32", "buffer", "usize"], result: "isize" }, // fd, bytes, size
  read: { parameters: ["i32", "buffer", "usize"], result: "isize" }, // fd, bytes, size
  poll: { parameters: ["buffer", "usize", "i32"], result: "i32", nonblocking: true }, // set, count, milliseconds
} as const;

/** Both ends of a terminal. Its own open descriptor of the slave keeps the settings while nobody else has it open. */
export class PseudoTerminal implements AsyncDisposable {
  /** The path of the slave. */
  readonly path: string;
  readonly #libc = Deno.dlopen("libc.so.6", SYMBOLS);
  readonly #master: number;
  readonly #slave: number;
  #screen: Captured | undefined;
  #over = false;

  constructor() {
    const { symbols } = this.#libc;
    this.#master = checked(symbols.posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), "posix_openpt");
    checked(symbols.grantpt(this.#master), "grantpt");
    checked(symbols.unlockpt(this.#master), "unlockpt");
    const name = new Uint8Array(64);
    checked(-symbols.ptsname_r(this.#master, name, BigInt(name.length)), "ptsname_r");
    this.path = new TextDecoder().decode(name.subarray(0, name.indexOf(0)));
    const path = new TextEncoder().encode(`${this.path}\0`);
    this.#slave = checked(symbols.open(path, O_RDWR | O_NOCTTY | O_CLOEXEC), "open");
  }

  /** What appeared on the screen. */
  get screen(): Captured {
    return this.#screen ??= new Captured(new ReadableStream({ pull: (controller) => this.#read(controller) }));
  }

  /** The words that run a command, as `exec` does, in a session of its own with this terminal; stderr stays a pipe. */
  get prefix(): string[] {
    return ["setsid", "sh", "-c", 'tty=$1; shift; exec "$@" <"$tty" >"$tty"', "sh", this.path];
  }

  type(text: string): void {
    const bytes = new TextEncoder().encode(text);
    checked(Number(this.#libc.symbols.write(this.#master, bytes, BigInt(bytes.length))), "write");
  }

  /** What `stty -g` says: all settings. */
  settings(): string {
    const { stdout } = new Deno.Command("stty", { args: ["-F", this.path, "-g"] }).outputSync();
    return new TextDecoder().decode(stdout).trim();
  }

  /** Changes settings. @param changes stty's arguments */
  set(...changes: string[]): void {
    new Deno.Command("stty", { args: ["-F", this.path, ...changes] }).outputSync();
  }

  /** Hangs up. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#over = true;
    await this.#screen?.ended;
    for (const end of [this.#slave, this.#master]) this.#libc.symbols.close(end);
    this.#libc.close();
  }

  async #read(controller: ReadableStreamDefaultController<Uint8Array>): Promise<void> {
    const { symbols } = this.#libc, bytes = new Uint8Array(4096);
    const set = new Int32Array([this.#master, POLLIN]);
    while (await symbols.poll(set, 1n, LOOK_MS) === 0) if (this.#over) return controller.close();
    const count = Number(symbols.read(this.#master, bytes, BigInt(bytes.length)));
    if (count <= 0) controller.close();
    else controller.enqueue(bytes.slice(0, count));
  }
}

function checked(result: number, call: string): number {
  if (result < 0) throw new Error(`${call} failed`);
  return result;
}

/** A terminal, and `setsid` and `stty` to use it with. */
export const TERMINAL: Capability = await capability();

async function capability(): Promise<Capability> {
  try {
    await using terminal = new PseudoTerminal();
    const session = new Deno.Command("setsid", { args: ["true"] }).outputSync();
    if (session.success && terminal.settings() !== "") return { present: true, reason: "" };
    return { present: false, reason: "setsid or stty does not work" };
  } catch (error) {
    return { present: false, reason: `no pseudo-terminal: ${(error as Error).message}` };
  }
}
