/** How a run ends when its guest shuts down by SCHEDOP_shutdown. */

import { SHUTDOWN } from "../hypercall/abi/sched.ts";
import { type Outcome, STATUS } from "./outcome.ts";

/** @param reason 0-255, of SHUTDOWN or not */
export function outcomeOf(reason: number): Outcome {
  switch (reason) {
    case SHUTDOWN.poweroff:
      return { kind: "poweroff", status: STATUS.OK, reason: "the guest powered off" };
    case SHUTDOWN.reboot:
      return { kind: "reset", status: STATUS.RESET, reason: "the guest asked for a reset" };
    case SHUTDOWN.soft_reset:
      return { kind: "reset", status: STATUS.RESET, reason: "the guest asked for a soft reset" };
    case SHUTDOWN.suspend:
      return { kind: "poweroff", status: STATUS.OK, reason: "the guest suspended itself" };
    case SHUTDOWN.watchdog:
      return { kind: "crash", status: STATUS.CRASH, reason: "the guest's watchdog was not set again in time" };
    case SHUTDOWN.crash:
      return { kind: "crash", status: STATUS.CRASH, reason: "the guest says that it crashed" };
    default:
      return { kind: "crash", status: STATUS.CRASH, reason: `the guest shut down for reason ${reason}` };
  }
}
