/** One hypercall of a guest: which file answers it. */

import { HYPERCALL } from "./abi/xen.ts";
import type { Call } from "./call.ts";
import { type ConsoleDomain, consoleIo } from "./console_io.ts";
import { dmOp, domctl, mmuextOp, pagingDomctlCont, platformOp, sysctl } from "./control.ts";
import { type EventChannelDomain, eventChannelOp } from "./event_channel_op.ts";
import { type GrantDomain, grantTableOp } from "./grant_table_op.ts";
import { type HvmDomain, hvmOp } from "./hvm_op.ts";
import { type MemoryDomain, memoryOp } from "./memory_op.ts";
import { multicall } from "./multicall.ts";
import { physdevOp } from "./physdev_op.ts";
import { refuse } from "./refusals.ts";
import { type SchedDomain, schedOp } from "./sched_op.ts";
import { setTimerOp } from "./set_timer_op.ts";
import { type VcpuDomain, vcpuOp } from "./vcpu_op.ts";
import { type AssistedDomain, vmAssist } from "./vm_assist.ts";
import { type VersionDomain, xenVersion } from "./xen_version.ts";

/** The domain as its guest's hypercalls see it. */
export interface XenCalls
  extends
    VersionDomain,
    SchedDomain,
    VcpuDomain,
    HvmDomain,
    ConsoleDomain,
    EventChannelDomain,
    MemoryDomain,
    GrantDomain,
    AssistedDomain {}

type Handler = (domain: XenCalls, call: Call) => number;

/** By their numbers; the others are refused. */
const HANDLERS: (Handler | undefined)[] = [];
HANDLERS[HYPERCALL.platform_op] = platformOp;
HANDLERS[HYPERCALL.memory_op] = memoryOp;
HANDLERS[HYPERCALL.multicall] = (domain, call) =>
  multicall({
    hypercall: (inner) => hypercall(domain, inner),
    get isEnding() {
      return domain.isEnding;
    },
  }, call);
HANDLERS[HYPERCALL.set_timer_op] = setTimerOp;
HANDLERS[HYPERCALL.xen_version] = xenVersion;
HANDLERS[HYPERCALL.console_io] = consoleIo;
HANDLERS[HYPERCALL.grant_table_op] = grantTableOp;
HANDLERS[HYPERCALL.vm_assist] = vmAssist;
HANDLERS[HYPERCALL.vcpu_op] = vcpuOp;
HANDLERS[HYPERCALL.mmuext_op] = mmuextOp;
HANDLERS[HYPERCALL.sched_op] = schedOp;
HANDLERS[HYPERCALL.event_channel_op] = eventChannelOp;
HANDLERS[HYPERCALL.physdev_op] = physdevOp;
HANDLERS[HYPERCALL.hvm_op] = hvmOp;
HANDLERS[HYPERCALL.sysctl] = sysctl;
HANDLERS[HYPERCALL.domctl] = domctl;
HANDLERS[HYPERCALL.dm_op] = dmOp;
HANDLERS[HYPERCALL.arch_1] = pagingDomctlCont;

/** Carries out a hypercall. @returns its result, 0 or more, or -errno; one that is not known is -ENOSYS */
export function hypercall(domain: XenCalls, call: Call): number {
  return (HANDLERS[call.number] ?? refuse)(domain, call);
}
