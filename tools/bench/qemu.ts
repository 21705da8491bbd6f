/** An answer from another process against QEMU's, which comes from its own: the same guest under both. */

import type { Round } from "./c_program.ts";
import { type Access, ExitGuest, EXITS_IMAGE, exitsCommandLine } from "./exit_guest.ts";
import { benchmark, median, missing, round } from "./harness.ts";
import { Competition } from "./competition.ts";
import { MODEL, READ_OF_REGISTER } from "./ioreq.ts";
import { ModelProcess } from "./model_process.ts";
import { isQemuInstalled, QEMU_MISSING, startQemu } from "./qemu_program.ts";
import { TextLineStream } from "./text_lines.ts";
import { COM1 } from "../../src/devices/platform_map.ts";
import { REGISTER } from "../../src/devices/uart_registers.ts";

/** QEMU's UART is not in the kernel, and its scratch register is a register: the least that QEMU does for an access. */
const READ_OF_SCRATCH: Access = { op: "in", port: COM1.port + REGISTER.SCRATCH };

/** The exits of a long run, and of a short one, which has all else that a long one has. */
const LONG = 60_000, SHORT = 5_000;

export const qemu = benchmark({
  figures: {
    ioreq_process_vs_qemu: { what: "an exit answered by another process, against QEMU, a processor idle", target: 1 },
    ioreq_process_vs_qemu_busy: { what: "the same while no processor is idle", target: 1.15 },
    qemu_us: { what: "an exit that QEMU answers, a processor idle, us" },
    qemu_busy_us: { what: "the same while no processor is idle, us" },
  },
  async measure({ quick }) {
    const nothing = {
      ioreq_process_vs_qemu: null,
      ioreq_process_vs_qemu_busy: null,
      qemu_us: null,
      qemu_busy_us: null,
    };
    if (!await isQemuInstalled()) {
      missing(QEMU_MISSING);
      return nothing;
    }
    const ms = quick ? 50 : 300, rounds = quick ? 1 : 9;
    await using process = await ModelProcess.start(MODEL);
    await using guest = await ExitGuest.start(READ_OF_REGISTER, { deviceModels: [{ socket: process.socket }] });
    const measured = { idle: await turns(guest, rounds, ms), busy: await busyTurns(guest, rounds, ms) };
    const ratio = ({ ours, theirs }: Turns) => round(median(ours.map((us, at) => us / theirs[at])), 3);
    return {
      ioreq_process_vs_qemu: ratio(measured.idle),
      ioreq_process_vs_qemu_busy: ratio(measured.busy),
      qemu_us: round(median(measured.idle.theirs), 2),
      qemu_busy_us: round(median(measured.busy.theirs), 2),
    };
  },
});

/** Microseconds an exit, of neighbouring rounds. */
interface Turns {
  readonly ours: number[];
  readonly theirs: number[];
}

async function turns(guest: ExitGuest, rounds: number, ms: number): Promise<Turns> {
  const ours: number[] = [], theirs: number[] = [];
  for (let index = 0; index < rounds; index++) {
    ours.push(wallUs(await guest.round(ms)));
    theirs.push(await qemuUs());
  }
  return { ours, theirs };
}

async function busyTurns(guest: ExitGuest, rounds: number, ms: number): Promise<Turns> {
  await using _competition = Competition.start(navigator.hardwareConcurrency - 1);
  return await turns(guest, rounds, ms);
}

function wallUs({ wallNs, count }: Round): number {
  return wallNs / count / 1000;
}

/** An exit under QEMU: the slope between two runs, so that nothing but exits is left. */
async function qemuUs(): Promise<number> {
  const short = await loopMs(SHORT), long = await loopMs(LONG);
  return (long - short) * 1000 / (LONG - SHORT);
}

/** How long the guest's loop takes: from the line that it prints before to the one that it prints after. */
async function loopMs(count: number): Promise<number> {
  await using qemu = startQemu(EXITS_IMAGE, exitsCommandLine(READ_OF_SCRATCH, count));
  const times: number[] = [];
  for await (const _line of qemu.stdout.pipeThrough(new TextDecoderStream()).pipeThrough(new TextLineStream())) {
    times.push(performance.now());
  }
  if (times.length !== 2) throw new Error(`QEMU: ${times.length} lines came from exits.img, not 2`);
  return times[1] - times[0];
}
