/** Errors as the user sees them: one line and an exit status. */

import { KvmUnavailable } from "../kvm/kvm.ts";
import { LinuxError } from "../linux/linux_error.ts";
import { MachineMemoryError } from "../memory/bank.ts";
import { ImageError } from "../boot/plan.ts";
import { STATUS } from "../domain/outcome.ts";
import { UsageError } from "../machine/options.ts";
import { LaneError } from "../lane/errors.ts";

/** The exit status that an error stands for. */
export function statusOf(error: unknown): number {
  if (error instanceof UsageError || error instanceof ImageError) return STATUS.USAGE;
  if (error instanceof KvmUnavailable || error instanceof LinuxError || error instanceof MachineMemoryError) {
    return STATUS.HOST;
  }
  return error instanceof LaneError ? error.status : STATUS.INTERNAL;
}

/** What goes to stderr: a line that begins with the program's name. Names of files may hold anything. */
export function say(text: string): void {
  console.error(`xenolith: ${text.replaceAll("\n", "\\n")}`);
}

/** Says what is wrong, in one line; our own faults come with their stack. @returns the exit status */
export function sayFailure(error: unknown): number {
  const status = statusOf(error);
  if (status !== STATUS.INTERNAL) say((error as Error).message);
  else console.error(`xenolith: internal error: ${error instanceof Error ? error.stack ?? error.message : error}`);
  return status;
}
