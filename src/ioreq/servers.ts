/** The device model operations on ioreq servers, with Xen's rules and refusals (xen/common/ioreq.c). */

import { EINVAL, ENOENT, ENOSPC, EPERM } from "../linux/errno.ts";
import type { Gfn } from "../memory/address.ts";
import type { Bank } from "../memory/bank.ts";
import { BUFIOREQ, type Bufioreq, MAX_SERVERS, RANGE, type RangeType, RESOURCE_FRAME } from "./abi.ts";
import { DmOpError } from "./dm_op_error.ts";
import { GuestFrameSource } from "./guest_frames.ts";
import { bufferedPort } from "./notification.ts";
import {
  type Emulator,
  OwnedServer,
  type ServedDomain,
  type ServerMemory,
  type ServerWindows,
} from "./owned_server.ts";
import { requireRange } from "./range_set.ts";
import type { Server, ServerTable } from "./server_table.ts";
import { ServerViews } from "./server_view.ts";
import { ioreqPages } from "./slots.ts";

export type { GuestFrames } from "./guest_frames.ts";
export type { Emulator, ServedDomain, ServerMemory } from "./owned_server.ts";

/** What get_ioreq_server_info answers. */
export interface ServerInfo {
  /** All of them; Xen's structure has room for the first. Empty if not asked for. */
  readonly ioreqGfns: readonly Gfn[];
  readonly bufioreqGfn: Gfn | undefined;
  /** 0 without a buffered ring. */
  readonly bufioreqPort: number;
}

/** All servers of a domain. It lives in one isolate; the table that it keeps is seen by all. */
export class IoreqServers implements Disposable {
  readonly #servers: (OwnedServer | undefined)[] = new Array(MAX_SERVERS).fill(undefined);
  readonly #windows: (ServerWindows | undefined)[] = new Array(MAX_SERVERS).fill(undefined);
  readonly #views: ServerViews;
  readonly #frames: GuestFrameSource;

  constructor(private readonly domain: ServedDomain, private readonly table: ServerTable) {
    this.#views = new ServerViews(table);
    this.#frames = new GuestFrameSource(domain.guestFrames);
  }

  /**
   * create_ioreq_server: the lowest free id; disabled, without pages. If the emulator has a held server, then that one,
   * as it is.
   * @throws {DmOpError} EINVAL no such handling of buffered requests; ENOSPC there are eight; ENOMEM
   */
  create(emulator: Emulator, bufioreq: Bufioreq): number {
    const operation = "create_ioreq_server";
    if (!Object.values(BUFIOREQ).includes(bufioreq)) throw new DmOpError(operation, EINVAL, `bufioreq ${bufioreq}`);
    const taken = this.#takeOver(emulator, bufioreq);
    if (taken !== undefined) return taken;
    const id = this.#servers.indexOf(undefined);
    if (id < 0) throw new DmOpError(operation, ENOSPC, `the domain has ${MAX_SERVERS} ioreq servers`);
    const surroundings = { domain: this.domain, table: this.table, views: this.#views, frames: this.#frames };
    this.#servers[id] = new OwnedServer(id, emulator, bufioreq, this.#windowsOf(id), surroundings);
    return id;
  }

  /**
   * get_ioreq_server_info. Asking for the gfns maps the pages there, if they are not yet.
   * @throws {DmOpError} EPERM the pages were got as a resource; EINVAL dying; ENOMEM no gfn or frame left; ENOENT, EPERM
   */
  info(emulator: Emulator, id: number, wantsGfns: boolean): ServerInfo {
    const operation = "get_ioreq_server_info", owned = this.#server(operation, emulator, id);
    const pages = wantsGfns ? owned.getPages(operation, "gfn") : undefined;
    return {
      ioreqGfns: pages?.ioreq.map(({ gfn }) => gfn!) ?? [],
      bufioreqGfn: pages?.buffered?.gfn,
      bufioreqPort: owned.bufioreq === BUFIOREQ.OFF ? 0 : bufferedPort(this.domain.vcpus),
    };
  }

  /** The pages that {@linkcode info} mapped, as {@linkcode info} numbers them. @throws {DmOpError} ENOENT, EPERM */
  gfnPages(emulator: Emulator, id: number): readonly Bank[] {
    const owned = this.#server("get_ioreq_server_info", emulator, id);
    return owned.pages("gfn")?.all.map(({ bank }) => bank) ?? [];
  }

  /** How many frames the resource has (XENMEM_acquire_resource with nr_frames 0). */
  get resourceFrames(): number {
    return RESOURCE_FRAME.ioreq + ioreqPages(this.domain.vcpus);
  }

  /**
   * XENMEM_acquire_resource: `count` frames from `frame` on. Frame 0 is the buffered ring, 1 + n the n-th ioreq page.
   * The pages are got even if none is asked for.
   * @throws {DmOpError} EPERM the pages were got by gfn; ENOENT no buffered ring; EINVAL beyond the last, or dying; ENOMEM
   */
  acquire(emulator: Emulator, id: number, frame: number, count: number): readonly Bank[] {
    const operation = "acquire_resource", owned = this.#server(operation, emulator, id);
    const pages = owned.getPages(operation, "resource");
    return Array.from({ length: count }, (_, offset) => {
      const index = frame + offset;
      if (index === RESOURCE_FRAME.bufioreq) {
        if (pages.buffered !== undefined) return pages.buffered.bank;
        throw new DmOpError(operation, ENOENT, `server ${id} has no buffered ring`);
      }
      const page = pages.ioreq[index - RESOURCE_FRAME.ioreq];
      if (page !== undefined) return page.bank;
      throw new DmOpError(operation, EINVAL, `frame ${index}: server ${id} has ${this.resourceFrames}`);
    });
  }

  /** What else a device model needs to serve. @throws {DmOpError} ENOENT, EPERM */
  memory(emulator: Emulator, id: number): ServerMemory {
    return this.#server("get_server_memory", emulator, id);
  }

  /** What a server has claimed. @throws {DmOpError} ENOENT, EPERM */
  claims(emulator: Emulator, id: number): Server["ranges"] {
    return this.#server("get_ranges", emulator, id).server.ranges;
  }

  /**
   * map_io_range_to_ioreq_server. A successor may map what a held server has already.
   * @throws {DmOpError} EINVAL no such type, first > last; EEXIST it overlaps; EBUSY memory of an extended region, which
   *   the guest has not lent; ENOMEM too many ranges; ENOENT, EPERM
   */
  mapRange(emulator: Emulator, id: number, type: RangeType, first: number, last: number): void {
    const { server, inherited } = this.#ranged("map_io_range_to_ioreq_server", emulator, id, type, first, last);
    if (inherited && server.ranges[type].contains(first, last)) return;
    this.table.addRange(server, type, first, last, (first, last) => this.domain.keepsFree(first, last));
  }

  /** unmap_io_range_from_ioreq_server. @throws {DmOpError} EINVAL; ENOENT not all of it is mapped, or no such server */
  unmapRange(emulator: Emulator, id: number, type: RangeType, first: number, last: number): void {
    const { server } = this.#ranged("unmap_io_range_from_ioreq_server", emulator, id, type, first, last);
    this.table.change(() => server.ranges[type].remove(first, last));
  }

  /**
   * Has writes to ports or memory [first, last] go through the buffered ring, if they do not yet: ours, Xen knows only
   * video memory.
   * @throws {DmOpError} EINVAL no buffered ring, or no such type; ENOMEM; ENOENT, EPERM
   */
  bufferRange(emulator: Emulator, id: number, type: RangeType, first: number, last: number): void {
    const operation = "buffer_io_range",
      { server, bufioreq } = this.#ranged(operation, emulator, id, type, first, last);
    if (bufioreq === BUFIOREQ.OFF || type === RANGE.PCI) {
      throw new DmOpError(operation, EINVAL, `server ${id} buffers nothing of this kind`);
    }
    this.table.change(() => server.bufferedRanges[type].cover(first, last));
  }

  /**
   * set_ioreq_server_state. Pages got by gfn leave the guest while the server is enabled.
   * @throws {DmOpError} ENOENT, EPERM; ENOMEM what kept a gfn from going back, after all others were tried
   */
  setEnabled(emulator: Emulator, id: number, enabled: boolean): void {
    this.#server("set_ioreq_server_state", emulator, id).setEnabled(enabled);
  }

  /** destroy_ioreq_server. Requests that wait for it read all ones. @throws {DmOpError} ENOENT, EPERM */
  destroy(emulator: Emulator, id: number): void {
    this.#destroy(this.#server("destroy_ioreq_server", emulator, id));
  }

  /**
   * A device model is gone. Its servers go with it, unless they are held: then their requests wait for the next one that
   * creates a server as the same emulator.
   */
  abandon(emulator: Emulator, hold: boolean): void {
    const left = this.#servers.filter((owned) => owned?.emulator === emulator && !owned.held) as OwnedServer[];
    const waits = (owned: OwnedServer) => hold && owned.server.enabled && !this.domain.dying;
    for (const owned of left.filter(waits)) {
      owned.held = true;
      this.domain.revokeAll(owned.id);
    }
    // One that died between its answer and the wake has left vCPUs that nobody else wakes: no successor is asked again.
    if (left.some((owned) => owned.held)) this.domain.wakeVcpus();
    this.#destroyAll(left.filter((owned) => !owned.held));
  }

  /** Whether a server's requests wait for the next device model. */
  isHeld(id: number): boolean {
    return this.#servers[id]?.held ?? false;
  }

  /** Ids of the servers of `emulator`. */
  of(emulator: Emulator): number[] {
    return this.#servers.flatMap((owned, id) => owned?.emulator === emulator ? [id] : []);
  }

  /** Tells every device model to leave. */
  release(): void {
    for (const owned of this.#servers) owned?.release();
  }

  [Symbol.dispose](): void {
    this.#destroyAll(this.#servers.filter((owned) => owned !== undefined));
  }

  /** The lowest held server of this emulator, for its next device model. One that buffers otherwise is of no use to it. */
  #takeOver(emulator: Emulator, bufioreq: Bufioreq): number | undefined {
    const owned = this.#servers.find((owned) => owned?.held && owned.emulator === emulator);
    if (owned === undefined) return undefined;
    if (owned.bufioreq === bufioreq) {
      owned.takeOver();
      return owned.id;
    }
    this.#destroy(owned);
    return this.#takeOver(emulator, bufioreq);
  }

  #server(operation: string, emulator: Emulator, id: number): OwnedServer {
    const owned = this.#servers[id];
    if (owned === undefined) throw new DmOpError(operation, ENOENT, `there is no ioreq server ${id}`);
    if (owned.emulator !== emulator) throw new DmOpError(operation, EPERM, `ioreq server ${id} is another's`);
    return owned;
  }

  /** The server of an operation on a range, in the order of Xen's refusals. */
  #ranged(
    operation: string,
    emulator: Emulator,
    id: number,
    type: RangeType,
    first: number,
    last: number,
  ): OwnedServer {
    requireRange(operation, first, last);
    const owned = this.#server(operation, emulator, id);
    if (!Object.values(RANGE).includes(type)) throw new DmOpError(operation, EINVAL, `no range type ${type}`);
    return owned;
  }

  #destroy(owned: OwnedServer): void {
    this.#servers[owned.id] = undefined;
    owned.destroy();
  }

  /** One that does not go without an error keeps no other. */
  #destroyAll(servers: readonly OwnedServer[]): void {
    using stack = new DisposableStack();
    for (const owned of servers) stack.defer(() => this.#destroy(owned));
  }

  #windowsOf(id: number): ServerWindows {
    const window = () => this.domain.window();
    return this.#windows[id] ??= { slots: window(), buffered: window(), notification: window() };
  }
}
