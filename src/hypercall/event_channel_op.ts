/** event_channel_op: a guest's event channels (xen/common/event_channel.c, event_fifo.c), as a domU may use them. */

import type { GuestChannels, PortStatus } from "../events/guest_channels.ts";
import { PORT } from "../events/port_table.ts";
import { EFAULT, EINVAL, ENOENT, ENOSYS, ESRCH } from "../linux/errno.ts";
import { PAGE_SIZE } from "../memory/address.ts";
import { HOST_DOMID } from "../memory/domid.ts";
import {
  EVTCHN_ALLOC_UNBOUND,
  EVTCHN_BIND_INTERDOMAIN,
  EVTCHN_BIND_IPI,
  EVTCHN_BIND_PIRQ,
  EVTCHN_BIND_VCPU,
  EVTCHN_BIND_VIRQ,
  EVTCHN_CLOSE,
  EVTCHN_EXPAND_ARRAY,
  EVTCHN_FIFO_CONTROL_BLOCK,
  EVTCHN_INIT_CONTROL,
  EVTCHN_RESET,
  EVTCHN_SEND,
  EVTCHN_SET_PRIORITY,
  EVTCHN_STATUS,
  EVTCHN_UNMASK,
  EVTCHNOP,
  EVTCHNSTAT,
} from "./abi/event_channel.ts";
import { DOMID_SELF, NR_VIRQS, VIRQ } from "./abi/xen.ts";
import type { Call } from "./call.ts";
import { ownDomain } from "./domains.ts";
import { unsigned64 } from "./layout.ts";

/** What these calls need of the domain. */
export interface EventChannelDomain {
  readonly channels: GuestChannels;
  /** Physical interrupts that it may bind, from 0 on (Xen: nr_pirqs). */
  readonly physicalInterrupts: number;
  /** Whether the gfn is memory that the guest may write to. */
  isMemory(gfn: number): boolean;
}

/** Xen's continuation of a reset; only the hypervisor's own headers have it, but any guest may call it. */
export const EVTCHNOP_RESET_CONT = 14;

/** Filled in and read within one call. */
const portStatus: PortStatus = { state: 0, vcpu: 0, remoteDomid: 0, remotePort: 0, line: 0 };

/** A subop: how long its structure is, which has been fetched when it is carried out. */
interface Subop {
  readonly bytes: number;
  readonly carryOut: (domain: EventChannelDomain, call: Call) => number;
}

const SUBOPS: Partial<Record<number, Subop>> = {
  [EVTCHNOP.send]: { bytes: EVTCHN_SEND.bytes, carryOut: send },
  [EVTCHNOP.unmask]: { bytes: EVTCHN_UNMASK.bytes, carryOut: unmask },
  [EVTCHNOP.close]: { bytes: EVTCHN_CLOSE.bytes, carryOut: close },
  [EVTCHNOP.alloc_unbound]: { bytes: EVTCHN_ALLOC_UNBOUND.bytes, carryOut: allocUnbound },
  [EVTCHNOP.bind_interdomain]: { bytes: EVTCHN_BIND_INTERDOMAIN.bytes, carryOut: bindInterdomain },
  [EVTCHNOP.bind_virq]: { bytes: EVTCHN_BIND_VIRQ.bytes, carryOut: bindVirq },
  [EVTCHNOP.bind_ipi]: { bytes: EVTCHN_BIND_IPI.bytes, carryOut: bindIpi },
  [EVTCHNOP.bind_pirq]: { bytes: EVTCHN_BIND_PIRQ.bytes, carryOut: bindPirq },
  [EVTCHNOP.bind_vcpu]: { bytes: EVTCHN_BIND_VCPU.bytes, carryOut: bindVcpu },
  [EVTCHNOP.status]: { bytes: EVTCHN_STATUS.bytes, carryOut: status },
  [EVTCHNOP.reset]: { bytes: EVTCHN_RESET.bytes, carryOut: reset },
  [EVTCHNOP_RESET_CONT]: { bytes: EVTCHN_RESET.bytes, carryOut: reset },
  [EVTCHNOP.init_control]: { bytes: EVTCHN_INIT_CONTROL.bytes, carryOut: initControl },
  [EVTCHNOP.expand_array]: { bytes: EVTCHN_EXPAND_ARRAY.bytes, carryOut: () => -ENOSYS }, // there are no FIFO events
  [EVTCHNOP.set_priority]: { bytes: EVTCHN_SET_PRIORITY.bytes, carryOut: setPriority },
};

/** Carries out a call whose first argument is the subop, and whose second is its structure. @returns 0 or -errno */
export function eventChannelOp(domain: EventChannelDomain, call: Call): number {
  const subop = SUBOPS[call.low[0]];
  if (subop === undefined) return -ENOSYS;
  return call.fetch(1, subop.bytes) ? subop.carryOut(domain, call) : -EFAULT;
}

function send({ channels }: EventChannelDomain, call: Call): number {
  return channels.send(field(call, EVTCHN_SEND.port));
}

function unmask({ channels }: EventChannelDomain, call: Call): number {
  return channels.unmask(field(call, EVTCHN_UNMASK.port));
}

function close({ channels }: EventChannelDomain, call: Call): number {
  return channels.close(field(call, EVTCHN_CLOSE.port));
}

function allocUnbound({ channels }: EventChannelDomain, call: Call): number {
  const refused = ownDomain(channels.table, call.scratch.getUint16(EVTCHN_ALLOC_UNBOUND.dom, true));
  if (refused !== 0) return refused;
  const remote = resolve(channels.table.domid, call.scratch.getUint16(EVTCHN_ALLOC_UNBOUND.remote_dom, true));
  return bound(call, channels.allocUnbound(remote), EVTCHN_ALLOC_UNBOUND.port, EVTCHN_ALLOC_UNBOUND.bytes);
}

function bindInterdomain({ channels }: EventChannelDomain, call: Call): number {
  const { domid } = channels.table;
  const remote = resolve(domid, call.scratch.getUint16(EVTCHN_BIND_INTERDOMAIN.remote_dom, true));
  if (remote !== domid && remote !== HOST_DOMID) return -ESRCH;
  const port = channels.bindInterdomain(remote, field(call, EVTCHN_BIND_INTERDOMAIN.remote_port));
  return bound(call, port, EVTCHN_BIND_INTERDOMAIN.local_port, EVTCHN_BIND_INTERDOMAIN.bytes);
}

function bindVirq({ channels }: EventChannelDomain, call: Call): number {
  const virq = field(call, EVTCHN_BIND_VIRQ.virq), vcpu = field(call, EVTCHN_BIND_VIRQ.vcpu);
  if (virq >= NR_VIRQS) return -EINVAL;
  const isGlobal = isGlobalVirq(virq);
  if (isGlobal && vcpu !== 0) return -EINVAL;
  return bound(call, channels.bindVirq(virq, vcpu, isGlobal), EVTCHN_BIND_VIRQ.port, EVTCHN_BIND_VIRQ.bytes);
}

/** Whether a virtual interrupt is the domain's; the others are a vCPU's own. */
export function isGlobalVirq(virq: number): boolean {
  return virq !== VIRQ.TIMER && virq !== VIRQ.DEBUG && virq !== VIRQ.XENOPROF && virq !== VIRQ.XENPMU;
}

function bindIpi({ channels }: EventChannelDomain, call: Call): number {
  const port = channels.bindIpi(field(call, EVTCHN_BIND_IPI.vcpu));
  return bound(call, port, EVTCHN_BIND_IPI.port, EVTCHN_BIND_IPI.bytes);
}

function bindPirq({ channels, physicalInterrupts }: EventChannelDomain, call: Call): number {
  const pirq = field(call, EVTCHN_BIND_PIRQ.pirq);
  if (pirq >= physicalInterrupts) return -EINVAL;
  return bound(call, channels.bindPirq(pirq), EVTCHN_BIND_PIRQ.port, EVTCHN_BIND_PIRQ.bytes);
}

function bindVcpu({ channels }: EventChannelDomain, call: Call): number {
  return channels.bindVcpu(field(call, EVTCHN_BIND_VCPU.port), field(call, EVTCHN_BIND_VCPU.vcpu));
}

function status({ channels }: EventChannelDomain, call: Call): number {
  const { scratch } = call, port = field(call, EVTCHN_STATUS.port);
  const refused = ownDomain(channels.table, scratch.getUint16(EVTCHN_STATUS.dom, true));
  if (refused !== 0) return refused;
  const result = channels.status(port, portStatus);
  if (result !== 0) return result;
  scratch.setUint32(EVTCHN_STATUS.status, publicState(portStatus.state), true);
  scratch.setUint32(EVTCHN_STATUS.vcpu, portStatus.vcpu, true);
  switch (portStatus.state) {
    case PORT.UNBOUND:
      scratch.setUint16(EVTCHN_STATUS["u.unbound.dom"], portStatus.remoteDomid, true);
      break;
    case PORT.INTERDOMAIN:
      scratch.setUint16(EVTCHN_STATUS["u.interdomain.dom"], portStatus.remoteDomid, true);
      scratch.setUint32(EVTCHN_STATUS["u.interdomain.port"], portStatus.remotePort, true);
      break;
    case PORT.PIRQ:
      scratch.setUint32(EVTCHN_STATUS["u.pirq"], portStatus.line, true);
      break;
    case PORT.VIRQ:
      scratch.setUint32(EVTCHN_STATUS["u.virq"], portStatus.line, true);
      break;
  }
  return call.store(1, EVTCHN_STATUS.bytes) ? 0 : -EFAULT;
}

function publicState(state: number): number {
  switch (state) {
    case PORT.UNBOUND:
      return EVTCHNSTAT.unbound;
    case PORT.INTERDOMAIN:
      return EVTCHNSTAT.interdomain;
    case PORT.PIRQ:
      return EVTCHNSTAT.pirq;
    case PORT.VIRQ:
      return EVTCHNSTAT.virq;
    case PORT.IPI:
      return EVTCHNSTAT.ipi;
    default:
      return EVTCHNSTAT.closed;
  }
}

function reset({ channels }: EventChannelDomain, call: Call): number {
  const refused = ownDomain(channels.table, call.scratch.getUint16(EVTCHN_RESET.dom, true));
  return refused !== 0 ? refused : channels.reset(call.low[0] === EVTCHNOP_RESET_CONT);
}

/** There are no FIFO events; a guest that asks properly is told so, and goes on with the 2-level ones. */
function initControl(domain: EventChannelDomain, call: Call): number {
  const offset = field(call, EVTCHN_INIT_CONTROL.offset);
  if (field(call, EVTCHN_INIT_CONTROL.vcpu) >= domain.channels.table.vcpus) return -ENOENT;
  if (offset > PAGE_SIZE - EVTCHN_FIFO_CONTROL_BLOCK.bytes || offset % 8 !== 0) return -EINVAL;
  return domain.isMemory(unsigned64(call.scratch, EVTCHN_INIT_CONTROL.control_gfn)) ? -ENOSYS : -EINVAL;
}

function setPriority({ channels }: EventChannelDomain, call: Call): number {
  return channels.table.isValid(field(call, EVTCHN_SET_PRIORITY.port)) ? -ENOSYS : -EINVAL;
}

/** An unsigned word of the structure that was fetched. */
function field(call: Call, at: number): number {
  return call.scratch.getUint32(at, true);
}

/** The end of a call that has bound a port: if the guest cannot be told which, it stays bound, as with Xen. */
function bound(call: Call, port: number, at: number, bytes: number): number {
  if (port < 0) return port;
  call.scratch.setUint32(at, port, true);
  return call.store(1, bytes) ? 0 : -EFAULT;
}

function resolve(own: number, domid: number): number {
  return domid === DOMID_SELF ? own : domid;
}
