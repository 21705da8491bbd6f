/** xen_version: what a guest may know of its hypervisor (xen/common/kernel.c, xsm_xen_version in xsm/dummy.h). */

import { EFAULT, EINVAL, ENOSYS, EPERM } from "../linux/errno.ts";
import { PAGE_SIZE } from "../memory/address.ts";
import { XENFEAT, XENFEAT_NR_SUBMAPS } from "./abi/features.ts";
import { XEN_VERSION } from "./abi/ours.ts";
import { COMPILE_INFO, FEATURE_INFO, PLATFORM_PARAMETERS, XENVER, XENVER_BYTES } from "./abi/version.ts";
import type { Call } from "./call.ts";
import { clear, setText } from "./layout.ts";

/** What of a domain its guest reads here. */
export interface VersionDomain {
  /** Its UUID, 16 bytes. */
  readonly handle: Uint8Array;
}

const EXTRAVERSION = ".0-xenolith";
const CHANGESET = "unavailable";
const DENIED = "<denied>";

/** No kind of PV guest; a space ends each. */
const CAPABILITIES = "hvm-3.0-x86_32 hvm-3.0-x86_32p hvm-3.0-x86_64 ";

/** Those of a domain whose second stage is kept for it, and which has no pirqs. */
const FEATURES = [
  XENFEAT.writable_page_tables,
  XENFEAT.auto_translated_physmap,
  XENFEAT.hvm_callback_vector,
  XENFEAT.hvm_safe_pvclock,
  XENFEAT.memory_op_vnode_supported,
  XENFEAT.not_direct_mapped,
].reduce<number>((submap, feature) => submap | 1 << feature, 0);

/** @returns the version or 0, or -errno */
export function xenVersion(domain: VersionDomain, call: Call): number {
  switch (call.low[0]) {
    case XENVER.version:
      return XEN_VERSION;
    case XENVER.extraversion:
      return giveText(call, XENVER_BYTES.extraversion, EXTRAVERSION);
    case XENVER.compile_info:
      return compileInfo(call);
    case XENVER.capabilities:
      return giveText(call, XENVER_BYTES.capabilities, CAPABILITIES);
    case XENVER.changeset:
      return giveText(call, XENVER_BYTES.changeset, CHANGESET);
    case XENVER.platform_parameters:
      // Where Xen begins in a PV guest's address space; in ours it is not (Xen 4.18; 4.17 gives the PV address).
      clear(call.scratch, 0, PLATFORM_PARAMETERS[call.bits].bytes);
      return give(call, PLATFORM_PARAMETERS[call.bits].bytes);
    case XENVER.get_features:
      return features(call);
    case XENVER.pagesize:
      return call.isNull(1) ? PAGE_SIZE : -EINVAL;
    case XENVER.guest_handle:
      for (let at = 0; at < XENVER_BYTES.guest_handle; at++) call.scratch.setUint8(at, domain.handle[at]);
      return give(call, XENVER_BYTES.guest_handle);
    case XENVER.commandline: // not all of the array: what is denied is no longer than that
      return giveText(call, DENIED.length + 1, DENIED);
    case XENVER.build_id:
      return -EPERM;
    default:
      return -ENOSYS;
  }
}

function give(call: Call, bytes: number): number {
  return call.store(1, bytes) ? 0 : -EFAULT;
}

function giveText(call: Call, bytes: number, text: string): number {
  setText(call.scratch, 0, bytes, text);
  return give(call, bytes);
}

function compileInfo(call: Call): number {
  const { compiler, compile_by, compile_domain, compile_date, bytes } = COMPILE_INFO;
  setText(call.scratch, compiler, compile_by - compiler, "deno");
  setText(call.scratch, compile_by, compile_domain - compile_by, "xenolith");
  setText(call.scratch, compile_domain, compile_date - compile_domain, "");
  setText(call.scratch, compile_date, bytes - compile_date, "");
  return give(call, bytes);
}

function features(call: Call): number {
  if (!call.fetch(1, FEATURE_INFO.bytes)) return -EFAULT;
  if (call.scratch.getUint32(FEATURE_INFO.submap_idx, true) >= XENFEAT_NR_SUBMAPS) return -EINVAL;
  call.scratch.setUint32(FEATURE_INFO.submap, FEATURES, true);
  return give(call, FEATURE_INFO.bytes);
}
