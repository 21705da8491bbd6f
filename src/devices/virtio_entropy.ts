/** A virtio source of entropy (virtio 1.2, 5.4): fills what it is given with random bytes of the host's. */

import type { DeviceModelHost } from "../dm/host.ts";
import { DEVICE_ID } from "../virtio/abi.ts";
import { ChainBytes } from "../virtio/chain_bytes.ts";
import type { VirtioDevice, VirtioTransport } from "../virtio/device.ts";
import { Chain } from "../virtio/chain.ts";
import { virtioOverMmio, type VirtioPlace } from "./virtio_place.ts";

const QUEUE_SIZE = 64;
/** A driver that asks for more gets so much, and asks again. */
const MOST_BYTES = 4096;

/** Claims its registers. @param configuration a {@linkcode VirtioPlace} */
export default function virtioEntropy(host: DeviceModelHost, configuration: unknown): void {
  const device = new VirtioEntropy(host);
  virtioOverMmio(host, device, configuration as VirtioPlace);
}

class VirtioEntropy implements VirtioDevice {
  readonly id = DEVICE_ID.ENTROPY;
  readonly features: readonly number[] = [];
  readonly queues = 1;
  readonly queueSize = QUEUE_SIZE;
  readonly configuration = new Uint8Array();
  transport!: VirtioTransport;
  readonly #bytes: ChainBytes;
  readonly #chain = new Chain(QUEUE_SIZE);
  readonly #random = new Uint8Array(MOST_BYTES);

  constructor(host: DeviceModelHost) {
    this.#bytes = new ChainBytes(host.memory);
  }

  start(): void {
    this.notified();
  }

  notified(): void {
    const [queue] = this.transport.queues;
    while (queue.take(this.#chain)) {
      const random = this.#random.subarray(0, Math.min(this.#chain.writableBytes, MOST_BYTES));
      crypto.getRandomValues(random);
      queue.give(this.#chain.head, this.#bytes.write(this.#chain, random) ? random.length : 0);
    }
    if (queue.isBroken) return this.transport.fail();
    this.transport.usedBuffer(queue);
  }

  reset(): void {}
}
