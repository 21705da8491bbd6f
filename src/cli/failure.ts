/** Errors as the user sees them: one line and an exit status. */

import { KvmUnavailable } from "../kvm/kvm.ts";
import { LinuxError } from "../linux/linux_error.ts";
import { MachineMemoryError } from "../memory/bank.ts";
import { ImageError } from "../boot/plan.ts";
import { STATUS } from "../domain/outcome.ts";
import { UsageError } from "../machine/options.ts";

/** The exit status that an error stands for. */
export function statusOf(error: unknown): number {
  if (error instanceof UsageError || error instanceof ImageError) return STATUS.USAGE;
  if (error instanceof KvmUnavailable || error instanceof LinuxError || error instanceof MachineMemoryError) {
    return STATUS.HOST;
  }
  return STATUS.INTERNAL;
}

/** The line for stderr; our own faults come with their stack. */
export function describeFailure(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return statusOf(error) === STATUS.INTERNAL ? `internal error: ${error.stack ?? error.message}` : error.message;
}
