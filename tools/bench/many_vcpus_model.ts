/** What guests/ioreq-many talks to, and when it did: tests/support/models/answers.ts with a clock. */

import type { DeviceModelHost } from "xenolith/dm";
import answers, { type AnswersConfiguration } from "../../tests/support/models/answers.ts";

/** Requests that each vCPU has sent, then from here on when (milliseconds since 1970): the parts of `times`. */
export const TIME = { FIRST: 0, ALL: 1, LAST: 2 } as const;

export interface TimedConfiguration extends AnswersConfiguration {
  /** When the first request came, when every vCPU had sent one, when the last one came; milliseconds since 1970. */
  readonly times: SharedArrayBuffer;
}

export default function timedAnswers(host: DeviceModelHost, { times, ...configuration }: TimedConfiguration): void {
  const at = new Float64Array(times), seen = new Uint8Array(configuration.vcpus);
  let missing = configuration.vcpus;
  const note = (vcpu: number) => {
    at[TIME.LAST] = performance.timeOrigin + performance.now();
    if (seen[vcpu] !== 0) return;
    seen[vcpu] = 1;
    if (missing-- === configuration.vcpus) at[TIME.FIRST] = at[TIME.LAST];
    if (missing === 0) at[TIME.ALL] = at[TIME.LAST];
  };
  const mapMemory: DeviceModelHost["mapMemory"] = (address, sizeBytes, handler) =>
    host.mapMemory(address, sizeBytes, {
      read(offset, size) {
        note(offset >> 3);
        return handler.read(offset, size);
      },
      write(offset, size, value) {
        note(offset >> 3);
        handler.write(offset, size, value);
      },
    });
  answers({ mapMemory } as DeviceModelHost, configuration);
}
