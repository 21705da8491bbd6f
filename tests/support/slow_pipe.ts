/** A pipe that holds one page and is read when the test says so. */

import { fcntl, ioctl } from "../../src/linux/calls.ts";
import { Descriptor } from "../../src/linux/descriptor.ts";

const F_SETPIPE_SZ = 1031, FIONREAD = 0x541b, PAGE_BYTES = 4096, LOOK_MS = 5, MOST_LOOKS = 6000;

export class SlowPipe implements AsyncDisposable {
  private constructor(private readonly directory: string, private readonly holder: Descriptor) {}

  static async create(): Promise<SlowPipe> {
    const directory = await Deno.makeTempDir({ prefix: "xenolith-test-" });
    const path = `${directory}/pipe`;
    await new Deno.Command("mkfifo", { args: [path] }).output();
    const holder = Descriptor.open(path);
    if (fcntl(holder.number, F_SETPIPE_SZ, PAGE_BYTES) < 0) throw new Error("F_SETPIPE_SZ failed");
    return new SlowPipe(directory, holder);
  }

  /** The words that run a command, as `exec` does, with the pipe as its stdout. */
  get prefix(): string[] {
    return ["sh", "-c", 'pipe=$1; shift; exec "$@" >"$pipe"', "sh", `${this.directory}/pipe`];
  }

  /** Resolves when nothing more fits: a pipe of one page is full as soon as there is something in it (pipe_full()). */
  async full(): Promise<void> {
    const count = new Int32Array(1);
    for (let look = 0; count[0] === 0; look++) {
      if (look === MOST_LOOKS) throw new Error("nobody writes to the pipe");
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
      ioctl(this.holder.number, FIONREAD, count);
    }
  }

  /** Reads to the end: until nobody has the writing end open any more. */
  async readAll(): Promise<Uint8Array> {
    using reader = await Deno.open(`${this.directory}/pipe`, { read: true });
    this.holder[Symbol.dispose]();
    return new Uint8Array(await new Response(reader.readable).arrayBuffer());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.holder[Symbol.dispose]();
    await Deno.remove(this.directory, { recursive: true });
  }
}
