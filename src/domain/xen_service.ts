/**
 * What a domain whose guest uses Xen has beside its vCPUs: timers and watchdogs, the callback's interrupt line, upcalls
 * that could not be taken yet, and the back end of the xenstore ring. One thread, which sleeps until the next of these.
 */

import { awaitEvent, signalEvent } from "../linux/event_descriptor.ts";
import { POLLIN, PollSet } from "../linux/poll.ts";
import { PAGE_SIZE } from "../memory/address.ts";
import { EventChannels } from "../events/event_channels.ts";
import { HVM_PARAM } from "../hypercall/abi/hvm.ts";
import { SHUTDOWN } from "../hypercall/abi/sched.ts";
import { VIRQ } from "../hypercall/abi/xen.ts";
import { WATCHDOGS } from "../hypercall/sched_op.ts";
import { type ConnectionState, XenstoreConnection } from "../xenstore/connection.ts";
import { writeDomainEntries } from "../xenstore/domain_entries.ts";
import { type RingState, XenstoreRing } from "../xenstore/ring.ts";
import { requestShutdown } from "../xenstore/shutdown_request.ts";
import { type StoreState, Xenstore } from "../xenstore/store.ts";
import { XenstoreError } from "../xenstore/xenstore_error.ts";
import { ToolStack } from "../xenstore/tool_stack.ts";
import { ControlBlock } from "./control_block.ts";
import { XEN_SERVICE, XenDomain } from "./xen_domain.ts";
import { ServiceRelief } from "./service_relief.ts";
import { Retries } from "./retries.ts";
import { CALLBACK, ORDER, SHUTDOWN_REQUESTS } from "./xen_state.ts";
import { GUEST_DOMID } from "../memory/domid.ts";

/** To the Worker, once. */
export interface XenStart {
  readonly controlBlock: bigint;
  readonly vcpus: number;
  readonly name: string;
  readonly uuid: string;
  readonly memoryKiB: number;
  /** What another generation of it was at. */
  readonly handedOver?: XenServiceState;
}

/** All of it that does not lie in shared memory: the store. */
export interface XenServiceState {
  readonly store: StoreState;
  readonly connection: ConnectionState;
  readonly ring: RingState;
}

/** How often the store looks whether a guest takes its events, while one does not. */
const HELD_UP_NS = 1e9;

/** It serves; it has come to rest for its successor; the run has ended here. */
type XenReport = { kind: "ready" | "paused" | "ended" };

/** Serves until the domain's owner says that no vCPU is left, or until another generation is to go on. @returns what that needs */
export function serveXen(start: XenStart, report: (report: XenReport) => void): XenServiceState {
  const service = new XenService(start, report);
  report({ kind: "ready" });
  service.serve();
  return service.state;
}

class XenService {
  readonly #control: ControlBlock;
  readonly #domain: XenDomain;
  readonly #channels: EventChannels;
  readonly #poll = new PollSet(2);
  readonly #relief: ServiceRelief;
  readonly #store: Xenstore;
  readonly #tools: ToolStack;
  readonly #connection: XenstoreConnection;
  readonly #ring: XenstoreRing;
  readonly #storePort: number;
  readonly #deliver = () => void (this.#storeDue = true);
  #storeDue = true;
  readonly #retries: Retries;

  constructor(start: XenStart, private readonly report: (report: XenReport) => void) {
    const control = this.#control = new ControlBlock(start.controlBlock, start.vcpus), state = control.xen;
    const domain = this.#domain = new XenDomain(control, () => {});
    this.#retries = new Retries(start.vcpus);
    this.#channels = new EventChannels(state.pending.words, state.pending.first, 1, state.doorbell);
    this.#storePort = state.paramLow(HVM_PARAM.STORE_EVTCHN);
    const before = start.handedOver;
    this.#relief = new ServiceRelief(control, state.doorbell, () => report({ kind: "paused" }));
    this.#store = new Xenstore(before?.store);
    this.#tools = new ToolStack(this.#store);
    if (before === undefined) this.#writeEntries(start);
    const clock = () => performance.now();
    this.#connection = new XenstoreConnection(this.#store, GUEST_DOMID, this.#deliver, clock, before?.connection);
    this.#ring = new XenstoreRing(this.#page(state.storeFrame), this.#connection, before?.ring);
    if (before === undefined) domain.channels.backEndPorts.attach(this.#storePort, XEN_SERVICE, 0);
    else domain.channels.backEndPorts.inherit(this.#storePort, XEN_SERVICE, 0);
  }

  #writeEntries(start: XenStart): void {
    const { xen: state } = this.#control;
    this.#store.createDomain(GUEST_DOMID);
    writeDomainEntries(this.#tools, {
      domid: GUEST_DOMID,
      name: start.name,
      uuid: start.uuid,
      type: "pvh",
      memory: { targetKiB: start.memoryKiB, staticMaxKiB: start.memoryKiB },
      maxVcpus: start.vcpus,
      store: { ringRef: state.paramLow(HVM_PARAM.STORE_PFN), port: this.#storePort },
      console: { ringRef: state.paramLow(HVM_PARAM.CONSOLE_PFN), port: state.paramLow(HVM_PARAM.CONSOLE_EVTCHN) },
    });
  }

  /** For the next generation, between two requests. */
  get state(): XenServiceState {
    return { store: this.#store.state, connection: this.#connection.state, ring: this.#ring.state };
  }

  serve(): void {
    const { xen: state } = this.#control, { doorbell } = state;
    for (;;) {
      doorbell.arm(); // before the look at all that may be rung for: what comes after it rings again
      if (state.released) return doorbell.disarm();
      if (this.#relief.isAsked) {
        if (this.#relief.rest()) return doorbell.disarm();
        continue;
      }
      this.#channels.drain(this.#deliver);
      this.#askGuest();
      this.#serveStore();
      const now = this.#domain.now(),
        next = Math.min(this.#fire(now), this.#connection.isHeldUp ? HELD_UP_NS : Infinity);
      if (this.#storeDue) continue;
      this.#poll.clear();
      this.#poll.add(doorbell.descriptor, POLLIN);
      this.#poll.add(state.endedLineDescriptor, POLLIN);
      if (next === Infinity) this.#poll.wait();
      else this.#poll.waitFor(next);
      doorbell.disarm();
      if (this.#poll.result(0) !== 0) doorbell.clear();
      if (this.#poll.result(1) !== 0) this.#lineEnded();
    }
  }

  /** Fires what is due. @returns nanoseconds until the next is; Infinity: none */
  #fire(now: number): number {
    const { xen: state } = this.#control, { channels, upcalls } = this.#domain;
    let next = Infinity;
    const isDue = (at: number) => {
      if (at !== 0 && at > now) next = Math.min(next, at - now);
      return at !== 0 && at <= now;
    };
    for (let vcpu = 0; vcpu < this.#control.vcpus; vcpu++) {
      const period = state.period(vcpu);
      if (isDue(state.singleshot(vcpu)) && this.#takeSingleshot(vcpu, now)) channels.raiseVirq(VIRQ.TIMER, vcpu);
      if (period !== 0 && isDue(state.periodic(vcpu))) {
        this.#restartPeriodic(vcpu, period, now);
        next = Math.min(next, period);
        channels.raiseVirq(VIRQ.TIMER, vcpu);
      }
      if (isDue(state.pollUntil(vcpu))) {
        state.setPollUntil(vcpu, 0);
        if (channels.delivery.endPoll(vcpu)) upcalls.unblock(vcpu);
      }
      if (state.isUpcallDue(vcpu) || state.hasOrder(vcpu, ORDER.LATER)) {
        if (isDue(this.#retries.dueAt(vcpu, now))) this.#tryAgain(vcpu, now);
      }
    }
    for (let watchdog = 0; watchdog < WATCHDOGS; watchdog++) {
      if (!isDue(state.watchdogDeadline(watchdog))) continue;
      this.#domain.shutDown(SHUTDOWN.watchdog);
      this.report({ kind: "ended" });
    }
    return next;
  }

  /** The guest may have set it anew meanwhile. @returns whether it is still due */
  #takeSingleshot(vcpu: number, now: number): boolean {
    const { xen: state } = this.#control;
    return state.lock.hold(() => {
      const at = state.singleshot(vcpu);
      if (at === 0 || at > now) return false;
      state.setSingleshot(vcpu, 0);
      return true;
    });
  }

  /** Unless the guest has stopped it meanwhile, or given it another period. */
  #restartPeriodic(vcpu: number, period: number, now: number): void {
    const { xen: state } = this.#control;
    state.lock.hold(() => {
      if (state.period(vcpu) === period) state.setPeriodic(vcpu, period, now + period);
    });
  }

  /** An upcall that the vCPU could not take. */
  #tryAgain(vcpu: number, now: number): void {
    const { xen: state } = this.#control, { upcalls } = this.#domain;
    this.#retries.tried(vcpu, now);
    if (state.hasOrder(vcpu, ORDER.LATER)) upcalls.order(vcpu, ORDER.UPCALL);
    if (!state.isUpcallDue(vcpu)) return;
    state.setUpcallDue(vcpu, false);
    upcalls.upcall(vcpu);
  }

  #serveStore(): void {
    if (!this.#storeDue) return;
    this.#storeDue = false;
    this.#store.expireEvents(performance.now());
    if (this.#ring.service()) this.#domain.channels.backEndPorts.notify(this.#storePort, XEN_SERVICE);
  }

  #askGuest(): void {
    const reason = SHUTDOWN_REQUESTS[this.#control.xen.takeRequest() - 1];
    if (reason === undefined) return;
    try {
      requestShutdown(this.#tools, GUEST_DOMID, reason);
    } catch (error) {
      if (!(error instanceof XenstoreError)) throw error; // the guest has removed its nodes: it is not to be asked
    }
  }

  /** It is high for as long as vCPU 0's upcall is pending. */
  #lineEnded(): void {
    const { xen: state } = this.#control;
    awaitEvent(state.endedLineDescriptor);
    if (state.callback === CALLBACK.GSI && this.#domain.hasEvents(0)) signalEvent(state.lineDescriptor);
  }

  #page(frame: number): Uint8Array<ArrayBuffer> {
    const { banks } = this.#domain, bank = banks.find(frame), at = banks.offset(bank, frame);
    return banks.bytes(bank).subarray(at, at + PAGE_SIZE);
  }
}
