/** The refusal of a device model operation, with Xen's error number. */

import { errnoName } from "../linux/errno.ts";

/** A device model operation was refused. */
export class DmOpError extends Error {
  static {
    this.prototype.name = "DmOpError";
  }

  /** The error number's name: "ENOSPC". */
  readonly errnoName: string;

  /**
   * An operation's refusal.
   * @param operation its name: "map_window"
   * @param errno positive, as dm_op(2) would negate it
   * @param why the facts
   */
  constructor(readonly operation: string, readonly errno: number, why: string) {
    super(`${operation}: ${why}: ${errnoName(errno)}`);
    this.errnoName = errnoName(errno);
  }
}
