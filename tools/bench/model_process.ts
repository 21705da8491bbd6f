/** A device model in a process of its own: `deno task dm`, without the task. */

import { path, taskOptions } from "./harness.ts";

/** Runs until the domain that it serves has ended, or as long as it waits for one. */
export class ModelProcess implements AsyncDisposable {
  private constructor(private readonly directory: string, private readonly child: Deno.ChildProcess) {}

  /** Starts it; it waits for {@linkcode socket}. @param module a file of the repository */
  static async start(module: string, configuration?: unknown): Promise<ModelProcess> {
    const directory = await Deno.makeTempDir({ prefix: "xenolith-bench-" });
    const args = ["run", ...taskOptions("dm"), path("src/cli/main.ts"), "dm", path(module), "--socket"];
    args.push(socketIn(directory));
    if (configuration !== undefined) args.push("--configuration", JSON.stringify(configuration));
    return new ModelProcess(directory, new Deno.Command(Deno.execPath(), { args, stdin: "null" }).spawn());
  }

  /** Where the machine has to listen. */
  get socket(): string {
    return socketIn(this.directory);
  }

  /** Its process. */
  get pid(): number {
    return this.child.pid;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.child.kill();
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // it has ended already
    }
    await this.child.status;
    await Deno.remove(this.directory, { recursive: true });
  }
}

function socketIn(directory: string): string {
  return `${directory}/model`;
}
