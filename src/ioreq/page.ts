/** The slots of an ioreq page: one ioreq for each vCPU. */

import { DIR, IOREQ, IOREQ_BYTES, STATE_MASK } from "./abi.ts";

/**
 * A server's page as one isolate sees it. Byte 30 of a slot (state and direction) is only touched by Atomics; all other
 * fields are plain and belong to whoever the state says.
 */
export class IoreqPage {
  readonly #bytes: Uint8Array;
  readonly #words: Uint32Array;

  constructor(memory: ArrayBuffer) {
    this.#bytes = new Uint8Array(memory);
    this.#words = new Uint32Array(memory);
  }

  /** The state of slot `vcpu`: one of STATE, or what a broken device model left there. */
  state(vcpu: number): number {
    return Atomics.load(this.#bytes, vcpu * IOREQ_BYTES + IOREQ.state) & STATE_MASK;
  }

  /** Sets the state and keeps the other bits of its byte, which belong to the request. */
  setState(vcpu: number, state: number): void {
    const at = vcpu * IOREQ_BYTES + IOREQ.state;
    Atomics.store(this.#bytes, at, (Atomics.load(this.#bytes, at) & ~STATE_MASK) | state);
  }

  /** Sets the state and all of the request's own bits at once: what makes a filled slot READY. */
  publish(vcpu: number, state: number, direction: number): void {
    Atomics.store(this.#bytes, vcpu * IOREQ_BYTES + IOREQ.state, state | (direction * DIR));
  }

  /** Fills all but the state; `count` is 1 and `data` not a pointer. Addresses and data go as two 32-bit halves. */
  fill(vcpu: number, type: number, addressLow: number, addressHigh: number, size: number): void {
    const word = vcpu * (IOREQ_BYTES / 4);
    this.#words[word + IOREQ.addr / 4] = addressLow;
    this.#words[word + IOREQ.addr / 4 + 1] = addressHigh;
    this.#words[word + IOREQ.count / 4] = 1;
    this.#words[word + IOREQ.size / 4] = size;
    this.#bytes[vcpu * IOREQ_BYTES + IOREQ.type] = type;
  }

  setData(vcpu: number, low: number, high: number): void {
    const word = vcpu * (IOREQ_BYTES / 4) + IOREQ.data / 4;
    this.#words[word] = low;
    this.#words[word + 1] = high;
  }

  /** The low half of the data. */
  dataLow(vcpu: number): number {
    return this.#words[vcpu * (IOREQ_BYTES / 4) + IOREQ.data / 4];
  }

  /** The high half of the data. */
  dataHigh(vcpu: number): number {
    return this.#words[vcpu * (IOREQ_BYTES / 4) + IOREQ.data / 4 + 1];
  }

  type(vcpu: number): number {
    return this.#bytes[vcpu * IOREQ_BYTES + IOREQ.type];
  }

  /** The address, exact below 2^53. */
  address(vcpu: number): number {
    const word = vcpu * (IOREQ_BYTES / 4) + IOREQ.addr / 4;
    return this.#words[word] + this.#words[word + 1] * 2 ** 32;
  }

  size(vcpu: number): number {
    return this.#words[vcpu * (IOREQ_BYTES / 4) + IOREQ.size / 4];
  }

  /** Whether the device model gives the data. */
  isRead(vcpu: number): boolean {
    return (Atomics.load(this.#bytes, vcpu * IOREQ_BYTES + IOREQ.state) & DIR) !== 0;
  }

  /** The event channel port of the slot (vp_eport). */
  port(vcpu: number): number {
    return this.#words[vcpu * (IOREQ_BYTES / 4) + IOREQ.vp_eport / 4];
  }

  setPort(vcpu: number, port: number): void {
    this.#words[vcpu * (IOREQ_BYTES / 4) + IOREQ.vp_eport / 4] = port;
  }
}
