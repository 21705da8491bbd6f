/** A device that sends the guest an event now and then, and measures how long the guest takes to answer at a port. */

import type { DeviceModelHost, EventChannel } from "xenolith/dm";
import { read } from "../../src/linux/calls.ts";
import { POLLIN } from "../../src/linux/poll.ts";
import { clockNs, MONOTONIC_CLOCK } from "./clock.ts";
import { setTimer } from "./timer.ts";

/** Where the guest writes: first the number of its event channel, then an answer to each event. */
export const EVENT_PORT = 0x510;

/**
 * Words: events that are still to be sent in this round; microseconds from an answer to the next event; 1 when the guest is
 * ready, and when a round is over.
 */
export const EVENT_WORD = { LEFT: 0, PAUSE_US: 1, DONE: 2 } as const;

export interface EventConfiguration {
  /** A timerfd: whoever sets it, after LEFT and PAUSE_US, begins a round. */
  readonly timer: number;
  readonly words: SharedArrayBuffer;
  /** Nanoseconds from an event to its answer, the round's last first. */
  readonly samples: SharedArrayBuffer;
}

export default function eventModel(host: DeviceModelHost, configuration: EventConfiguration): void {
  const { timer } = configuration, expirations = new BigInt64Array(1);
  const words = new Int32Array(configuration.words), samples = new Float64Array(configuration.samples);
  let channel: EventChannel | undefined, sentNs = 0;

  function answered(): void {
    const answeredNs = clockNs(MONOTONIC_CLOCK), left = Atomics.sub(words, EVENT_WORD.LEFT, 1) - 1;
    samples[left] = answeredNs - sentNs;
    if (left > 0) setTimer(timer, words[EVENT_WORD.PAUSE_US]);
    else tell();
  }

  function tell(): void {
    Atomics.store(words, EVENT_WORD.DONE, 1);
    Atomics.notify(words, EVENT_WORD.DONE);
  }

  host.mapPorts(EVENT_PORT, 4, {
    read: () => 0,
    write(_offset, _size, value) {
      if (value === 0) return answered();
      channel = host.bindEventChannel(value, () => {});
      tell();
    },
  });
  host.watch({
    descriptor: timer,
    interest: () => POLLIN,
    ready() {
      read(timer, expirations, 8n);
      sentNs = clockNs(MONOTONIC_CLOCK);
      channel?.notify();
    },
  });
}
