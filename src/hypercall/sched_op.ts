/** sched_op: a vCPU waits, and a domain ends (xen/common/sched/core.c). */

import { EFAULT, EINVAL, ENOSPC, ENOSYS, EPERM } from "../linux/errno.ts";
import { SCHED_POLL, SCHED_REMOTE_SHUTDOWN, SCHED_SHUTDOWN, SCHED_WATCHDOG, SCHEDOP } from "./abi/sched.ts";
import { AFTER, type Call } from "./call.ts";
import { type Caller, privilegedOver } from "./domains.ts";
import { systemTime } from "./layout.ts";

/** What of a domain its vCPUs wait for, and how it ends. */
export interface SchedDomain extends Caller {
  /** Lets events reach a vCPU: clears evtchn_upcall_mask in its vcpu_info. */
  enableEvents(vcpu: number): void;
  /** Whether an event or interrupt can be delivered to a vCPU now, so that it does not sleep. */
  hasEvents(vcpu: number): boolean;
  /** @returns 1 an event is pending at the port (masked or not), 0 none is, or -EINVAL: not a port of the domain */
  pollPort(port: number): number;
  /**
   * What the caller waits for once it has its result: an event pending at one of the ports (again looked at before it
   * sleeps), anything that {@linkcode hasEvents}, or the time.
   * @param ports the first `count` of them; only valid during the call
   * @param until nanoseconds of system time, exact below 2^53; Infinity: no time
   */
  poll(vcpu: number, ports: Uint32Array, count: number, until: number): void;
  /** Ends the domain, unless it is ending. @param reason 0-255, of SHUTDOWN or not */
  shutDown(reason: number): void;
  /** Settles the reason of the shutdown that is to come, unless one is settled. @param reason 0-255 */
  setShutdownCode(reason: number): void;
  /** Takes a watchdog, 0 or 1. @returns false it is taken already */
  takeWatchdog(watchdog: number): boolean;
  isWatchdogTaken(watchdog: number): boolean;
  /** The domain ends (SHUTDOWN.watchdog) in `seconds`, unless it is set again or stopped before. */
  setWatchdog(watchdog: number, seconds: number): void;
  /** Stops it, and gives it back. */
  stopWatchdog(watchdog: number): void;
}

/** Watchdogs of a domain (NR_DOMAIN_WATCHDOG_TIMERS, xen/sched.h). */
export const WATCHDOGS = 2;

/** Ports that may be waited for at once (do_poll). */
export const MAX_POLL_PORTS = 128;

/** Holds nothing between two calls. */
const ports = new Uint32Array(MAX_POLL_PORTS);

/** @returns 0 (a watchdog's id), or -errno */
export function schedOp(domain: SchedDomain, call: Call): number {
  switch (call.low[0]) {
    case SCHEDOP.yield: // others run meanwhile in any case
      return 0;
    case SCHEDOP.block:
      domain.enableEvents(call.vcpu);
      if (!domain.hasEvents(call.vcpu)) call.after = AFTER.BLOCK;
      return 0;
    case SCHEDOP.shutdown:
    case SCHEDOP.shutdown_code: {
      if (!call.fetch(1, SCHED_SHUTDOWN.bytes)) return -EFAULT;
      const reason = call.scratch.getUint8(SCHED_SHUTDOWN.reason); // Xen, too, keeps no more than a byte
      if (call.low[0] === SCHEDOP.shutdown) domain.shutDown(reason);
      else domain.setShutdownCode(reason);
      return 0;
    }
    case SCHEDOP.poll:
      return poll(domain, call);
    case SCHEDOP.remote_shutdown:
      if (!call.fetch(1, SCHED_REMOTE_SHUTDOWN.bytes)) return -EFAULT;
      return privilegedOver(domain, call.scratch.getUint16(SCHED_REMOTE_SHUTDOWN.domain_id, true));
    case SCHEDOP.watchdog:
      return watchdog(domain, call);
    case SCHEDOP.pin_override: // refused before its argument is read
      return -EPERM;
    default:
      return -ENOSYS;
  }
}

/** The first port that is pending or wrong ends it; those behind it are not looked at. */
function poll(domain: SchedDomain, call: Call): number {
  const layout = SCHED_POLL[call.bits], { scratch } = call;
  if (!call.fetch(1, layout.bytes)) return -EFAULT;
  const count = scratch.getUint32(layout.nr_ports, true), timeout = systemTime(scratch, layout.timeout);
  const isTimed = (scratch.getUint32(layout.timeout, true) | scratch.getUint32(layout.timeout + 4, true)) !== 0;
  const low = call.longLow(layout.ports), high = call.longHigh(layout.ports);
  if (count > MAX_POLL_PORTS) return -EINVAL;
  if (domain.hasEvents(call.vcpu)) return 0;
  for (let index = 0; index < count; index++) {
    if (!call.fetchAt(low, high, 4, index * 4)) return -EFAULT;
    ports[index] = scratch.getUint32(0, true);
    const pending = domain.pollPort(ports[index]);
    if (pending !== 0) return Math.min(pending, 0);
  }
  domain.poll(call.vcpu, ports, count, isTimed ? timeout : Infinity);
  call.after = AFTER.POLL;
  return 0;
}

/** Ids are one more than watchdogs; 0 asks for a new one. */
function watchdog(domain: SchedDomain, call: Call): number {
  if (!call.fetch(1, SCHED_WATCHDOG.bytes)) return -EFAULT;
  const id = call.scratch.getUint32(SCHED_WATCHDOG.id, true);
  const seconds = call.scratch.getUint32(SCHED_WATCHDOG.timeout, true);
  if (id > WATCHDOGS) return -EINVAL;
  if (id === 0) {
    for (let free = 0; free < WATCHDOGS; free++) {
      if (!domain.takeWatchdog(free)) continue;
      domain.setWatchdog(free, seconds);
      return free + 1;
    }
    return -ENOSPC;
  }
  if (!domain.isWatchdogTaken(id - 1)) return -EINVAL;
  if (seconds === 0) domain.stopWatchdog(id - 1);
  else domain.setWatchdog(id - 1, seconds);
  return 0;
}
