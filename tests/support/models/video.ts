/** What guests/buffered talks to: video memory whose writes are counted and summed up in their order. */

import type { DeviceModelHost } from "xenolith/dm";
import { bytesOf, number } from "./memory.ts";

const VIDEO_MEMORY = 0xa_0000, VIDEO_BYTES = 0x2_0000;

export interface VideoConfiguration {
  /** Reads 4 bytes: how many writes there were; 4 further: their sum. */
  readonly port: number;
}

export default function video(host: DeviceModelHost, { port }: VideoConfiguration): void {
  const bytes = new Uint8Array(VIDEO_BYTES);
  let writes = 0, sum = 0;
  host.mapMemory(VIDEO_MEMORY, VIDEO_BYTES, {
    read: (offset, width) => number(bytes.subarray(offset, offset + width)),
    write(offset, width, value) {
      bytes.set(bytesOf(value, width), offset);
      sum = (((sum << 5 | sum >>> 27) ^ value) + offset * 8 + width) >>> 0;
      writes++;
    },
  });
  host.mapPorts(port, 8, { read: (offset) => offset === 0 ? writes : sum, write() {} });
}
