/** The slots of a server's ioreq pages: one ioreq for each vCPU. */

import { PAGE_SIZE } from "../memory/address.ts";
import { DATA_IS_PTR, DIR, IOREQ, IOREQ_BYTES, STATE_MASK } from "./abi.ts";

/** Pages that hold a slot for each of `vcpus` vCPUs: 128 to a page of 4 KiB. */
export function ioreqPages(vcpus: number): number {
  return Math.ceil(vcpus / Math.floor(PAGE_SIZE / IOREQ_BYTES));
}

/**
 * The pages of a server as one isolate sees them: contiguous, so that a slot is array[vcpu_id]. Byte 30 of a slot (state and direction) is only touched by Atomics; all other
 * fields are plain and belong to whoever the state says.
 */
export class IoreqSlots {
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

  /** Moves the state from `from` to `to`; false if it was another: somebody else has taken the request. */
  advance(vcpu: number, from: number, to: number): boolean {
    const at = vcpu * IOREQ_BYTES + IOREQ.state, byte = Atomics.load(this.#bytes, at);
    if ((byte & STATE_MASK) !== from) return false;
    return Atomics.compareExchange(this.#bytes, at, byte, (byte & ~STATE_MASK) | to) === byte;
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

  /** The low half of the address: of a PCI_CONFIG request the register. */
  addressLow(vcpu: number): number {
    return this.#words[vcpu * (IOREQ_BYTES / 4) + IOREQ.addr / 4];
  }

  /** The high half of the address: of a PCI_CONFIG request segment, bus, device and function. */
  addressHigh(vcpu: number): number {
    return this.#words[vcpu * (IOREQ_BYTES / 4) + IOREQ.addr / 4 + 1];
  }

  size(vcpu: number): number {
    return this.#words[vcpu * (IOREQ_BYTES / 4) + IOREQ.size / 4];
  }

  /** Whether the device model gives the data. */
  isRead(vcpu: number): boolean {
    return (Atomics.load(this.#bytes, vcpu * IOREQ_BYTES + IOREQ.state) & DIR) !== 0;
  }

  /** Whether the data is the address of the data, in the guest's memory. */
  isPointer(vcpu: number): boolean {
    return (Atomics.load(this.#bytes, vcpu * IOREQ_BYTES + IOREQ.state) & DATA_IS_PTR) !== 0;
  }

  /** How many elements, each `size` bytes. */
  count(vcpu: number): number {
    return this.#words[vcpu * (IOREQ_BYTES / 4) + IOREQ.count / 4];
  }

  /** The event channel port of the slot (vp_eport). */
  port(vcpu: number): number {
    return this.#words[vcpu * (IOREQ_BYTES / 4) + IOREQ.vp_eport / 4];
  }

  setPort(vcpu: number, port: number): void {
    this.#words[vcpu * (IOREQ_BYTES / 4) + IOREQ.vp_eport / 4] = port;
  }
}
