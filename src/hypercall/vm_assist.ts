/** vm_assist: the one way in which an HVM guest may change how Xen serves it (xen/common/domain.c). */

import { EINVAL, ENOSYS } from "../linux/errno.ts";
import { VMASST_CMD, VMASST_TYPE } from "./abi/xen.ts";
import type { Call } from "./call.ts";

/** How a domain's runstate areas are written. */
export interface AssistedDomain {
  /** Whether XEN_RUNSTATE_UPDATE is set in an area while it is being written. */
  setRunstateUpdateFlag(enabled: boolean): void;
}

/** @returns 0, or -errno */
export function vmAssist(domain: AssistedDomain, call: Call): number {
  const command = call.low[0];
  if (call.low[1] !== VMASST_TYPE.runstate_update_flag) return -EINVAL; // HVM_VM_ASSIST_MASK, asm/domain.h
  if (command !== VMASST_CMD.enable && command !== VMASST_CMD.disable) return -ENOSYS;
  domain.setRunstateUpdateFlag(command === VMASST_CMD.enable);
  return 0;
}
