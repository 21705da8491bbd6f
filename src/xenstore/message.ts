/** Messages as bytes: headers and the strings of a payload. Every byte is a character of the same number, and back. */

import { HEADER, HEADER_BYTES } from "./abi.ts";

/** A message's header but for the length of its payload. */
export interface Header {
  /** One of {@linkcode MESSAGE}, or anything. */
  readonly type: number;
  /** Given back with the reply. */
  readonly reqId: number;
  /** The transaction; 0 is none. */
  readonly txId: number;
}

/** What a string's characters stand for. */
export function bytesOf(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at++) bytes[at] = text.charCodeAt(at);
  return bytes;
}

/** The reverse of {@linkcode bytesOf}. */
export function textOf(bytes: Uint8Array): string {
  return String.fromCharCode(...bytes);
}

/** The strings of a payload that end with a NUL, without it. */
export function stringsOf(payload: Uint8Array): string[] {
  return textOf(payload).split("\0").slice(0, -1);
}

/** A payload of strings, each ended by a NUL. */
export function payloadOf(strings: Iterable<string>): Uint8Array {
  return bytesOf(Array.from(strings, (text) => `${text}\0`).join(""));
}

/** A whole message. */
export function encode({ type, reqId, txId }: Header, payload: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES + payload.length), view = new DataView(bytes.buffer);
  view.setUint32(HEADER.type, type, true);
  view.setUint32(HEADER.req_id, reqId, true);
  view.setUint32(HEADER.tx_id, txId, true);
  view.setUint32(HEADER.len, payload.length, true);
  bytes.set(payload, HEADER_BYTES);
  return bytes;
}

/** What the first {@linkcode HEADER_BYTES} of a message say. */
export function decodeHeader(bytes: Uint8Array): Header & { readonly payloadBytes: number } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, HEADER_BYTES);
  return {
    type: view.getUint32(HEADER.type, true),
    reqId: view.getUint32(HEADER.req_id, true),
    txId: view.getUint32(HEADER.tx_id, true),
    payloadBytes: view.getUint32(HEADER.len, true),
  };
}
