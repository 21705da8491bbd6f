/** The servers' memory as one isolate sees it: views are made at first use, and again when a server got other memory. */

import { viewAt } from "../linux/mapping.ts";
import { PAGE_SIZE } from "../memory/address.ts";
import { MAX_SERVERS } from "./abi.ts";
import { BufferedRing } from "./buffered_ring.ts";
import { NotificationArea } from "./notification.ts";
import type { Server, ServerTable } from "./server_table.ts";
import { ioreqPages, IoreqSlots } from "./slots.ts";

/** One server's memory as it was at one attachment. */
export class ServerView {
  readonly attachment: number;
  readonly area: NotificationArea | undefined;
  readonly slots: IoreqSlots | undefined;
  readonly ring: BufferedRing | undefined;

  constructor(readonly server: Server) {
    this.attachment = server.attachment;
    const { notification, slots, buffered, vcpus, doorbell } = server;
    if (notification !== 0n) this.area = new NotificationArea(notification, vcpus, doorbell);
    if (slots !== 0n) this.slots = new IoreqSlots(viewAt(slots, ioreqPages(vcpus) * PAGE_SIZE));
    if (buffered !== 0n) this.ring = new BufferedRing(viewAt(buffered, PAGE_SIZE));
  }

  /** Whether the server still has the memory that this shows. */
  get current(): boolean {
    return this.server.attachment === this.attachment;
  }
}

/** The views of one isolate. */
export class ServerViews {
  readonly #views: (ServerView | undefined)[] = new Array(MAX_SERVERS).fill(undefined);

  /** @param made called with each new view, before it is used for the first time */
  constructor(readonly table: ServerTable, private readonly made: (view: ServerView) => void = () => {}) {}

  /** The current view of server `id`; allocates only when its memory has changed. */
  view(id: number): ServerView {
    const view = this.#views[id];
    if (view !== undefined && view.current) return view;
    const fresh = this.#views[id] = new ServerView(this.table.server(id));
    this.made(fresh);
    return fresh;
  }
}
