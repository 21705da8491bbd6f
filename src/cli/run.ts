/** `run`: boots images, one after another, with the terminal as their console. */

import { type Outcome, STATUS } from "../domain/outcome.ts";
import { type Machine, startMachine } from "../machine/machine.ts";
import { describeOutcome } from "../machine/disassemble.ts";
import { parseRun, RUN_HELP, type RunArguments } from "./arguments.ts";
import { describeFailure, statusOf } from "./failure.ts";
import { openTerminal } from "./terminal.ts";

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
    let status: number = STATUS.OK;
    for (const image of parsed.images) {
      const outcome = await runToTheEnd(image, parsed);
      status ||= outcome.status;
      if (outcome.kind === "signal" || outcome.kind === "left") break;
    }
    return status;
  } catch (error) {
    console.error(`xenolith: ${describeFailure(error)}`);
    return statusOf(error);
  }
}

/** Boots the image until it ends otherwise than by a reset that may be followed. */
async function runToTheEnd(image: string, args: RunArguments): Promise<Outcome> {
  for (;;) {
    const outcome = await runOnce(image, args);
    if (outcome.kind !== "reset" || !args.reboot) return outcome;
  }
}

async function runOnce(image: string, args: RunArguments): Promise<Outcome> {
  const startMs = performance.now();
  using terminal = openTerminal();
  await using machine = await startMachine({ ...args.machine, image }, terminal.console);
  const removeSignals = onSignals((signal) =>
    machine.end({ kind: "signal", status: SIGNALS[signal], reason: `ended by ${signal}` })
  );
  const timer = armTimeout(machine, args.timeoutMs);
  await using _control = args.control === undefined ? undefined : await listen(args.control, machine);
  const outcome = await machine.ended;
  clearTimeout(timer);
  removeSignals();
  terminal[Symbol.dispose]();
  await report(image, args, machine, outcome, performance.now() - startMs);
  return outcome;
}

async function listen(path: string, machine: Machine): Promise<AsyncDisposable> {
  const { ControlServer } = await import("../machine/control_server.ts");
  return new ControlServer(path, machine);
}

function armTimeout(machine: Machine, timeoutMs: number | undefined) {
  if (timeoutMs === undefined) return undefined;
  const reason = `time-out after ${timeoutMs / 1000} s`;
  return setTimeout(() => machine.end({ kind: "timeout", status: STATUS.TIMEOUT, reason }), timeoutMs);
}

function onSignals(handle: (signal: keyof typeof SIGNALS) => void): () => void {
  const listeners = (Object.keys(SIGNALS) as (keyof typeof SIGNALS)[]).map((signal) => {
    const listener = () => handle(signal);
    Deno.addSignalListener(signal, listener);
    return () => Deno.removeSignalListener(signal, listener);
  });
  return () => listeners.forEach((remove) => remove());
}

async function report(image: string, args: RunArguments, machine: Machine, outcome: Outcome, wallMs: number) {
  const description = SILENT.has(outcome.kind) ? outcome.reason : await describeOutcome(outcome);
  if (!SILENT.has(outcome.kind)) console.error(`xenolith: ${image}: ${description}`);
  if (!args.stats && args.json === undefined) return;
  const { formatStatistics, jsonReport, writeJson } = await import("./report.ts");
  if (args.stats) console.error(formatStatistics(machine.statistics, wallMs));
  if (args.json !== undefined) writeJson(args.json, jsonReport(outcome, description, machine.statistics, wallMs));
}
