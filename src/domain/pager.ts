/**
 * The pager: the one thread that answers the pages that vCPUs wait for inside KVM_RUN, by the p2m, by populating RAM, or
 * by asking a window's server. It changes no slots, takes no lock for long, and waits for nobody in particular.
 */

import { POLLIN, PollSet } from "../linux/poll.ts";
import type { PageFault } from "../linux/userfaultfd.ts";
import { PAGE_SIZE } from "../memory/address.ts";
import { FAULT, type FaultTable } from "../memory/fault_table.ts";
import { GuestRam } from "../memory/guest_ram.ts";
import { BankViews } from "../memory/bank.ts";
import { P2M_TYPE, p2mType } from "../memory/p2m.ts";
import { isGranted, type PhysicalMap } from "../memory/physical_map.ts";
import { AREA, type Area } from "../memory/stage_area.ts";
import type { Doorbell } from "../events/doorbell.ts";
import { AdaptiveSpin } from "../events/spin.ts";
import { DIR_READ, DIR_WRITE, MAX_SERVERS, STATE, TYPE } from "../ioreq/abi.ts";
import { FAULT_SLOTS, faultPort } from "../ioreq/notification.ts";
import { type ServerView, ServerViews } from "../ioreq/server_view.ts";
import { ControlBlock } from "./control_block.ts";
import { type Outcome, STATUS } from "./outcome.ts";
import { ServiceRelief } from "./service_relief.ts";
import { describeRetries, MOST_RETRIES } from "./vcpu_violations.ts";

/** To the pager, once. */
export interface PagerStart {
  readonly controlBlock: bigint;
  readonly vcpus: number;
  /** Its eventfd. */
  readonly doorbell: number;
}

/** It serves; a vCPU has come to wait while the domain is paused; the run has ended here. */
type PagerReport = { kind: "ready" | "paused" | "ended" };

/**
 * Serves until the domain's owner says that no vCPU is left, or until another generation is to go on: all that it knows lies
 * in shared memory.
 */
export function page(start: PagerStart, report: (report: PagerReport) => void): void {
  const { controlBlock, vcpus, doorbell } = start;
  new Pager(new ControlBlock(controlBlock, vcpus), doorbell, report).serve();
}

class Pager {
  readonly #map: PhysicalMap;
  readonly #faults: FaultTable;
  readonly #ram: GuestRam;
  readonly #views: ServerViews;
  /** Its doorbell as each server has it. */
  readonly #doorbells: (Doorbell | undefined)[] = new Array(MAX_SERVERS).fill(undefined);
  readonly #own: Doorbell;
  readonly #poll = new PollSet(2);
  readonly #spin = new AdaptiveSpin();
  /** vCPUs by the threads that carry them: a fault says who it was, if it knows. */
  readonly #vcpus = new Map<number, number>();
  readonly #onFault = (fault: PageFault) => this.#fault(fault);
  /** Whether there may be faults to receive. */
  #faulted = true;
  readonly #attention = () => this.#hasWork();
  readonly #relief: ServiceRelief;

  constructor(
    private readonly control: ControlBlock,
    private readonly descriptor: number,
    private readonly report: (report: PagerReport) => void,
  ) {
    this.#map = control.physicalMap;
    this.#faults = this.#map.faults;
    this.#ram = new GuestRam(this.#map, new BankViews(control.bankTable));
    this.#views = new ServerViews(control.servers, ({ server, area }) => {
      this.#doorbells[server.id] = area?.pager(descriptor);
    });
    this.#own = control.pagerDoorbell(descriptor);
    this.#relief = new ServiceRelief(control, this.#own, () => report({ kind: "paused" }));
  }

  serve(): void {
    this.report({ kind: "ready" });
    while (!this.control.pagerReleased) {
      if (this.#relief.isAsked && this.#relief.rest()) return;
      if (this.#faulted) this.#map.userfault.receive(this.#onFault);
      this.#faulted = true;
      this.#attend();
      if (this.#map.table.openFaults > 0 && this.#spin.until(this.#attention)) continue;
      this.#sleep();
    }
  }

  #sleep(): void {
    for (let id = 0; id < MAX_SERVERS; id++) this.#view(id)?.area && this.#doorbells[id]!.arm();
    this.#own.arm();
    if (!this.#hasWork() && !this.control.pagerReleased && !this.#relief.isAsked) {
      this.#poll.clear();
      this.#poll.add(this.descriptor, POLLIN);
      this.#poll.add(this.#map.userfault.number, POLLIN);
      this.#poll.wait();
      if (this.#poll.result(0) !== 0) this.#own.clear();
      this.#faulted = this.#poll.result(1) !== 0;
    }
    this.#own.disarm();
    for (let id = 0; id < MAX_SERVERS; id++) this.#doorbells[id]?.disarm();
  }

  /** The view of a server that there is. */
  #view(id: number): ServerView | undefined {
    return this.control.servers.server(id).exists ? this.#views.view(id) : undefined;
  }

  /** Whether any server has given commands, or an answer. Takes no lock: what is missed now is rung for. */
  #hasWork(): boolean {
    if (this.control.stopping && this.#map.table.openFaults > 0) return true;
    for (let id = 0; id < MAX_SERVERS; id++) {
      const view = this.#view(id);
      if (view?.area?.commands.isPending(view.server)) return true;
    }
    for (let entry = this.#nextAsked(0); entry >= 0; entry = this.#nextAsked(entry + 1)) {
      const slots = this.#view(this.#faults.server(entry))?.area?.faults;
      const state = slots?.state(this.#faults.slot(entry)) ?? STATE.NONE;
      if (state !== STATE.READY && state !== STATE.INPROCESS) return true;
    }
    return false;
  }

  /** The lowest entry from `entry` on that a server was asked about. */
  #nextAsked(entry: number): number {
    const sent = this.#faults.next(entry, FAULT.SENT), idle = this.#faults.next(entry, FAULT.IDLE);
    return sent < 0 ? idle : idle < 0 ? sent : Math.min(sent, idle);
  }

  #fault({ address, writeProtected, minor, thread }: PageFault): void {
    const { table } = this.#map;
    table.lock.acquire();
    try {
      const area = table.areaAt(address);
      if (area !== undefined) this.#resolve(area, area.gfnAt(address), writeProtected, minor, thread);
    } finally {
      table.lock.release();
    }
    if (this.control.paused) this.report({ kind: "paused" });
  }

  #resolve(area: Area, gfn: number, writeProtected: boolean, minor: boolean, thread: number): void {
    const entry = this.#map.p2m.lookup(gfn);
    if (area.state === AREA.RAM && !isGranted(entry)) {
      return this.#require(this.#ram.fault(area, gfn, minor), gfn);
    }
    if (area.state === AREA.DEAD || this.control.stopping) return this.#map.drown(area, gfn);
    const refused = writeProtected && p2mType(entry) === P2M_TYPE.GRANT_MAP_RO;
    if (isGranted(entry) && !refused) {
      if (writeProtected) this.#map.userfault.protect(area.hostOf(gfn), PAGE_SIZE, false);
      return this.#require(this.#map.supply(area, gfn), gfn);
    }
    this.#ask(area, gfn, refused, thread);
  }

  /** Nobody but the host can be the reason that a page which is mapped is not to be had. */
  #require(errno: number, gfn: number): void {
    if (errno === 0) return;
    const reason = `gfn 0x${gfn.toString(16)} is mapped, and the host has no memory for it (error ${errno})`;
    this.#end({ kind: "internal", status: STATUS.HOST, reason });
  }

  #ask(area: Area, gfn: number, write: boolean, thread: number): void {
    const faults = this.#faults;
    let entry = faults.find(gfn);
    if (entry < 0) {
      area.countViolation();
      entry = faults.open(area, gfn, write);
      if (entry < 0) return this.#map.drown(area, gfn); // 4096 are waited for: no vCPU can be left
      this.#send(entry);
    } else if (faults.state(entry) === FAULT.IDLE) {
      area.countViolation();
      faults.again(entry, write);
    }
    const vcpu = this.#vcpuOf(thread);
    if (vcpu >= 0 && faults.find(gfn) === entry) faults.waits(entry, vcpu);
  }

  /** Asks the window's server, in a slot that is free; with none free, the entry waits for one. */
  #send(entry: number): void {
    const faults = this.#faults, view = this.#view(faults.server(entry));
    if (view?.area === undefined || !view.server.enabled || this.control.stopping) return this.#abandon(entry);
    const slots = view.area.faults;
    let slot = 0;
    while (slot < FAULT_SLOTS && slots.state(slot) !== STATE.NONE) slot++;
    if (slot < FAULT_SLOTS) this.#publish(entry, view, slot);
  }

  #publish(entry: number, view: ServerView, slot: number): void {
    const slots = view.area!.faults, address = this.#faults.gfn(entry) * PAGE_SIZE;
    const port = faultPort(this.control.vcpus, slot);
    slots.fill(slot, TYPE.COPY, address, address / 2 ** 32, 0);
    slots.setData(slot, 0, 0);
    slots.setPort(slot, port);
    this.#faults.sent(entry, slot);
    slots.publish(slot, STATE.READY, this.#faults.isWrite(entry) ? DIR_WRITE : DIR_READ);
    view.area!.channels.send(port);
  }

  /** Nobody answers: as for every access that nobody claims, reads are all ones. */
  #abandon(entry: number): void {
    const faults = this.#faults;
    if (!faults.isOrphan(entry)) this.#map.drown(faults.area(entry), faults.gfn(entry));
    if (faults.state(entry) !== FAULT.FREE) faults.close(entry);
  }

  /** Carries out what servers have ordered, and takes their answers. */
  #attend(): void {
    for (let id = 0; id < MAX_SERVERS; id++) {
      const view = this.#view(id), commands = view?.area?.commands;
      if (!commands?.isPending(view!.server)) continue;
      commands.drain(view!.server, this.#map);
      view!.area!.channels.doorbell.ring();
    }
    if (this.#map.table.openFaults === 0) return;
    this.#map.table.lock.acquire();
    try {
      for (let entry = this.#nextAsked(0); entry >= 0; entry = this.#nextAsked(entry + 1)) this.#take(entry);
      for (
        let entry = this.#faults.next(0, FAULT.QUEUED);
        entry >= 0;
        entry = this.#faults.next(entry + 1, FAULT.QUEUED)
      ) {
        this.#send(entry);
      }
    } finally {
      this.#map.table.lock.release();
    }
  }

  #take(entry: number): void {
    const faults = this.#faults, slot = faults.slot(entry), server = faults.server(entry);
    const view = this.#view(server), slots = view?.area?.faults;
    if (slots === undefined || this.control.stopping) return this.#abandon(entry);
    const state = slots.state(slot);
    if (state === STATE.READY || state === STATE.INPROCESS) return;
    if (state === STATE.NONE) return this.#abandon(entry);
    if (state !== STATE.IORESP_RETRY) return this.#crash(describeState(server, faults.gfn(entry), state));
    this.#retried(entry, view!, slot);
  }

  #retried(entry: number, view: ServerView, slot: number): void {
    const faults = this.#faults, area = faults.area(entry), gfn = faults.gfn(entry);
    view.area!.faults.setState(slot, STATE.NONE);
    if (faults.state(entry) === FAULT.IDLE) return faults.close(entry); // it was mapped, and nobody waits any more
    if (this.#map.isMapped(gfn, faults.isWrite(entry))) {
      this.#require(this.#map.supply(area, gfn), gfn);
      return faults.close(entry);
    }
    if (area.generation === faults.generation(entry)) {
      area.countRetry();
      if (faults.countRetry(entry) >= MOST_RETRIES) {
        return this.#crash(describeRetries(faults.server(entry), gfn, area.lastError));
      }
    }
    this.#publish(entry, view, slot);
  }

  #crash(reason: string): void {
    this.#end({ kind: "crash", status: STATUS.CRASH, reason });
  }

  #end(outcome: Outcome): void {
    if (this.control.end(outcome)) this.report({ kind: "ended" });
  }

  #vcpuOf(thread: number): number {
    const known = this.#vcpus.get(thread);
    if (known !== undefined && this.control.vcpu(known).thread === thread) return known;
    for (let id = 0; id < this.control.vcpus; id++) {
      if (this.control.vcpu(id).thread !== thread) continue;
      this.#vcpus.set(thread, id);
      return id;
    }
    return -1;
  }
}

/** Only "try again" answers an access that waits: there is no place for data. */
function describeState(server: number, gfn: number, state: number): string {
  const what = state === STATE.IORESP_READY ? "data (IORESP_READY)" : `state ${state}`;
  return `ioreq server ${server} answered a violation of gfn 0x${gfn.toString(16)} with ${what}`;
}
