/** multicall: several hypercalls in one (xen/common/multicall.c). */

import { EFAULT, EINVAL } from "../linux/errno.ts";
import { HYPERCALL, MULTICALL_ENTRY } from "./abi/xen.ts";
import { AFTER, type After, ARGUMENTS, type Call } from "./call.ts";

/** Who carries out what is in the list. */
export interface HypercallTable {
  /** Carries out any hypercall but multicall. @returns its result, that of an unknown one -ENOSYS */
  hypercall(call: Call): number;
  /** The run has ended: long lists need not be. */
  readonly isEnding: boolean;
}

/**
 * Arguments: a list of entries, and their number. Each entry has its result before the next is read; the first that
 * cannot be read or written ends it. What an entry has the vCPU wait for it waits for at the end.
 * @returns 0, or -EFAULT
 */
export function multicall(table: HypercallTable, call: Call): number {
  const low = call.low[0], high = call.high[0], count = call.low[1];
  const { bytes, result } = MULTICALL_ENTRY[call.bits];
  let invalidates = false, after: After = AFTER.RETURN, error = 0;
  for (let entry = 0; entry < count && !table.isEnding; entry++) {
    if (!call.fetchAt(low, high, bytes, entry * bytes)) {
      error = -EFAULT;
      break;
    }
    const value = carryOut(table, call);
    invalidates ||= call.invalidates;
    if (call.after !== AFTER.RETURN) after = call.after;
    call.scratch.setInt32(0, value, true);
    if (call.bits === 64) call.scratch.setInt32(4, Math.floor(value / 2 ** 32), true);
    if (!call.storeAt(low, high, call.long, entry * bytes + result)) {
      error = -EFAULT;
      break;
    }
  }
  call.begin(HYPERCALL.multicall, call.bits);
  call.invalidates = invalidates;
  call.after = after;
  return error;
}

/** The entry at the start of the scratch, as if its arguments were in registers. */
function carryOut(table: HypercallTable, call: Call): number {
  const { op, args, long } = MULTICALL_ENTRY[call.bits];
  call.begin(call.longAt(op), call.bits);
  if (call.number === HYPERCALL.multicall) return -EINVAL; // Xen, too, does not go deeper
  for (let argument = 0; argument < ARGUMENTS; argument++) {
    call.low[argument] = call.longLow(args + argument * long);
    call.high[argument] = call.longHigh(args + argument * long);
  }
  return table.hypercall(call);
}
