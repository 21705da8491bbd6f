/**
 * A guest's event channels: what Xen's event_channel_op does, for one domain, and the other ends that its back ends hold
 * (xen/common/event_channel.c). Every method may be called on any thread; numbers that a guest gave are unsigned.
 */

import { EAGAIN, EBUSY, EEXIST, EINVAL, ENOENT } from "../linux/errno.ts";
import { BackEndPorts, type BackEnds } from "./back_end_ports.ts";
import { EventDelivery, type EventReceivers } from "./event_delivery.ts";
import { isUsable, NO_BACK_END, PORT, type PortTable, stateIn, vcpuIn } from "./port_table.ts";
import type { TwoLevelEvents } from "./two_level.ts";

/** What {@linkcode GuestChannels.status} says of a port. */
export interface PortStatus {
  /** See {@linkcode PORT}. */
  state: number;
  vcpu: number;
  /** UNBOUND, INTERDOMAIN: who may be, or is, at the other end. */
  remoteDomid: number;
  /** INTERDOMAIN: its port there. */
  remotePort: number;
  /** PIRQ, VIRQ: which. */
  line: number;
}

/** The channels as one isolate sees them. Results are 0 or a port, or -errno. */
export class GuestChannels {
  readonly delivery: EventDelivery;
  readonly backEndPorts: BackEndPorts;

  constructor(
    readonly table: PortTable,
    readonly events: TwoLevelEvents,
    receivers: EventReceivers,
    backEnds: BackEnds,
  ) {
    this.delivery = new EventDelivery(table, events, receivers);
    this.backEndPorts = new BackEndPorts(table, this.delivery, backEnds);
  }

  /** A port that `remoteDomid` may bind to. */
  allocUnbound(remoteDomid: number): number {
    const { table } = this;
    return table.lock.hold(() => {
      const port = table.allocate();
      if (port < 0) return port;
      table.seize(port);
      table.offer(port, remoteDomid, 0);
      return port;
    });
  }

  /** A port at the other end of one that `remoteDomid` has offered; only the domain itself ever has one to offer. */
  bindInterdomain(remoteDomid: number, remotePort: number): number {
    const { table } = this, { domid } = table;
    let raised = 0;
    const port = table.lock.hold(() => {
      const port = table.allocate();
      if (port < 0) return port;
      if (remoteDomid !== domid || !table.isOffered(remotePort, domid)) return -EINVAL;
      table.seize(port);
      table.seize(remotePort);
      table.setRemote(port, domid, remotePort, NO_BACK_END);
      table.setRemote(remotePort, domid, port, NO_BACK_END);
      // Whatever was sent before there was another end is lost; so the new end always has an event.
      raised = this.events.setPending(port, 0);
      table.bind(port, PORT.INTERDOMAIN, 0);
      table.bind(remotePort, PORT.INTERDOMAIN, table.vcpu(remotePort));
      return port;
    });
    this.delivery.announce(raised, port, 0);
    return port;
  }

  /** A port for a virtual interrupt. @param isGlobal the domain's, not the vCPU's own; `vcpu` is 0 then */
  bindVirq(virq: number, vcpu: number, isGlobal: boolean): number {
    const { table } = this;
    if (vcpu >= table.vcpus) return -ENOENT;
    return table.lock.hold(() => {
      if (table.ofVcpus.virqPort(vcpu, virq) !== 0) return -EEXIST;
      const port = table.allocate();
      if (port < 0) return port;
      table.seize(port);
      table.setLine(port, virq, isGlobal ? -1 : vcpu);
      table.bind(port, PORT.VIRQ, vcpu);
      table.ofVcpus.setVirqPort(vcpu, virq, port);
      return port;
    });
  }

  /** A port that a vCPU is sent events by. */
  bindIpi(vcpu: number): number {
    const { table } = this;
    if (vcpu >= table.vcpus) return -ENOENT;
    return table.lock.hold(() => {
      const port = table.allocate();
      if (port < 0) return port;
      table.seize(port);
      table.bind(port, PORT.IPI, vcpu);
      return port;
    });
  }

  /** A port for a physical interrupt that the domain may have. It has none, so nothing ever comes. */
  bindPirq(pirq: number): number {
    const { table } = this;
    return table.lock.hold(() => {
      for (let port = 1; port < table.validEnd; port++) {
        if (table.state(port) === PORT.PIRQ && table.line(port) === pirq) return -EEXIST;
      }
      const port = table.allocate();
      if (port < 0) return port;
      table.seize(port);
      table.setLine(port, pirq);
      table.bind(port, PORT.PIRQ, 0);
      return port;
    });
  }

  /** Frees a port. A port at its other end waits for another to come; a back end is not told. */
  close(port: number): number {
    const { table } = this;
    return table.lock.hold(() => {
      if (!table.isValid(port)) return -EINVAL;
      const state = table.state(port);
      if (state === PORT.FREE || state === PORT.RESERVED) return -EINVAL;
      if (state === PORT.VIRQ) {
        table.ofVcpus.setVirqPort(table.isGlobal(port) ? 0 : table.vcpu(port), table.line(port), 0);
      }
      const isLoop = state === PORT.INTERDOMAIN && table.backEnd(port) === NO_BACK_END;
      const other = isLoop ? table.remotePort(port) : port;
      table.seize(port);
      if (isLoop) table.seize(other);
      this.events.clearPending(port);
      table.bind(port, PORT.FREE, 0);
      if (isLoop) table.offer(other, table.domid);
      return 0;
    });
  }

  /** Sends an event to the other end of a port, or by an IPI's to its vCPU. What nobody is there for is dropped. */
  send(port: number): number {
    const { table } = this;
    if (!table.isValid(port)) return -EINVAL;
    const binding = table.hold(port), state = stateIn(binding);
    if (state === PORT.IPI) this.delivery.raise(port, port, vcpuIn(binding));
    else if (state === PORT.INTERDOMAIN) this.#sendAcross(port);
    else table.release(port);
    return state === PORT.IPI || state === PORT.INTERDOMAIN || state === PORT.UNBOUND ? 0 : -EINVAL;
  }

  /** A virtual interrupt occurs; the domain's are vCPU 0's. @returns whether it has a port */
  raiseVirq(virq: number, vcpu = 0): boolean {
    const { table } = this, port = table.ofVcpus.virqPort(vcpu, virq);
    if (port === 0) return false;
    const binding = table.hold(port);
    // It may have been closed, and be another's by now.
    if (stateIn(binding) === PORT.VIRQ && table.ofVcpus.virqPort(vcpu, virq) === port) {
      this.delivery.raise(port, port, vcpuIn(binding));
      return true;
    }
    table.release(port);
    return false;
  }

  /** What a port is. @param status filled in if the result is 0 */
  status(port: number, status: PortStatus): number {
    const { table } = this;
    return table.lock.hold(() => {
      if (!table.isValid(port)) return -EINVAL;
      status.state = table.state(port);
      status.vcpu = table.vcpu(port);
      status.remoteDomid = table.remoteDomid(port);
      status.remotePort = table.remotePort(port);
      status.line = table.line(port);
      return 0;
    });
  }

  /** Whom a port notifies. An IPI's vCPU, and that of a vCPU's own virtual interrupt, stay what they are. */
  bindVcpu(port: number, vcpu: number): number {
    const { table } = this;
    if (vcpu >= table.vcpus) return -ENOENT;
    if (!table.isValid(port)) return -EINVAL;
    return table.lock.hold(() => {
      const state = table.state(port), isGlobal = state === PORT.VIRQ && table.isGlobal(port);
      if (!isGlobal && state !== PORT.UNBOUND && state !== PORT.INTERDOMAIN && state !== PORT.PIRQ) return -EINVAL;
      table.setVcpu(port, vcpu);
      return 0;
    });
  }

  /** Clears a port's mask bit; what is pending is delivered. */
  unmask(port: number): number {
    const { table } = this;
    if (!table.isValid(port)) return -EINVAL;
    const binding = table.hold(port), vcpu = vcpuIn(binding);
    const isUpcall = isUsable(stateIn(binding)) && this.events.unmask(port, vcpu);
    table.release(port);
    if (isUpcall) this.delivery.upcall(vcpu);
    return 0;
  }

  /**
   * Closes all ports, those of the tool stack too.
   * @param resuming goes on with one that is under way (Xen: EVTCHNOP_reset_cont)
   * @returns -EBUSY one is under way, or none; -EAGAIN ports were bound meanwhile
   */
  reset(resuming = false): number {
    const { table } = this;
    const first = table.lock.hold(() => {
      const under = table.resetting, first = resuming ? under : (under === 0 ? 1 : 0);
      if (first > under) table.resetting = first;
      return first;
    });
    if (first === 0) return -EBUSY;
    for (let port = first; port < table.validEnd; port++) if (table.state(port) !== PORT.FREE) this.close(port);
    return table.lock.hold(() => {
      table.resetting = 0;
      for (let port = 1; port < table.validEnd; port++) if (table.state(port) !== PORT.FREE) return -EAGAIN;
      return 0;
    });
  }

  /** Whether a port is pending: 1 or 0; -EINVAL it is free. */
  poll(port: number): number {
    const { table } = this;
    if (!table.isValid(port)) return -EINVAL;
    const state = stateIn(table.hold(port));
    const result = isUsable(state) ? (this.events.isPending(port) ? 1 : 0) : -EINVAL;
    table.release(port);
    return result;
  }

  /**
   * Moves a vCPU's vcpu_info to a frame of the guest's, once (VCPUOP_register_vcpu_info).
   * @param frame stays the domain's for as long as it lives: the caller holds a reference
   * @param offset in bytes; the whole structure is in the frame, and aligned to the guest's longs
   * @returns -ENOENT no such vCPU; -EINVAL it has been moved before
   */
  registerVcpuInfo(vcpu: number, frame: number, offset: number): number {
    const { table } = this;
    if (vcpu >= table.vcpus) return -ENOENT;
    const result = table.lock.hold(() => {
      if (table.ofVcpus.infoFrame(vcpu) !== 0) return -EINVAL;
      this.events.moveInfo(vcpu, frame, offset);
      return 0;
    });
    if (result === 0) this.delivery.upcall(vcpu);
    return result;
  }

  /** To the other end of a port that is held. */
  #sendAcross(port: number): void {
    const { table } = this, remote = table.remotePort(port), backEnd = table.backEnd(port);
    if (backEnd === NO_BACK_END) return this.delivery.raise(port, remote, table.vcpu(remote));
    table.release(port);
    this.backEndPorts.take(backEnd, remote);
  }
}
