/** A device model that a test plays step by step: a server's memory as it came over the socket, and what it does to it. */

import { GateClient } from "../../domain/gate_client.ts";
import { WAKE_BOARD } from "../../../src/events/wake_board.ts";
import { BUFIOREQ, type Bufioreq, IOREQ_BYTES, RANGE, RESOURCE_FRAME, STATE } from "../../../src/ioreq/abi.ts";
import { NOTIFICATION } from "../../../src/ioreq/notification.ts";
import { IoreqSlots } from "../../../src/ioreq/slots.ts";
import { signalEvent } from "../../../src/linux/event_descriptor.ts";
import { Mapping } from "../../../src/linux/mapping.ts";
import { PAGE_SIZE } from "../../../src/memory/address.ts";

/** How a model gets its server's pages. */
export interface AttachOptions {
  readonly bufioreq?: Bufioreq;
  /** "gfn": out of the guest's memory. Default: as a resource. */
  readonly way?: "resource" | "gfn";
}

/** One that is connected and has a server, not enabled yet. Domains of up to 128 vCPUs. Leaving `using` is its death. */
export class PlayedModel implements Disposable {
  readonly #held: DisposableStack;
  readonly slots: IoreqSlots;
  /** The page of slots, the buffered ring (if there is one) and the notification area, byte by byte. */
  readonly slotBytes: Uint8Array<ArrayBuffer>;
  readonly ringWords: Int32Array<ArrayBuffer> | undefined;
  readonly areaBytes: Uint8Array<ArrayBuffer>;
  /** Where the notification area is mapped here. */
  readonly areaAddress: bigint;

  private constructor(
    readonly client: GateClient,
    readonly id: number,
    readonly doorbell: number,
    private readonly waiters: { readonly doorbells: readonly number[]; readonly vcpusPerWaiter: number },
    memory: { readonly slots: Mapping; readonly ring: Mapping | undefined; readonly area: Mapping },
    held: DisposableStack,
  ) {
    this.#held = held;
    this.slots = new IoreqSlots(memory.slots.buffer);
    this.slotBytes = new Uint8Array(memory.slots.buffer);
    this.ringWords = memory.ring && new Int32Array(memory.ring.buffer);
    this.areaBytes = new Uint8Array(memory.area.buffer);
    this.areaAddress = memory.area.address;
  }

  /** Connects as soon as somebody listens, and gets everything that a server has. */
  static async attach(path: string, { bufioreq = BUFIOREQ.OFF, way = "resource" }: AttachOptions = {}) {
    using held = new DisposableStack();
    const client = held.use(await GateClient.awaited(path));
    const { vcpus_per_waiter: vcpusPerWaiter } = (await client.do("hello", { version: 1 })).out;
    const { id } = (await client.do("create_ioreq_server", { handle_bufioreq: bufioreq })).out;
    const acquire = (frame: number) => client.do("acquire_resource", { id, frame, nr_frames: 1 });
    if (way === "gfn") await client.do("get_ioreq_server_info", { id, flags: 0 });
    const pages = way === "gfn" ? await client.do("gfn_pages", { id }) : await acquire(RESOURCE_FRAME.ioreq);
    const slots = held.use(Mapping.file(pages.descriptors.at(-1)!, PAGE_SIZE));
    const hasRing = bufioreq !== BUFIOREQ.OFF;
    const ringFile = hasRing ? (await acquire(RESOURCE_FRAME.bufioreq)).descriptors[0] : undefined;
    const ring = ringFile && held.use(Mapping.file(ringFile, PAGE_SIZE));
    const { out: { bytes }, descriptors: [areaFile, doorbell] } = await client.do("server_memory", { id });
    const area = held.use(Mapping.file(areaFile, bytes));
    const doorbells = (await client.do("waiters", { first: 0 })).descriptors.map(({ number }) => number);
    const memory = { slots, ring, area }, waiters = { doorbells, vcpusPerWaiter };
    return new PlayedModel(client, id, doorbell.number, waiters, memory, held.move());
  }

  /** Claims [first, last] of guest-physical memory. */
  async claim(first: number, last: number): Promise<void> {
    const range = { id: this.id, type: RANGE.MEMORY, start: BigInt(first), end: BigInt(last) };
    await this.client.do("map_io_range_to_ioreq_server", range);
  }

  async setEnabled(enabled: boolean): Promise<void> {
    await this.client.do("set_ioreq_server_state", { id: this.id, enabled: enabled ? 1 : 0 });
  }

  async destroyServer(): Promise<void> {
    await this.client.do("destroy_ioreq_server", { id: this.id });
  }

  /** Answers all that is asked now, as one should. */
  serve(): void {
    for (let vcpu = 0; vcpu < PAGE_SIZE / IOREQ_BYTES; vcpu++) {
      if (this.slots.advance(vcpu, STATE.READY, STATE.INPROCESS)) this.answer(vcpu);
    }
  }

  /** Sets a state that is none of its business, or is, and wakes the vCPU. */
  put(vcpu: number, state: number): void {
    this.slots.setState(vcpu, state);
    this.wake(vcpu);
  }

  /** IORESP_READY, and the vCPU is woken. */
  answer(vcpu: number): void {
    this.put(vcpu, STATE.IORESP_READY);
  }

  /** Wakes whether anybody sleeps or not: the words that say so may be garbage. Nobody waits for a vCPU that there is not. */
  wake(vcpu: number): void {
    const waiter = this.#flag(vcpu);
    if (waiter < this.waiters.doorbells.length) signalEvent(this.waiters.doorbells[waiter]);
  }

  /** All of waking but the last step: who sleeps is not said to sleep any more, and sleeps on. */
  wakeByHalf(vcpu: number): void {
    Atomics.store(this.areaBytes, NOTIFICATION.wakeBoard + WAKE_BOARD.asleep + this.#flag(vcpu), 0);
  }

  /** @returns the vCPU's waiter */
  #flag(vcpu: number): number {
    const flags = new Int32Array(this.areaBytes.buffer, NOTIFICATION.wakeBoard + WAKE_BOARD.flags);
    Atomics.or(flags, vcpu >>> 5, 1 << (vcpu & 31));
    return Math.floor(vcpu / this.waiters.vcpusPerWaiter);
  }

  /** Whether it is to leave, unless the word that says so is garbage. */
  get released(): boolean {
    return !this.#held.disposed && new Int32Array(this.areaBytes.buffer)[NOTIFICATION.released / 4] === 1;
  }

  [Symbol.dispose](): void {
    this.#held.dispose();
  }
}
