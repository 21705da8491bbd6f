/** `run`: boots images, one after another, with the terminal as their console. */

import { type Outcome, STATUS } from "../domain/outcome.ts";
import type { ControlCommands } from "../machine/control_server.ts";
import { type Machine, startMachine, successionOf } from "../machine/machine.ts";
import { loadFile } from "../machine/files.ts";
import { UsageError } from "../machine/options.ts";
import type { LivePatching, LivePatchingOptions } from "../payload/live_patching.ts";
import { PayloadError } from "../payload/payload_error.ts";
import type { PayloadKey } from "../payload/signature.ts";
import { describeOutcome } from "../machine/disassemble.ts";
import { parseRun, RUN_HELP, type RunArguments } from "./arguments.ts";
import { say, sayFailure } from "./failure.ts";
import { openTerminal } from "./terminal.ts";

const MAX_KEY_BYTES = 64 << 10;

/** Signals that end a run, with the status of each. */
const SIGNALS = { SIGHUP: STATUS.HANGUP, SIGINT: STATUS.INTERRUPT, SIGTERM: STATUS.TERMINATED } as const;

/** Endings that need no word on stderr: the guest did what it wanted, or the user did. */
const SILENT: ReadonlySet<string> = new Set(["poweroff", "exit", "left"]);

/** @returns the exit status: the first that is not zero, in the images' order */
export async function run(args: string[]): Promise<number> {
  try {
    const parsed = parseRun(args);
    if (parsed === undefined) {
      console.error(RUN_HELP);
      return STATUS.OK;
    }
    if (parsed.stop !== undefined) return await (await import("./stop.ts")).requestPowerOff(parsed.stop);
    if (parsed.payloadKeys.length > 0 && parsed.control === undefined) {
      throw new UsageError("--payload-key needs --control: payloads come by the control socket");
    }
    if (parsed.lane) return await (await import("./lane.ts")).runInLane(args, parsed);
    return await runImages(parsed);
  } catch (error) {
    return sayFailure(error);
  }
}

/** Who has the hypervisor of a running guest changed. */
export interface Changer {
  /** The sources that the program was started from; a directory, with a slash at its end. */
  readonly root: URL;
  /** Begins with the payloads of a machine that runs; disposing the result ends that. */
  follow(patching: LivePatching): AsyncDisposable;
}

/** Runs what was asked for. @returns the exit status */
export async function runImages(args: RunArguments, changer?: Changer): Promise<number> {
  let status: number = STATUS.OK;
  try {
    const signals = new Interruption(), isPatched = args.control !== undefined || changer !== undefined;
    const keys = await readKeys(args.payloadKeys);
    await using patching = isPatched ? await livePatching({ keys, root: changer?.root }) : undefined;
    onSignals((signal) => signals.raise({ kind: "signal", status: SIGNALS[signal], reason: `ended by ${signal}` }));
    for (const image of args.images) {
      const outcome = await runToTheEnd(image, args, { patching, signals, changer });
      status ||= outcome.status;
      if (outcome.kind === "signal" || outcome.kind === "left") break;
    }
  } catch (error) {
    const failed = sayFailure(error);
    status ||= failed;
  }
  return status;
}

/** What is the same for all images. */
interface Surroundings {
  /** Payloads are the hypervisor's: the next guest, or the same one after a reset, meets those that are applied. */
  readonly patching: Patching | undefined;
  readonly signals: Interruption;
  readonly changer: Changer | undefined;
}

/** An ending from outside. It is kept: one that comes between two boots, or too late for the first, ends the next. */
class Interruption {
  #outcome: Outcome | undefined;
  #machine: Machine | undefined;

  /** Ends the machine that runs now, or the next one. */
  raise(outcome: Outcome): void {
    this.#outcome ??= outcome;
    this.#machine?.end(this.#outcome);
  }

  /** From now on it is `machine` that is ended. */
  attach(machine: Machine): void {
    this.#machine = machine;
    if (this.#outcome !== undefined) machine.end(this.#outcome);
  }
}

/** Boots the image until it ends otherwise than by a reset that may be followed. The time-out counts for all boots. */
async function runToTheEnd(image: string, args: RunArguments, surroundings: Surroundings): Promise<Outcome> {
  const timeout = new Interruption();
  const timer = armTimeout(timeout, args.timeoutMs);
  try {
    for (;;) {
      const outcome = await runOnce(image, args, surroundings, timeout);
      if (outcome.kind !== "reset" || !args.reboot) return outcome;
    }
  } finally {
    clearTimeout(timer);
  }
}

async function runOnce(
  image: string,
  args: RunArguments,
  { patching, signals, changer }: Surroundings,
  timeout: Interruption,
): Promise<Outcome> {
  const startMs = performance.now(), isChanged = patching?.operations.isChanged ?? false;
  using terminal = openTerminal();
  await using control = args.control === undefined ? undefined : await listen(args.control);
  await using machine = await startMachine({ ...args.machine, image }, terminal.console, (machine) => {
    for (const interruption of [signals, timeout]) interruption.attach(machine);
    if (isChanged) void machine.pause();
  });
  await using _attached = await attach(machine, patching?.operations);
  if (isChanged) machine.resume();
  control?.serve(machine, patching?.commands);
  await using _changes = patching && changer?.follow(patching.operations);
  const outcome = await machine.ended;
  terminal[Symbol.dispose]();
  await report(image, args, machine, outcome, performance.now() - startMs);
  return outcome;
}

/** Whose payloads are taken; undefined: anybody's. @throws {UsageError} no such file @throws {PayloadError} no key */
async function readKeys(files: readonly string[]): Promise<readonly PayloadKey[] | undefined> {
  if (files.length === 0) return undefined;
  const { parsePublicKey } = await import("../payload/signature.ts");
  return await Promise.all(files.map(async (file) => {
    const { name, bytes } = loadFile("payload key", file, MAX_KEY_BYTES);
    return await parsePublicKey(name, new TextDecoder().decode(bytes));
  }));
}

/** The operations, and the commands that ask for them. */
interface Patching extends AsyncDisposable {
  readonly operations: LivePatching;
  readonly commands: ControlCommands;
}

async function livePatching(options: LivePatchingOptions): Promise<Patching> {
  const { LivePatching } = await import("../payload/live_patching.ts");
  const { payloadCommands } = await import("../payload/control_commands.ts");
  const operations = new LivePatching(undefined, options);
  return {
    operations,
    commands: payloadCommands(operations),
    [Symbol.asyncDispose]: () => operations[Symbol.asyncDispose](),
  };
}

/** The payloads go on with this machine; one that cannot run them ends. */
async function attach(machine: Machine, operations: LivePatching | undefined): Promise<AsyncDisposable | undefined> {
  try {
    return await operations?.attach(successionOf(machine));
  } catch (error) {
    if (!(error instanceof PayloadError)) throw error;
    const reason = `the payloads that are applied do not go on: ${error.message}`;
    machine.end({ kind: "stopped", status: STATUS.HOST, reason });
  }
}

/** Before the guest runs: who sees its first words may connect. */
async function listen(path: string) {
  const { ControlServer } = await import("../machine/control_server.ts");
  return new ControlServer(path);
}

function armTimeout(timeout: Interruption, timeoutMs: number | undefined) {
  if (timeoutMs === undefined) return undefined;
  const reason = `time-out after ${timeoutMs / 1000} s`;
  return setTimeout(() => timeout.raise({ kind: "timeout", status: STATUS.TIMEOUT, reason }), timeoutMs);
}

/** For the rest of the process: without a listener a signal would end it with the terminal raw. */
function onSignals(handle: (signal: keyof typeof SIGNALS) => void): void {
  for (const signal of Object.keys(SIGNALS) as (keyof typeof SIGNALS)[]) {
    Deno.addSignalListener(signal, () => handle(signal));
  }
}

async function report(image: string, args: RunArguments, machine: Machine, outcome: Outcome, wallMs: number) {
  const description = SILENT.has(outcome.kind) ? outcome.reason : await describeOutcome(outcome);
  if (!SILENT.has(outcome.kind)) say(`${image}: ${description}`);
  if (args.trace !== undefined) (await import("./trace_file.ts")).writeTrace(args.trace, machine.trace);
  if (!args.stats && args.json === undefined) return;
  const { formatStatistics, jsonReport, writeJson } = await import("./report.ts");
  if (args.stats) console.error(formatStatistics(machine.statistics, wallMs));
  if (args.json !== undefined) writeJson(args.json, jsonReport(outcome, description, machine.statistics, wallMs));
}
