/**
 * A virtio block device without a request of its own: the guest's notifications go to the backend by eventfd, what the
 * backend gives back comes here by eventfd, and becomes an interrupt.
 */

import { type DeviceModelHost, LocatedMemory } from "../dm/host.ts";
import type { Descriptor } from "../linux/descriptor.ts";
import { clearEvent, eventDescriptor, signalEvent } from "../linux/event_descriptor.ts";
import { POLLIN } from "../linux/poll.ts";
import { DEVICE_ID, FEATURE, USED } from "../virtio/abi.ts";
import { BLOCK_CONFIGURATION as CONFIGURATION, BLOCK_FEATURE, MOST_BLOCK_QUEUES } from "../virtio/block_abi.ts";
import type { VirtioDevice, VirtioTransport } from "../virtio/device.ts";
import { fitsTable, type InflightMemory, type ServedRing, type VhostUserBackend } from "../virtio/vhost_user.ts";
import { VhostUserError } from "../virtio/vhost_user_connection.ts";
import type { QueueLayout } from "../virtio/virtqueue.ts";
import { BackendLink, type BackendUser } from "./backend_link.ts";

const QUEUE_SIZE = 256;

/** Features of a device's type have these numbers (virtio 1.2, 2.2): they are between driver and backend. */
const TYPE_FEATURES = 24;
/** Features of the rings that the transport can pass on. */
const RING_FEATURES: readonly number[] = [FEATURE.RING_INDIRECT_DESC, FEATURE.RING_EVENT_IDX];

/** From the driver's start to the device's reset, whoever serves. */
interface Running {
  readonly features: ReadonlySet<number>;
  /** Those that the driver has made ready, and not taken away. */
  rings: readonly { readonly index: number; readonly layout: QueueLayout }[];
  /** Where what is under way is kept for the next backend. */
  inflight: InflightMemory | undefined;
}

/** A disk behind a backend's socket. */
export class VhostUserBlock implements VirtioDevice, BackendUser {
  readonly id = DEVICE_ID.BLOCK;
  readonly features: readonly number[];
  readonly ringFeatures: readonly number[];
  readonly queues: number;
  readonly queueSize = QUEUE_SIZE;
  readonly configuration = new Uint8Array(CONFIGURATION.bytes);
  transport!: VirtioTransport;
  readonly #held: DisposableStack;
  readonly #link: BackendLink;
  readonly #call: Descriptor;
  readonly #error: Descriptor;
  /** The eventfd of each queue's notifications. */
  readonly #kicks: number[];
  readonly #found = new LocatedMemory();
  #running: Running | undefined;
  /** Whether the driver wants writes to be cached, if it has said so. */
  #caches: number | undefined;

  /** @throws {VhostUserError} there is no backend, or none that can be used */
  constructor(private readonly host: DeviceModelHost, path: string) {
    const { pieces } = host.memory;
    if (!fitsTable(pieces)) throw new VhostUserError(path, `guest memory in ${pieces.length} pieces is too much`);
    using held = new DisposableStack();
    this.#link = held.use(new BackendLink(host, path, this));
    const backend = this.#link.open();
    if (!backend.features.has(FEATURE.VERSION_1)) throw new VhostUserError(path, "the backend is as before virtio 1.0");
    this.features = [...backend.features].filter((bit) => bit < TYPE_FEATURES);
    this.ringFeatures = RING_FEATURES.filter((bit) => backend.features.has(bit));
    const configuration = backend.readConfiguration(CONFIGURATION.bytes);
    this.queues = this.#queuesOf(backend, configuration);
    this.#setConfiguration(configuration);
    const event = (subject: string) => held.use(eventDescriptor(`${subject} of ${path}`, false));
    this.#call = event("calls");
    this.#error = event("errors");
    this.#kicks = Array.from({ length: this.queues }, () => event("kicks").number);
    this.#watch(this.#call, () => this.#running !== undefined && this.transport.called());
    this.#watch(this.#error, () =>
      this.#link.use(() => {
        throw new VhostUserError(path, "the backend finds no sense in a ring");
      }));
    this.#held = held.move();
    // The guest's memory goes when the model has ended: nothing may write to it after that.
    host.beforeStop(() => {
      this.reset();
      this.#held.dispose();
    });
    // A backend serves one at a time.
    host.beforeRelief(() => {
      this.#stop(this.#running);
      this.#link.release();
    });
    host.whenRelieved(() => this.#held.dispose());
  }

  takeNotifications(queue: number, event: number): void {
    this.#kicks[queue] = event;
  }

  notified(queue: number): void {
    signalEvent(this.#kicks[queue]);
  }

  start(features: ReadonlySet<number>): void {
    const rings = this.transport.queues.map(({ layout }, index) => ({ index, layout }));
    const ready = rings.filter(({ layout }) => layout.size > 0);
    this.#running = { features, rings: ready, inflight: undefined };
    this.#link.retry();
    this.#link.use((backend) => this.#serve(backend));
  }

  forget(queue: number): void {
    const running = this.#running, ring = running?.rings.find(({ index }) => index === queue);
    if (running === undefined || ring === undefined) return;
    running.rings = running.rings.filter((other) => other !== ring);
    this.#link.use((backend) => backend.stop([ring]));
  }

  reset(): void {
    const running = this.#running;
    this.#running = this.#caches = undefined;
    this.#stop(running);
    running?.inflight?.[Symbol.dispose]();
  }

  /** All that the driver may change is whether writes are cached (5.2.5.2). */
  configure(offset: number, size: number, value: number): void {
    if (offset !== CONFIGURATION.wce || size !== 1 || !this.features.includes(BLOCK_FEATURE.CONFIG_WCE)) return;
    this.configuration[offset] = this.#caches = value & 1;
    this.#link.use((backend) => this.#sendCaching(backend));
  }

  connected(backend: VhostUserBackend): void {
    const { path } = this.#link, needed = [...this.features, ...this.ringFeatures, FEATURE.VERSION_1];
    const configuration = backend.readConfiguration(CONFIGURATION.bytes);
    const isSame = needed.every((feature) => backend.features.has(feature)) &&
      this.#queuesOf(backend, configuration) >= this.queues;
    if (!isSame) throw new VhostUserError(path, "the backend came back with less than it had");
    this.#sendCaching(backend);
    if (this.#setConfiguration(configuration)) this.transport.changed();
    this.#serve(backend);
    if (this.#running !== undefined) this.transport.called(); // the one before it may have given back, and not have said so
  }

  changed(backend: VhostUserBackend): void {
    if (this.#setConfiguration(backend.readConfiguration(CONFIGURATION.bytes))) this.transport.changed();
  }

  failed(): void {
    if (this.#running !== undefined) this.transport.fail();
  }

  #stop(running: Running | undefined): void {
    if (running !== undefined) this.#link.use((backend) => backend.stop(running.rings));
  }

  #watch({ number }: Descriptor, ready: () => void): void {
    this.host.watch({
      descriptor: number,
      interest: () => POLLIN,
      ready() {
        clearEvent(number);
        ready();
      },
    });
  }

  /** Has the backend serve the rings, if the driver is at work. */
  #serve(backend: VhostUserBackend): void {
    const running = this.#running;
    if (running === undefined) return;
    backend.agree(running.features);
    running.inflight ??= backend.createInflight(this.queues, QUEUE_SIZE);
    const rings = running.rings.map(({ index, layout }): ServedRing => {
      return { index, layout, base: this.#givenBack(layout), kick: this.#kicks[index] };
    });
    const { memory: { pieces: memory } } = this.host, { inflight } = running;
    backend.start({ memory, rings, call: this.#call.number, error: this.#error.number, inflight });
    for (const { kick } of rings) signalEvent(kick); // what was heard by a backend before it is not heard again
  }

  /**
   * How far a ring was served, which is nothing in one that a driver has just made (4.2.3.2). What comes after that is done
   * again, or, if the backend keeps what is under way, it knows better.
   */
  #givenBack({ used }: QueueLayout): number {
    const { memory } = this.host, found = this.#found;
    return memory.locate(used + USED.idx, 2, false, found) === 2
      ? Atomics.load(found.memory.halves, found.offset / 2)
      : 0;
  }

  #sendCaching(backend: VhostUserBackend): void {
    if (this.#caches !== undefined) backend.writeConfiguration(CONFIGURATION.wce, Uint8Array.of(this.#caches));
  }

  #queuesOf(backend: VhostUserBackend, configuration: Uint8Array<ArrayBuffer>): number {
    if (!backend.features.has(BLOCK_FEATURE.MQ)) return 1;
    const { buffer, byteOffset } = configuration;
    const wanted = new DataView(buffer, byteOffset).getUint16(CONFIGURATION.num_queues, true);
    return Math.max(1, Math.min(wanted, backend.queues, MOST_BLOCK_QUEUES));
  }

  /** @returns whether it is another than before */
  #setConfiguration(configuration: Uint8Array): boolean {
    const before = this.configuration.slice(), view = new DataView(this.configuration.buffer);
    this.configuration.set(configuration);
    view.setUint16(CONFIGURATION.num_queues, this.queues, true);
    if (this.#caches !== undefined) this.configuration[CONFIGURATION.wce] = this.#caches;
    return before.some((byte, index) => byte !== this.configuration[index]);
  }
}
