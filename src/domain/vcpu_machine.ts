/** The way of one exit: decoded, answered here or forwarded to an ioreq server, completed. Knows no carrier. */

import { EAGAIN, EFAULT, EINTR, errnoName } from "../linux/errno.ts";
import { EXIT, SUBERROR } from "../kvm/abi.ts";
import { exitName, RunPage } from "../kvm/run_page.ts";
import { PAGE_SIZE } from "../memory/address.ts";
import { MAX_SERVERS, RANGE, type RangeType, TYPE } from "../ioreq/abi.ts";
import type { ServerViews } from "../ioreq/server_view.ts";
import { HYPERCALL_PORT } from "../hypercall/abi/ours.ts";
import type { ControlBlock } from "./control_block.ts";
import type { Service } from "./messages.ts";
import { crash, describeInternalError } from "./crash.ts";
import type { VcpuRecord } from "./vcpu_record.ts";
import { VcpuHypercalls } from "./vcpu_hypercalls.ts";
import { ANSWER, VcpuRequests } from "./vcpu_requests.ts";
import { VcpuViolations } from "./vcpu_violations.ts";

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
  readonly #requests: VcpuRequests;
  #violations: VcpuViolations | undefined;
  #hypercalls: VcpuHypercalls | undefined;

  // The access under way: `#remaining` bytes from `#address`, their data at `#offset` of the run page.
  #write = false;
  #port = false;
  #size = 0;
  #address = 0;
  #offset = 0;
  #remaining = 0;
  /** How many bytes of the access a server was asked for; 0: none, it is a broadcast. */
  #piece = 0;
  /** It is an instruction of a page that is not mapped. */
  #fetch = false;
  /** The piece was asked for before. */
  #again = false;

  /**
   * @param views shared by all vCPUs of an isolate
   * @param need called when a service has to be there from now on
   */
  constructor(
    private readonly control: ControlBlock,
    private readonly record: VcpuRecord,
    views?: ServerViews,
    private readonly need: (service: Service) => void = () => {},
  ) {
    this.#run = new RunPage(record.runPage());
    this.#ports = control.portCounts(record.id);
    this.#exits = record.exits;
    this.#requests = new VcpuRequests(control, record, views);
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
    if (this.#requests.pending === 0) return this.control.paused ? NEXT.PAUSED : NEXT.ENTER;
    return this.#settle();
  }

  /** Whether a request under way may have been answered: what a spinning carrier looks at. */
  get settled(): boolean {
    return this.#requests.settled;
  }

  /**
   * The guest gave memory back: every enabled server forgets what it has mapped of it, before the guest goes on
   * (Xen: ioreq_signal_mapcache_invalidate). Between two accesses only.
   */
  invalidate(): Next {
    this.#piece = 0;
    this.#fetch = false;
    for (let id = MAX_SERVERS - 1; id >= 0; id--) {
      if (!this.control.servers.server(id).enabled) continue;
      this.#requests.send(id, TYPE.INVALIDATE, true, 4, 0, 0, 0, 0xffff_ffff, 0xffff_ffff);
    }
    return this.#requests.pending === 0 ? NEXT.ENTER : NEXT.WAIT;
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
    if (port === HYPERCALL_PORT && this.#write) return this.#hypercall(false);
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
    this.#fetch = false;
    while (this.#remaining > 0) {
      const piece = this.#port ? this.#size : largestPiece(this.#remaining);
      if (!this.#supply(piece) && !this.#forward(piece)) this.#answerHere(piece);
      if (this.#requests.pending !== 0) return NEXT.WAIT;
      this.#finishPiece(piece);
    }
    return NEXT.ENTER;
  }

  #finishPiece(piece: number): void {
    this.#again = false;
    this.#offset += piece;
    this.#remaining -= piece;
    if (!this.#port) this.#address += piece;
  }

  /** A page of a window may be mapped by now: then nobody is asked. */
  #supply(piece: number): boolean {
    if (this.#port || !this.control.hasWindows) return false;
    return this.#violation.supply(this.#address, this.#offset, piece, this.#write);
  }

  get #violation(): VcpuViolations {
    return this.#violations ??= new VcpuViolations(this.control, this.record, this.record.runPage());
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
    let id: number, type: number = TYPE.PIO, range: RangeType = RANGE.PORT, first = address, addressHigh = 0;
    if (!this.#port) {
      range = RANGE.MEMORY;
      type = TYPE.COPY;
      id = servers.select(range, address, last);
      addressHigh = Math.floor(address / 2 ** 32);
    } else if (address === PCI_ADDRESS_PORT && piece === 4) {
      // Latched, and forwarded all the same (Xen: hvm_access_cf8).
      if (this.#write) this.control.cf8 = this.#run.data(this.#offset, 4);
      id = servers.select(range, address, last);
    } else if (this.#isPciConfiguration()) {
      const cf8 = this.control.cf8, device = (cf8 >>> 8) & 0xffff;
      type = TYPE.PCI_CONFIG;
      id = servers.select(RANGE.PCI, device, device);
      first = (cf8 & 0xfc) | (address & 3);
      addressHigh = device;
    } else {
      id = servers.select(range, address, last);
    }
    if (id < 0) return false;
    const write = this.#write;
    const low = write ? this.#run.data(this.#offset, piece) : 0;
    const high = write && piece === 8 ? this.#run.data(this.#offset + 4, 4) : 0;
    if (write && type !== TYPE.PCI_CONFIG && servers.server(id).buffers(range, address, last)) {
      if (this.#requests.buffer(id, type, piece, address, low, high)) return true;
    }
    this.#piece = piece;
    if (!this.#port && this.control.hasWindows) this.#violation.asked(address, this.#again);
    return this.#requests.send(id, type, write, piece, address, first >>> 0, addressHigh, low, high);
  }

  #isPciConfiguration(): boolean {
    return (this.#address & ~3) === PCI_DATA_PORT && (this.control.cf8 & PCI_ENABLE) !== 0;
  }

  /** Takes the answers that are there; goes on with the access once all are (Xen: hvm_wait_for_io). */
  #settle(): Next {
    const requests = this.#requests;
    for (let id = 0; id < MAX_SERVERS; id++) {
      if ((requests.pending & (1 << id)) === 0) continue;
      const answer = requests.take(id);
      if (answer === ANSWER.BROKEN) return this.#crash(requests.describe(id));
      if (this.#piece === 0 && !this.#fetch) continue; // of a broadcast nobody wants to know more
      if (answer === ANSWER.RETRY) return this.#retry(id);
      if (answer !== ANSWER.NONE) return this.#complete(id, answer === ANSWER.DATA);
    }
    return requests.pending === 0 ? NEXT.ENTER : NEXT.WAIT;
  }

  /** @param data there is some; else the device model is gone, and reads are all ones */
  #complete(id: number, data: boolean): Next {
    if (this.#fetch) {
      const why = data ? "answered a fetch of an instruction with data" : "is gone";
      return this.#crash(`ioreq server ${id} ${why}, at gfn 0x${(this.#address / PAGE_SIZE).toString(16)}`);
    }
    if (!this.#write) {
      const slots = this.#requests.view(id).slots, vcpu = this.record.id;
      if (data) this.#run.setData(this.#offset, this.#piece, slots!.dataLow(vcpu), slots!.dataHigh(vcpu));
      else this.#run.fillOnes(this.#offset, this.#piece);
    }
    if (!this.#port && this.control.hasWindows) this.#violation.settled(this.#address);
    this.#finishPiece(this.#piece);
    return this.#advance();
  }

  /** IORESP_RETRY: the page may be mapped now. */
  #retry(id: number): Next {
    const violation = this.#violation;
    violation.carryOut(this.#requests.view(id));
    const reason = violation.countRetry(this.#address, this.#write, id, !this.#again);
    if (reason !== undefined) return this.#crash(reason);
    this.#again = true;
    if (this.#fetch) return this.#fetchAt(this.#address);
    const remaining = this.#remaining, next = this.#advance();
    if (this.#remaining < remaining) violation.settled(this.#address - (remaining - this.#remaining));
    return next;
  }

  /** KVM could not execute an instruction: perhaps because it lies in a window, in a page that is not mapped. */
  #unexecuted(): Next {
    const detail = this.#run.detail;
    if (detail === SUBERROR.EMULATION && this.control.hasWindows) {
      const gfn = this.#violation.fetchPage();
      this.#again = false;
      if (gfn >= 0) return this.#fetchAt(gfn * PAGE_SIZE);
      if (this.#violation.interrupted()) {
        this.#violation.forget();
        return NEXT.ENTER;
      }
    }
    return this.#crash(describeInternalError(detail));
  }

  /** Asks for a page, as the pager does on the fault transport: no data, only that it be mapped. */
  #fetchAt(address: number): Next {
    if (this.#violation.fetchable(address / PAGE_SIZE)) return NEXT.ENTER;
    const id = this.control.servers.select(RANGE.MEMORY, address, address + PAGE_SIZE - 1);
    this.#fetch = true;
    this.#port = this.#write = false;
    this.#piece = 0;
    this.#address = address;
    this.#violation.asked(address, this.#again);
    const high = Math.floor(address / 2 ** 32);
    const sent = id >= 0 && this.#requests.send(id, TYPE.COPY, false, 0, address, address >>> 0, high, 0, 0);
    return sent ? NEXT.WAIT : this.#crash(describeInternalError(SUBERROR.EMULATION));
  }

  get #calls(): VcpuHypercalls {
    return this.#hypercalls ??= new VcpuHypercalls(this.control, this.record, this.need);
  }

  /** @param instruction VMCALL or VMMCALL, not the port */
  #hypercall(instruction: boolean): Next {
    const calls = this.#calls;
    calls.carryOut(instruction);
    if (this.control.stopping) return NEXT.STOP;
    calls.settle();
    return calls.call.invalidates ? this.invalidate() : NEXT.ENTER;
  }

  #exitPort(): Next {
    const status = this.#run.data(this.#offset, this.#size) & 63;
    this.control.end({ kind: "exit", status, reason: `the guest chose status ${status}`, vcpu: this.record.id });
    return NEXT.STOP;
  }

  #interrupted(errno: number): Next {
    if (errno === EFAULT && this.control.hasWindows && this.#violation.changed()) return NEXT.ENTER;
    if (errno !== EINTR && errno !== EAGAIN) return this.#crash(`KVM_RUN failed with ${errnoName(errno)}`);
    this.#exits[EXIT.INTR]++;
    this.#run.setImmediateExit(false);
    if (this.control.usesXen) {
      if (errno === EAGAIN) this.#calls.reset(); // KVM says so of a vCPU that waited for its INIT
      this.#calls.attend();
    }
    // A kick sets what it wants first, then immediate_exit: looking after clearing it misses nothing.
    if (this.control.stopping) return NEXT.STOP;
    return this.control.paused ? NEXT.PAUSED : NEXT.ENTER;
  }

  #unhandled(reason: number): Next {
    switch (reason) {
      case EXIT.INTR:
      case EXIT.IRQ_WINDOW_OPEN:
        return NEXT.ENTER;
      case EXIT.X86_RDMSR:
      case EXIT.X86_WRMSR:
        this.#calls.accessMsr(reason === EXIT.X86_WRMSR);
        return NEXT.ENTER;
      case EXIT.XEN:
        return this.#hypercall(true);
      case EXIT.SHUTDOWN:
        return this.#crash("triple fault");
      case EXIT.INTERNAL_ERROR:
        return this.#unexecuted();
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
