/** A device that is told of writes in the three ways that there are: a register, a buffered register, an eventfd. */

import type { DeviceModelHost } from "xenolith/dm";
import { POLLIN } from "../../src/linux/poll.ts";
import { read } from "../../src/linux/calls.ts";

/** Where the guest writes. The third port is nobody's: KVM signals the eventfd. */
export const NOTIFIED_PORT = { SYNCHRONOUS: 0x510, BUFFERED: 0x511, EVENT: 0x512 } as const;

export interface NotifiedConfiguration {
  /** An eventfd. */
  readonly event: number;
  /** How many writes the device has seen, as one number of 64 bits. */
  readonly seen: SharedArrayBuffer;
}

export default function notified(host: DeviceModelHost, { event, seen }: NotifiedConfiguration): void {
  const total = new BigInt64Array(seen), signals = new BigInt64Array(1);
  const counter = {
    read: () => 0,
    write() {
      Atomics.add(total, 0, 1n);
    },
  };
  host.mapPorts(NOTIFIED_PORT.SYNCHRONOUS, 1, counter);
  host.mapPorts(NOTIFIED_PORT.BUFFERED, 1, counter, { buffered: true });
  host.watch({
    descriptor: event,
    interest: () => POLLIN,
    ready() {
      read(event, signals, 8n);
      Atomics.add(total, 0, signals[0]);
    },
  });
}
