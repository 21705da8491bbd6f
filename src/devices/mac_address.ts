/** Addresses of network devices (IEEE 802 MAC addresses). */

import * as calls from "../linux/calls.ts";
import { MAC_BYTES } from "../virtio/net_abi.ts";

/** Of an address's first byte: it is that of a group. */
const GROUP = 1;

/** The six bytes of "52:54:00:12:34:56"; undefined: it is none, all zero, or that of a group. */
export function parseMac(text: string): Uint8Array<ArrayBuffer> | undefined {
  if (!/^[\da-f]{2}(:[\da-f]{2}){5}$/i.test(text)) return undefined;
  const bytes = Uint8Array.from(text.split(":"), (byte) => parseInt(byte, 16));
  return (bytes[0] & GROUP) === 0 && bytes.some((byte) => byte !== 0) ? bytes : undefined;
}

/** 52:54:00, and the number of this thread, which no other thread of the host has as long as it lives. */
export function macOfThread(): Uint8Array<ArrayBuffer> {
  const thread = calls.gettid(), mac = new Uint8Array(MAC_BYTES);
  mac.set([0x52, 0x54, 0x00, thread >> 16, thread >> 8, thread]);
  return mac;
}
