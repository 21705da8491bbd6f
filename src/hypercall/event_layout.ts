/** Where a guest has its 2-level events, out of Xen's structures: for src/events, which knows none of them. */

import type { TwoLevelAbi } from "../events/two_level.ts";
import { SHARED_INFO, VCPU_INFO, XEN_LEGACY_MAX_VCPUS } from "./abi/xen.ts";

function layout(bits: 32 | 64) {
  const { evtchn_pending: pending, evtchn_mask: mask } = SHARED_INFO[bits];
  return { pending, mask, selector: VCPU_INFO[bits].evtchn_pending_sel };
}

/** For {@linkcode TwoLevelEvents}. */
export const TWO_LEVEL_ABI: TwoLevelAbi = {
  32: layout(32),
  64: layout(64),
  vcpuInfo: SHARED_INFO[64].vcpu_info,
  vcpuInfoBytes: VCPU_INFO[64].bytes,
  legacyVcpus: XEN_LEGACY_MAX_VCPUS,
  upcallMask: 1 << (VCPU_INFO[64].evtchn_upcall_mask * 8),
};
