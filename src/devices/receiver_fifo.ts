/** The UART's receiver: up to 16 bytes, each with a mark that says whether it came over the loop-back. */

import { FIFO_BYTES, STATE } from "./uart_registers.ts";

/** Set in an entry whose byte the guest sent to itself. The chip, too, keeps marks with the bytes (of errors). */
export const LOOPED = 0x100;

/** A ring of 16-bit entries in the UART's state. The caller checks the counts. */
export class ReceiverFifo {
  constructor(private readonly state: DataView<ArrayBuffer>) {}

  get count(): number {
    return this.state.getUint8(STATE.fifoCount);
  }

  /** Adds the newest entry. */
  push(entry: number): void {
    const count = this.count;
    this.state.setUint16(this.#offset(this.#head + count), entry, true);
    this.state.setUint8(STATE.fifoCount, count + 1);
  }

  /** Removes the oldest entry. */
  shift(): number {
    const head = this.#head;
    this.state.setUint8(STATE.fifoHead, (head + 1) % FIFO_BYTES);
    this.state.setUint8(STATE.fifoCount, this.count - 1);
    return this.state.getUint16(this.#offset(head), true);
  }

  /** Removes the newest entry. */
  pop(): number {
    const count = this.count - 1;
    this.state.setUint8(STATE.fifoCount, count);
    return this.state.getUint16(this.#offset(this.#head + count), true);
  }

  get #head(): number {
    return this.state.getUint8(STATE.fifoHead);
  }

  #offset(index: number): number {
    return STATE.fifo + 2 * (index % FIFO_BYTES);
  }
}
