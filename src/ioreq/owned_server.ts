/** One ioreq server as its domain holds it: its memory, how its pages were got, and the way in which all of it goes. */

import type { Descriptor } from "../linux/descriptor.ts";
import { EINVAL, ENOMEM, EPERM } from "../linux/errno.ts";
import { eventDescriptor } from "../linux/event_descriptor.ts";
import { LinuxError } from "../linux/linux_error.ts";
import { type Gfn, type Mfn, PAGE_SIZE } from "../memory/address.ts";
import { type Bank, MachineMemoryError } from "../memory/bank.ts";
import { FrameError } from "../memory/frame_table.ts";
import { ArenaFullError } from "../memory/vmap.ts";
import { BUFIOREQ, type Bufioreq, STATE } from "./abi.ts";
import { DmOpError } from "./dm_op_error.ts";
import type { GuestFrames, GuestFrameSource } from "./guest_frames.ts";
import { FAULT_SLOTS, faultPort, NOTIFICATION_BYTES, NotificationArea, vcpuPort } from "./notification.ts";
import { type PageSource, ServerPages, type Window } from "./server_pages.ts";
import type { Server, ServerTable } from "./server_table.ts";
import type { ServerView, ServerViews } from "./server_view.ts";
import { ioreqPages } from "./slots.ts";

/** Who asks: a device model, by a number of the hypervisor's choice (Xen: the domain that emulates). */
export type Emulator = number;

/** What servers need of the domain that they serve. */
export interface ServedDomain {
  /** vCPUs that the domain can have. */
  readonly vcpus: number;
  /** Whether the run is over. */
  readonly dying: boolean;
  /** New zeroed memory of the domain's. @throws when there is none */
  allocate(name: string, pages: number): Bank;
  /** A new place in the hypervisor's address space. */
  window(): Window;
  /** The frames of the ioreq gfn pool. */
  readonly guestFrames: GuestFrames;
  /** Whether memory [first, last] has pages that are kept free: no device model can have them. */
  keepsFree(first: number, last: number): boolean;
  /** Has every vCPU that waits for a server look again. */
  wakeVcpus(): void;
  /** The server's device model is gone: its memory goes, and nothing of it is shown any more. Another may come. */
  revokeAll(server: number): void;
  /** The server is asked from now on. */
  enabled(server: number): void;
  /** The server is gone, and the guest's pages that it was asked for with it. */
  forget(server: number): void;
}

/** What a device model is handed to serve: memory and a doorbell that belong to the server. */
export interface ServerMemory {
  readonly notification: Bank;
  readonly doorbell: Descriptor;
  /** Its device model is not the first, and asks for what the server has already. */
  readonly inherited: boolean;
}

/** The windows of one server id. They stay for as long as the domain, since a vCPU may look into them late. */
export interface ServerWindows {
  readonly slots: Window;
  readonly buffered: Window;
  readonly notification: Window;
}

/** What all servers of a domain have in common. */
export interface ServerSurroundings {
  readonly domain: ServedDomain;
  readonly table: ServerTable;
  readonly views: ServerViews;
  readonly frames: GuestFrameSource;
}

/** How the pages were got; the other way is refused from then on. */
export type Way = "resource" | "gfn";

/** A server from its creation to {@linkcode destroy}. */
export class OwnedServer implements ServerMemory {
  readonly server: Server;
  readonly notification: Bank;
  readonly doorbell: Descriptor;
  readonly #resources: DisposableStack;
  #pages: ServerPages | undefined;
  #way: Way | undefined;
  /** No device model has it, and its requests wait for the next one. */
  held = false;
  inherited = false;

  /** create_ioreq_server: disabled, without pages. @throws {DmOpError} ENOMEM; then nothing was done */
  constructor(
    readonly id: number,
    readonly emulator: Emulator,
    readonly bufioreq: Bufioreq,
    private readonly windows: ServerWindows,
    private readonly surroundings: ServerSurroundings,
  ) {
    const operation = "create_ioreq_server", { domain: { vcpus }, table } = surroundings;
    using stack = new DisposableStack();
    this.notification = this.#allocate(operation, `xenolith-server-${id}`, NOTIFICATION_BYTES / PAGE_SIZE, stack);
    this.doorbell = stack.use(refusing(operation, () => eventDescriptor(`doorbell of ioreq server ${id}`, false)));
    const { firstMfn, frames } = this.notification;
    const mfns = Array.from({ length: frames }, (_, page) => firstMfn + page as Mfn);
    const notification = this.#show(operation, windows.notification, mfns, stack);
    // The pager may sleep already, and does not know of this server: the first ring is to wake it.
    new NotificationArea(notification, vcpus, this.doorbell.number).pager(-1).arm();
    this.server = table.server(id);
    table.change(() => this.server.create({ notification, doorbell: this.doorbell.number, vcpus, bufioreq }));
    this.#resources = stack.move();
  }

  /** Its pages, if they were got in this way. */
  pages(way: Way): ServerPages | undefined {
    return this.#way === way ? this.#pages : undefined;
  }

  /** Gets the pages in one of the two ways, unless they are there. @throws {DmOpError} EPERM, EINVAL dying, ENOMEM */
  getPages(operation: string, way: Way): ServerPages {
    if (this.#pages !== undefined) {
      if (this.#way === way) return this.#pages;
      // The pages are where the first caller wanted them; they cannot be in two places (Xen: hvm_map_ioreq_gfn).
      throw new DmOpError(operation, EPERM, `the pages were got ${this.#way === "gfn" ? "by gfn" : "as a resource"}`);
    }
    const { domain, table, frames } = this.surroundings, wantsBuffered = this.bufioreq !== BUFIOREQ.OFF;
    if (domain.dying) throw new DmOpError(operation, EINVAL, "the domain is dying");
    using stack = new DisposableStack();
    const source = way === "gfn" ? frames : this.#resource(operation);
    const count = ioreqPages(domain.vcpus);
    const pages = stack.use(refusing(operation, () => new ServerPages(source, count, wantsBuffered)));
    const slots = this.#show(operation, this.windows.slots, pages.mfns, stack);
    const buffered = wantsBuffered ? this.#show(operation, this.windows.buffered, [pages.buffered!.mfn], stack) : 0n;
    stack.move();
    this.#pages = pages;
    this.#way = way;
    table.change(() => this.server.setPages(slots, buffered));
    this.#fill();
    return pages;
  }

  /**
   * set_ioreq_server_state. Pages got by gfn leave the guest while the server is enabled.
   * @throws {DmOpError} ENOMEM. A gfn that does not go is an enabling undone; one that does not come back keeps no other
   */
  setEnabled(enabled: boolean): void {
    if (this.server.enabled === enabled) return;
    const operation = "set_ioreq_server_state";
    if (enabled) refusing(operation, () => this.#enable());
    else refusing(operation, () => this.#disable());
  }

  /** The server goes on with another device model: what was begun is asked again. */
  takeOver(): void {
    const { slots, area, ring } = this.#view, { vcpus } = this.surroundings.domain;
    this.held = false;
    this.inherited = true;
    this.server.countTakeover();
    area!.commands.drop(this.server);
    for (let vcpu = 0; slots !== undefined && vcpu < vcpus; vcpu++) {
      slots.advance(vcpu, STATE.INPROCESS, STATE.READY);
      if (slots.state(vcpu) === STATE.READY) area!.channels.send(vcpuPort(vcpu));
    }
    if (ring !== undefined) area!.channels.send(area!.bufferedPort);
    for (let slot = 0; slot < FAULT_SLOTS; slot++) {
      area!.faults.advance(slot, STATE.INPROCESS, STATE.READY);
      if (area!.faults.state(slot) === STATE.READY) area!.channels.send(faultPort(vcpus, slot));
    }
  }

  /** Tells the device model to leave. */
  release(): void {
    this.#view.area!.release();
  }

  /** destroy_ioreq_server. @throws {DmOpError} ENOMEM a step has failed, which kept no other from being taken */
  destroy(): void {
    refusing("destroy_ioreq_server", () => this.#destroy());
  }

  /** First nobody is sent there, then nobody finds the pages, then nobody sees them; only then do they go. */
  #destroy(): void {
    const { domain, table } = this.surroundings;
    using stack = new DisposableStack(); // what is put on it last comes first
    stack.use(this.#resources); // the notification area and the doorbell
    stack.use(this.#pages);
    stack.defer(() => this.windows.buffered.hide());
    stack.defer(() => this.windows.slots.hide());
    stack.defer(() => domain.wakeVcpus());
    stack.defer(() => table.change(() => this.server.destroy(this.#view.area!.outside)));
    stack.defer(() => this.release());
    stack.defer(() => domain.forget(this.id));
    stack.defer(() => this.#disable());
  }

  get #view(): ServerView {
    return this.surroundings.views.view(this.id);
  }

  get #gfns(): Gfn[] {
    return this.pages("gfn")?.all.map(({ gfn }) => gfn!) ?? [];
  }

  #enable(): void {
    const { frames, table } = this.surroundings;
    using stack = new DisposableStack();
    for (const gfn of this.#gfns) {
      frames.remove(gfn);
      stack.defer(() => frames.add(gfn));
    }
    stack.move();
    this.#fill();
    table.change(() => this.server.setEnabled(true));
    this.surroundings.domain.enabled(this.id);
  }

  /** Review of v3: a page that does not go back must not keep the others from going. */
  #disable(): void {
    const { frames, table, domain } = this.surroundings, gfns = this.#gfns;
    if (this.server.enabled) {
      table.change(() => this.server.setEnabled(false));
      this.#clear(); // nothing is left to see for the guest (Xen: hvm_add_ioreq_gfn), nor an answer to wait for
      if (gfns.length > 0) domain.wakeVcpus();
    }
    using stack = new DisposableStack();
    for (const gfn of gfns) stack.defer(() => frames.add(gfn));
  }

  /** Begins anew: pages that the guest could write to until now are cleared, and each slot gets its event channel. */
  #fill(): void {
    this.#clear();
    const { slots } = this.#view, { vcpus } = this.surroundings.domain;
    for (let vcpu = 0; slots !== undefined && vcpu < vcpus; vcpu++) slots.setPort(vcpu, vcpuPort(vcpu));
  }

  #clear(): void {
    for (const { bank } of this.pages("gfn")?.all ?? []) new Uint8Array(bank.directmap.buffer).fill(0);
  }

  #resource(operation: string): PageSource {
    return {
      take: (held) => {
        const bank = this.#allocate(operation, `xenolith-ioreq-${this.id}`, 1, held);
        return { bank, mfn: bank.firstMfn, gfn: undefined };
      },
    };
  }

  #allocate(operation: string, name: string, pages: number, held: DisposableStack): Bank {
    return held.use(refusing(operation, () => this.surroundings.domain.allocate(name, pages)));
  }

  #show(operation: string, window: Window, mfns: readonly Mfn[], held: DisposableStack): bigint {
    const address = refusing(operation, () => window.show(mfns));
    held.defer(() => window.hide());
    return address;
  }
}

/**
 * What the host or the frames refuse becomes Xen's number for it; never EAGAIN, which would have the caller loop. Our own
 * mistakes stay what they are.
 */
function refusing<T>(operation: string, step: () => T): T {
  try {
    return step();
  } catch (thrown) {
    let error: unknown = thrown;
    while (error instanceof SuppressedError) error = error.suppressed; // of several failures the first
    if (error instanceof FrameError) throw new DmOpError(operation, EINVAL, error.message);
    if (error instanceof LinuxError || error instanceof MachineMemoryError || error instanceof ArenaFullError) {
      throw new DmOpError(operation, ENOMEM, error.message);
    }
    throw thrown;
  }
}
