/** The other ends of a guest's ports that back ends hold: Xen's domain 0, as far as there is one. */

import { EINVAL } from "../linux/errno.ts";
import type { EventChannels } from "./event_channels.ts";
import type { EventDelivery } from "./event_delivery.ts";
import { PORT, type PortTable, stateIn, vcpuIn } from "./port_table.ts";
import { HOST_DOMID } from "../memory/domid.ts";

/** Where back ends take their events, by the numbers that they attached with. */
export interface BackEnds {
  get(backEnd: number): EventChannels | undefined;
}

/** The ends as one isolate sees them. Results are 0 or -errno. */
export class BackEndPorts {
  constructor(
    private readonly table: PortTable,
    private readonly delivery: EventDelivery,
    private readonly backEnds: BackEnds,
  ) {}

  /**
   * A back end comes to a port that the guest, or who built it, has offered to domain 0. It finds an event pending.
   * @param backEnd its number, 0 or more
   * @param ownPort its number of this end: the bit that is set when the guest sends
   * @returns -EINVAL no such port is offered
   */
  attach(port: number, backEnd: number, ownPort: number): number {
    const { table } = this;
    const result = table.lock.hold(() => {
      if (!table.isOffered(port, HOST_DOMID)) return -EINVAL;
      table.seize(port);
      table.setRemote(port, HOST_DOMID, ownPort, backEnd);
      table.bind(port, PORT.INTERDOMAIN, table.vcpu(port));
      return 0;
    });
    if (result === 0) this.take(backEnd, ownPort);
    return result;
  }

  /** The same for one that goes on where another generation of it was. @returns false that one was not there */
  inherit(port: number, backEnd: number, ownPort: number): boolean {
    const { table } = this;
    if (!table.isValid(port) || table.state(port) !== PORT.INTERDOMAIN) return false;
    if (table.backEnd(port) !== backEnd || table.remotePort(port) !== ownPort) return false;
    this.take(backEnd, ownPort);
    return true;
  }

  /** It goes: the port waits for another. @returns -EINVAL it is not there, or the guest has closed the port */
  detach(port: number, backEnd: number): number {
    const { table } = this;
    return table.lock.hold(() => {
      if (!table.isValid(port) || table.state(port) !== PORT.INTERDOMAIN || table.backEnd(port) !== backEnd) {
        return -EINVAL;
      }
      table.seize(port);
      table.offer(port, HOST_DOMID);
      return 0;
    });
  }

  /** It sends an event to the guest. @returns -EINVAL it is not there, or the guest has closed the port */
  notify(port: number, backEnd: number): number {
    const { table } = this;
    if (!table.isValid(port)) return -EINVAL;
    const binding = table.hold(port);
    if (stateIn(binding) === PORT.INTERDOMAIN && table.backEnd(port) === backEnd) {
      this.delivery.raise(port, port, vcpuIn(binding));
      return 0;
    }
    table.release(port);
    return -EINVAL;
  }

  /** The guest has sent an event to a back end's end. One that is gone misses it. */
  take(backEnd: number, ownPort: number): void {
    this.backEnds.get(backEnd)?.send(ownPort);
  }
}
