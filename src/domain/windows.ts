/** The domain's side of windows: which memory device models have brought, and where they show it. */

import { Descriptor } from "../linux/descriptor.ts";
import { EBUSY, EINVAL, ENOENT, ENOMEM, ENOSPC, EOPNOTSUPP } from "../linux/errno.ts";
import { LinuxError } from "../linux/linux_error.ts";
import { UserfaultUnavailable } from "../linux/userfaultfd.ts";
import { type Gfn, gfnOf, PAGE_SIZE } from "../memory/address.ts";
import { type Bank, BankViews, type MachineMemory, MachineMemoryError } from "../memory/bank.ts";
import type { SecondStage } from "../memory/second_stage.ts";
import { AREA, type Area, TRANSPORT, type Transport } from "../memory/stage_area.ts";
import { MAX_MEMORIES } from "../memory/stage_table.ts";
import { RESERVED_RANGES } from "../devices/platform_map.ts";
import { DmOpError } from "../ioreq/dm_op_error.ts";
import type { ControlBlock } from "./control_block.ts";
import type { ModelRequest } from "./messages.ts";

/** What it needs of the domain. */
export interface WindowsParts {
  readonly control: ControlBlock;
  readonly machine: MachineMemory;
  readonly secondStage: SecondStage;
  /** Who owns what device models bring. */
  readonly owner: number;
  /** Fetches from windows are to leave the guest, where KVM would give it an exception instead. */
  reportFetches(): void;
  /** Has the pager look. */
  ringPager(): void;
  /** There is something for the pager: it is to run. */
  startPager(): void;
}

/** Operations on windows, by the id of the server that asks. Refusals are DmOpErrors. */
export class WindowOperations {
  /** By server, then by number. */
  readonly #memories = new Map<number, (Bank | undefined)[]>();
  readonly #views: BankViews;
  /** The last slot that is being made or deleted: KVM may take its time. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(private readonly parts: WindowsParts) {
    this.#views = new BankViews(parts.machine.tableAddress);
  }

  /**
   * add_memory. @param file from now on the domain's; when it is refused it is closed
   * @returns the number by which commands name it
   * @throws {DmOpError} EINVAL no memory file that cannot shrink, or no pages; ENOSPC there are 16; ENOMEM
   */
  addMemory(server: number, file: Descriptor, sizeBytes: number): number {
    const operation = "add_memory", memories = this.#memories.getOrInsertComputed(server, () => []);
    using stack = new DisposableStack();
    stack.use(file);
    if (!(sizeBytes > 0 && sizeBytes % PAGE_SIZE === 0)) throw new DmOpError(operation, EINVAL, `${sizeBytes} bytes`);
    const free = Array.from({ length: MAX_MEMORIES }, (_, id) => id).find((id) => memories[id] === undefined);
    if (free === undefined) throw new DmOpError(operation, ENOSPC, `server ${server} has ${MAX_MEMORIES} already`);
    const bank = memories[free] = adopt(this.parts, file, sizeBytes);
    stack.move();
    this.parts.control.physicalMap.table.setMemory(server, free, this.#views.find(bank.firstMfn));
    return free;
  }

  /** remove_memory: its pages leave the windows first. @throws {DmOpError} ENOENT */
  removeMemory(server: number, id: number): void {
    const memories = this.#memories.get(server), bank = memories?.[id], { physicalMap } = this.parts.control;
    if (bank === undefined) throw new DmOpError("remove_memory", ENOENT, `server ${server} has no memory ${id}`);
    memories![id] = undefined;
    physicalMap.table.lock.hold(() => physicalMap.table.setMemory(server, id, -1));
    physicalMap.forgetBank(server, bank.firstMfn, bank.frames);
    bank[Symbol.dispose]();
  }

  /**
   * map_window: nothing is mapped in it. Resolves when the guest's accesses are violations.
   * Rejects with DmOpError: EINVAL no such transport, or no pages; EEXIST there is something; EBUSY the platform has
   * something there, or the guest keeps it free; EOPNOTSUPP no such transport on this host; ENOSPC too many; ENOMEM
   */
  async mapWindow(server: number, first: number, pages: number, transport: number): Promise<void> {
    const operation = "map_window", { secondStage, control } = this.parts;
    const subject = `gfn 0x${first.toString(16)} + 0x${pages.toString(16)}`;
    if (transport !== TRANSPORT.EXIT && transport !== TRANSPORT.FAULT) {
      throw new DmOpError(operation, EINVAL, `transport ${transport}`);
    }
    if (!(pages > 0 && Number.isSafeInteger(first + pages))) throw new DmOpError(operation, EINVAL, subject);
    if (RESERVED_RANGES.some((range) => first <= gfnOf(range.last) && first + pages > gfnOf(range.first))) {
      throw new DmOpError(operation, EBUSY, `${subject}: the platform's own`);
    }
    if (transport === TRANSPORT.FAULT && secondStage.withoutFaults !== undefined) {
      throw new DmOpError(operation, EOPNOTSUPP, secondStage.withoutFaults);
    }
    control.hasWindows = true;
    if (transport === TRANSPORT.EXIT) this.parts.reportFetches();
    this.parts.startPager(); // on the exit transport it has commands to carry out
    try {
      await this.#inTurn(() => secondStage.addWindow(first as Gfn, pages, server, transport as Transport));
    } catch (error) {
      throw asRefusal(operation, error);
    }
  }

  /** unmap_window: all its pages are taken back at once. Resolves when it is gone. Rejects with DmOpError: ENOENT */
  async unmapWindow(server: number, first: number): Promise<void> {
    const area = this.#windows(server).find((area) => area.first === first);
    if (area === undefined) throw new DmOpError("unmap_window", ENOENT, `no window at gfn 0x${first.toString(16)}`);
    this.parts.control.physicalMap.close(area);
    await this.#inTurn(() => this.parts.secondStage.removeWindow(area));
  }

  /** What a model in a Worker asks for. Resolves to the result, or -errno. Rejects with our own mistakes. */
  async request(server: number, request: ModelRequest): Promise<number> {
    try {
      if (request.name === "add_memory") {
        const file = new Descriptor(request.descriptor, "a device model's memory").duplicate();
        return this.addMemory(server, file, request.bytes);
      }
      if (request.name === "unmap_window") await this.unmapWindow(server, request.gfn);
      else await this.mapWindow(server, request.gfn, request.pages, request.transport);
      return 0;
    } catch (error) {
      if (error instanceof DmOpError || error instanceof LinuxError) return -error.errno;
      throw error;
    }
  }

  /** The device model is gone and another is to come: its memory goes, its windows stay, and violations wait. */
  revokeAll(server: number): void {
    this.parts.ringPager(); // an answer whose giver died before it rang
    for (const id of (this.#memories.get(server) ?? []).keys()) {
      if (this.#memories.get(server)![id] !== undefined) this.removeMemory(server, id);
    }
  }

  /** The server is gone: whoever waits for a page of its windows goes on, with ones. */
  forget(server: number): void {
    const { control, secondStage } = this.parts;
    for (const area of this.#windows(server)) {
      control.physicalMap.close(area);
      void this.#inTurn(() => secondStage.removeWindow(area)).catch(() => {}); // with the VM at the latest
    }
    this.revokeAll(server);
  }

  /** The server is asked again about pages that were touched while nobody answered for it. */
  surface(server: number): void {
    for (const area of this.#windows(server)) this.parts.control.physicalMap.surface(area);
  }

  /** Whether the server has a window of exactly these pages, by that transport if it matters. */
  hasWindow(server: number, first: number, pages: number, transport?: number): boolean {
    return this.#windows(server).some((area) =>
      area.first === first && area.count === pages && (transport ?? area.transport) === area.transport
    );
  }

  /** Resolves when no slot is being made or deleted: then the VM may go. */
  async settled(): Promise<void> {
    for (let last; last !== this.#last;) await (last = this.#last);
  }

  #windows(server: number): Area[] {
    const { areas } = this.parts.control.physicalMap.table;
    return areas.filter((area) => area.state === AREA.WINDOW && area.server === server);
  }

  /** One after the other: a window that is given up while it is made goes after that. */
  async #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(work, work);
    this.#last = turn.catch(() => {});
    return await turn;
  }
}

function adopt({ machine, owner }: WindowsParts, file: Descriptor, sizeBytes: number): Bank {
  try {
    return machine.adopt(file, sizeBytes / PAGE_SIZE, owner);
  } catch (error) {
    throw asRefusal("add_memory", error);
  }
}

function asRefusal(operation: string, error: unknown): unknown {
  if (error instanceof MachineMemoryError) return new DmOpError(operation, ENOMEM, error.message);
  if (error instanceof UserfaultUnavailable) return new DmOpError(operation, EOPNOTSUPP, error.message);
  return error instanceof LinuxError ? new DmOpError(operation, error.errno, error.message) : error;
}
