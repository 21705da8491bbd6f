/** What waits to be sent to a domain: its replies and watch events, in their order. */

import { HEADER_BYTES, MESSAGE, PAYLOAD_MAX } from "./abi.ts";
import { encode, payloadOf } from "./message.ts";
import { QUOTA } from "./quotas.ts";
import type { Cause } from "./watches.ts";

interface Waiting {
  readonly bytes: Uint8Array;
  /** Of an event: its payload, so that the same one is not queued twice; undefined for a reply. */
  readonly event?: string;
  readonly cause?: Cause;
  readonly sinceMs: number;
}

/** A queue as it is handed over: clocks and causes are each thread's own. */
export interface OutgoingState {
  readonly waiting: readonly {
    readonly bytes: Uint8Array;
    readonly event?: string;
    /** Those with the same number have the same. */
    readonly cause?: number;
    readonly ageMs: number;
  }[];
  /** Bytes of the first message that the domain has. */
  readonly taken: number;
}

/** The queue of one connection. It holds one reply at most, and a bounded number of bytes of events. */
export class Outgoing {
  #queue: Waiting[] = [];
  readonly #events = new Set<string>();
  #queuedBytes = 0;
  /** Bytes of the first message that were taken already. */
  #taken = 0;
  #replies = 0;

  /** An empty queue. @param now a clock in ms */
  constructor(private readonly now: () => number) {}

  /** To be cloned before anything is pushed or taken. */
  get state(): OutgoingState {
    const causes = [...new Set(this.#queue.map(({ cause }) => cause))], nowMs = this.now();
    const waiting = this.#queue.map(({ bytes, event, cause, sinceMs }) => ({
      bytes,
      event,
      cause: cause && causes.indexOf(cause),
      ageMs: nowMs - sinceMs,
    }));
    return { waiting, taken: this.#taken };
  }

  /** Fills an empty queue with what was handed over. @param makeCause of a request of the connection that goes on */
  restore({ waiting, taken }: OutgoingState, makeCause: () => Cause): void {
    const causes = new Map<number, Cause>(), nowMs = this.now();
    const causeOf = (number: number) => causes.get(number) ?? causes.set(number, makeCause()).get(number)!;
    for (const { bytes, event, cause: number, ageMs } of waiting) {
      const cause = number === undefined ? undefined : causeOf(number);
      if (event === undefined) this.#replies++;
      else this.#events.add(event);
      cause?.wait();
      this.#push({ bytes, event, cause, sinceMs: nowMs - ageMs });
    }
    this.#taken = taken;
  }

  /** Whether nothing waits. */
  get isEmpty(): boolean {
    return this.#queue.length === 0;
  }

  /** Whether a reply waits. */
  get hasReply(): boolean {
    return this.#replies > 0;
  }

  /** Bytes of all that waits. */
  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  /** Adds a whole message that answers a request. */
  pushReply(bytes: Uint8Array): void {
    this.#replies++;
    this.#push({ bytes, sinceMs: this.now() });
  }

  /**
   * Adds a watch event. It is left out where an equal one waits, except for a special path; where it is longer than a
   * message may be; and where {@linkcode QUOTA}.queuedBytes wait already.
   */
  pushEvent(path: string, token: string, cause?: Cause): void {
    const payloadBytes = path.length + token.length + 2;
    if (payloadBytes > PAYLOAD_MAX || this.#queuedBytes + HEADER_BYTES + payloadBytes > QUOTA.queuedBytes) return;
    const event = `${path}\0${token}`;
    if (!path.startsWith("@") && this.#events.has(event)) return;
    this.#events.add(event);
    cause?.wait();
    const bytes = encode({ type: MESSAGE.WATCH_EVENT, reqId: 0, txId: 0 }, payloadOf([path, token]));
    this.#push({ bytes, event, cause, sinceMs: this.now() });
  }

  /** The next bytes to send, at most `most`: of one message only, so fewer may come while there are more. */
  take(most: number): Uint8Array {
    const [first] = this.#queue;
    if (first === undefined) return new Uint8Array();
    const piece = first.bytes.subarray(this.#taken, this.#taken + most);
    this.#taken += piece.length;
    if (this.#taken === first.bytes.length) {
      this.#taken = 0;
      this.#queue.shift();
      this.#gone(first);
    }
    return piece;
  }

  /** Drops the events that wait since before a time, unless part of one was taken. */
  expire(beforeMs: number): void {
    this.#keep((message, index) =>
      message.event === undefined || message.sinceMs >= beforeMs || (index === 0 && this.#taken > 0)
    );
  }

  /** Drops everything, half of a message that the domain has the other half of, too. */
  clear(): void {
    this.#taken = 0;
    this.#keep(() => false);
  }

  #keep(isKept: (message: Waiting, index: number) => boolean): void {
    const before = this.#queue;
    this.#queue = before.filter(isKept);
    const kept = new Set(this.#queue);
    for (const message of before) if (!kept.has(message)) this.#gone(message);
  }

  #push(message: Waiting): void {
    this.#queue.push(message);
    this.#queuedBytes += message.bytes.length;
  }

  #gone({ bytes, event, cause }: Waiting): void {
    this.#queuedBytes -= bytes.length;
    if (event === undefined) this.#replies--;
    else this.#events.delete(event);
    cause?.sent();
  }
}
