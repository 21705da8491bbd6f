/** Running a command in the lane: everything prepared, a machine booted, the job handed over, the result taken apart. */

import { base } from "./base.ts";
import { Cache } from "./cache.ts";
import { CpioWriter, isFile, readCpio } from "./cpio.ts";
import { LaneDied } from "./errors.ts";
import { commandScript, PLACES } from "./init.ts";
import { kernel, type KernelVersion } from "./kernel.ts";
import { type Clock, LaneMachine } from "./machine.ts";
import { find } from "./programs.ts";

/** What a machine has beside a job's own memory: kernel, Deno, and the file system twice while it is being unpacked. */
const BASE_MEMORY_MIB = 768;

/** How a command is run. */
export interface LaneOptions {
  /** Default: the one of the host's release of Debian. */
  readonly kernel?: KernelVersion;
  /** Memory for the job, beside what Linux and Deno need for themselves; default 256. */
  readonly memoryMiB?: number;
  /** Default: skip idle. */
  readonly clock?: Clock;
  /** Whether stdin is a terminal for the command; default no. */
  readonly terminal?: boolean;
  /** From the start of the machine; default: no limit. */
  readonly timeoutMs?: number;
  readonly cache?: Cache;
}

/** A command with all that it needs. */
export interface Job {
  /** Program and arguments; "deno" is the Deno that runs us. */
  readonly command: readonly string[];
  /** Where it runs; made if missing. */
  readonly directory: string;
  readonly environment?: Record<string, string>;
  /** Adds files, by their path in the machine. It is called while the machine boots. */
  readonly files?: (archive: CpioWriter) => void | Promise<void>;
}

/** How a command ended. */
export interface LaneResult {
  /** Its exit status; 128 + N after signal N. */
  readonly status: number;
  /** The files that it left in /out, by their path in there. */
  readonly files: ReadonlyMap<string, Uint8Array>;
}

/** A command on its way. */
export class LaneRun implements AsyncDisposable {
  /** Resolves when the machine has ended. @throws {LaneTimeout} @throws {LanePanic} @throws {LaneDied} */
  readonly ended: Promise<LaneResult>;

  /** Use {@linkcode startLane}. */
  constructor(readonly machine: LaneMachine, job: Job) {
    this.ended = (async () => {
      const [handedOver, result] = await Promise.allSettled([this.#handOver(job), machine.result()]);
      if (handedOver.status === "rejected") throw handedOver.reason; // then the machine was killed for that
      if (result.status === "rejected") throw result.reason;
      return parseResult(result.value);
    })();
    this.ended.catch(() => {}); // whoever awaits it learns of it
  }

  async #handOver(job: Job): Promise<void> {
    const chunks: Uint8Array[] = [];
    const archive = new CpioWriter((bytes) => chunks.push(bytes));
    try {
      archive.directory(job.directory);
      await job.files?.(archive);
      archive.file(PLACES.command, commandScript(job.command, job.directory, { ...ENVIRONMENT, ...job.environment }));
      archive.end();
    } catch (error) {
      this.machine.kill();
      throw error;
    }
    await this.machine.writeJob(await new Blob(chunks as BlobPart[]).bytes());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.machine[Symbol.asyncDispose]();
    await this.ended.catch(() => {});
  }
}

const ENVIRONMENT = {
  PATH: `${PLACES.programs}:/bin`,
  HOME: "/root",
  DENO_DIR: PLACES.denoDirectory,
  DENO_NO_UPDATE_CHECK: "1",
  XENOLITH_LANE: "1",
};

/** Makes everything that machines start from, where it is missing. @throws {LaneUnavailable} */
export async function prepareLane(
  { cache = new Cache(), kernel: version }: Pick<LaneOptions, "cache" | "kernel"> = {},
): Promise<{ kernelImage: string; initramfs: string }> {
  find("qemu-system-x86_64"); // what is missing is better known before anything is fetched
  const itsKernel = await kernel(cache, version);
  return { kernelImage: itsKernel.image, initramfs: await base(cache, itsKernel) };
}

/** Starts a command in a new machine. @throws {LaneUnavailable} */
export async function startLane(job: Job, options: LaneOptions = {}): Promise<LaneRun> {
  const machine = await LaneMachine.start({
    ...await prepareLane(options),
    memoryMiB: BASE_MEMORY_MIB + (options.memoryMiB ?? 256),
    clock: options.clock ?? "skip idle",
    terminal: options.terminal ?? false,
    timeoutMs: options.timeoutMs ?? 0,
  });
  return new LaneRun(machine, job);
}

/** "status N", then an archive of /out. */
function parseResult(bytes: Uint8Array): LaneResult {
  const end = bytes.indexOf("\n".charCodeAt(0)) + 1;
  const match = /^status (\d+)\n$/.exec(new TextDecoder().decode(bytes.subarray(0, end)));
  if (match === null) throw new LaneDied("no status", "");
  const entries = readCpio(bytes.subarray(end)).filter(isFile);
  return {
    status: Number(match[1]),
    files: new Map(entries.map(({ path, bytes }) => [path.replace(/^\.\//, ""), bytes])),
  };
}
