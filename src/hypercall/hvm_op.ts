/** hvm_op: what only HVM guests have (xen/arch/x86/hvm/hvm.c). The tool stack's subops went to dm_op in 4.9. */

import { EFAULT, EINVAL, ENOENT, ENOSYS, EOPNOTSUPP, EPERM } from "../linux/errno.ts";
import {
  HVM_EVTCHN_UPCALL_VECTOR,
  HVM_GET_MEM_TYPE,
  HVM_GET_TIME,
  HVM_PAGETABLE_DYING,
  HVM_XENTRACE,
  HVMOP,
} from "./abi/hvm.ts";
import type { Call } from "./call.ts";
import { ownDomain } from "./domains.ts";
import { getParam, type HvmParamDomain, setParam } from "./hvm_params.ts";
import { setUnsigned64, unsigned64 } from "./layout.ts";

/** What an HVM guest asks of its domain. */
export interface HvmDomain extends HvmParamDomain {
  readonly vcpus: number;
  /** System time: nanoseconds, below 2^53 (104 days). */
  now(): number;
  /** @param gfn any number @returns one of HVMMEM */
  memType(gfn: number): number;
  /** From now on a vCPU hears of events by this vector (16-255), and at once of those that are pending. */
  setUpcallVector(vcpu: number, vector: number): void;
  /** Forgets all translations of all vCPUs. */
  flushTlbs(): void;
}

/** Vectors below are exceptions, and those that the interrupt controller does not take. */
const FIRST_VECTOR = 0x10;

/** One more than the events that a guest may trace (TRC_SUBCLS_SHIFT, xen/trace.h). */
const TRACE_EVENTS = 1 << 12;

const TRACE_EXTRA_BYTES = HVM_XENTRACE.bytes - HVM_XENTRACE.extra;

/** Arguments: the subop, a long, and a pointer. @returns 0, or -errno */
export function hvmOp(domain: HvmDomain, call: Call): number {
  switch (call.value(0)) {
    case HVMOP.set_param:
      return setParam(domain, call);
    case HVMOP.get_param:
      return getParam(domain, call);
    case HVMOP.set_evtchn_upcall_vector:
      return setUpcallVector(domain, call);
    case HVMOP.get_time:
      setUnsigned64(call.scratch, HVM_GET_TIME.now, domain.now());
      return call.store(1, HVM_GET_TIME.bytes) ? 0 : -EFAULT;
    case HVMOP.get_mem_type:
      return getMemType(domain, call);
    case HVMOP.flush_tlbs:
      if (!call.isNull(1)) return -EINVAL;
      domain.flushTlbs();
      return 0;
    case HVMOP.pagetable_dying:
      return pagetableDying(domain, call);
    case HVMOP.xentrace: // nobody traces
      if (!call.fetch(1, HVM_XENTRACE.bytes)) return -EFAULT;
      return call.scratch.getUint16(HVM_XENTRACE.extra_bytes, true) > TRACE_EXTRA_BYTES ||
          call.scratch.getUint16(HVM_XENTRACE.event, true) >= TRACE_EVENTS
        ? -EINVAL
        : 0;
    case HVMOP.guest_request_vm_event: // nobody monitors
      return call.isNull(1) ? 0 : -EINVAL;
    case HVMOP.altp2m: // as on a processor without it: before the argument is read
      return -EOPNOTSUPP;
    default:
      return -ENOSYS;
  }
}

function setUpcallVector(domain: HvmDomain, call: Call): number {
  if (!call.fetch(1, HVM_EVTCHN_UPCALL_VECTOR.bytes)) return -EFAULT;
  const vcpu = call.scratch.getUint32(HVM_EVTCHN_UPCALL_VECTOR.vcpu, true);
  const vector = call.scratch.getUint8(HVM_EVTCHN_UPCALL_VECTOR.vector);
  if (vector < FIRST_VECTOR) return -EINVAL;
  if (vcpu >= domain.vcpus) return -ENOENT;
  domain.setUpcallVector(vcpu, vector);
  return 0;
}

function getMemType(domain: HvmDomain, call: Call): number {
  if (!call.fetch(1, HVM_GET_MEM_TYPE.bytes)) return -EFAULT;
  const refused = ownDomain(domain, call.scratch.getUint16(HVM_GET_MEM_TYPE.domid, true));
  if (refused !== 0) return refused;
  const type = domain.memType(unsigned64(call.scratch, HVM_GET_MEM_TYPE.pfn));
  call.scratch.setUint16(HVM_GET_MEM_TYPE.mem_type, type, true);
  return call.store(1, HVM_GET_MEM_TYPE.bytes) ? 0 : -EFAULT;
}

/** A hint for shadow page tables, which a domain with a second stage does not have. */
function pagetableDying(domain: HvmDomain, call: Call): number {
  if (!call.fetch(1, HVM_PAGETABLE_DYING.bytes)) return -EFAULT;
  const refused = ownDomain(domain, call.scratch.getUint16(HVM_PAGETABLE_DYING.domid, true));
  if (refused === -EPERM) return -EOPNOTSUPP;
  return refused !== 0 ? refused : -EINVAL;
}
