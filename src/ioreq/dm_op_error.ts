/** The refusal of a device model operation, with Xen's error number. */

import { errnoName } from "../linux/errno.ts";

/** A dm_op failed. */
export class DmOpError extends Error {
  static {
    this.prototype.name = "DmOpError";
  }

  /** @param errno positive, as dm_op(2) would negate it */
  constructor(readonly operation: string, readonly errno: number, why: string) {
    super(`${operation}: ${why}: ${errnoName(errno)}`);
  }
}
