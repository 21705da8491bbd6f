/** One vCPU's requests to ioreq servers: filled and sent, looked at, taken back. */

import { clock } from "../linux/calls.ts";
import { BUFIOREQ, DIR_READ, DIR_WRITE, MAX_SERVERS, RANGE, STATE, TYPE } from "../ioreq/abi.ts";
import { BufferedRing } from "../ioreq/buffered_ring.ts";
import { vcpuPort } from "../ioreq/notification.ts";
import { type ServerView, ServerViews } from "../ioreq/server_view.ts";
import type { ControlBlock } from "./control_block.ts";
import { TRACE_END, type TraceEnd, type TraceRing } from "./trace.ts";
import type { VcpuRecord } from "./vcpu_record.ts";

/** What has become of a request: nothing yet; data; to be tried again; nobody is there any more; no state to be in. */
export const ANSWER = { NONE: 0, DATA: 1, RETRY: 2, GONE: 3, BROKEN: 4 } as const;
export type Answer = (typeof ANSWER)[keyof typeof ANSWER];

/** An access has one request at a time; only a broadcast has one at several servers. */
export class VcpuRequests {
  readonly #trace: TraceRing;
  readonly #served: Float64Array;
  /** A bit for each server that has one. */
  #pending = 0;
  readonly #sentTo: (ServerView | undefined)[] = new Array(MAX_SERVERS).fill(undefined);
  readonly #states = new Uint8Array(MAX_SERVERS);
  readonly #takeovers = new Int32Array(MAX_SERVERS);
  // What was asked for last.
  #type = 0;
  #write = false;
  #size = 0;
  #address = 0;

  /** @param views shared by all vCPUs of an isolate */
  constructor(
    private readonly control: ControlBlock,
    private readonly record: VcpuRecord,
    private readonly views = new ServerViews(control.servers),
  ) {
    this.#served = record.served;
    this.#trace = control.trace(record.id);
  }

  /** A bit for each server whose answer is still to be taken. */
  get pending(): number {
    return this.#pending;
  }

  /** Whether a request may have been answered: what a spinning carrier looks at. */
  get settled(): boolean {
    for (let id = 0; id < MAX_SERVERS; id++) {
      if ((this.#pending & (1 << id)) === 0) continue;
      const view = this.#sentTo[id]!, state = view.slots!.state(this.record.id);
      if ((state !== STATE.READY && state !== STATE.INPROCESS) || !view.current) return true;
    }
    return false;
  }

  /**
   * Fills the vCPU's slot at server `id`, makes it READY and tells the device model (Xen: hvm_send_ioreq).
   * @param address what the trace is to have; @param low, high the slot's
   * @returns false if the slot is not free, or its event channel not what it was: then nobody handles the access
   */
  send(
    id: number,
    type: number,
    write: boolean,
    size: number,
    address: number,
    low: number,
    high: number,
    dataLow: number,
    dataHigh: number,
  ): boolean {
    const view = this.views.view(id), slots = view.slots, vcpu = this.record.id;
    if (slots === undefined || slots.state(vcpu) !== STATE.NONE || slots.port(vcpu) !== vcpuPort(vcpu)) {
      view.server.countUnhandled();
      return false;
    }
    this.#type = type;
    this.#write = write;
    this.#size = type === TYPE.INVALIDATE ? 0 : size; // it is no access
    this.#address = address;
    slots.fill(vcpu, type, low, high, size);
    slots.setData(vcpu, dataLow, dataHigh);
    this.#trace.begin(id, address, clock());
    this.#sentTo[id] = view;
    this.#states[id] = STATE.READY;
    this.#takeovers[id] = view.server.takeovers;
    this.#pending |= 1 << id;
    slots.publish(vcpu, STATE.READY, write ? DIR_WRITE : DIR_READ);
    view.area!.channels.send(vcpuPort(vcpu));
    return true;
  }

  /** @returns false if the write has to go the ordinary way: the ring is full, or a slot cannot hold it */
  buffer(id: number, type: number, size: number, address: number, low: number, high: number): boolean {
    const view = this.views.view(id), server = view.server, ring = view.ring;
    if (ring === undefined || !BufferedRing.holds(address, size)) return false;
    server.bufferLock.acquire();
    const pushed = ring.push(type, address, size, low, high, server.bufioreq === BUFIOREQ.ATOMIC);
    server.bufferLock.release();
    if (!pushed) return false;
    this.#type = type;
    this.#write = true;
    this.#size = size;
    this.#address = address;
    this.#trace.begin(id, address, clock());
    this.#traced(id, TRACE_END.BUFFERED);
    view.area!.channels.send(view.area!.bufferedPort);
    return true;
  }

  /**
   * Looks at the slot at server `id`, and takes the answer if there is one: its data stands in the slot until the next
   * request. States only go forward; a slot that became NONE, or whose server has other memory by now, belonged to a
   * device model that is gone.
   */
  take(id: number): Answer {
    const view = this.#sentTo[id]!, slots = view.slots!, vcpu = this.record.id, before = this.#states[id];
    const state = slots.state(vcpu);
    if (!view.current || state === STATE.NONE) {
      this.#finish(id, TRACE_END.GONE);
      return ANSWER.GONE;
    }
    if (state === STATE.IORESP_READY) {
      slots.setState(vcpu, STATE.NONE);
      this.#served[id]++;
      this.#finish(id, TRACE_END.ANSWERED);
      return ANSWER.DATA;
    }
    if (state === STATE.IORESP_RETRY && this.#type === TYPE.COPY && !slots.isPointer(vcpu)) {
      slots.setState(vcpu, STATE.NONE);
      this.#served[id]++;
      this.#finish(id, TRACE_END.RETRIED);
      return ANSWER.RETRY;
    }
    const known = state === STATE.READY || state === STATE.INPROCESS;
    if (known && (state >= before || this.#takeovers[id] !== view.server.takeovers)) {
      // A takeover explains one step back, whenever it comes to be seen.
      if (state < before) this.#takeovers[id] = view.server.takeovers;
      this.#states[id] = state;
      return ANSWER.NONE;
    }
    return ANSWER.BROKEN;
  }

  /** What a broken request's states were: for the reason of a crash. */
  describe(id: number): string {
    return `ioreq server ${id} moved a request from state ${this.#states[id]} to ${
      this.#sentTo[id]!.slots!.state(this.record.id)
    }`;
  }

  /** The view by which the last request to server `id` was sent. */
  view(id: number): ServerView {
    return this.#sentTo[id]!;
  }

  #finish(id: number, end: TraceEnd): void {
    this.#pending &= ~(1 << id);
    this.#traced(id, end);
  }

  #traced(id: number, end: TraceEnd): void {
    const ticks = this.#trace.end(id, this.#type, this.#size, this.#write, end, clock());
    if (this.#type !== TYPE.PIO && this.#type !== TYPE.COPY) return;
    const kind = this.#type === TYPE.PIO ? RANGE.PORT : RANGE.MEMORY;
    this.control.servers.server(id).ranges[kind].tally(this.#address, ticks);
  }
}
