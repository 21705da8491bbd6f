/** A device model's windows as a test plays them: memory, commands and violations, as they come over the socket. */

import { decodeReply, encodeRequest } from "../../../src/dm/protocol.ts";
import type { Doorbell } from "../../../src/events/doorbell.ts";
import { STATE } from "../../../src/ioreq/abi.ts";
import { COMMAND, type Command } from "../../../src/ioreq/command_ring.ts";
import { FAULT_SLOTS, NotificationArea } from "../../../src/ioreq/notification.ts";
import { signalEvent } from "../../../src/linux/event_descriptor.ts";
import { errnoName } from "../../../src/linux/errno.ts";
import { Mapping } from "../../../src/linux/mapping.ts";
import { MemoryFile } from "../../../src/linux/memory_file.ts";
import { PAGE_SIZE } from "../../../src/memory/address.ts";
import { TRANSPORT } from "../../../src/memory/stage_area.ts";
import type { PlayedModel } from "./misbehaving.ts";

export type TransportName = "fault" | "exit";
export const TRANSPORTS: readonly TransportName[] = ["fault", "exit"];

/** Memory that was made known. */
export interface PlayedMemory {
  readonly id: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** A command as it stands in the ring; what is not given is 0. */
export interface PlayedCommand {
  readonly op: number;
  readonly gfn: number;
  readonly count?: number;
  readonly memory?: number;
  readonly frame?: number;
  readonly readOnly?: boolean;
}

/** Asks every turn of the event loop. */
async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 0));
}

/** The windows of a model that is attached. Leaving `using` gives up what it has mapped, and says nothing to anybody. */
export class PlayedWindows implements Disposable {
  readonly #held = new DisposableStack();
  readonly area: NotificationArea;
  #doorbell: number | undefined;

  constructor(readonly model: PlayedModel, readonly vcpus = 1) {
    this.area = new NotificationArea(model.areaAddress, vcpus, model.doorbell);
  }

  /** add_memory, of a new file. */
  async addMemory(pages: number): Promise<PlayedMemory> {
    const file = this.#held.use(MemoryFile.create("xenolith-test-memory", pages * PAGE_SIZE));
    const id = await this.addFile(pages * PAGE_SIZE, file.number);
    if (typeof id === "string") throw new Error(id);
    return { id, bytes: new Uint8Array(this.#held.use(Mapping.file(file, pages * PAGE_SIZE)).buffer) };
  }

  /** add_memory with these descriptors. @returns the memory's id, or the error's name, or "end" */
  async addFile(bytes: number, ...descriptors: number[]): Promise<number | string> {
    const request = encodeRequest("add_memory", { id: this.model.id, bytes: BigInt(bytes) });
    const packet = await this.model.client.raw(request, 0, descriptors);
    if (packet === "end") return packet;
    const { result, out } = decodeReply("add_memory", packet.bytes)!;
    return result === 0 ? out.memory : errnoName(-result);
  }

  /** map_window, and the pager's doorbell. */
  async mapWindow(address: number, pages: number, transport: TransportName): Promise<void> {
    const window = { gfn: BigInt(address / PAGE_SIZE), nr_pages: BigInt(pages) };
    const number = TRANSPORT[transport === "fault" ? "FAULT" : "EXIT"];
    await this.model.client.do("map_window", { id: this.model.id, transport: number, ...window });
    await this.openPager();
  }

  async openPager(): Promise<void> {
    const { descriptors } = await this.model.client.do("pager", { id: this.model.id });
    this.#doorbell ??= descriptors[0].number;
  }

  /** Through the word that says whether the pager sleeps. */
  get pager(): Doorbell {
    return this.area.pager(this.#doorbell!);
  }

  /** Whether the pager sleeps or not: the word that says so may be garbage. */
  wakePager(): void {
    signalEvent(this.#doorbell!);
  }

  /** Puts a command into the ring; there has to be room. @returns its index */
  push({ op, gfn, count = 1, memory = 0, frame = 0, readOnly = false }: PlayedCommand): number {
    return this.area.commands.push(op as Command, gfn, count, memory, frame, readOnly);
  }

  /** Has commands carried out. @returns the name of the error of each, or "" */
  async do(...commands: readonly PlayedCommand[]): Promise<string[]> {
    const indices = commands.map((command) => this.push(command));
    this.wakePager();
    await this.taken();
    return indices.map((index) => {
      const result = this.area.commands.result(index);
      return result === 0 ? "" : errnoName(-result);
    });
  }

  /** Resolves when all commands were carried out. */
  async taken(): Promise<void> {
    const { commands } = this.area;
    await until(() => {
      if (this.model.released) throw new Error("the run has ended, and commands were not carried out");
      return commands.taken === commands.pushed;
    });
  }

  map(gfn: number, memory: PlayedMemory, frame: number, count = 1, readOnly = false): Promise<string[]> {
    return this.do({ op: COMMAND.MAP, gfn, count, memory: memory.id, frame, readOnly });
  }

  revoke(gfn: number, count = 1): Promise<string[]> {
    return this.do({ op: COMMAND.REVOKE, gfn, count });
  }

  /** The slots of violations that are asked now, by the gfns. */
  get asked(): Map<number, number> {
    const asked = new Map<number, number>();
    for (let slot = 0; slot < FAULT_SLOTS; slot++) {
      if (this.area.faults.state(slot) !== STATE.READY) continue;
      asked.set(this.area.faults.address(slot) / PAGE_SIZE, slot);
    }
    return asked;
  }

  /** The pages that are not mapped and somebody waits for, by either transport. */
  get violations(): number[] {
    const { slots } = this.model, gfns = [...this.asked.keys()];
    for (let vcpu = 0; vcpu < this.vcpus; vcpu++) {
      if (slots.state(vcpu) === STATE.READY) gfns.push(Math.floor(slots.address(vcpu) / PAGE_SIZE));
    }
    return gfns.sort((one, other) => one - other);
  }

  /** IORESP_RETRY, or what is given, to all that is asked for a page, by either transport. */
  answer(gfn: number, state: number = STATE.IORESP_RETRY): void {
    const slot = this.asked.get(gfn), { slots } = this.model;
    if (slot !== undefined) {
      this.area.faults.setState(slot, state);
      this.wakePager();
    }
    for (let vcpu = 0; vcpu < this.vcpus; vcpu++) {
      const isAsked = slots.state(vcpu) === STATE.READY && Math.floor(slots.address(vcpu) / PAGE_SIZE) === gfn;
      if (isAsked) this.model.put(vcpu, state);
    }
  }

  [Symbol.dispose](): void {
    this.#held.dispose();
  }
}
