/** A virtio network device: frames between its two queues and a network. Nothing is allocated for a frame. */

import type { DeviceModelHost } from "../dm/host.ts";
import { DEVICE_ID } from "../virtio/abi.ts";
import { ChainBytes } from "../virtio/chain_bytes.ts";
import type { VirtioDevice, VirtioTransport } from "../virtio/device.ts";
import {
  ETHERNET_HEADER_BYTES,
  ETHERNET_MTU,
  MOST_FRAME_BYTES,
  NET_CONFIGURATION as CONFIGURATION,
  NET_FEATURE,
  NET_HEADER,
  NET_LEGACY_HEADER_BYTES,
  NET_QUEUE,
  NET_STATUS_LINK_UP,
} from "../virtio/net_abi.ts";
import { Chain } from "../virtio/chain.ts";
import type { Network } from "./network.ts";

const QUEUE_SIZE = 256;

/** A network device. What the guest sends goes to the network at once; what comes waits there until the guest has room. */
export class VirtioNet implements VirtioDevice {
  readonly id = DEVICE_ID.NET;
  readonly features = [NET_FEATURE.MTU, NET_FEATURE.MAC, NET_FEATURE.STATUS];
  readonly queues = 2;
  readonly queueSize = QUEUE_SIZE;
  readonly configuration = new Uint8Array(CONFIGURATION.bytes);
  transport!: VirtioTransport;
  readonly #bytes: ChainBytes;
  readonly #chain = new Chain(QUEUE_SIZE);
  readonly #frame = new Uint8Array(MOST_FRAME_BYTES);
  /** What stands before a frame that comes: no offloads, one buffer. */
  readonly #header: Uint8Array;

  /** @param mac six bytes @param legacy as before virtio 1.0 */
  constructor(host: DeviceModelHost, private readonly network: Network, mac: Uint8Array, legacy = false) {
    this.#bytes = new ChainBytes(host.memory);
    this.#header = new Uint8Array(legacy ? NET_LEGACY_HEADER_BYTES : NET_HEADER.bytes);
    if (!legacy) this.#header[NET_HEADER.num_buffers] = 1; // though nobody has asked for mergeable buffers (5.1.6.4.1)
    this.#configure(mac);
    host.watch({
      get descriptor() {
        return network.descriptor;
      },
      interest: () => network.interest(this.#hasRoom),
      ready: (events) => {
        network.ready(events);
        this.#receive();
      },
    });
    if (network.settle !== undefined) host.beforeSleep(() => network.settle!());
    host.beforeStop(() => network[Symbol.dispose]());
    host.whenRelieved(() => network[Symbol.dispose]());
  }

  start(): void {
    this.#transmit();
  }

  notified(queue: number): void {
    if (queue === NET_QUEUE.TRANSMIT) this.#transmit();
    else this.#receive();
  }

  hasWork(queue: number): boolean {
    return queue === NET_QUEUE.TRANSMIT && this.transport.queues[queue].hasRequest;
  }

  reset(): void {}

  /** Whether the guest has room for a frame. */
  get #hasRoom(): boolean {
    return this.transport.isLive && this.transport.queues[NET_QUEUE.RECEIVE].hasRequest;
  }

  /** What the network has answered at once comes with it. */
  #transmit(): void {
    const queue = this.transport.queues[NET_QUEUE.TRANSMIT], chain = this.#chain;
    queue.setNotifications(false);
    do {
      while (queue.take(chain)) {
        this.#send(chain);
        queue.give(chain.head, 0);
      }
      queue.setNotifications(true);
    } while (queue.hasRequest);
    if (queue.isBroken) return this.transport.fail();
    this.transport.usedBuffer(queue);
    this.#receive();
  }

  /** What is no frame, or none that a wire carries, goes nowhere. */
  #send(chain: Chain): void {
    const headerBytes = this.#header.length, size = chain.readableBytes - headerBytes;
    if (size < ETHERNET_HEADER_BYTES || size > MOST_FRAME_BYTES) return;
    if (this.#bytes.read(chain, headerBytes, this.#frame, size)) this.network.send(this.#frame, size);
  }

  /** Gives the guest what there is, as long as it has room; it is to say when it has some again only if it had too little. */
  #receive(): void {
    const queue = this.transport.queues[NET_QUEUE.RECEIVE];
    if (!this.transport.isLive) return;
    for (let hasRoom = true; hasRoom;) {
      queue.setNotifications(false);
      while (queue.hasRequest && this.#deliver());
      if (queue.hasRequest) break;
      queue.setNotifications(true);
      hasRoom = queue.hasRequest;
    }
    if (queue.isBroken) return this.transport.fail();
    this.transport.usedBuffer(queue);
  }

  /** One frame; a buffer in which it has no room comes back empty. @returns false there is none */
  #deliver(): boolean {
    const size = this.network.receive(this.#frame);
    if (size === 0) return false;
    const queue = this.transport.queues[NET_QUEUE.RECEIVE], chain = this.#chain, { length } = this.#header;
    if (!queue.take(chain)) return false;
    const isWritten = chain.writableBytes >= length + size && this.#bytes.write(chain, this.#header) &&
      this.#bytes.write(chain, this.#frame, length, size);
    queue.give(chain.head, isWritten ? length + size : 0);
    return true;
  }

  #configure(mac: Uint8Array): void {
    const view = new DataView(this.configuration.buffer);
    this.configuration.set(mac, CONFIGURATION.mac);
    view.setUint16(CONFIGURATION.status, NET_STATUS_LINK_UP, true);
    view.setUint16(CONFIGURATION.max_virtqueue_pairs, 1, true);
    view.setUint16(CONFIGURATION.mtu, ETHERNET_MTU, true);
  }
}
