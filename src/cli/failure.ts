/** Errors as the user sees them: one line and an exit status. */

import { KvmUnavailable } from "../kvm/kvm.ts";
import { LinuxError } from "../linux/linux_error.ts";
import { SocketPathError } from "../linux/socket_path.ts";
import { MachineMemoryError } from "../memory/bank.ts";
import { HypervisorUnavailable } from "../dm/connection.ts";
import { NetworkUnavailable } from "../devices/network.ts";
import { ImageError } from "../boot/plan.ts";
import { STATUS } from "../domain/outcome.ts";
import { UsageError } from "../machine/options.ts";
import { UserfaultUnavailable } from "../linux/userfaultfd.ts";
import { LaneError } from "../lane/errors.ts";
import { EAGAIN, EBUSY } from "../linux/errno.ts";
import { PayloadError } from "../payload/payload_error.ts";
import { ControlRefusal, RunUnavailable } from "./control_client.ts";

/** Errors of the user, and those of the host. */
const USER = [UsageError, ImageError, SocketPathError, PayloadError];
const HOST = [
  KvmUnavailable,
  UserfaultUnavailable,
  NetworkUnavailable,
  LinuxError,
  MachineMemoryError,
  HypervisorUnavailable,
  RunUnavailable,
];

/** What a run refuses only now. */
const FOR_NOW: readonly (number | undefined)[] = [EAGAIN, EBUSY];

/** The exit status that an error stands for. */
export function statusOf(error: unknown): number {
  if (error instanceof LaneError) return error.status;
  if (error instanceof ControlRefusal) return FOR_NOW.includes(error.errno) ? STATUS.HOST : STATUS.USAGE;
  if (USER.some((kind) => error instanceof kind)) return STATUS.USAGE;
  return HOST.some((kind) => error instanceof kind) ? STATUS.HOST : STATUS.INTERNAL;
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
