/** A guest for the tests: a store with domains, and a frontend that speaks through a ring as a kernel's driver does. */

import { assertEquals } from "@std/assert";
import { HEADER_BYTES, INTERFACE, MESSAGE, RING_BYTES } from "../../src/xenstore/abi.ts";
import { XenstoreConnection } from "../../src/xenstore/connection.ts";
import { bytesOf, decodeHeader, encode, textOf } from "../../src/xenstore/message.ts";
import { XenstoreRing } from "../../src/xenstore/ring.ts";
import { Xenstore } from "../../src/xenstore/store.ts";
import { ToolStack } from "../../src/xenstore/tool_stack.ts";

/** How a request's type is named in the tables of the tests. */
export type MessageName = keyof typeof MESSAGE;

const NAMES = new Map<number, string>(Object.entries(MESSAGE).map(([name, type]) => [type, name]));

/** A message that came to the guest: READ, ERROR and so on, and its payload, a character a byte. */
export interface Received {
  readonly name: string;
  readonly reqId: number;
  readonly txId: number;
  readonly payload: string;
}

/** The frontend of a domain's ring. */
export class Guest {
  readonly page = new Uint8Array(4096);
  readonly words = new Uint32Array(this.page.buffer);
  connection: XenstoreConnection;
  ring: XenstoreRing;
  /** Watch events that came, not yet looked at: path and token. */
  readonly events: [path: string, token: string][] = [];
  /** How often the store asked for the ring to be served. */
  wakes = 0;
  #reqId = 0;
  #incoming: number[] = [];

  constructor(store: Xenstore, readonly domid: number, private readonly now?: () => number) {
    this.connection = new XenstoreConnection(store, domid, () => this.wakes++, now);
    this.ring = new XenstoreRing(this.page, this.connection);
  }

  /** From now on it has a store to which its own one, and its connection, are handed over. */
  handOver(store: Xenstore): void {
    const { connection, ring } = structuredClone({ connection: this.connection.state, ring: this.ring.state });
    this.connection = new XenstoreConnection(store, this.domid, () => this.wakes++, this.now, connection);
    this.ring = new XenstoreRing(this.page, this.connection, ring);
  }

  /** Sends a request and serves the ring until its reply is there. @returns the reply's payload, or the error's name */
  call(name: MessageName | number, payload = "", txId = 0): string {
    const reply = this.ask(name, payload, txId);
    const type = typeof name === "number" ? `${name}` : name;
    if (reply.name !== "ERROR") assertEquals(reply.name, type);
    return reply.name === "ERROR" ? reply.payload.slice(0, -1) : reply.payload;
  }

  /** As {@linkcode call}, with the whole reply. */
  ask(name: MessageName | number, payload = "", txId = 0): Received {
    const type = typeof name === "number" ? name : MESSAGE[name], reqId = ++this.#reqId;
    let rest = encode({ type, reqId, txId }, bytesOf(payload));
    for (;;) {
      rest = rest.subarray(this.send(rest));
      this.ring.service();
      const reply = this.receive().find((message) => message.reqId === reqId && message.name !== "WATCH_EVENT");
      if (reply !== undefined) {
        assertEquals(reply.txId, txId);
        return reply;
      }
    }
  }

  /** A transaction's id. */
  start(): number {
    return Number(this.call("TRANSACTION_START", "\0").slice(0, -1));
  }

  /** Serves the ring and gives the events that have come since the last time. */
  takeEvents(): [path: string, token: string][] {
    while (this.ring.service()) this.receive();
    this.receive();
    return this.events.splice(0);
  }

  /** Writes to the ring as much as there is room for, unless it is less. @returns how much */
  send(bytes: Uint8Array): number {
    const [consumer, producer] = [this.#word(INTERFACE.req_cons), this.#word(INTERFACE.req_prod)];
    const count = Math.min(bytes.length, RING_BYTES - ((producer - consumer) >>> 0));
    for (let at = 0; at < count; at++) this.page[INTERFACE.req + (producer + at) % RING_BYTES] = bytes[at];
    this.words[INTERFACE.req_prod / 4] = producer + count;
    return count;
  }

  /** Takes at most `most` bytes from the ring. @returns the messages that are whole now */
  receive(most = Infinity): Received[] {
    const [consumer, producer] = [this.#word(INTERFACE.rsp_cons), this.#word(INTERFACE.rsp_prod)];
    const count = Math.min(most, (producer - consumer) >>> 0);
    for (let at = 0; at < count; at++) {
      this.#incoming.push(this.page[INTERFACE.rsp + (consumer + at) % RING_BYTES]);
    }
    this.words[INTERFACE.rsp_cons / 4] = consumer + count;
    const messages: Received[] = [];
    while (this.#incoming.length >= HEADER_BYTES) {
      const bytes = Uint8Array.from(this.#incoming), { type, reqId, txId, payloadBytes } = decodeHeader(bytes);
      if (bytes.length < HEADER_BYTES + payloadBytes) break;
      this.#incoming = this.#incoming.slice(HEADER_BYTES + payloadBytes);
      const payload = textOf(bytes.subarray(HEADER_BYTES, HEADER_BYTES + payloadBytes));
      const name = NAMES.get(type) ?? `${type}`;
      if (name === "WATCH_EVENT") this.events.push(payload.split("\0").slice(0, 2) as [string, string]);
      messages.push({ name, reqId, txId, payload });
    }
    return messages;
  }

  #word(offset: number): number {
    return this.words[offset / 4];
  }
}

/** A store in which each of the domains has a node of its own, that it owns, and a guest. */
export function storeWith<const Domids extends readonly number[]>(
  domids: Domids,
  now?: () => number,
): { store: Xenstore; tools: ToolStack; guests: { [Index in keyof Domids]: Guest } } {
  const store = new Xenstore(), tools = new ToolStack(store);
  const guests = domids.map((domid) => {
    store.createDomain(domid);
    tools.mkdir(`/local/domain/${domid}`);
    tools.setPermissions(`/local/domain/${domid}`, [`n${domid}`]);
    return new Guest(store, domid, now);
  });
  return { store, tools, guests: guests as { [Index in keyof Domids]: Guest } };
}
