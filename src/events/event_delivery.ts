/** What happens when an event has come for a guest: upcalls, and vCPUs that wait for ports (SCHEDOP_poll). */

import type { PortTable } from "./port_table.ts";
import { RAISED, type TwoLevelEvents } from "./two_level.ts";

/** Who carries out what events lead to. Called on the sender's thread, without a lock. */
export interface EventReceivers {
  /** The vCPU's evtchn_upcall_pending has become 1: it is to be interrupted, and wakes if it blocks. */
  upcall(vcpu: number): void;
  /** The vCPU waits for ports ({@linkcode EventDelivery.beginPoll}) of which one may be pending: it goes on. */
  unblock(vcpu: number): void;
}

/** Delivery as one isolate does it. */
export class EventDelivery {
  constructor(
    private readonly table: PortTable,
    private readonly events: TwoLevelEvents,
    private readonly receivers: EventReceivers,
  ) {}

  /** An event for `port`, which notifies `vcpu`; then releases the port that the caller holds. */
  raise(held: number, port: number, vcpu: number): void {
    const raised = this.events.setPending(port, vcpu);
    this.table.release(held);
    if (raised !== 0) this.announce(raised, port, vcpu);
  }

  /** Tells whom it concerns what {@linkcode TwoLevelEvents.setPending} has said. Without a lock. */
  announce(raised: number, port: number, vcpu: number): void {
    if ((raised & RAISED.UPCALL) !== 0) this.receivers.upcall(vcpu);
    if ((raised & RAISED.NEWLY) !== 0 && this.table.ofVcpus.hasPollers) this.#wakePollers(port);
  }

  /** Its upcall is pending. */
  upcall(vcpu: number): void {
    this.receivers.upcall(vcpu);
  }

  /** `vcpu` is about to wait for ports. From now on it is woken; so afterwards it looks at them, and then waits. */
  beginPoll(vcpu: number): void {
    this.table.ofVcpus.addPoller(vcpu);
  }

  /** It waits for no other port than this one. */
  narrowPoll(vcpu: number, port: number): void {
    this.table.ofVcpus.setPolled(vcpu, port);
  }

  /** It waits no more. @returns whether nobody has woken it */
  endPoll(vcpu: number): boolean {
    return this.table.ofVcpus.removePoller(vcpu);
  }

  #wakePollers(port: number): void {
    const { ofVcpus, vcpus } = this.table;
    for (let vcpu = ofVcpus.nextPoller(0, vcpus); vcpu >= 0; vcpu = ofVcpus.nextPoller(vcpu + 1, vcpus)) {
      const polled = ofVcpus.polled(vcpu);
      if ((polled === 0 || polled === port) && ofVcpus.removePoller(vcpu)) this.receivers.unblock(vcpu);
    }
  }
}
