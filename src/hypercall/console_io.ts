/** console_io: Xen's own console (xen/drivers/char/console.c), as CONFIG_VERBOSE_DEBUG gives it to a domU. */

import { EFAULT, EPERM } from "../linux/errno.ts";
import { CONSOLEIO } from "./abi/console.ts";
import type { Call } from "./call.ts";

/** Where a guest's debug messages go. */
export interface ConsoleDomain {
  /** Puts the first `count` bytes there as they are; they are only valid during the call. */
  writeDebugConsole(bytes: DataView, count: number): void;
  /** The run has ended: nobody need hear more. */
  readonly isEnding: boolean;
}

/** Xen, too, takes this much in one piece: of what is before a missing page all is printed but that piece's part. */
const PIECE_BYTES = 127;

/** Arguments: the subop, a number of bytes below 2^32, and a pointer. @returns 0, or -errno */
export function consoleIo(domain: ConsoleDomain, call: Call): number {
  if (call.low[0] !== CONSOLEIO.write) return -EPERM; // Xen's input, and whatever comes to be
  const count = call.low[1];
  for (let done = 0; done < count && !domain.isEnding; done += PIECE_BYTES) {
    const piece = Math.min(count - done, PIECE_BYTES);
    if (!call.fetch(2, piece, done)) return -EFAULT;
    domain.writeDebugConsole(call.scratch, piece);
  }
  return 0;
}
