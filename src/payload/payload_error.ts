/** What is wrong with a payload, or with what is to be done with it. */

/** Carries the error number that Xen answers in such a case: EINVAL for a bad payload, EEXIST, ENOENT, EAGAIN, EBUSY. */
export class PayloadError extends Error {
  static {
    this.prototype.name = "PayloadError";
  }

  /** @param errno positive; @param message one line, with the facts */
  constructor(readonly errno: number, message: string) {
    super(message);
  }
}
