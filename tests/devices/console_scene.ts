/** A virtio console between a driver that is made of memory, and peers that are made of arrays. */

import type { DeviceModelHost, GuestMemoryAccess, LocatedMemory, Watch } from "../../src/dm/host.ts";
import { MemoryViews } from "../../src/memory/memory_views.ts";
import { PollSet } from "../../src/linux/poll.ts";
import { AVAILABLE, DESCRIPTOR, DESCRIPTOR_FLAG, FEATURE, MMIO, STATUS, USED } from "../../src/virtio/abi.ts";
import {
  CONSOLE_CONTROL as CONTROL,
  CONSOLE_EVENT as EVENT,
  CONSOLE_QUEUE as QUEUE,
} from "../../src/virtio/console_abi.ts";
import { stateWords } from "../../src/virtio/mmio_state.ts";
import { VirtioMmio } from "../../src/virtio/mmio.ts";
import type { ConsolePort, PortPeer, TransferBuffer } from "../../src/devices/console_port.ts";
import type { TerminalSize } from "../../src/devices/port_console.ts";
import { VirtioConsole } from "../../src/devices/virtio_console_device.ts";

const MEMORY = 0x1_0000, MEMORY_BYTES = 0x4_0000;

/** Each queue has so many entries, its rings in so many bytes, and a buffer for each entry. */
export const ENTRIES = 8, BUFFER_BYTES = 64;
const RINGS_BYTES = 512, QUEUE_BYTES = RINGS_BYTES + ENTRIES * BUFFER_BYTES;

/** After so many it is taken for one that never sleeps. */
const MOST_TURNS = 1000;

/** Where no memory is. */
export const NOWHERE = 0x100;

class Memory implements GuestMemoryAccess {
  readonly pieces = [];
  readonly bytes = new Uint8Array(MEMORY_BYTES);
  readonly view = new DataView(this.bytes.buffer);
  readonly #views = new MemoryViews(this.bytes.buffer, 0);

  read(address: number, target: Uint8Array): void {
    target.set(this.bytes.subarray(address - MEMORY, address - MEMORY + target.length));
  }

  write(address: number, source: Uint8Array): void {
    this.bytes.set(source, address - MEMORY);
  }

  contains(address: number, sizeBytes: number): boolean {
    return address >= MEMORY && address + sizeBytes <= MEMORY + MEMORY_BYTES;
  }

  locate(address: number, sizeBytes: number, _write: boolean, found: LocatedMemory): number {
    if (!this.contains(address, 1)) return 0;
    found.memory = this.#views;
    found.offset = address - MEMORY;
    return Math.min(sizeBytes, MEMORY + MEMORY_BYTES - address);
  }
}

/** Somebody who takes as much as there is `room` for. */
export class FakePeer implements PortPeer {
  isThere = true;
  room = Infinity;
  readonly heard: number[] = [];
  readonly says: number[] = [];
  port!: ConsolePort;

  put({ bytes }: TransferBuffer, sizeBytes: number): number {
    if (!this.isThere) return sizeBytes;
    const size = Math.min(sizeBytes, this.room);
    this.heard.push(...bytes.subarray(0, size));
    this.room -= size;
    return size;
  }

  take({ bytes }: TransferBuffer, sizeBytes: number): number {
    const said = this.says.splice(0, sizeBytes);
    bytes.set(said);
    return said.length;
  }

  say(...bytes: number[]): void {
    this.says.push(...bytes);
    this.port.arrived();
  }

  makeRoom(sizeBytes: number): void {
    this.room += sizeBytes;
    if (this.port.isStalled) this.port.drained();
  }

  set present(isThere: boolean) {
    this.isThere = isThere;
    this.port.changed();
    if (this.port.isStalled) this.port.drained();
  }
}

/** A message, as the driver hears it. */
export interface Message {
  readonly port: number;
  readonly event: number;
  readonly value: number;
  readonly more: number[];
}

/** The driver's side of a device, and the host of both. */
export class ConsoleScene {
  readonly memory = new Memory();
  readonly peers: FakePeer[] = [];
  device!: VirtioConsole;
  mmio!: VirtioMmio;
  #available: number[];
  /** How much of each device's ring was looked at. */
  #seen: number[];
  /** What outlives a device's model: what it asked for, in this order. */
  readonly #states: ArrayBuffer[] = [];
  #sleepers: (() => void)[] = [];
  #watches: Watch[] = [];
  #stops: (() => void)[] = [];

  /** @param names of ports; undefined: the console @param peer other than a {@linkcode FakePeer} */
  constructor(
    private readonly names: readonly (string | undefined)[],
    public size?: TerminalSize,
    private readonly peer?: (host: DeviceModelHost, port: ConsolePort) => PortPeer,
  ) {
    this.#attach();
    this.#available = Array(this.device.queues).fill(0);
    this.#seen = Array(this.device.queues).fill(0);
  }

  /** Another generation of the device's model. The one before is gone, without a word, and so are its peers. */
  succeed(): void {
    this.#sleepers = [];
    this.#watches = [];
    this.#stops = [];
    this.#attach();
    this.mmio.resume();
  }

  #attach(): void {
    let asked = 0;
    const state = (sizeBytes: number) => this.#states[asked++] ??= new ArrayBuffer(sizeBytes);
    const host = {
      memory: this.memory,
      state: (sizeBytes: number) => new DataView(state(sizeBytes)),
      watch: (watch: Watch) => this.#watches.push(watch),
      beforeSleep: (flush: () => void) => this.#sleepers.push(flush),
      beforeStop: (flush: () => void) => this.#stops.push(flush),
      whenRelieved: () => {},
    } as unknown as DeviceModelHost;
    const fake = (port: ConsolePort) => this.peers[port.id] = Object.assign(new FakePeer(), { port });
    const options = this.names.map((name) => {
      return { name, peer: (port: ConsolePort) => this.peer?.(host, port) ?? fake(port) };
    });
    const device = this.device = new VirtioConsole(host, options, () => this.size);
    const registers = new Uint32Array(state(stateWords(device) * 4));
    device.transport = this.mmio = new VirtioMmio(device, this.memory, { raise() {}, lower() {} }, registers);
  }

  /** Resets the device, and starts it with what is taken of its features. */
  begin(...features: number[]): void {
    const { ACKNOWLEDGE, DRIVER, FEATURES_OK, DRIVER_OK } = STATUS;
    this.set(MMIO.STATUS, 0);
    this.memory.bytes.fill(0);
    this.#available.fill(0);
    this.#seen.fill(0);
    this.set(MMIO.STATUS, ACKNOWLEDGE | DRIVER);
    for (const [word, bits] of [features, [FEATURE.VERSION_1 - 32]].entries()) {
      this.set(MMIO.DRIVER_FEATURES_SEL, word);
      this.set(MMIO.DRIVER_FEATURES, bits.reduce((sum, bit) => sum | 1 << bit, 0));
    }
    this.set(MMIO.STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK);
    for (let queue = 0; queue < this.device.queues; queue++) {
      this.set(MMIO.QUEUE_SEL, queue);
      this.set(MMIO.QUEUE_NUM, ENTRIES);
      this.set(MMIO.QUEUE_DESC_LOW, this.rings(queue));
      this.set(MMIO.QUEUE_DRIVER_LOW, this.rings(queue) + ENTRIES * DESCRIPTOR.bytes);
      this.set(MMIO.QUEUE_DEVICE_LOW, this.#used(queue));
      this.set(MMIO.QUEUE_READY, 1);
    }
    this.set(MMIO.STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
  }

  set(register: number, value: number): void {
    this.mmio.write(register, 4, value);
  }

  rings(queue: number): number {
    return MEMORY + queue * QUEUE_BYTES;
  }

  /** Puts a buffer into a queue, and says so. @param address where it is; default: its own place */
  offer(queue: number, bytes: readonly number[] | "writable", length?: number, address?: number): void {
    const { view } = this.memory, entry = this.#available[queue] % ENTRIES, rings = this.rings(queue) - MEMORY;
    const own = this.rings(queue) + RINGS_BYTES + entry * BUFFER_BYTES, at = rings + entry * DESCRIPTOR.bytes;
    const isWritable = bytes === "writable";
    if (!isWritable) this.memory.write(own, Uint8Array.from(bytes));
    view.setBigUint64(at + DESCRIPTOR.addr, BigInt(address ?? own), true);
    view.setUint32(at + DESCRIPTOR.len, length ?? (isWritable ? BUFFER_BYTES : bytes.length), true);
    view.setUint16(at + DESCRIPTOR.flags, isWritable ? DESCRIPTOR_FLAG.WRITE : 0, true);
    const ring = rings + ENTRIES * DESCRIPTOR.bytes;
    view.setUint16(ring + AVAILABLE.ring + entry * AVAILABLE.entry, entry, true);
    this.#available[queue] = (this.#available[queue] + 1) & 0xffff;
    view.setUint16(ring + AVAILABLE.idx, this.#available[queue], true);
    this.set(MMIO.QUEUE_NOTIFY, queue);
  }

  /** How many of the queue's buffers the device still has. */
  held(queue: number): number {
    return (this.#available[queue] - this.#usedIndex(queue)) & 0xffff;
  }

  /** What the device has given back since the last look, as far as it has written to it. */
  taken(queue: number): number[][] {
    const found: number[][] = [], { view, bytes } = this.memory, used = this.#used(queue) - MEMORY;
    for (; this.#seen[queue] !== this.#usedIndex(queue); this.#seen[queue] = (this.#seen[queue] + 1) & 0xffff) {
      const at = used + USED.ring + this.#seen[queue] % ENTRIES * USED.entry;
      const buffer = this.rings(queue) - MEMORY + RINGS_BYTES + view.getUint32(at, true) * BUFFER_BYTES;
      found.push([...bytes.subarray(buffer, buffer + view.getUint32(at + 4, true))]);
    }
    return found;
  }

  /** A control message of the driver's. */
  tell(port: number, event: keyof typeof EVENT, value: number): void {
    const message = new DataView(new ArrayBuffer(CONTROL.bytes));
    message.setUint32(CONTROL.id, port, true);
    message.setUint16(CONTROL.event, EVENT[event], true);
    message.setUint16(CONTROL.value, value, true);
    this.offer(QUEUE.CONTROL_TRANSMIT, [...new Uint8Array(message.buffer)]);
  }

  /** The device's. What there was too little room for does not count. */
  messages(): Message[] {
    return this.taken(QUEUE.CONTROL_RECEIVE).filter(({ length }) => length >= CONTROL.bytes).map((bytes) => {
      const view = new DataView(Uint8Array.from(bytes).buffer);
      const [port, event] = [view.getUint32(CONTROL.id, true), view.getUint16(CONTROL.event, true)];
      return { port, event, value: view.getUint16(CONTROL.value, true), more: bytes.slice(CONTROL.bytes) };
    });
  }

  /**
   * What the host does before it sleeps, and what it does when something has come at a descriptor.
   * @returns at how many; 0: it would sleep
   */
  turn(): number {
    const poll = new PollSet(this.#watches.length);
    for (const sleeper of this.#sleepers) sleeper();
    for (const watch of this.#watches) {
      const interest = watch.interest();
      poll.add(interest < 0 ? -1 : watch.descriptor, Math.max(interest, 0));
    }
    const count = poll.look();
    this.#watches.forEach((watch, index) => poll.result(index) !== 0 && watch.ready(poll.result(index)));
    return count;
  }

  /** Turns until it would sleep. */
  settle(): void {
    for (let turns = 0; this.turn() > 0; turns++) if (turns === MOST_TURNS) throw new Error("it never sleeps");
  }

  /** The host's end. */
  stop(): void {
    for (const stop of this.#stops) stop();
  }

  get needsReset(): boolean {
    return (this.mmio.read(MMIO.STATUS, 4) & STATUS.NEEDS_RESET) !== 0;
  }

  #used(queue: number): number {
    return this.rings(queue) + 256;
  }

  #usedIndex(queue: number): number {
    return this.memory.view.getUint16(this.#used(queue) - MEMORY + USED.idx, true);
  }
}
