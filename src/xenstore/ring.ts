/** The ring: struct xenstore_domain_interface in a page that the domain writes, too, at any time and with anything. */

import {
  CONNECTION,
  FEATURE,
  HEADER_BYTES,
  INTERFACE,
  INTERFACE_BYTES,
  PAYLOAD_MAX,
  RING_BYTES,
  RING_ERROR,
  type RingError,
} from "./abi.ts";
import type { XenstoreConnection } from "./connection.ts";
import { decodeHeader } from "./message.ts";

const REQ_CONS = INTERFACE.req_cons / 4, REQ_PROD = INTERFACE.req_prod / 4;
const RSP_CONS = INTERFACE.rsp_cons / 4, RSP_PROD = INTERFACE.rsp_prod / 4;
const SERVER_FEATURES = INTERFACE.server_features / 4;
const CONNECTION_STATE = INTERFACE.connection / 4, ERROR = INTERFACE.error / 4;

/** What of a ring is not in its page, as it is handed over. */
export interface RingState {
  /** A request that is coming in, and how many bytes of it are there. */
  readonly request: Uint8Array;
  readonly received: number;
  readonly error: RingError;
}

/**
 * The store's end of a domain's ring.
 *
 * Indices are read from the page each time, as xenstored does: boot code may zero the page when it is done with it. What
 * was copied out of the page is looked at only in the copy. A domain that breaks the rules loses its connection, until it
 * asks for another one by the field `connection`.
 */
export class XenstoreRing {
  readonly #words: Uint32Array;
  /** The header, then header and payload, of the request that is coming in. */
  #request: Uint8Array;
  #received: number;
  #error: RingError;
  /** Bytes of requests that may still be taken in this call: a domain that goes on writing does not hold us up. */
  #budget = 0;
  #isServing = false;

  /**
   * Offers the domain reconnection and the error field.
   * @param page begins with the structure, aligned to 4 bytes
   * @param state what was handed over with the connection: the domain notices nothing
   * @throws {RangeError} too short, or not aligned
   */
  constructor(
    private readonly page: Uint8Array,
    private readonly connection: XenstoreConnection,
    state?: RingState,
  ) {
    if (page.length < INTERFACE_BYTES) throw new RangeError(`a xenstore ring in ${page.length} bytes`);
    this.#words = new Uint32Array(page.buffer, page.byteOffset, INTERFACE_BYTES / 4);
    this.#request = state?.request ?? new Uint8Array(HEADER_BYTES);
    this.#received = state?.received ?? 0;
    this.#error = state?.error ?? RING_ERROR.NONE;
    if (state !== undefined) return;
    Atomics.store(this.#words, ERROR, RING_ERROR.NONE);
    Atomics.store(this.#words, SERVER_FEATURES, FEATURE.RECONNECTION | FEATURE.ERROR);
  }

  /** To be cloned before the ring is served again. */
  get state(): RingState {
    return { request: this.#request, received: this.#received, error: this.#error };
  }

  /** Why nothing is taken or sent any more; 0 while all is well. */
  get error(): RingError {
    return this.#error;
  }

  /**
   * Sends what waits and takes requests, as far as both can be done now, without waiting. To be called when the domain
   * sends an event, and when the connection asks for it.
   * @returns whether an event is to be sent to the domain
   */
  service(): boolean {
    if (this.#isServing) return false;
    this.#isServing = true;
    try {
      return this.#serve();
    } finally {
      this.#isServing = false;
    }
  }

  #serve(): boolean {
    if (Atomics.load(this.#words, CONNECTION_STATE) === CONNECTION.RECONNECT) {
      this.#reconnect();
      return true;
    }
    let hasMoved = false;
    this.#budget = RING_BYTES;
    while (this.#error === RING_ERROR.NONE && (this.#send() || this.#take())) hasMoved = true;
    // A domain whose last request was not taken yet need not send an event for the next one.
    if (this.#budget === 0) this.connection.wake();
    return hasMoved;
  }

  /** Copies one piece of what waits to the domain. @returns whether anything is different now */
  #send(): boolean {
    const { outgoing } = this.connection;
    if (outgoing.isEmpty) return false;
    const consumer = Atomics.load(this.#words, RSP_CONS), producer = Atomics.load(this.#words, RSP_PROD);
    const used = (producer - consumer) >>> 0;
    if (used > RING_BYTES) return this.#fail(RING_ERROR.RINGIDX);
    const at = producer % RING_BYTES, piece = outgoing.take(Math.min(RING_BYTES - used, RING_BYTES - at));
    this.page.set(piece, INTERFACE.rsp + at);
    Atomics.store(this.#words, RSP_PROD, producer + piece.length);
    return piece.length > 0;
  }

  /** Copies one piece of a request, and carries it out when it is whole. @returns whether anything is different now */
  #take(): boolean {
    if (!this.connection.takesRequests) return false;
    const consumer = Atomics.load(this.#words, REQ_CONS), producer = Atomics.load(this.#words, REQ_PROD);
    const filled = (producer - consumer) >>> 0;
    if (filled > RING_BYTES) return this.#fail(RING_ERROR.RINGIDX);
    const at = consumer % RING_BYTES, missing = this.#request.length - this.#received;
    const count = Math.min(filled, RING_BYTES - at, missing, this.#budget);
    if (count === 0) return false;
    this.#request.set(this.page.subarray(INTERFACE.req + at, INTERFACE.req + at + count), this.#received);
    Atomics.store(this.#words, REQ_CONS, consumer + count);
    this.#received += count;
    this.#budget -= count;
    return this.#received < this.#request.length || this.#complete();
  }

  /** The header is whole, or the request. */
  #complete(): boolean {
    const header = decodeHeader(this.#request), length = HEADER_BYTES + header.payloadBytes;
    if (header.payloadBytes > PAYLOAD_MAX) return this.#fail(RING_ERROR.PROTO);
    if (this.#received < length) {
      const whole = new Uint8Array(length);
      whole.set(this.#request);
      this.#request = whole;
      return true;
    }
    const payload = this.#request.subarray(HEADER_BYTES);
    this.#expectHeader();
    this.connection.receive(header, payload);
    return true;
  }

  #expectHeader(): void {
    this.#request = new Uint8Array(HEADER_BYTES);
    this.#received = 0;
  }

  /** The domain is told, and forgotten. */
  #fail(error: RingError): boolean {
    this.#expectHeader();
    this.connection.reset();
    this.#error = error;
    Atomics.store(this.#words, ERROR, error);
    return true;
  }

  /** Both rings are empty again; the field `connection`, which the domain waits for, comes last. */
  #reconnect(): void {
    this.#expectHeader();
    this.connection.reset();
    this.#error = RING_ERROR.NONE;
    for (const word of [REQ_CONS, REQ_PROD, RSP_CONS, RSP_PROD, ERROR]) Atomics.store(this.#words, word, 0);
    Atomics.store(this.#words, CONNECTION_STATE, CONNECTION.CONNECTED);
  }
}
