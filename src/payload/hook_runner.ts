/** Running a payload's hooks. */

import { EINVAL, ETIME } from "../linux/errno.ts";
import { kill, PERMISSIONS } from "../domain/child_process.ts";
import { happensBefore } from "../domain/grace.ts";
import { linesOf } from "../machine/lines.ts";
import type { HookEnd, HookStart } from "./hook_process.ts";
import type { HookContext, HookName } from "./hooks.ts";
import { hooksPath, type Payload } from "./manifest.ts";
import { PayloadError } from "./payload_error.ts";

const PROCESS_URL = new URL("./hook_process.ts", import.meta.url).href;

/** How long a hook may take, and how long its module may take to load. */
export const HOOK_LIMIT_MS = 1000, HOOK_LOADING_LIMIT_MS = 60_000;

/** A hook whose module is loaded: it runs once. */
export class HookRunner implements AsyncDisposable {
  readonly #process: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;
  readonly #answers: AsyncGenerator<string>;

  private constructor(private readonly payload: Payload, private readonly name: HookName) {
    const args = ["run", ...PERMISSIONS, PROCESS_URL];
    const command = new Deno.Command(Deno.execPath(), { args, stdin: "piped", stdout: "piped", stderr: "inherit" });
    this.#process = command.spawn();
    this.#input = this.#process.stdin.getWriter();
    this.#answers = linesOf(this.#process.stdout);
  }

  /**
   * @param tree root of the sources in which the hooks' module stands
   * @throws {PayloadError} EINVAL: it fails to load; ETIME: it takes longer than {@linkcode HOOK_LOADING_LIMIT_MS}
   */
  static async load(payload: Payload, name: HookName, tree: URL): Promise<HookRunner> {
    await using stack = new AsyncDisposableStack();
    const runner = stack.use(new HookRunner(payload, name)), module = new URL(hooksPath(payload), tree).href;
    await runner.#ask({ module }, HOOK_LOADING_LIMIT_MS);
    stack.move();
    return runner;
  }

  /** @throws {PayloadError} EINVAL: it vetoes, or fails; ETIME: it takes longer than `limitMs` */
  async run(context: HookContext, limitMs: number = HOOK_LIMIT_MS): Promise<void> {
    await this.#ask({ name: this.name, context }, limitMs);
  }

  async #ask(start: HookStart, limitMs: number): Promise<void> {
    const what = `${this.payload.name}: hook ${this.name}`;
    await this.#input.write(new TextEncoder().encode(`${JSON.stringify(start)}\n`)).catch(() => {});
    const answer = this.#answers.next();
    if (!await happensBefore(answer, performance.now() + limitMs)) {
      throw new PayloadError(ETIME, `${what} takes more than ${Math.max(0, Math.floor(limitMs))} ms`);
    }
    const { done, value } = await answer;
    const { veto }: HookEnd = done ? { veto: "it ended its process" } : JSON.parse(value);
    if (veto !== undefined) throw new PayloadError(EINVAL, `${what}: ${veto}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    kill(this.#process);
    await this.#input.abort().catch(() => {});
    await this.#process.status;
    await this.#answers.return(undefined).catch(() => {});
  }
}
