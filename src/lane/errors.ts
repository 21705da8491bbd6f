/** What can go wrong with the lane, apart from the command that runs in it. Each message is one line. */

import { STATUS } from "../domain/outcome.ts";

/** The lane could not do its part. */
export abstract class LaneError extends Error {
  /** The exit status that it stands for. */
  readonly status: number = STATUS.HOST;
}

/** This host lacks something that the lane needs; the message says what to do. */
export class LaneUnavailable extends LaneError {
  static {
    this.prototype.name = "LaneUnavailable";
  }
}

/** Linux's ENOSPC and EDQUOT, in the words of Deno, dpkg and apt. */
const NO_SPACE = /os error (28|122)\b|No space left on device|Disk quota exceeded|enough free space/;

/** Whether a complaint is about a full disk. */
export function isAboutSpace(complaint: string): boolean {
  return NO_SPACE.test(complaint);
}

/** The machine did not end in time, and was killed. */
export class LaneTimeout extends LaneError {
  static {
    this.prototype.name = "LaneTimeout";
  }
  override readonly status = STATUS.TIMEOUT;

  constructor(readonly timeoutMs: number) {
    super(`the lane's machine did not end within ${timeoutMs / 1000} s`);
  }
}

/** The machine's kernel panicked. */
export class LanePanic extends LaneError {
  static {
    this.prototype.name = "LanePanic";
  }

  /** @param line what the kernel said: "Kernel panic - not syncing: ..." */
  constructor(readonly line: string) {
    super(`the lane's kernel panicked: ${line}`);
  }
}

/** The machine ended without saying how its command did. */
export class LaneDied extends LaneError {
  static {
    this.prototype.name = "LaneDied";
  }

  /** @param how "signal SIGKILL", "status 1"; @param lastWords what QEMU said, or the last line of the kernel's log */
  constructor(readonly how: string, readonly lastWords: string) {
    super(`the lane's machine died (${how})${lastWords === "" ? "" : `: ${lastWords}`}`);
  }
}
