/** Processes that do nothing but take processor time. */

export class Competition implements AsyncDisposable {
  private constructor(private readonly children: readonly Deno.ChildProcess[]) {}

  /** Starts `count` of them. */
  static start(count: number): Competition {
    const args = ["-c", "while :; do :; done"];
    return new Competition(Array.from({ length: count }, () => new Deno.Command("sh", { args }).spawn()));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of this.children) child.kill("SIGKILL");
    await Promise.all(this.children.map((child) => child.status));
  }
}
