/** The way of one exit: decoded, answered here or forwarded to an ioreq server, completed. Knows no carrier. */

import { EAGAIN, EINTR, errnoName } from "../linux/errno.ts";
import { EXIT } from "../kvm/abi.ts";
import { exitName, RunPage } from "../kvm/run_page.ts";
import { DIR_READ, DIR_WRITE, MAX_SERVERS, RANGE, STATE, TYPE } from "../ioreq/abi.ts";
import type { EventChannels } from "../events/event_channels.ts";
import type { IoreqPage } from "../ioreq/page.ts";
import type { ControlBlock, VcpuRecord } from "./control_block.ts";
import { crash, describeInternalError } from "./crash.ts";

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
  readonly #pages: (IoreqPage | undefined)[] = new Array(MAX_SERVERS).fill(undefined);
  readonly #channels: (EventChannels | undefined)[] = new Array(MAX_SERVERS).fill(undefined);
  readonly #attachments = new Int32Array(MAX_SERVERS);

  // The access under way: `#remaining` bytes from `#address`, their data at `#offset` of the run page.
  #write = false;
  #port = false;
  #size = 0;
  #address = 0;
  #offset = 0;
  #remaining = 0;
  // The request under way.
  #server = -1;
  #piece = 0;
  #state: number = STATE.NONE;

  constructor(private readonly control: ControlBlock, private readonly record: VcpuRecord) {
    this.#run = new RunPage(record.runPage());
    this.#ports = control.portCounts(record.id);
    this.#exits = record.exits;
    this.#served = record.served;
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
    if (this.#server < 0) return this.control.paused ? NEXT.PAUSED : NEXT.ENTER;
    return this.#answered();
  }

  /** Whether the request under way may have been answered: what a spinning carrier looks at. */
  get settled(): boolean {
    const state = this.#pages[this.#server]!.state(this.record.id);
    return state !== STATE.READY && state !== STATE.INPROCESS;
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
    if (port === PCI_ADDRESS_PORT && size === 4) return this.#pciAddress();
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

  /** Goes on with the access: pieces that nobody claims are answered here, the first that a server claims is sent. */
  #advance(): Next {
    while (this.#remaining > 0) {
      const piece = this.#port ? this.#size : largestPiece(this.#remaining);
      const server = this.#select(piece);
      if (server >= 0) return this.#send(server, piece);
      if (!this.#write) this.#run.fillOnes(this.#offset, piece);
      this.#finishPiece(piece);
    }
    return NEXT.ENTER;
  }

  #finishPiece(piece: number): void {
    this.#offset += piece;
    this.#remaining -= piece;
    if (!this.#port) this.#address += piece;
  }

  #select(piece: number): number {
    const servers = this.control.servers;
    if (!this.#port) return servers.select(RANGE.MEMORY, this.#address, this.#address + piece - 1);
    if (this.#isPciConfiguration()) {
      const device = (this.control.cf8 >>> 8) & 0xffff;
      return servers.select(RANGE.PCI, device, device);
    }
    return servers.select(RANGE.PORT, this.#address, this.#address + piece - 1);
  }

  #isPciConfiguration(): boolean {
    return (this.#address & ~3) === PCI_DATA_PORT && (this.control.cf8 & PCI_ENABLE) !== 0;
  }

  /** Xen: hvm_send_ioreq. The slot is this vCPU's alone, and it is NONE: nothing else is under way. */
  #send(server: number, piece: number): Next {
    this.#attach(server);
    const page = this.#pages[server]!, id = this.record.id;
    if (!this.#port) {
      page.fill(id, TYPE.COPY, this.#address >>> 0, Math.floor(this.#address / 2 ** 32), piece);
    } else if (this.#isPciConfiguration()) {
      const cf8 = this.control.cf8;
      page.fill(id, TYPE.PCI_CONFIG, (cf8 & 0xfc) | (this.#address & 3), (cf8 >>> 8) & 0xffff, piece);
    } else {
      page.fill(id, TYPE.PIO, this.#address, 0, piece);
    }
    if (this.#write) {
      const high = piece === 8 ? this.#run.data(this.#offset + 4, 4) : 0;
      page.setData(id, this.#run.data(this.#offset, piece), high);
    } else {
      page.setData(id, 0, 0);
    }
    page.publish(id, STATE.READY, this.#write ? DIR_WRITE : DIR_READ);
    this.#server = server;
    this.#piece = piece;
    this.#state = STATE.READY;
    this.#channels[server]!.send(id);
    return NEXT.WAIT;
  }

  /** Xen: hvm_wait_for_io. States only go forward; a slot that became NONE belonged to a device model that is gone. */
  #answered(): Next {
    const page = this.#pages[this.#server]!, id = this.record.id, state = page.state(id);
    if (state === STATE.READY || state === STATE.INPROCESS) {
      if (state < this.#state) return this.#badState(state);
      this.#state = state;
      return NEXT.WAIT;
    }
    if (state === STATE.IORESP_READY) {
      if (!this.#write) this.#run.setData(this.#offset, this.#piece, page.dataLow(id), page.dataHigh(id));
      page.setState(id, STATE.NONE);
      this.#served[this.#server]++;
    } else if (state === STATE.NONE) {
      if (!this.#write) this.#run.fillOnes(this.#offset, this.#piece);
    } else {
      return this.#badState(state);
    }
    this.#server = -1;
    this.#finishPiece(this.#piece);
    return this.#advance();
  }

  #badState(state: number): Next {
    return this.#crash(`ioreq server ${this.#server} moved a request from state ${this.#state} to ${state}`);
  }

  /** Views of a server's page and event channels, made again when another device model was attached. */
  #attach(id: number): void {
    const server = this.control.servers.server(id), attachment = server.attachment;
    if (this.#attachments[id] === attachment) return;
    this.#pages[id] = server.page();
    this.#channels[id] = server.eventChannels();
    this.#attachments[id] = attachment;
  }

  #exitPort(): Next {
    const status = this.#run.data(this.#offset, this.#size) & 63;
    this.control.end({ kind: "exit", status, reason: `the guest chose status ${status}`, vcpu: this.record.id });
    return NEXT.STOP;
  }

  #pciAddress(): Next {
    for (; this.#remaining > 0; this.#finishPiece(4)) { // more than one only in a string instruction
      if (this.#write) this.control.cf8 = this.#run.data(this.#offset, 4);
      else this.#run.setData(this.#offset, 4, this.control.cf8, 0);
    }
    return NEXT.ENTER;
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
