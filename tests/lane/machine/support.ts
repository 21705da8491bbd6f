/** Running commands in the lane from tests: on this host, whose QEMU they need. */

import { Cache } from "../../../src/lane/cache.ts";
import { LaneError } from "../../../src/lane/errors.ts";
import { kernel, type KernelVersion } from "../../../src/lane/kernel.ts";
import { type Job, type LaneOptions, type LaneResult, type LaneRun, startLane } from "../../../src/lane/lane.ts";
import { type Capability, program, testWith } from "../../support/capabilities.ts";

/** What src/lane needs of the host. */
const NEEDS: readonly Capability[] = [
  program("qemu-system-x86_64", "qemu-system-x86"),
  program("busybox", "busybox-static"),
  program("apt-get", "apt"),
  program("dpkg", "dpkg"),
];

/** One of Debian's kernels for the machine; it is fetched, if it was not before. */
export async function laneKernel(version: KernelVersion): Promise<Capability> {
  try {
    await kernel(new Cache(), version);
    return { present: true, reason: "" };
  } catch (error) {
    if (!(error instanceof LaneError)) throw error;
    return { present: false, reason: error.message };
  }
}

/** A test that starts machines. */
export function laneTest(name: string, body: () => Promise<void>, needs: readonly Capability[] = []): void {
  testWith([...NEEDS, ...needs], name, body);
}

/** How a shell's commands ended in the lane, and what they printed. */
export interface Finished extends LaneResult {
  readonly stdout: Uint8Array<ArrayBuffer>;
  readonly stderr: string;
}

/** A machine that does not end is killed, and its test fails. */
const PATIENCE_MS = 120_000;

/** Starts a shell with `script` in the lane. */
export function startShell(script: string, options: LaneOptions = {}, job: Partial<Job> = {}): Promise<LaneRun> {
  return startLane({ command: ["sh", "-c", script], directory: "/", ...job }, { timeoutMs: PATIENCE_MS, ...options });
}

/** Runs a shell with `script` and `input` to its end. */
export async function inLane(
  script: string,
  options: LaneOptions & { input?: Uint8Array<ArrayBuffer> } = {},
  job: Partial<Job> = {},
): Promise<Finished> {
  await using run = await startShell(script, options, job);
  const writing = run.machine.write(options.input ?? new Uint8Array()).then(() => run.machine.endInput());
  const printed = Promise.all([new Response(run.machine.stdout).bytes(), new Response(run.machine.stderr).text()]);
  const result = await run.ended;
  await writing;
  const [stdout, stderr] = await printed;
  return { ...result, stdout, stderr };
}

/** A cache that nobody has used before. */
export class ColdCache extends Cache implements Disposable {
  constructor() {
    super(`${Deno.makeTempDirSync({ prefix: "xenolith-cold-" })}/xenolith`);
  }

  /** What XDG_CACHE_HOME would be. */
  get home(): string {
    return this.directory.replace(/\/xenolith$/, "");
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.home, { recursive: true });
  }
}
