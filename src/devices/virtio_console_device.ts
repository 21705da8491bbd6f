/** A virtio console device: its ports, and the control messages by which driver and device tell each other of them. */

import type { DeviceModelHost } from "../dm/host.ts";
import { DEVICE_ID } from "../virtio/abi.ts";
import { ChainBytes } from "../virtio/chain_bytes.ts";
import {
  CONSOLE_CONFIGURATION as CONFIGURATION,
  CONSOLE_CONTROL as CONTROL,
  CONSOLE_EVENT as EVENT,
  CONSOLE_FEATURE,
  CONSOLE_QUEUE as QUEUE,
  CONSOLE_RESIZE as RESIZE,
} from "../virtio/console_abi.ts";
import type { VirtioDevice, VirtioTransport } from "../virtio/device.ts";
import { Chain } from "../virtio/chain.ts";
import type { Virtqueue } from "../virtio/virtqueue.ts";
import { ConsolePort, PORT_STATE, type PortDevice, type PortPeer, TransferBuffer } from "./console_port.ts";
import type { TerminalSize } from "./port_console.ts";

const QUEUE_SIZE = 64;

/** At a time, between the guest and a peer. */
const TRANSFER_BYTES = 16384;

/** What control messages may still have to say of a port, in the order in which they say it. */
const OWED = { ADD: 16, CONSOLE: 32, SIZE: 64, NAME: 128, CLOSED: 256, OPENED: 512 } as const;
const OWED_BITS = Object.values(OWED);

/** A port: its name, or that it is the console; and its other end. */
export interface PortOptions {
  /** undefined: the guest's console. */
  readonly name: string | undefined;
  /** @param port whom the peer is for */
  peer(port: ConsolePort): PortPeer;
}

/** Ports behind queues: a console alone, or any with names. */
export class VirtioConsole implements VirtioDevice, PortDevice {
  readonly id = DEVICE_ID.CONSOLE;
  readonly features: readonly number[];
  readonly queues: number;
  readonly queueSize = QUEUE_SIZE;
  readonly configuration = new Uint8Array(CONFIGURATION.bytes);
  transport!: VirtioTransport;
  readonly bytes: ChainBytes;
  readonly transfer = new TransferBuffer(TRANSFER_BYTES);
  readonly #ports: readonly ConsolePort[];
  readonly #view = new DataView(this.configuration.buffer);
  readonly #chain = new Chain(QUEUE_SIZE);
  readonly #control = new DataView(new ArrayBuffer(CONTROL.bytes));
  readonly #controlBytes = new Uint8Array(this.#control.buffer);
  readonly #names: readonly Uint8Array[];
  readonly #message: Uint8Array<ArrayBuffer>;
  /** The driver knows of several ports. */
  #hasPorts = false;

  /** @param size of the console's terminal, asked for again and again; undefined at first: it is none */
  constructor(
    host: DeviceModelHost,
    ports: readonly PortOptions[],
    private readonly size: () => TerminalSize | undefined,
  ) {
    this.bytes = new ChainBytes(host.memory);
    const { buffer, byteOffset } = host.state(ports.length * 4),
      states = new Uint32Array(buffer, byteOffset, ports.length);
    const isPlain = ports.length === 1 && ports[0].name === undefined, hasSize = size() !== undefined;
    const { SIZE, MULTIPORT, EMERG_WRITE } = CONSOLE_FEATURE;
    // A console alone is one without control messages: whatever a driver thinks of them, it knows that.
    this.features = [EMERG_WRITE, ...isPlain ? [] : [MULTIPORT], ...hasSize ? [SIZE] : []];
    this.queues = isPlain ? 2 : QUEUE.OTHERS + 2 * (ports.length - 1);
    this.#names = ports.map(({ name = "" }) => new TextEncoder().encode(name));
    this.#message = new Uint8Array(CONTROL.bytes + Math.max(RESIZE.bytes, ...this.#names.map((name) => name.length)));
    this.#ports = ports.map(({ name }, id) => {
      const first = id === 0 ? QUEUE.RECEIVE : QUEUE.OTHERS + 2 * (id - 1);
      return new ConsolePort(this, id, name, first, first + 1, states, QUEUE_SIZE);
    });
    this.#ports.forEach((port, id) => port.peer = ports[id].peer(port));
    if (!isPlain) this.#view.setUint32(CONFIGURATION.max_nr_ports, ports.length, true);
    if (!hasSize) return;
    this.#measure();
    // A signal would have to reach the one thread among all that waits here; somebody who makes a window larger goes on
    // to do something in it.
    host.beforeSleep(() => this.#measure() && this.#resized());
  }

  start(features: ReadonlySet<number>): void {
    this.#hasPorts = features.has(CONSOLE_FEATURE.MULTIPORT);
    if (!this.#hasPorts) {
      this.#ports[0].set(PORT_STATE.OPEN);
      return this.#ports[0].begin();
    }
    for (const port of this.#ports) {
      if (this.transport.isLive) port.begin();
      if (port.is(PORT_STATE.READY)) this.changed(port); // the model is another's successor, whose peers are gone
    }
    this.#listen();
  }

  notified(queue: number): void {
    const port = this.#portOf(queue);
    if (port === undefined) {
      if (queue === QUEUE.CONTROL_TRANSMIT) this.#listen();
      else this.#tell();
    } else if (queue === port.receive) port.arrived();
    else if (!port.isStalled) port.drained();
  }

  hasWork(queue: number): boolean {
    const port = this.#portOf(queue);
    if (port === undefined) return queue === QUEUE.CONTROL_TRANSMIT && this.transport.queues[queue].hasRequest;
    return queue === port.transmit && port.hasWork;
  }

  /** A character without a queue (5.3.4): to the console, or where there is none, to the first port. */
  configure(offset: number, _size: number, value: number): void {
    if (offset !== CONFIGURATION.emerg_wr) return;
    const port = this.#ports.find(({ name }) => name === undefined) ?? this.#ports[0];
    this.transfer.bytes[0] = value;
    port.peer.put(this.transfer, 1); // there is nobody to wait for room
  }

  forget(queue: number): void {
    this.#portOf(queue)?.forget(queue);
  }

  reset(): void {
    this.#hasPorts = false;
    for (const port of this.#ports) port.end();
  }

  queue(index: number): Virtqueue {
    return this.transport.queues[index];
  }

  usedBuffer(queue: Virtqueue): void {
    this.transport.usedBuffer(queue);
  }

  fail(): void {
    this.reset();
    this.transport.fail();
  }

  changed(port: ConsolePort): void {
    if (!port.is(PORT_STATE.READY)) return;
    port.set(OWED.OPENED, port.peer.isThere);
    // Who comes after another is another, even if nobody could be told yet that the first is gone.
    if (port.is(PORT_STATE.TOLD_OPEN)) port.set(OWED.CLOSED);
    this.#tell();
  }

  /** The port of a queue; undefined: it is one of control messages. */
  #portOf(queue: number): ConsolePort | undefined {
    if (queue < QUEUE.CONTROL_RECEIVE) return this.#ports[0];
    return queue < QUEUE.OTHERS ? undefined : this.#ports[1 + (queue - QUEUE.OTHERS >> 1)];
  }

  /** Takes control messages of the driver's; what makes no sense says nothing. */
  #listen(): void {
    const queue = this.transport.queues[QUEUE.CONTROL_TRANSMIT], chain = this.#chain;
    if (!this.transport.isLive || !this.#hasPorts) return;
    while (this.transport.isLive && queue.take(chain)) {
      const isWhole = this.bytes.read(chain, 0, this.#controlBytes, CONTROL.bytes);
      queue.give(chain.head, 0);
      if (isWhole) this.#hear();
    }
    if (!this.transport.isLive) return;
    if (queue.isBroken) return this.fail();
    this.transport.usedBuffer(queue);
    this.#tell();
  }

  #hear(): void {
    const value = this.#control.getUint16(CONTROL.value, true), event = this.#control.getUint16(CONTROL.event, true);
    if (event === EVENT.DEVICE_READY && value === 1) return this.#announce();
    const port = this.#ports[this.#control.getUint32(CONTROL.id, true)];
    if (port === undefined || !port.is(PORT_STATE.ADDED)) return;
    if (event === EVENT.PORT_READY && value === 1) this.#introduce(port);
    else if (event === EVENT.PORT_OPEN) port.setOpen(value === 1);
  }

  #announce(): void {
    for (const port of this.#ports) {
      if (!port.is(PORT_STATE.ADDED)) port.set(PORT_STATE.ADDED | OWED.ADD);
    }
  }

  #introduce(port: ConsolePort): void {
    port.set(PORT_STATE.READY | (port.name === undefined ? OWED.CONSOLE : OWED.NAME));
    if (port.name === undefined && this.features.includes(CONSOLE_FEATURE.SIZE)) port.set(OWED.SIZE);
    if (port.peer.isThere && !port.is(PORT_STATE.TOLD_OPEN)) port.set(OWED.OPENED);
  }

  /** Says what is owed, as long as the driver has room for it. However often something is asked for, it is owed once. */
  #tell(): void {
    if (!this.transport.isLive || !this.#hasPorts) return;
    const queue = this.transport.queues[QUEUE.CONTROL_RECEIVE], chain = this.#chain;
    for (const port of this.#ports) {
      for (const what of OWED_BITS) {
        if (!port.is(what) || !queue.take(chain)) continue;
        port.set(what, false);
        const size = Math.min(this.#compose(port, what), chain.writableBytes);
        queue.give(chain.head, this.bytes.write(chain, this.#message, 0, size) ? size : 0);
      }
    }
    if (queue.isBroken) return this.fail();
    this.transport.usedBuffer(queue);
  }

  /** @returns the message's size */
  #compose(port: ConsolePort, what: number): number {
    const message = this.#message;
    switch (what) {
      case OWED.ADD:
        return this.#head(port, EVENT.PORT_ADD, 1);
      case OWED.CONSOLE:
        return this.#head(port, EVENT.CONSOLE_PORT, 1);
      case OWED.SIZE:
        message.set(this.configuration.subarray(CONFIGURATION.cols, RESIZE.bytes), CONTROL.bytes);
        return this.#head(port, EVENT.RESIZE, 0) + RESIZE.bytes;
      case OWED.NAME:
        message.set(this.#names[port.id], CONTROL.bytes);
        return this.#head(port, EVENT.PORT_NAME, 1) + this.#names[port.id].length;
      default:
        port.set(PORT_STATE.TOLD_OPEN, what === OWED.OPENED);
        return this.#head(port, EVENT.PORT_OPEN, what === OWED.OPENED ? 1 : 0);
    }
  }

  #head(port: ConsolePort, event: number, value: number): number {
    const control = this.#control;
    control.setUint32(CONTROL.id, port.id, true);
    control.setUint16(CONTROL.event, event, true);
    control.setUint16(CONTROL.value, value, true);
    this.#message.set(this.#controlBytes);
    return CONTROL.bytes;
  }

  /** @returns whether the terminal's size has changed */
  #measure(): boolean {
    const size = this.size(), view = this.#view;
    if (size === undefined) return false;
    const { columns, rows } = size;
    const isKnown = view.getUint16(CONFIGURATION.cols, true) === columns &&
      view.getUint16(CONFIGURATION.rows, true) === rows;
    view.setUint16(CONFIGURATION.cols, columns, true);
    view.setUint16(CONFIGURATION.rows, rows, true);
    return !isKnown;
  }

  #resized(): void {
    for (const port of this.#ports) if (port.is(PORT_STATE.READY) && port.name === undefined) port.set(OWED.SIZE);
    this.transport.changed();
    this.#tell();
  }
}
