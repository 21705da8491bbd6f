/** The parameters of an HVM guest: which it may read and set, and to what (xen/arch/x86/hvm/hvm.c). */

import { EFAULT, EINVAL, ENODEV, EPERM } from "../linux/errno.ts";
import { CALLBACK_TYPE, HVM_NR_PARAMS, HVM_PARAM, HVM_PARAM_ARGUMENT } from "./abi/hvm.ts";
import type { Call } from "./call.ts";
import { type Caller, ownDomain } from "./domains.ts";

/** How vCPUs without an upcall vector of their own hear of events. */
export type Callback =
  | { readonly kind: "none" }
  /** 0-255; one that no interrupt controller has interrupts nobody. */
  | { readonly kind: "gsi"; readonly gsi: number }
  /** On bus 0: device 0-31, pin 0-3 (INTA to INTD). */
  | { readonly kind: "intx"; readonly device: number; readonly pin: number }
  /** 0-255. */
  | { readonly kind: "vector"; readonly vector: number };

/** A domain's parameters; each holds 64 bits, in halves. */
export interface HvmParamDomain extends Caller {
  /** @param index one of HVM_PARAM, as all of them here */
  paramLow(index: number): number;
  paramHigh(index: number): number;
  setParam(index: number, low: number, high: number): void;
  /** The parameter CALLBACK_IRQ was set: from now on this way; vCPUs with events pending hear of them again. */
  setCallback(callback: Callback): void;
  /** Settles the width of shared_info, and writes the wall clock there. */
  latchSharedInfo(bits: 32 | 64): void;
  /** The guest did what Xen crashes a domain for. */
  crash(why: string): void;
}

/** The others are between Xen and the tool stack. */
const READABLE: readonly number[] = [
  HVM_PARAM.CALLBACK_IRQ,
  HVM_PARAM.VM86_TSS,
  HVM_PARAM.VM86_TSS_SIZED,
  HVM_PARAM.ACPI_IOPORTS_LOCATION,
  HVM_PARAM.VM_GENERATION_ID_ADDR,
  HVM_PARAM.STORE_PFN,
  HVM_PARAM.STORE_EVTCHN,
  HVM_PARAM.CONSOLE_PFN,
  HVM_PARAM.CONSOLE_EVTCHN,
  HVM_PARAM.ALTP2M,
  HVM_PARAM.X87_FIP_WIDTH,
];

const WRITABLE: readonly number[] = [
  HVM_PARAM.CALLBACK_IRQ,
  HVM_PARAM.VM86_TSS,
  HVM_PARAM.VM86_TSS_SIZED,
  HVM_PARAM.ACPI_IOPORTS_LOCATION,
  HVM_PARAM.VM_GENERATION_ID_ADDR,
  HVM_PARAM.STORE_EVTCHN,
  HVM_PARAM.CONSOLE_EVTCHN,
  HVM_PARAM.X87_FIP_WIDTH,
];

/** A TSS for virtual 8086 mode: 104 bytes, then bitmaps for interrupts and ports, then one byte. */
const TSS_BYTES = { min: 104, old: 128, max: 104 + 256 / 8 + 65536 / 8 + 1 } as const;

/** HVMOP_get_param. @returns 0, or -errno */
export function getParam(domain: HvmParamDomain, call: Call): number {
  const refused = fetchParam(domain, call, READABLE);
  if (refused !== 0) return refused;
  const index = call.scratch.getUint32(HVM_PARAM_ARGUMENT.index, true), isTss = index === HVM_PARAM.VM86_TSS;
  const stored = isTss ? HVM_PARAM.VM86_TSS_SIZED : index;
  call.scratch.setUint32(HVM_PARAM_ARGUMENT.value, domain.paramLow(stored), true);
  call.scratch.setUint32(HVM_PARAM_ARGUMENT.value + 4, isTss ? 0 : domain.paramHigh(stored), true);
  return call.store(1, HVM_PARAM_ARGUMENT.bytes) ? 0 : -EFAULT;
}

/** HVMOP_set_param. @returns 0, or -errno */
export function setParam(domain: HvmParamDomain, call: Call): number {
  const refused = fetchParam(domain, call, WRITABLE);
  if (refused !== 0) return refused;
  const index = call.scratch.getUint32(HVM_PARAM_ARGUMENT.index, true);
  const low = call.scratch.getUint32(HVM_PARAM_ARGUMENT.value, true);
  const high = call.scratch.getUint32(HVM_PARAM_ARGUMENT.value + 4, true);
  switch (index) {
    case HVM_PARAM.CALLBACK_IRQ:
      domain.setParam(index, low, high);
      domain.setCallback(callbackOf(low, high));
      domain.latchSharedInfo(call.bits);
      return 0;
    case HVM_PARAM.VM86_TSS:
      if (high !== 0) return crash(domain, "HVM_PARAM_VM86_TSS above 4 GiB");
      domain.setParam(HVM_PARAM.VM86_TSS_SIZED, low, low === 0 ? 0 : TSS_BYTES.old);
      return 0;
    case HVM_PARAM.VM86_TSS_SIZED:
      if (high < TSS_BYTES.min) return crash(domain, `HVM_PARAM_VM86_TSS_SIZED of ${high} bytes`);
      // Xen keeps a mark of its own in bit 63, and does not show it: sizes end below it.
      domain.setParam(index, low, Math.min(high, TSS_BYTES.max));
      return 0;
    case HVM_PARAM.ACPI_IOPORTS_LOCATION: // where the power management timer is: a PVH domain has none
      return -ENODEV;
    case HVM_PARAM.X87_FIP_WIDTH:
      if (high !== 0 || (low !== 0 && low !== 4 && low !== 8)) return -EINVAL;
      break;
  }
  domain.setParam(index, low, high);
  return 0;
}

/** What a value of HVM_PARAM_CALLBACK_IRQ says; 0 and an unknown type say none. */
export function callbackOf(low: number, high: number): Callback {
  const type = high >>> 24, byte = low & 0xff;
  if (type === CALLBACK_TYPE.GSI && (low | high) !== 0) return { kind: "gsi", gsi: byte };
  if (type === CALLBACK_TYPE.PCI_INTX) return { kind: "intx", device: low >>> 11 & 31, pin: low & 3 };
  if (type === CALLBACK_TYPE.VECTOR) return { kind: "vector", vector: byte };
  return { kind: "none" };
}

/** The argument to the scratch. @returns 0: the guest may do that to the parameter that it names; or -errno */
function fetchParam(domain: HvmParamDomain, call: Call, allowed: readonly number[]): number {
  if (!call.fetch(1, HVM_PARAM_ARGUMENT.bytes)) return -EFAULT;
  const index = call.scratch.getUint32(HVM_PARAM_ARGUMENT.index, true);
  if (index >= HVM_NR_PARAMS) return -EINVAL;
  const refused = ownDomain(domain, call.scratch.getUint16(HVM_PARAM_ARGUMENT.domid, true));
  if (refused !== 0) return refused;
  return allowed.includes(index) ? 0 : -EPERM;
}

function crash(domain: HvmParamDomain, why: string): number {
  domain.crash(why);
  return -EINVAL;
}
