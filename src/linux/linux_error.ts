/** The error of a failed system call. */

import { errnoName } from "./errno.ts";

/** A system call failed. The message is one line: call, subject, the error's name. */
export class LinuxError extends Error {
  static {
    this.prototype.name = "LinuxError";
  }
  /** The error number's name: "ENOENT". */
  readonly errnoName: string;

  /**
   * For system calls that are not made through {@linkcode check}.
   * @param call the system call's name, with the request for an ioctl: "ioctl KVM_CREATE_VM"
   * @param errno the positive error number
   * @param subject what the call was about: a path, "64 MiB of guest RAM"
   */
  constructor(readonly call: string, readonly errno: number, readonly subject: string) {
    super(`${call}: ${subject}: ${errnoName(errno)}`);
    this.errnoName = errnoName(errno);
  }
}

/** `result` if it is no error. @throws {LinuxError} a negative result is -errno */
export function check(result: number, call: string, subject: string): number {
  if (result < 0) throw new LinuxError(call, -result, subject);
  return result;
}
