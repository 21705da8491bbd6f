/** A network that is an interface of the host's: what the guest sends, the host receives there (Linux's tun/tap). */

import * as calls from "../linux/calls.ts";
import type { Descriptor } from "../linux/descriptor.ts";
import { EACCES, EAGAIN, EBUSY, EINTR, EINVAL, EIO, ENODEV, ENOENT, ENXIO, EPERM } from "../linux/errno.ts";
import { LinuxError } from "../linux/linux_error.ts";
import { asBigInt } from "../linux/mapping.ts";
import { POLLIN } from "../linux/poll.ts";
import { openTap, TAP_DEVICE } from "../linux/tap.ts";
import { ETHERNET_HEADER_BYTES, MOST_FRAME_BYTES } from "../virtio/net_abi.ts";
import { type Network, NetworkError, NetworkUnavailable } from "./network.ts";

/** Frames that are read before whoever waits for the model is looked at again. */
const READS_PER_LOOK = 64;

/** A place for asBigInt. */
const SIZE = 0;

/** One more than a frame has, so that one that is longer is seen to be. */
const ROOM_BYTES = MOST_FRAME_BYTES + 1, ROOM = BigInt(ROOM_BYTES);

/** An open interface. Setting it up (addresses, a bridge) is the host's business. */
export class TapNetwork implements Network {
  readonly #tap: Descriptor;
  readonly #room = new Uint8Array(ROOM_BYTES);
  /** Frames that may still be read before the next look. */
  #reads = 0;
  #isGone = false;

  /** @throws {NetworkError} no such name, or somebody has it @throws {NetworkUnavailable} */
  constructor(ifname: string) {
    this.#tap = open(ifname);
  }

  get descriptor(): number {
    return this.#tap.number;
  }

  interest(receiving: boolean): number {
    return receiving && !this.#isGone ? POLLIN : -1;
  }

  ready(): void {
    this.#reads = READS_PER_LOOK;
  }

  receive(frame: Uint8Array<ArrayBuffer>): number {
    while (this.#reads > 0) {
      const size = calls.read(this.#tap.number, this.#room, ROOM);
      this.#reads--;
      if (size < 0) this.#failed(-size);
      if (size < ETHERNET_HEADER_BYTES || size > frame.length) continue;
      for (let byte = 0; byte < size; byte++) frame[byte] = this.#room[byte];
      return size;
    }
    return 0;
  }

  send(frame: Uint8Array<ArrayBuffer>, sizeBytes: number): void {
    // An interface that is down, full or gone loses it.
    calls.write(this.#tap.number, frame, asBigInt(SIZE, sizeBytes));
  }

  [Symbol.dispose](): void {
    this.#tap[Symbol.dispose]();
  }

  #failed(errno: number): void {
    if (errno === EINTR) return;
    this.#reads = 0;
    // Whoever removes the interface (ip link delete) leaves a descriptor that is always ready, with an error.
    this.#isGone = errno !== EAGAIN && errno !== EIO;
  }
}

/** @throws {NetworkError} @throws {NetworkUnavailable} */
function open(ifname: string): Descriptor {
  try {
    return openTap(ifname);
  } catch (error) {
    if (!(error instanceof LinuxError)) throw error;
    const { errno, errnoName } = error, network = `tap ${ifname}`;
    if (errno === EBUSY) throw new NetworkError(network, "somebody else has it");
    if (errno === EINVAL) throw new NetworkError(network, "no name of a tap interface (15 bytes at most)");
    if ([ENOENT, ENODEV, ENXIO].includes(errno)) {
      throw new NetworkUnavailable(network, `${TAP_DEVICE}: ${errnoName} (is the module tun loaded?)`);
    }
    if (errno !== EPERM && errno !== EACCES) throw new NetworkUnavailable(network, error.message);
    const how = `sudo ip tuntap add ${ifname} mode tap user $USER`;
    throw new NetworkUnavailable(network, `${errnoName}: it takes CAP_NET_ADMIN, or an interface of your own: ${how}`);
  }
}
