/** The refusal of a request to the xenstore, with the name that goes over the wire. */

import type { ErrorName } from "./abi.ts";

/** A request was refused. */
export class XenstoreError extends Error {
  static {
    this.prototype.name = "XenstoreError";
  }

  /**
   * A request's refusal.
   * @param errnoName what the other end is told
   * @param why the facts, for whoever reads the message here
   */
  constructor(readonly errnoName: ErrorName, why: string) {
    super(`xenstore: ${why}: ${errnoName}`);
  }
}
