/** A domain's connection to the store: its watches, its transactions, and what waits for it. */

import { MESSAGE } from "./abi.ts";
import { execute } from "./commands.ts";
import { encode, type Header, payloadOf } from "./message.ts";
import { Outgoing, type OutgoingState } from "./outgoing.ts";
import { canonical } from "./path.ts";
import { QUOTA } from "./quotas.ts";
import type { DomainConnection, Xenstore } from "./store.ts";
import { Transaction, type TransactionState } from "./transaction.ts";
import type { Cause, Watch } from "./watches.ts";
import { XenstoreError } from "./xenstore_error.ts";

/** A connection as it is handed over. Events that wait are of its own requests: it is the store's only one. */
export interface ConnectionState {
  readonly watches: readonly Watch[];
  readonly transactions: ReadonlyMap<number, TransactionState>;
  readonly lastTransaction: number;
  readonly outgoing: OutgoingState;
}

/** One domain's end of the store. Bytes come and go by way of a {@linkcode XenstoreRing}. */
export class XenstoreConnection implements DomainConnection {
  /** Replies and events to be sent. */
  readonly outgoing: Outgoing;
  #watches: Watch[] = [];
  readonly #transactions = new Map<number, Transaction>();
  #lastTransaction = 0;
  /** Requests whose events have not all been sent. */
  #outstanding = 0;

  /**
   * Introduces the domain to the store; {@linkcode Xenstore.releaseDomain} ends that.
   * @param wake the ring is to be served: there is something to send, or to take. Called at any time, from within
   * {@linkcode XenstoreRing.service}, too; it only sees to it that the ring is served later
   * @param now a clock in ms
   * @param state what was handed over, with the store
   * @throws {RangeError} there is no such domain, or it has a connection
   */
  constructor(
    readonly store: Xenstore,
    readonly domid: number,
    readonly wake: () => void = () => {},
    now: () => number = () => performance.now(),
    state?: ConnectionState,
  ) {
    this.outgoing = new Outgoing(now);
    if (state === undefined) store.introduce(this);
    else this.#resume(state);
  }

  #resume({ watches, transactions, lastTransaction, outgoing }: ConnectionState): void {
    this.#watches = [...watches];
    for (const [id, state] of transactions) this.#transactions.set(id, new Transaction(this.store, this.domid, state));
    this.#lastTransaction = lastTransaction;
    this.outgoing.restore(outgoing, () => this.#cause());
    this.store.resume(this);
  }

  /** To be cloned before anything comes or goes. */
  get state(): ConnectionState {
    return {
      watches: this.#watches,
      transactions: new Map([...this.#transactions].map(([id, { state }]) => [id, state])),
      lastTransaction: this.#lastTransaction,
      outgoing: this.outgoing.state,
    };
  }

  /** The watches that are set. */
  get watches(): readonly Watch[] {
    return this.#watches;
  }

  /** Whether the domain's next request may be taken: replies are sent first, and others get their events. */
  get takesRequests(): boolean {
    return !this.outgoing.hasReply && !this.isHeldUp && this.store.serves(this);
  }

  /** Whether only others who do not take their events keep the next request from being taken. */
  get isHeldUp(): boolean {
    return this.#outstanding >= QUOTA.outstanding;
  }

  /** Carries out a request. Its reply waits afterwards, before the events that it gave rise to. */
  receive({ type, reqId, txId }: Header, payload: Uint8Array): void {
    const [replyType, reply] = this.#answer(type, txId, payload);
    this.outgoing.pushReply(encode({ type: replyType, reqId, txId }, reply));
    this.store.flush(this.#cause());
  }

  /** An event waits to be sent from now on. */
  notify(watch: Watch, path: string, cause?: Cause): void {
    this.outgoing.pushEvent(path, watch.token, cause);
    this.wake();
  }

  /**
   * Sets a watch, which fires at once.
   * @throws {XenstoreError} EINVAL: no path; EEXIST: path and token of another one; E2BIG: too many
   */
  watch(asked: string, token: string): void {
    const path = canonical(asked, this.domid, true), watch = { path, asked, token };
    if (this.#find(path, token) !== undefined) throw new XenstoreError("EEXIST", `a watch of ${path}`);
    if (this.#watches.length >= QUOTA.watches) throw new XenstoreError("E2BIG", `watches of domain ${this.domid}`);
    this.#watches.push(watch);
    this.store.fireFirst(this, watch);
  }

  /** Takes a watch back; events that wait still come. @throws {XenstoreError} EINVAL: no path; ENOENT: no such watch */
  unwatch(asked: string, token: string): void {
    const path = canonical(asked, this.domid, true), watch = this.#find(path, token);
    if (watch === undefined) throw new XenstoreError("ENOENT", `a watch of ${path}`);
    this.#watches = this.#watches.filter((other) => other !== watch);
  }

  /** The transaction of an id; none for 0. @throws {XenstoreError} ENOENT: there is none of that id */
  transaction(id: number): Transaction | undefined {
    const transaction = this.#transactions.get(id);
    if (id !== 0 && transaction === undefined) throw new XenstoreError("ENOENT", `transaction ${id}`);
    return transaction;
  }

  /** Begins a transaction. @returns its id, never 0. @throws {XenstoreError} ENOSPC: too many are open */
  startTransaction(): number {
    if (this.#transactions.size >= QUOTA.transactions) {
      throw new XenstoreError("ENOSPC", `transactions of domain ${this.domid}`);
    }
    do {
      this.#lastTransaction = (this.#lastTransaction + 1) >>> 0;
    } while (this.#lastTransaction === 0 || this.#transactions.has(this.#lastTransaction));
    this.#transactions.set(this.#lastTransaction, new Transaction(this.store, this.domid));
    return this.#lastTransaction;
  }

  /** Forgets a transaction. */
  endTransaction(transaction: Transaction): void {
    for (const [id, open] of this.#transactions) if (open === transaction) this.#transactions.delete(id);
  }

  /** Forgets watches and transactions. */
  forget(): void {
    this.#watches = [];
    this.#transactions.clear();
  }

  /** Forgets watches and transactions, and what waits to be sent. */
  reset(): void {
    this.forget();
    this.outgoing.clear();
  }

  /** Drops the events that wait since before a time, in ms. */
  expire(beforeMs: number): void {
    this.outgoing.expire(beforeMs);
  }

  #answer(type: number, txId: number, payload: Uint8Array): [type: number, payload: Uint8Array] {
    try {
      return [type, execute(this, type, txId, payload)];
    } catch (error) {
      if (!(error instanceof XenstoreError)) throw error;
      // What was done before the quota was met is not undone, as in xenstored: the transaction is lost.
      if (error.errnoName === "ENOSPC") this.#transactions.get(txId)?.fail();
      return [MESSAGE.ERROR, payloadOf([error.errnoName])];
    }
  }

  #find(path: string, token: string): Watch | undefined {
    return this.#watches.find((watch) => watch.path === path && watch.token === token);
  }

  #cause(): Cause {
    let waiting = 0;
    return {
      wait: () => {
        if (waiting++ === 0) this.#outstanding++;
      },
      sent: () => {
        if (--waiting > 0) return;
        this.#outstanding--;
        this.wake();
      },
    };
  }
}
