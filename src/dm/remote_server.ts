/** An ioreq server whose hypervisor is another process: its memory is mapped here, everything else is asked for. */

import { Descriptor } from "../linux/descriptor.ts";
import { Mapping } from "../linux/mapping.ts";
import { POLLERR, POLLHUP, POLLIN, PollSet } from "../linux/poll.ts";
import { PAGE_SIZE } from "../memory/address.ts";
import type { Transport } from "../memory/stage_area.ts";
import type { Doorbell } from "../events/doorbell.ts";
import { AdaptiveSpin } from "../events/spin.ts";
import { WakeBoard } from "../events/wake_board.ts";
import { BUFIOREQ, type Bufioreq, RANGE, type RangeType, RESOURCE_FRAME } from "../ioreq/abi.ts";
import { BufferedRing } from "../ioreq/buffered_ring.ts";
import { COMMAND, COMMAND_ENTRIES } from "../ioreq/command_ring.ts";
import { DmOpError } from "../ioreq/dm_op_error.ts";
import { EOPNOTSUPP } from "../linux/errno.ts";
import { NOTIFICATION_BYTES, NotificationArea } from "../ioreq/notification.ts";
import { IoreqSlots } from "../ioreq/slots.ts";
import type { Attachment, PageCommand } from "./attachment.ts";
import { type HypervisorConnection, HypervisorUnavailable } from "./connection.ts";
import { type GrantedPiece, MappedGrants } from "./granted_memory.ts";
import type { EventWrite, ShutdownReason, Watch } from "./host.ts";
import { DESCRIPTORS_PER_REPLY, GRANT_ENTRY, MATCHES_VALUE, SHUTDOWN_REASONS } from "./protocol.ts";

/** Levels of interrupt lines. */
const LOW = 0, HIGH = 1;

/** One server, attached. Disposing it unmaps everything; the server goes when the connection does. */
export class RemoteServer implements Attachment, Disposable {
  readonly #held: DisposableStack;
  readonly #board: WakeBoard;
  readonly #spin = new AdaptiveSpin();
  #pager: Doorbell | undefined;
  #lost = false;
  readonly server: number;
  readonly slots: IoreqSlots;
  readonly ring: BufferedRing | undefined;
  readonly area: NotificationArea;
  readonly memory: MappedGrants;

  /** Creates a server, or takes over the one that waits for a successor, and maps all that is its. */
  constructor(private readonly connection: HypervisorConnection, bufioreq: Bufioreq = BUFIOREQ.ATOMIC) {
    using held = new DisposableStack();
    this.server = connection.call("create_ioreq_server", { handle_bufioreq: bufioreq }).out.id;
    this.slots = this.#mapSlots(held);
    if (bufioreq !== BUFIOREQ.OFF) this.ring = this.#mapRing(held);
    this.area = this.#mapArea(held);
    const doorbells = this.#waiters(held).map(({ number }) => number);
    this.#board = new WakeBoard(this.area.wakeBoardAddress, connection.vcpusPerWaiter, doorbells);
    this.memory = this.#mapMemory(held);
    this.#held = held.move();
  }

  /** From now on requests come. */
  enable(): void {
    this.connection.call("set_ioreq_server_state", { id: this.server, enabled: 1 });
  }

  /** To be watched while serving: when the hypervisor is gone without a word, nobody else says that it is over. */
  get hangUp(): Watch {
    return {
      descriptor: this.connection.descriptor,
      interest: () => 0,
      ready: (events) => {
        if ((events & (POLLHUP | POLLERR)) === 0 || this.area.released) return;
        this.#lost = true;
        this.area.release();
      },
    };
  }

  /** Whether serving came to its end because the hypervisor was gone, and not because the domain was. */
  get lost(): boolean {
    return this.#lost;
  }

  mapRange(type: RangeType, first: number, last: number): void {
    this.connection.call("map_io_range_to_ioreq_server", this.#range(type, first, last));
  }

  unmapRange(type: RangeType, first: number, last: number): void {
    this.connection.call("unmap_io_range_from_ioreq_server", this.#range(type, first, last));
  }

  bufferRange(type: RangeType, first: number, last: number): void {
    this.connection.call("buffer_io_range", this.#range(type, first, last));
  }

  setIrqLevel(gsi: number, level: boolean): void {
    this.connection.call("set_irq_level", { irq: gsi, level: level ? HIGH : LOW });
  }

  setPciIntxLevel(device: number, pin: number, level: boolean): void {
    const place = { domain: 0, bus: 0, device, intx: pin };
    this.connection.call("set_pci_intx_level", { ...place, level: level ? HIGH : LOW });
  }

  injectMsi(address: number, data: number): void {
    this.connection.call("inject_msi", { addr: BigInt(address), data });
  }

  connectWrite({ space, address, sizeBytes, value }: EventWrite, event: number): void {
    const place = { type: space === "port" ? RANGE.PORT : RANGE.MEMORY, addr: BigInt(address), length: sizeBytes };
    const flags = value === undefined ? 0 : MATCHES_VALUE;
    this.connection.call("connect_write", { id: this.server, ...place, flags, value: BigInt(value ?? 0) }, 0, [event]);
  }

  connectLine(gsi: number, raise: number, ended: number | undefined): void {
    const events = ended === undefined ? [raise] : [raise, ended];
    this.connection.call("connect_line", { id: this.server, irq: gsi }, 0, events);
  }

  shutdown(reason: ShutdownReason): void {
    const [number] = SHUTDOWN_REASONS.find(([, name]) => name === reason)!;
    this.connection.call("remote_shutdown", { reason: number });
  }

  /** The hypervisor looks nobody over that shoulder: another process is relieved by its connection's end. */
  rested(): void {}

  notify(vcpu: number): void {
    this.#board.wake(vcpu);
  }

  addMemory(file: Descriptor, sizeBytes: number): number {
    const request = { id: this.server, bytes: BigInt(sizeBytes) };
    return this.connection.call("add_memory", request, 0, [file.number]).out.memory;
  }

  mapWindow(gfn: number, pages: number, transport: Transport, serve: () => void): void {
    this.#answering(serve, () => this.connection.call("map_window", { ...this.#window(gfn, pages), transport }));
    this.#pager ??= this.#openPager();
  }

  unmapWindow(gfn: number, pages: number, serve: () => void): void {
    this.#answering(serve, () => this.connection.call("unmap_window", this.#window(gfn, pages)));
  }

  /** Answers requests while the hypervisor takes its time for one of ours. */
  #answering(serve: () => void, call: () => void): void {
    const { channels: { doorbell } } = this.area, poll = new PollSet(2);
    this.connection.beforeReply = () => {
      for (;;) {
        doorbell.arm();
        serve();
        poll.clear();
        poll.add(doorbell.descriptor, POLLIN);
        poll.add(this.connection.descriptor, POLLIN);
        poll.wait();
        doorbell.disarm();
        if (poll.result(0) !== 0) doorbell.clear();
        if (poll.result(1) !== 0) return;
      }
    };
    try {
      call();
    } finally {
      this.connection.beforeReply = () => {};
    }
  }

  order(commands: readonly PageCommand[]): void {
    for (const command of commands) this.#push(command);
  }

  change(commands: readonly PageCommand[]): void {
    let refusal: DmOpError | undefined;
    for (let from = 0; from < commands.length; from += COMMAND_ENTRIES) {
      const part = commands.slice(from, from + COMMAND_ENTRIES), indices = part.map((command) => this.#push(command));
      this.notifyPager();
      this.#awaitTaken(indices.at(-1)!);
      indices.forEach((index, at) => {
        const result = this.area.commands.result(index), { op, gfn, count } = part[at];
        if (result === 0) return;
        const name = op === COMMAND.MAP ? "map" : "revoke";
        refusal ??= new DmOpError(name, -result, `gfn 0x${gfn.toString(16)} + ${count}`);
      });
    }
    if (refusal !== undefined) throw refusal;
  }

  bindChannel(port: number): void {
    throw new DmOpError("bind_event_channel", EOPNOTSUPP, `port ${port} in another process`);
  }

  notifyChannel(): void {}

  notifyPager(): void {
    this.#pager?.ring();
  }

  #push({ op, gfn, count, memory, frame, readOnly }: PageCommand): number {
    const { commands } = this.area;
    if (!commands.hasRoom) {
      this.notifyPager();
      this.#awaitTaken(commands.pushed - 1);
    }
    return commands.push(op, gfn, count, memory, frame, readOnly);
  }

  /** Waits until the hypervisor has carried out the command of that index. @throws {HypervisorUnavailable} it is gone */
  #awaitTaken(index: number): void {
    const { commands, channels: { doorbell } } = this.area, poll = new PollSet(2);
    const isTaken = () => ((commands.taken - index - 1) | 0) >= 0;
    while (!this.#spin.until(isTaken)) {
      doorbell.arm();
      poll.clear();
      poll.add(doorbell.descriptor, POLLIN);
      poll.add(this.connection.descriptor, 0);
      if (isTaken()) poll.look();
      else poll.wait();
      doorbell.disarm();
      if (poll.result(0) !== 0) doorbell.clear();
      if (poll.result(1) !== 0 && !isTaken()) throw new HypervisorUnavailable("hypervisor", "the hypervisor is gone");
    }
  }

  #openPager(): Doorbell {
    using received = new Descriptors(this.connection.call("pager", { id: this.server }, 1).descriptors, 1);
    return this.area.pager(this.#held.use(received.take(0)).number);
  }

  #window(gfn: number, pages: number) {
    return { id: this.server, gfn: BigInt(gfn), nr_pages: BigInt(pages) };
  }

  [Symbol.dispose](): void {
    this.#held.dispose();
  }

  #range(type: RangeType, first: number, last: number) {
    return { id: this.server, type, start: BigInt(first), end: BigInt(last) };
  }

  /** Frames are memory files of a page each; in a row they are an array of slots. */
  #mapSlots(held: DisposableStack): IoreqSlots {
    const frames = this.connection.call("acquire_resource", { id: this.server, frame: 0, nr_frames: 0 }).out.nr_frames;
    using pages = this.#acquire(RESOURCE_FRAME.ioreq, frames - RESOURCE_FRAME.ioreq);
    const count = pages.descriptors.length;
    const mapping = held.use(Mapping.reserve(count * PAGE_SIZE, PAGE_SIZE, `pages of ioreq server ${this.server}`));
    pages.descriptors.forEach((page, index) => mapping.place(index * PAGE_SIZE, PAGE_SIZE, page, 0));
    return new IoreqSlots(mapping.buffer);
  }

  #mapRing(held: DisposableStack): BufferedRing {
    using page = this.#acquire(RESOURCE_FRAME.bufioreq, 1);
    return new BufferedRing(held.use(Mapping.file(page.descriptors[0], PAGE_SIZE)).buffer);
  }

  #acquire(frame: number, count: number): Descriptors {
    const values = { id: this.server, frame, nr_frames: count };
    return new Descriptors(this.connection.call("acquire_resource", values, count).descriptors, count);
  }

  #mapArea(held: DisposableStack): NotificationArea {
    const { out: { bytes }, descriptors } = this.connection.call("server_memory", { id: this.server }, 2);
    using received = new Descriptors(descriptors, 2);
    const doorbell = held.use(received.take(1));
    if (bytes < NOTIFICATION_BYTES) throw new RangeError(`a notification area of ${bytes} bytes`);
    const mapping = held.use(Mapping.file(received.descriptors[0], NOTIFICATION_BYTES));
    return new NotificationArea(mapping.address, this.connection.vcpus, doorbell.number);
  }

  #waiters(held: DisposableStack): Descriptor[] {
    const waiters: Descriptor[] = [];
    while (waiters.length < this.connection.waiters) {
      const { descriptors } = this.connection.call("waiters", { first: waiters.length }, DESCRIPTORS_PER_REPLY);
      if (descriptors.length === 0) throw new RangeError(`only ${waiters.length} waiters`);
      waiters.push(...descriptors.map((descriptor) => held.use(descriptor)));
    }
    return waiters;
  }

  #mapMemory(held: DisposableStack): MappedGrants {
    using stack = new DisposableStack();
    const pieces: GrantedPiece[] = [];
    for (let total = 1; pieces.length < total;) {
      const reply = this.connection.call("guest_memory", { first: pieces.length }, DESCRIPTORS_PER_REPLY);
      total = reply.out.nr_ranges;
      if (total > pieces.length && reply.descriptors.length === 0) throw new RangeError(`only ${pieces.length} ranges`);
      for (const [index, file] of reply.descriptors.entries()) {
        stack.use(file);
        const at = (field: number) => Number(reply.list.getBigUint64(index * GRANT_ENTRY.bytes + field, true));
        const place = { address: at(GRANT_ENTRY.address), sizeBytes: at(GRANT_ENTRY.sizeBytes) };
        pieces.push({ ...place, offset: at(GRANT_ENTRY.offset), file });
      }
    }
    return held.use(new MappedGrants(pieces, (address) => this.area.noteOutside(address)));
  }
}

/** Descriptors of one reply, closed together, except those that were taken. */
class Descriptors implements Disposable {
  /** @throws {HypervisorUnavailable} not as many as there have to be */
  constructor(readonly descriptors: readonly Descriptor[], count: number) {
    if (descriptors.length === count) return;
    this[Symbol.dispose]();
    throw new HypervisorUnavailable("hypervisor", `${descriptors.length} descriptors came where ${count} have to`);
  }

  /** From now on the caller closes it. */
  take(index: number): Descriptor {
    const descriptor = this.descriptors[index];
    return new Descriptor(descriptor.release(), descriptor.subject);
  }

  [Symbol.dispose](): void {
    for (const descriptor of this.descriptors) descriptor[Symbol.dispose]();
  }
}
