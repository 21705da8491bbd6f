/** A port of a virtio console: bytes between its two queues and whoever is at its other end, as fast as both take them. */

import { bytesAddress } from "../linux/mapping.ts";
import type { ChainBytes } from "../virtio/chain_bytes.ts";
import { Chain } from "../virtio/chain.ts";
import type { Virtqueue } from "../virtio/virtqueue.ts";

/** Whoever the guest talks to at a port. No call blocks. */
export interface PortPeer {
  /** Whether somebody is there. */
  readonly isThere: boolean;
  /**
   * Takes what stands at the beginning of `transfer`. Where nobody is, all goes nowhere.
   * @returns how many bytes; if there is no room for all, the port's `drained` is called when there is some
   */
  put(transfer: TransferBuffer, sizeBytes: number): number;
  /** Puts what has come at the beginning of `transfer`. @returns how many bytes, `sizeBytes` at most; 0: none */
  take(transfer: TransferBuffer, sizeBytes: number): number;
}

/** What its peer sees of a port. */
export interface PortEnd {
  /** Whether the guest would take something. */
  readonly hasRoom: boolean;
  /** Whether it has something that there was no room for. */
  readonly isStalled: boolean;
  /** Something has come. */
  arrived(): void;
  /** There is room again. */
  drained(): void;
  /** Somebody has come, or gone. */
  changed(): void;
}

/** Bytes on their way between the guest's memory and a peer. Nobody keeps anything in it. */
export class TransferBuffer {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** In this process. */
  readonly address: number;

  constructor(sizeBytes: number) {
    this.bytes = new Uint8Array(sizeBytes);
    this.address = Number(bytesAddress(this.bytes));
  }
}

/** What a port needs of its device. */
export interface PortDevice {
  readonly bytes: ChainBytes;
  readonly transfer: TransferBuffer;
  /** @param index of a queue */
  queue(index: number): Virtqueue;
  usedBuffer(queue: Virtqueue): void;
  fail(): void;
  /** Somebody has come to a port, or gone. */
  changed(port: ConsolePort): void;
}

/**
 * What is known of a port: it was announced; the driver has it; the driver knows somebody at its other end; somebody in the
 * guest has it open. Higher bits are what control messages are still to say of it.
 */
export const PORT_STATE = { ADDED: 1, READY: 2, TOLD_OPEN: 4, OPEN: 8 } as const;

/** What a port has in common with all: two chains at most are under way, one a direction. */
export class ConsolePort implements PortEnd {
  peer!: PortPeer;
  /** The driver may use its queues. */
  #isLive = false;
  readonly #out: Chain;
  readonly #in: Chain;
  /** The chain that is being sent, and how many of its bytes were; the chain that waits for bytes. */
  #isSending = false;
  #sentBytes = 0;
  #isReceiving = false;

  /**
   * @param name none for the console @param receive, transmit indices of its queues
   * @param states of the ports, which outlive their device model: a word each
   */
  constructor(
    private readonly device: PortDevice,
    readonly id: number,
    readonly name: string | undefined,
    readonly receive: number,
    readonly transmit: number,
    private readonly states: Uint32Array,
    queueSize: number,
  ) {
    this.#out = new Chain(queueSize);
    this.#in = new Chain(queueSize);
  }

  get hasRoom(): boolean {
    return this.#isLive && this.is(PORT_STATE.OPEN) &&
      (this.#isReceiving || this.device.queue(this.receive).hasRequest);
  }

  get isStalled(): boolean {
    return this.#isSending;
  }

  /** Whether there is something to send that could be sent. */
  get hasWork(): boolean {
    return this.#isLive && !this.#isSending && this.device.queue(this.transmit).hasRequest;
  }

  /** Whether any of those bits holds. */
  is(bits: number): boolean {
    return (this.states[this.id] & bits) !== 0;
  }

  set(bits: number, whether = true): void {
    if (whether) this.states[this.id] |= bits;
    else this.states[this.id] &= ~bits;
  }

  /** The driver is ready, and what is known of the port still holds. */
  begin(): void {
    this.#isLive = true;
    this.drained();
    this.arrived();
  }

  /** Nothing is given back any more of what is under way in a queue. */
  forget(queue: number): void {
    if (queue === this.transmit) this.#isSending = false;
    if (queue === this.receive) this.#isReceiving = false;
  }

  /** Nothing is given back any more, and nothing holds. */
  end(): void {
    this.states[this.id] = 0;
    this.#isLive = this.#isSending = this.#isReceiving = false;
  }

  /** The driver says whether somebody in the guest has the port open. */
  setOpen(isOpen: boolean): void {
    this.set(PORT_STATE.OPEN, isOpen);
    this.arrived();
  }

  changed(): void {
    this.device.changed(this);
  }

  /** Sends what the guest has to send, until there is no room for it. */
  drained(): void {
    if (!this.#isLive) return;
    const queue = this.device.queue(this.transmit);
    queue.setNotifications(false);
    do {
      while (this.#sendChain(queue));
      if (this.#isSending) break;
      queue.setNotifications(true);
    } while (queue.hasRequest);
    this.#settle(queue);
  }

  /** Gives the guest what has come, as long as it has room. */
  arrived(): void {
    if (!this.#isLive || !this.is(PORT_STATE.OPEN)) return;
    const queue = this.device.queue(this.receive);
    do {
      while (this.#fillChain(queue));
      // The chain that waits is room enough to begin with; the next one is looked for when that is used.
      queue.setNotifications(!this.#isReceiving);
    } while (!this.#isReceiving && queue.hasRequest);
    this.#settle(queue);
  }

  /** One chain, or the rest of one. @returns false there is none, or no room for it */
  #sendChain(queue: Virtqueue): boolean {
    const chain = this.#out, { bytes, transfer } = this.device;
    if (!this.#isSending) {
      if (!queue.take(chain)) return false;
      this.#isSending = true;
      this.#sentBytes = 0;
    }
    while (this.#sentBytes < chain.readableBytes) {
      const size = Math.min(transfer.bytes.length, chain.readableBytes - this.#sentBytes);
      if (!bytes.read(chain, this.#sentBytes, transfer.bytes, size)) break; // what is no memory is not sent
      const taken = this.peer.put(transfer, size);
      this.#sentBytes += taken;
      if (taken < size) return false;
    }
    this.#isSending = false;
    queue.give(chain.head, 0);
    return true;
  }

  /** @returns false there is no room, or nothing has come */
  #fillChain(queue: Virtqueue): boolean {
    const chain = this.#in, { bytes, transfer } = this.device;
    if (!this.#isReceiving) {
      if (!queue.take(chain)) return false;
      this.#isReceiving = true;
    }
    const room = Math.min(transfer.bytes.length, chain.writableBytes);
    const size = room === 0 ? 0 : this.peer.take(transfer, room);
    if (size === 0 && room > 0) return false;
    this.#isReceiving = false;
    queue.give(chain.head, bytes.write(chain, transfer.bytes, 0, size) ? size : 0);
    return true;
  }

  #settle(queue: Virtqueue): void {
    if (queue.isBroken) this.device.fail();
    else this.device.usedBuffer(queue);
  }
}
