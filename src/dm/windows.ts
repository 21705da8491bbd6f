/** A device model's windows: what it shows of its memory there, and the violations that it answers. */

import { EBUSY, EOPNOTSUPP } from "../linux/errno.ts";
import { Descriptor } from "../linux/descriptor.ts";
import { Mapping } from "../linux/mapping.ts";
import { MemoryFile } from "../linux/memory_file.ts";
import { PAGE_SIZE } from "../memory/address.ts";
import { TRANSPORT } from "../memory/stage_area.ts";
import { STATE } from "../ioreq/abi.ts";
import { COMMAND } from "../ioreq/command_ring.ts";
import { DmOpError } from "../ioreq/dm_op_error.ts";
import type { Attachment, PageCommand } from "./attachment.ts";
import type {
  DeviceMemory,
  GuestWindow,
  PageMapping,
  PageRun,
  Violation,
  WindowHandler,
  WindowOptions,
} from "./host.ts";

/** A memory object, mapped here and known there. */
class Memory implements DeviceMemory, Disposable {
  readonly bytes: Uint8Array<ArrayBuffer>;

  /** @param id by which commands name it */
  constructor(readonly id: number, private readonly file: Descriptor, private readonly mapping: Mapping) {
    this.bytes = new Uint8Array(mapping.buffer);
  }

  get pages(): number {
    return this.bytes.length / PAGE_SIZE;
  }

  [Symbol.dispose](): void {
    this.mapping[Symbol.dispose]();
    this.file[Symbol.dispose]();
  }
}

/** One window. */
class Window implements GuestWindow {
  /** Accesses that were put off, by page: slots of violations, vCPUs. */
  readonly waiting = new Map<number, { readonly faults: number[]; readonly vcpus: number[] }>();

  constructor(
    readonly gfn: number,
    readonly pages: number,
    readonly transport: "fault" | "exit",
    readonly handler: WindowHandler,
    private readonly attachment: Attachment,
  ) {}

  map(mappings: readonly PageMapping[]): void {
    this.attachment.change(this.commands(mappings));
  }

  revoke(pages: readonly PageRun[]): void {
    this.attachment.change(pages.map((run): PageCommand => {
      const { page, count } = typeof run === "number" ? { page: run, count: 1 } : run;
      return { op: COMMAND.REVOKE, gfn: this.gfn + page, count, memory: 0, frame: 0, readOnly: false };
    }));
  }

  retry(page: number): void {
    const waiting = this.waiting.get(page);
    if (waiting === undefined) return;
    this.waiting.delete(page);
    for (const slot of waiting.faults) answerFault(this.attachment, slot);
    for (const vcpu of waiting.vcpus) answerVcpu(this.attachment, vcpu);
  }

  commands(mappings: readonly PageMapping[]): PageCommand[] {
    return mappings.map(({ page, memory, frame, count = 1, readOnly = false }) => {
      if (!(memory instanceof Memory)) throw new TypeError("memory that this model did not get from its host");
      return { op: COMMAND.MAP, gfn: this.gfn + page, count, memory: memory.id, frame, readOnly };
    });
  }

  putOff(page: number, what: "faults" | "vcpus", number: number): void {
    const waiting = this.waiting.get(page) ?? { faults: [], vcpus: [] };
    this.waiting.set(page, waiting);
    waiting[what].push(number);
  }
}

/** All windows and memory objects of one model. */
export class Windows implements Disposable {
  readonly #windows: Window[] = [];
  readonly #memories = new DisposableStack();
  /** Whether a handler is at work for a violation on the fault transport. */
  #answering = false;

  /** @param serve answers what has come for the model */
  constructor(private readonly attachment: Attachment, private readonly serve: () => void) {}

  createMemory(sizeBytes: number): DeviceMemory {
    using stack = new DisposableStack();
    const file = stack.use(MemoryFile.create(`xenolith-model-${this.attachment.server}`, sizeBytes));
    const memory = this.#add(file, sizeBytes);
    stack.move();
    return memory;
  }

  importMemory(descriptor: number, sizeBytes: number): DeviceMemory {
    using stack = new DisposableStack();
    const file = stack.use(new Descriptor(descriptor, "imported memory").duplicate());
    const memory = this.#add(file, sizeBytes);
    stack.move();
    return memory;
  }

  map(address: number, sizeBytes: number, handler: WindowHandler, { transport }: WindowOptions = {}): GuestWindow {
    if (address % PAGE_SIZE !== 0 || sizeBytes % PAGE_SIZE !== 0 || !(sizeBytes > 0)) {
      throw new RangeError(
        `a window of 0x${sizeBytes.toString(16)} bytes at 0x${address.toString(16)}: not whole pages`,
      );
    }
    const gfn = address / PAGE_SIZE, pages = sizeBytes / PAGE_SIZE;
    if (transport !== "exit") this.#requireAnswered("map_window");
    const taken = this.#claim(gfn, pages, transport);
    const window = new Window(gfn, pages, taken, handler, this.attachment);
    this.#windows.push(window);
    return window;
  }

  /** By fault where the host has it, unless the model insists on something. */
  #claim(gfn: number, pages: number, transport: "fault" | "exit" | undefined): "fault" | "exit" {
    try {
      this.attachment.mapWindow(gfn, pages, transport === "exit" ? TRANSPORT.EXIT : TRANSPORT.FAULT, this.serve);
      return transport ?? "fault";
    } catch (error) {
      if (transport !== undefined || !(error instanceof DmOpError) || error.errno !== EOPNOTSUPP) throw error;
      this.attachment.mapWindow(gfn, pages, TRANSPORT.EXIT, this.serve);
      return "exit";
    }
  }

  unmap(address: number): void {
    const index = this.#windows.findIndex(({ gfn }) => gfn === address / PAGE_SIZE);
    if (index < 0) throw new RangeError(`no window begins at 0x${address.toString(16)}`);
    if (this.#windows[index].transport === "fault") this.#requireAnswered("unmap_window");
    const [{ gfn, pages }] = this.#windows.splice(index, 1);
    this.attachment.unmapWindow(gfn, pages, this.serve);
  }

  /** KVM changes no slot while a vCPU waits for a page: this model would wait for itself. @throws {DmOpError} EBUSY */
  #requireAnswered(operation: string): void {
    const putOff = this.#windows.some(({ transport, waiting }) => transport === "fault" && waiting.size > 0);
    if (this.#answering || putOff) throw new DmOpError(operation, EBUSY, "a violation is still to be answered");
  }

  /** A violation on the fault transport: its slot is INPROCESS. */
  fault(slot: number): void {
    const nested = this.#answering;
    this.#answering = true;
    try {
      this.#answer(slot);
    } finally {
      this.#answering = nested;
    }
  }

  #answer(slot: number): void {
    const slots = this.attachment.area.faults, gfn = Math.floor(slots.address(slot) / PAGE_SIZE);
    const window = this.#find(gfn);
    if (window === undefined) return answerFault(this.attachment, slot); // it was given up meanwhile
    const page = gfn - window.gfn, answer = window.handler.violation(page, !slots.isRead(slot));
    if (answer === "emulate") throw new TypeError("a violation on the fault transport cannot be emulated");
    if (answer === "later") return window.putOff(page, "faults", slot);
    this.attachment.order(window.commands(answer));
    answerFault(this.attachment, slot);
  }

  /**
   * A request of a vCPU at `address`; of size 0 it is a fetch.
   * @returns undefined it is in no window; "emulate": the handler's read and write are to be called; "done"
   */
  access(vcpu: number, address: number, write: boolean): "emulate" | "done" | undefined {
    if (this.#windows.length === 0) return undefined;
    const gfn = Math.floor(address / PAGE_SIZE), window = this.#find(gfn);
    if (window === undefined) return undefined;
    const page = gfn - window.gfn, answer: Violation = window.handler.violation(page, write);
    if (answer === "emulate") return "emulate";
    if (answer === "later") {
      window.putOff(page, "vcpus", vcpu);
      return "done";
    }
    this.attachment.order(window.commands(answer));
    answerVcpu(this.attachment, vcpu);
    return "done";
  }

  #find(gfn: number): Window | undefined {
    return this.#windows.find((window) => gfn >= window.gfn && gfn < window.gfn + window.pages);
  }

  #add(file: Descriptor, sizeBytes: number): Memory {
    using stack = new DisposableStack();
    const mapping = stack.use(Mapping.file(file, sizeBytes));
    const memory = this.#memories.use(new Memory(this.attachment.addMemory(file, sizeBytes), file, mapping));
    stack.move();
    return memory;
  }

  [Symbol.dispose](): void {
    this.#memories.dispose();
  }
}

function answerFault(attachment: Attachment, slot: number): void {
  attachment.area.faults.setState(slot, STATE.IORESP_RETRY);
  attachment.notifyPager();
}

function answerVcpu(attachment: Attachment, vcpu: number): void {
  attachment.slots.setState(vcpu, STATE.IORESP_RETRY);
  attachment.notify(vcpu);
}
