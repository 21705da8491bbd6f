/** vcpu_op: a domain's vCPUs, their timers and the areas of theirs (xen/common/domain.c, xen/arch/x86/domain.c). */

import { EEXIST, EFAULT, EINVAL, ENOENT, ENOSYS, ENXIO, ETIME } from "../linux/errno.ts";
import { PAGE_SIZE } from "../memory/address.ts";
import { VCPU_HVM_CONTEXT } from "./abi/hvm_vcpu.ts";
import { SHUTDOWN } from "./abi/sched.ts";
import {
  VCPU_REGISTER_RUNSTATE_MEMORY_AREA,
  VCPU_REGISTER_TIME_MEMORY_AREA,
  VCPU_REGISTER_VCPU_INFO,
  VCPU_RUNSTATE_INFO,
  VCPU_SET_PERIODIC_TIMER,
  VCPU_SET_SINGLESHOT_TIMER,
  VCPU_SSHOTTMR,
  VCPUOP,
} from "./abi/vcpu.ts";
import { VCPU_INFO } from "./abi/xen.ts";
import type { Call } from "./call.ts";
import { systemTime, unsigned64 } from "./layout.ts";
import { putRunstate, type Runstate } from "./runstate.ts";
import { type ControlBits, type HvmVcpuContext, readContext } from "./vcpu_context.ts";

/** A vCPU's timer that fires once (VIRQ_TIMER). */
export interface SingleshotTimers {
  /** System time: nanoseconds, below 2^53 (104 days). */
  now(): number;
  /** @param at nanoseconds of system time; at once if that is past (0); Infinity: never */
  setSingleshotTimer(vcpu: number, at: number): void;
}

/** A domain's vCPUs: 0 to vcpus - 1. */
export interface VcpuDomain extends SingleshotTimers {
  readonly vcpus: number;
  /** The width of shared_info, as it was last latched. */
  readonly sharedInfoBits: 32 | 64;
  /** What {@linkcode HvmVcpuContext} may have set. */
  readonly allowed: ControlBits;
  isInitialised(vcpu: number): boolean;
  /** Gives a vCPU its first state; it is down. @returns false another call has done so meanwhile */
  initialise(vcpu: number, context: HvmVcpuContext): boolean;
  isUp(vcpu: number): boolean;
  up(vcpu: number): void;
  /** If it is the caller, it stops once it has its result. */
  down(vcpu: number): void;
  /** Ends the domain, unless it is ending. @param reason one of SHUTDOWN */
  shutDown(reason: number): void;
  /** Valid until the next call of it. @param own whether it is the caller's: of others it may be older */
  runstate(vcpu: number, own: boolean): Runstate;
  /**
   * From now on, and at once, the vCPU's runstate is put at this linear address, in the layout of sharedInfoBits, as
   * far as the page is there; 0: no longer.
   */
  setRunstateArea(vcpu: number, low: number, high: number): void;
  /** The same for struct vcpu_time_info. */
  setTimeArea(vcpu: number, low: number, high: number): void;
  /** Whether it has a vcpu_info: in shared_info, or one that it has registered. */
  hasVcpuInfo(vcpu: number): boolean;
  hasRegisteredVcpuInfo(vcpu: number): boolean;
  /**
   * Moves a vCPU's vcpu_info there, for good, and makes all events pending, lest one be lost.
   * @param offset within the page; vcpu_info lies in it entirely
   * @returns 0, or -EINVAL: no writable RAM
   */
  registerVcpuInfo(vcpu: number, gfn: number, offset: number): number;
  /** @param period nanoseconds, 10^6 to 2^62 (rounded from 2^53 on); 0: no more */
  setPeriodicTimer(vcpu: number, period: number): void;
  sendNmi(vcpu: number): void;
}

const MIN_PERIOD = 1_000_000;
/** What a period must be below, in units of 2^32 ns (STIME_DELTA_MAX, xen/time.h). */
const PERIOD_LIMIT_HIGH = 2 ** 30;

/** Arguments: the subop, the vCPU, and a pointer. @returns 0 (is_up: 1), or -errno */
export function vcpuOp(domain: VcpuDomain, call: Call): number {
  const vcpu = call.low[1];
  if (vcpu >= domain.vcpus) return -ENOENT;
  switch (call.low[0]) {
    case VCPUOP.initialise:
      return initialise(domain, call, vcpu);
    case VCPUOP.up:
      if (!domain.isInitialised(vcpu)) return -EINVAL;
      domain.up(vcpu);
      return 0;
    case VCPUOP.down:
      if (isLastUp(domain, vcpu)) domain.shutDown(SHUTDOWN.poweroff);
      else domain.down(vcpu);
      return 0;
    case VCPUOP.is_up:
      return domain.isUp(vcpu) ? 1 : 0;
    case VCPUOP.get_runstate_info:
      putRunstate(call.scratch, 0, call.bits, domain.runstate(vcpu, vcpu === call.vcpu));
      return call.store(2, VCPU_RUNSTATE_INFO[call.bits].bytes) ? 0 : -EFAULT;
    case VCPUOP.register_runstate_memory_area:
      if (!fetchArea(call, VCPU_REGISTER_RUNSTATE_MEMORY_AREA.bytes)) return -EFAULT;
      domain.setRunstateArea(vcpu, call.longLow(0), call.longHigh(0));
      return 0;
    case VCPUOP.register_vcpu_time_memory_area:
      if (!fetchArea(call, VCPU_REGISTER_TIME_MEMORY_AREA.bytes)) return -EFAULT;
      domain.setTimeArea(vcpu, call.longLow(0), call.longHigh(0));
      return 0;
    case VCPUOP.register_vcpu_info:
      return registerVcpuInfo(domain, call, vcpu);
    case VCPUOP.set_periodic_timer:
      return setPeriodicTimer(domain, call, vcpu);
    case VCPUOP.stop_periodic_timer:
      domain.setPeriodicTimer(vcpu, 0);
      return 0;
    case VCPUOP.set_singleshot_timer:
      return vcpu === call.vcpu ? setSingleshotTimer(domain, call) : -EINVAL;
    case VCPUOP.stop_singleshot_timer:
      if (vcpu !== call.vcpu) return -EINVAL;
      domain.setSingleshotTimer(vcpu, Infinity);
      return 0;
    case VCPUOP.send_nmi:
      if (!call.isNull(2)) return -EINVAL;
      domain.sendNmi(vcpu);
      return 0;
    case VCPUOP.get_physid: // only for vCPUs that are pinned
      return -EINVAL;
    default:
      return -ENOSYS;
  }
}

function initialise(domain: VcpuDomain, call: Call, vcpu: number): number {
  if (!domain.hasVcpuInfo(vcpu)) return -EINVAL;
  if (!call.fetch(2, VCPU_HVM_CONTEXT.bytes)) return -EFAULT;
  if (domain.isInitialised(vcpu)) return -EEXIST;
  const context = readContext(call.scratch, domain.allowed);
  if (context === undefined) return -EINVAL;
  return domain.initialise(vcpu, context) ? 0 : -EEXIST;
}

/** No other is up; whether this one is does not matter. */
function isLastUp(domain: VcpuDomain, vcpu: number): boolean {
  for (let other = 0; other < domain.vcpus; other++) {
    if (other !== vcpu && domain.isUp(other)) return false;
  }
  return true;
}

/** Both structures are an address in a union of 64 bits; a 32-bit caller's upper half must be 0. @returns success */
function fetchArea(call: Call, bytes: number): boolean {
  return call.fetch(2, bytes) && (call.bits === 64 || call.scratch.getUint32(4, true) === 0);
}

function registerVcpuInfo(domain: VcpuDomain, call: Call, vcpu: number): number {
  if (!call.fetch(2, VCPU_REGISTER_VCPU_INFO.bytes)) return -EFAULT;
  const gfn = unsigned64(call.scratch, VCPU_REGISTER_VCPU_INFO.mfn);
  const offset = call.scratch.getUint32(VCPU_REGISTER_VCPU_INFO.offset, true);
  const layout = VCPU_INFO[domain.sharedInfoBits];
  if (offset > PAGE_SIZE - layout.bytes || offset % layout.long !== 0) return -ENXIO;
  if (domain.hasRegisteredVcpuInfo(vcpu)) return -EINVAL;
  if (vcpu !== call.vcpu && domain.isUp(vcpu)) return -EINVAL;
  return domain.registerVcpuInfo(vcpu, gfn, offset);
}

function setPeriodicTimer(domain: VcpuDomain, call: Call, vcpu: number): number {
  if (!call.fetch(2, VCPU_SET_PERIODIC_TIMER.bytes)) return -EFAULT;
  const period = unsigned64(call.scratch, VCPU_SET_PERIODIC_TIMER.period_ns);
  const isTooLong = call.scratch.getUint32(VCPU_SET_PERIODIC_TIMER.period_ns + 4, true) >= PERIOD_LIMIT_HIGH;
  if (period < MIN_PERIOD || isTooLong) return -EINVAL;
  domain.setPeriodicTimer(vcpu, period);
  return 0;
}

/** Without the flag a time that is past is right, too. Xen compares unsigned, but sets the timer to a signed time. */
function setSingleshotTimer(domain: VcpuDomain, call: Call): number {
  const layout = VCPU_SET_SINGLESHOT_TIMER[call.bits];
  if (!call.fetch(2, layout.bytes)) return -EFAULT;
  const isFuture = (call.scratch.getUint32(layout.flags, true) & VCPU_SSHOTTMR.future) !== 0;
  if (isFuture && unsigned64(call.scratch, layout.timeout_abs_ns) < domain.now()) return -ETIME;
  domain.setSingleshotTimer(call.vcpu, systemTime(call.scratch, layout.timeout_abs_ns));
  return 0;
}
