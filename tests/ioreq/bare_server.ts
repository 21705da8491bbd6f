/** Servers whose pages are plain memory: for tests of what looks at a server table without a domain around it. */

import { BUFIOREQ, type Bufioreq } from "../../src/ioreq/abi.ts";
import { NOTIFICATION_BYTES, vcpuPort } from "../../src/ioreq/notification.ts";
import type { Server, ServerTable } from "../../src/ioreq/server_table.ts";
import { ServerView } from "../../src/ioreq/server_view.ts";
import { ioreqPages } from "../../src/ioreq/slots.ts";
import { eventDescriptor } from "../../src/linux/event_descriptor.ts";
import { Mapping } from "../../src/linux/mapping.ts";

const PAGE = 4096;

/** The memory of servers, freed together. */
export class BareServers implements Disposable {
  readonly #stack = new DisposableStack();

  constructor(readonly table: ServerTable) {}

  /** Begins server `id` with pages and event channels; it is disabled and claims nothing. */
  create(id: number, vcpus = 4, bufioreq: Bufioreq = BUFIOREQ.OFF): Server {
    const mapping = (bytes: number, subject: string) => this.#stack.use(Mapping.anonymous(bytes, subject));
    const notification = mapping(NOTIFICATION_BYTES, "notification area");
    const slots = mapping(ioreqPages(vcpus) * PAGE, "ioreq pages");
    const buffered = bufioreq === BUFIOREQ.OFF ? 0n : mapping(PAGE, "buffered ring").address;
    const doorbell = this.#stack.use(eventDescriptor("device model")).number;
    const server = this.table.server(id);
    this.table.change(() => {
      server.create({ notification: notification.address, doorbell, vcpus, bufioreq });
      server.setPages(slots.address, buffered);
    });
    const view = new ServerView(server);
    for (let vcpu = 0; vcpu < vcpus; vcpu++) view.slots!.setPort(vcpu, vcpuPort(vcpu));
    return server;
  }

  [Symbol.dispose](): void {
    this.#stack.dispose();
  }
}
