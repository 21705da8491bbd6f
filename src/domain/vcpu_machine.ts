/** The way of one exit: decoded, answered here or forwarded to an ioreq server, completed. Knows no carrier. */

import { EAGAIN, EINTR, errnoName } from "../linux/errno.ts";
import { EXIT } from "../kvm/abi.ts";
import { exitName, RunPage } from "../kvm/run_page.ts";
import { clock } from "../linux/calls.ts";
import { BUFIOREQ, DIR_READ, DIR_WRITE, MAX_SERVERS, RANGE, type RangeType, STATE, TYPE } from "../ioreq/abi.ts";
import { BufferedRing } from "../ioreq/buffered_ring.ts";
import { vcpuPort } from "../ioreq/notification.ts";
import { type ServerView, ServerViews } from "../ioreq/server_view.ts";
import type { ControlBlock } from "./control_block.ts";
import { crash, describeInternalError } from "./crash.ts";
import { TRACE_END, type TraceEnd, type TraceRing } from "./trace.ts";
import type { VcpuRecord } from "./vcpu_record.ts";

/** What the carrier does next: enter the guest, wait at the doorbell, wait paused, or give the vCPU up. */
export const NEXT = { ENTER: 0, WAIT: 1, PAUSED: 2, STOP: 3 } as const;
export type Next = (typeof NEXT)[keyof typeof NEXT];

/** Writing here ends the run with the value's low six bits as exit status. */
export const EXIT_PORT = 0xf4;

/** PCI configuration mechanism #1: the address latch, and the window for the data. */
const PCI_ADDRESS_PORT = 0xcf8, PCI_DATA_PORT = 0xcfc, PCI_ENABLE = 0x8000_0000;

/**
 * One vCPU's exits as a state machine that can be left at any request and taken up again. The carrier calls
 * {@linkcode exited} after KVM_RUN and {@linkcode resumed} after a wait, and does what they return.
 */
export class VcpuMachine {
  readonly #run: RunPage;
  readonly #ports: Float64Array;
  readonly #exits: Float64Array;
  readonly #served: Float64Array;
  readonly #trace: TraceRing;

  // The access under way: `#remaining` bytes from `#address`, their data at `#offset` of the run page.
  #write = false;
  #port = false;
  #size = 0;
  #address = 0;
  #offset = 0;
  #remaining = 0;

  // The requests under way: a bit for each server that has one; more than one only in a broadcast.
  #pending = 0;
  readonly #sentTo: (ServerView | undefined)[] = new Array(MAX_SERVERS).fill(undefined);
  readonly #states = new Uint8Array(MAX_SERVERS);
  readonly #takeovers = new Int32Array(MAX_SERVERS);
  /** What is asked for: one of TYPE, and how many bytes of the access it is; no bytes of an access in a broadcast. */
  #type = 0;
  #piece = 0;

  /** @param views shared by all vCPUs of an isolate */
  constructor(
    private readonly control: ControlBlock,
    private readonly record: VcpuRecord,
    private readonly views = new ServerViews(control.servers),
  ) {
    this.#run = new RunPage(record.runPage());
    this.#ports = control.portCounts(record.id);
    this.#exits = record.exits;
    this.#served = record.served;
    this.#trace = control.trace(record.id);
  }

  /** After KVM_RUN returned `result` (0 or -errno). */
  exited(result: number): Next {
    if (result < 0) return this.#interrupted(-result);
    const reason = this.#run.reason;
    this.#exits[reason & 63]++;
    if (reason === EXIT.IO) return this.#portAccess();
    if (reason === EXIT.MMIO) return this.#memoryAccess();
    return this.#unhandled(reason);
  }

  /** After the doorbell rang, or the pause may have ended. */
  resumed(): Next {
    if (this.control.stopping) return NEXT.STOP;
    if (this.#pending === 0) return this.control.paused ? NEXT.PAUSED : NEXT.ENTER;
    return this.#settle();
  }

  /** Whether a request under way may have been answered: what a spinning carrier looks at. */
  get settled(): boolean {
    for (let id = 0; id < MAX_SERVERS; id++) {
      if ((this.#pending & (1 << id)) === 0) continue;
      const view = this.#sentTo[id]!, state = view.slots!.state(this.record.id);
      if ((state !== STATE.READY && state !== STATE.INPROCESS) || !view.current) return true;
    }
    return false;
  }

  /**
   * The guest gave memory back: every enabled server forgets what it has mapped of it, before the guest goes on
   * (Xen: ioreq_signal_mapcache_invalidate). Between two accesses only.
   */
  invalidate(): Next {
    this.#piece = 0;
    this.#write = true;
    this.#type = TYPE.INVALIDATE;
    for (let id = MAX_SERVERS - 1; id >= 0; id--) {
      if (!this.control.servers.server(id).enabled) continue;
      this.#address = 0;
      this.#sendTo(id, 4, 0, 0, 0xffff_ffff, 0xffff_ffff);
    }
    return this.#pending === 0 ? NEXT.ENTER : NEXT.WAIT;
  }

  #portAccess(): Next {
    const run = this.#run, port = run.ioPort, size = run.ioSize;
    this.#ports[port]++;
    this.#port = true;
    this.#write = run.ioIsOut;
    this.#size = size;
    this.#address = port;
    this.#offset = run.ioDataOffset;
    this.#remaining = size * run.ioCount;
    if (port === EXIT_PORT && this.#write) return this.#exitPort();
    return this.#advance();
  }

  #memoryAccess(): Next {
    const run = this.#run;
    this.#port = false;
    this.#write = run.mmioIsWrite;
    this.#address = run.mmioAddress;
    this.#offset = run.mmioDataOffset;
    this.#remaining = run.mmioSize;
    return this.#advance();
  }

  /** Goes on with the access, piece by piece; leaves it where a server has to be waited for. */
  #advance(): Next {
    while (this.#remaining > 0) {
      const piece = this.#port ? this.#size : largestPiece(this.#remaining);
      if (!this.#forward(piece)) this.#answerHere(piece);
      if (this.#pending !== 0) return NEXT.WAIT;
      this.#finishPiece(piece);
    }
    return NEXT.ENTER;
  }

  #finishPiece(piece: number): void {
    this.#offset += piece;
    this.#remaining -= piece;
    if (!this.#port) this.#address += piece;
  }

  /** What no server claims: the latch of PCI's address, else reads are all ones and writes vanish. */
  #answerHere(piece: number): void {
    if (this.#write) return;
    if (this.#port && this.#address === PCI_ADDRESS_PORT && piece === 4) {
      this.#run.setData(this.#offset, 4, this.control.cf8, 0);
    } else {
      this.#run.fillOnes(this.#offset, piece);
    }
  }

  /** Gives the piece to the server that claims it, if there is one and it can take it. */
  #forward(piece: number): boolean {
    const servers = this.control.servers, address = this.#address, last = address + piece - 1;
    let id: number, range: RangeType = RANGE.PORT, first = address, addressHigh = 0;
    if (!this.#port) {
      range = RANGE.MEMORY;
      this.#type = TYPE.COPY;
      id = servers.select(range, address, last);
      addressHigh = Math.floor(address / 2 ** 32);
    } else if (address === PCI_ADDRESS_PORT && piece === 4) {
      // Latched, and forwarded all the same (Xen: hvm_access_cf8).
      if (this.#write) this.control.cf8 = this.#run.data(this.#offset, 4);
      this.#type = TYPE.PIO;
      id = servers.select(range, address, last);
    } else if (this.#isPciConfiguration()) {
      const cf8 = this.control.cf8, device = (cf8 >>> 8) & 0xffff;
      this.#type = TYPE.PCI_CONFIG;
      id = servers.select(RANGE.PCI, device, device);
      first = (cf8 & 0xfc) | (address & 3);
      addressHigh = device;
    } else {
      this.#type = TYPE.PIO;
      id = servers.select(range, address, last);
    }
    if (id < 0) return false;
    const write = this.#write;
    const low = write ? this.#run.data(this.#offset, piece) : 0;
    const high = write && piece === 8 ? this.#run.data(this.#offset + 4, 4) : 0;
    if (write && this.#type !== TYPE.PCI_CONFIG && servers.server(id).buffers(range, address, last)) {
      if (this.#buffer(id, piece, low, high)) return true;
    }
    this.#piece = piece;
    return this.#sendTo(id, piece, first >>> 0, addressHigh, low, high);
  }

  #isPciConfiguration(): boolean {
    return (this.#address & ~3) === PCI_DATA_PORT && (this.control.cf8 & PCI_ENABLE) !== 0;
  }

  /**
   * Fills the vCPU's slot at server `id`, makes it READY and tells the device model (Xen: hvm_send_ioreq).
   * @returns false if the slot is not free, or its event channel not what it was: then nobody handles the access
   */
  #sendTo(id: number, size: number, low: number, high: number, dataLow: number, dataHigh: number): boolean {
    const view = this.views.view(id), slots = view.slots, vcpu = this.record.id;
    if (slots === undefined || slots.state(vcpu) !== STATE.NONE || slots.port(vcpu) !== vcpuPort(vcpu)) {
      view.server.countUnhandled();
      return false;
    }
    slots.fill(vcpu, this.#type, low, high, size);
    slots.setData(vcpu, dataLow, dataHigh);
    this.#trace.begin(id, this.#address, clock());
    this.#sentTo[id] = view;
    this.#states[id] = STATE.READY;
    this.#takeovers[id] = view.server.takeovers;
    this.#pending |= 1 << id;
    slots.publish(vcpu, STATE.READY, this.#write ? DIR_WRITE : DIR_READ);
    view.area!.channels.send(vcpuPort(vcpu));
    return true;
  }

  /** @returns false if the write has to go the ordinary way: the ring is full, or a slot cannot hold it */
  #buffer(id: number, piece: number, low: number, high: number): boolean {
    const view = this.views.view(id), server = view.server, ring = view.ring;
    if (ring === undefined || !BufferedRing.holds(this.#address, piece)) return false;
    server.bufferLock.acquire();
    const pushed = ring.push(this.#type, this.#address, piece, low, high, server.bufioreq === BUFIOREQ.ATOMIC);
    server.bufferLock.release();
    if (!pushed) return false;
    this.#trace.begin(id, this.#address, clock());
    this.#traced(id, piece, TRACE_END.BUFFERED);
    view.area!.channels.send(view.area!.bufferedPort);
    return true;
  }

  /** Takes the answers that are there; goes on with the access once all are (Xen: hvm_wait_for_io). */
  #settle(): Next {
    for (let id = 0; id < MAX_SERVERS; id++) {
      if ((this.#pending & (1 << id)) !== 0 && !this.#answered(id)) return NEXT.STOP;
    }
    if (this.#pending !== 0) return NEXT.WAIT;
    if (this.#piece === 0) return NEXT.ENTER;
    this.#finishPiece(this.#piece);
    return this.#advance();
  }

  /**
   * Looks at the slot at server `id`. States only go forward; a slot that became NONE, or whose server has other memory
   * by now, belonged to a device model that is gone.
   * @returns false if the domain crashed
   */
  #answered(id: number): boolean {
    const view = this.#sentTo[id]!, slots = view.slots!, vcpu = this.record.id, before = this.#states[id];
    const state = slots.state(vcpu);
    if (!view.current || state === STATE.NONE) {
      if (this.#piece > 0 && !this.#write) this.#run.fillOnes(this.#offset, this.#piece);
      this.#finish(id, TRACE_END.GONE);
      return true;
    }
    if (state === STATE.IORESP_READY) {
      if (this.#piece > 0 && !this.#write) {
        this.#run.setData(this.#offset, this.#piece, slots.dataLow(vcpu), slots.dataHigh(vcpu));
      }
      slots.setState(vcpu, STATE.NONE);
      this.#served[id]++;
      this.#finish(id, TRACE_END.ANSWERED);
      return true;
    }
    const known = state === STATE.READY || state === STATE.INPROCESS;
    if (known && (state >= before || this.#takeovers[id] !== view.server.takeovers)) {
      // A takeover explains one step back, whenever it comes to be seen.
      if (state < before) this.#takeovers[id] = view.server.takeovers;
      this.#states[id] = state;
      return true;
    }
    this.#crash(`ioreq server ${id} moved a request from state ${before} to ${state}`);
    return false;
  }

  #finish(id: number, end: TraceEnd): void {
    this.#pending &= ~(1 << id);
    this.#sentTo[id] = undefined;
    this.#traced(id, this.#piece, end);
  }

  #traced(id: number, size: number, end: TraceEnd): void {
    const ticks = this.#trace.end(id, this.#type, size, this.#write, end, clock());
    if (this.#type === TYPE.PCI_CONFIG || size === 0) return;
    this.control.servers.server(id).ranges[this.#port ? RANGE.PORT : RANGE.MEMORY].tally(this.#address, ticks);
  }

  #exitPort(): Next {
    const status = this.#run.data(this.#offset, this.#size) & 63;
    this.control.end({ kind: "exit", status, reason: `the guest chose status ${status}`, vcpu: this.record.id });
    return NEXT.STOP;
  }

  #interrupted(errno: number): Next {
    if (errno !== EINTR && errno !== EAGAIN) return this.#crash(`KVM_RUN failed with ${errnoName(errno)}`);
    this.#exits[EXIT.INTR]++;
    this.#run.setImmediateExit(false);
    // A kick sets what it wants first, then immediate_exit: looking after clearing it misses nothing.
    if (this.control.stopping) return NEXT.STOP;
    return this.control.paused ? NEXT.PAUSED : NEXT.ENTER;
  }

  #unhandled(reason: number): Next {
    switch (reason) {
      case EXIT.INTR:
      case EXIT.IRQ_WINDOW_OPEN:
        return NEXT.ENTER;
      case EXIT.SHUTDOWN:
        return this.#crash("triple fault");
      case EXIT.INTERNAL_ERROR:
        return this.#crash(describeInternalError(this.#run.detail));
      case EXIT.FAIL_ENTRY:
        return this.#crash(`the processor refused to enter the guest (0x${this.#run.detail.toString(16)})`);
      default:
        return this.#crash(`unhandled exit ${exitName(reason)}`);
    }
  }

  #crash(reason: string): Next {
    crash(this.control, this.record, reason);
    return NEXT.STOP;
  }
}

/** Xen's emulator cuts an access into powers of two of at most 8 bytes. */
function largestPiece(remaining: number): number {
  if (remaining >= 8) return 8;
  return remaining >= 4 ? 4 : remaining >= 2 ? 2 : 1;
}
