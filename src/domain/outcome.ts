/** How a domain's run ended, and the exit status that says so (design: the contract of the commands). */

import type { ShutdownReason } from "../dm/host.ts";

/** Every way in which a run can end; "stopped" is from outside, by a program. */
export type OutcomeKind =
  | "poweroff"
  | "exit"
  | "reset"
  | "left"
  | "timeout"
  | "crash"
  | "internal"
  | "signal"
  | "console closed"
  | "stopped";

/** The kinds by their number in the control block; 0 is "still running". */
export const OUTCOMES: readonly ("running" | OutcomeKind)[] = [
  "running",
  "poweroff",
  "exit",
  "reset",
  "left",
  "timeout",
  "crash",
  "internal",
  "signal",
  "console closed",
  "stopped",
];

/** Exit statuses of the commands. 1-63 are the guest's own. */
export const STATUS = {
  OK: 0,
  USAGE: 64,
  RESET: 66,
  LEFT: 67,
  HOST: 69,
  INTERNAL: 70,
  TIMEOUT: 124,
  CRASH: 125,
  HANGUP: 129,
  INTERRUPT: 130,
  CONSOLE_CLOSED: 141,
  TERMINATED: 143,
} as const;

/** The end of a run. */
export interface Outcome {
  /** The way in which it ended. */
  readonly kind: OutcomeKind;
  /** The exit status of `deno task run`. */
  readonly status: number;
  /** One line without a full stop. */
  readonly reason: string;
  /** The vCPU that ended it, if one did. */
  readonly vcpu?: number;
  /** Where that vCPU stood. */
  readonly rip?: bigint;
  /** The instruction's bytes there, as many as could be read, and how wide the code is (16, 32, 64). */
  readonly code?: { readonly bytes: Uint8Array; readonly bits: number };
}

/** The outcome that each reason of a device model stands for (remote_shutdown). */
export const SHUTDOWN = {
  "poweroff": { kind: "poweroff", status: STATUS.OK, reason: "the guest powered off" },
  "reset": { kind: "reset", status: STATUS.RESET, reason: "the guest asked for a reset" },
  "left": { kind: "left", status: STATUS.LEFT, reason: "the user left" },
  "console closed": {
    kind: "console closed",
    status: STATUS.CONSOLE_CLOSED,
    reason: "the console's output was closed",
  },
  "crash": { kind: "crash", status: STATUS.CRASH, reason: "a device model crashed the domain" },
} as const satisfies Record<ShutdownReason | "crash", Outcome>;
