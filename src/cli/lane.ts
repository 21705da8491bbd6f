/** `run --lane`: the same command in a machine that has KVM, for hosts that have none. */

import { planBoot } from "../boot/loaders.ts";
import { bootRequest } from "../machine/machine.ts";
import {
  DEFAULT_MEMORY_BYTES,
  type ModelModule,
  type ModelSocket,
  parseMemory,
  UsageError,
} from "../machine/options.ts";
import type { CpioWriter } from "../lane/cpio.ts";
import { denoPackages } from "../lane/deno_cache.ts";
import { type Job, type LaneOptions, type LaneRun, startLane } from "../lane/lane.ts";
import { laneArguments, type RunArguments } from "./arguments.ts";
import { bundle } from "./lane_program.ts";
import { Conversation } from "./lane_conversation.ts";

/** Where the program is in the machine, and what it writes that comes back. */
const PROGRAM = "/lane/xenolith.js", REPORT = "report.json", TRACE = "trace.json";

/** Nothing is asked of a network that is not there. */
const DENO = ["deno", "run", "--quiet", "--allow-all", "--cached-only", "--no-config"];

/** A machine that takes this long to boot never will. */
const BOOT_MS = 120_000;

/** The guest's time-out counts the machine's own time; a real second brings at least this part of one. */
const SLOWEST = 1 / 20;

/** Memory of the machine beside the guest's: Xenolith, and the files. */
const PROGRAM_MIB = 256;

/** @returns the exit status. @throws {LaneError} @throws {UsageError} @throws {ImageError} */
export async function runInLane(args: string[], parsed: RunArguments): Promise<number> {
  const { images, machine, timeoutMs } = parsed;
  if (parsed.control !== undefined) throw new UsageError("--control does not reach into the lane");
  if (models(parsed).some((model) => "socket" in model)) {
    throw new UsageError("--device-model: a socket does not reach into the lane; a module does");
  }
  if ((machine.vhostUserBlks ?? []).length > 0) {
    throw new UsageError("--vhost-user-blk: a socket does not reach into the lane");
  }
  if ((machine.nets ?? []).length > 0) throw new UsageError("--net: the lane has no network");
  const written = (machine.disks ?? []).find((disk) => typeof disk === "string" || disk.readOnly !== true);
  if (written !== undefined) {
    throw new UsageError("--disk: in the lane with ,ro only: what is written does not come back");
  }
  if ((machine.consoles ?? []).flat().some((port) => port !== "stdio")) {
    throw new UsageError("--virtio-console: a socket does not reach into the lane; stdio does");
  }
  // What is wrong with an image need not wait for a machine. Of several, those before it would have run.
  if (images.length === 1) planBoot(bootRequest({ ...machine, image: images[0] }));
  using conversation = new Conversation();
  // Where nobody types, and no time-out counts what the guest waits, waiting can be skipped; see Clock for why it should.
  const job = jobOf(args, parsed);
  const guestMiB = Math.ceil(parseMemory(machine.memory ?? DEFAULT_MEMORY_BYTES) / 2 ** 20);
  const options: LaneOptions = {
    clock: conversation.isTerminal || timeoutMs !== undefined ? "wait idle" : "skip idle",
    terminal: conversation.isTerminal,
    memoryMiB: guestMiB + PROGRAM_MIB,
    ...(parsed.laneKernel !== undefined && { kernel: parsed.laneKernel }),
    ...(timeoutMs !== undefined && { timeoutMs: BOOT_MS + timeoutMs / SLOWEST }),
  };
  await using run = await startLane(job, options);
  const status = await conversation.hold(run);
  if (parsed.json !== undefined && parsed.json !== "-") await copyBack(run, REPORT, "--json", parsed.json);
  if (parsed.trace !== undefined) await copyBack(run, TRACE, "--trace", parsed.trace);
  return status;
}

/** The command line again, in the directory where it was given, with the files that it names. */
function jobOf(args: string[], parsed: RunArguments): Job {
  const { images, machine } = parsed;
  const modules = (machine.modules ?? []).map((module) =>
    typeof module === "object" && "file" in module ? module.file : module
  );
  const devices = models(parsed).map((model) => "module" in model ? model.module : undefined);
  const disks = (machine.disks ?? []).map((disk) => typeof disk === "string" ? disk : disk.file);
  const files = [...images, machine.initrd, ...modules, ...devices, ...disks].filter((file) =>
    typeof file === "string"
  );
  return {
    command: [...DENO, PROGRAM, "run", ...laneArguments(args, { json: `/out/${REPORT}`, trace: `/out/${TRACE}` })],
    directory: Deno.cwd(),
    async files(archive) {
      const program = bundle();
      // Imported here: in a bundle a static import of a node: module is loaded by every isolate as it starts.
      const { resolve } = await import("node:path");
      for (const path of new Set(files)) addFile(archive, resolve(path), path);
      await denoPackages(archive, ["iced-x86"]);
      archive.file(PROGRAM, await program);
    },
  };
}

/** The device models, as the command line gives them. */
function models({ machine }: RunArguments): (ModelModule | ModelSocket)[] {
  const models = machine.deviceModels ?? [];
  return models.filter((model) =>
    typeof model === "object" && !(model instanceof URL)
  ) as (ModelModule | ModelSocket)[];
}

/** A file at the same place in the machine. One that cannot be read is left to the command there to complain about. */
function addFile(archive: CpioWriter, place: string, path: string): void {
  try {
    archive.file(place, Deno.readFileSync(path));
  } catch (error) {
    if (error instanceof RangeError) throw error;
  }
}

async function copyBack(run: LaneRun, name: string, option: string, path: string): Promise<void> {
  const file = await run.ended.then(({ files }) => files.get(name), () => undefined);
  if (file === undefined) return;
  try {
    Deno.writeFileSync(path, file);
  } catch (error) {
    throw new UsageError(`${option} ${path}: ${(error as Error).message}`);
  }
}
