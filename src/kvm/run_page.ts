/** A vCPU's run page (struct kvm_run) by the names of its fields: the one place where an exit is decoded. */

import { EXIT, IO_OUT, RUN_PAGE } from "./abi.ts";

/** Views of one run page. Reading a field allocates nothing. */
export class RunPage {
  readonly #bytes: Uint8Array;
  readonly #halves: Uint16Array;
  readonly #words: Uint32Array;
  readonly #view: DataView<ArrayBuffer>;

  constructor(memory: ArrayBuffer) {
    this.#bytes = new Uint8Array(memory);
    this.#halves = new Uint16Array(memory);
    this.#words = new Uint32Array(memory);
    this.#view = new DataView(memory);
  }

  /** One of EXIT, or a number that this version does not know. */
  get reason(): number {
    return this.#words[RUN_PAGE.exit_reason / 4];
  }

  /** While set, KVM_RUN finishes what is pending and returns EINTR at once. */
  setImmediateExit(on: boolean): void {
    Atomics.store(this.#bytes, RUN_PAGE.immediate_exit, on ? 1 : 0);
  }

  get ioIsOut(): boolean {
    return this.#bytes[RUN_PAGE.io_direction] === IO_OUT;
  }

  get ioSize(): number {
    return this.#bytes[RUN_PAGE.io_size];
  }

  get ioPort(): number {
    return this.#halves[RUN_PAGE.io_port / 2];
  }

  /** Elements of a rep string; 1 otherwise. */
  get ioCount(): number {
    return this.#words[RUN_PAGE.io_count / 4];
  }

  /** Where the port's data stands in the page: ioSize * ioCount bytes. */
  get ioDataOffset(): number {
    return this.#words[RUN_PAGE.io_data_offset / 4];
  }

  /** Exact: guest-physical addresses have at most 52 bits. */
  get mmioAddress(): number {
    return this.#words[RUN_PAGE.mmio_phys_addr / 4] + this.#words[RUN_PAGE.mmio_phys_addr / 4 + 1] * 2 ** 32;
  }

  /** 1 to 8. */
  get mmioSize(): number {
    return this.#words[RUN_PAGE.mmio_len / 4];
  }

  get mmioIsWrite(): boolean {
    return this.#bytes[RUN_PAGE.mmio_is_write] !== 0;
  }

  /** Where the data of an MMIO exit stands in the page. */
  readonly mmioDataOffset: number = RUN_PAGE.mmio_data;

  /** The suberror of KVM_EXIT_INTERNAL_ERROR, the type of KVM_EXIT_SYSTEM_EVENT. */
  get detail(): number {
    return this.#words[RUN_PAGE.internal_suberror / 4];
  }

  /** The MSR that the guest reads or writes. */
  get msrIndex(): number {
    return this.#words[RUN_PAGE.msr_index / 4];
  }

  /** What it writes, in halves. */
  get msrLow(): number {
    return this.#words[RUN_PAGE.msr_data / 4];
  }

  get msrHigh(): number {
    return this.#words[RUN_PAGE.msr_data / 4 + 1];
  }

  /** What it reads is 0, or its access is refused with #GP. */
  answerMsr(refused: boolean): void {
    this.#bytes[RUN_PAGE.msr_error] = refused ? 1 : 0;
    this.#words[RUN_PAGE.msr_data / 4] = this.#words[RUN_PAGE.msr_data / 4 + 1] = 0;
  }

  /** What KVM puts into RAX after KVM_EXIT_XEN. */
  setXenResult(low: number, high: number): void {
    this.#words[RUN_PAGE["xen_u.hcall.result"] / 4] = low;
    this.#words[RUN_PAGE["xen_u.hcall.result"] / 4 + 1] = high;
  }

  /** The data at `offset`: the low 32 bits of `size` bytes (1, 2, 4 or 8). */
  data(offset: number, size: number): number {
    if (size === 1) return this.#bytes[offset];
    return size === 2 ? this.#view.getUint16(offset, true) : this.#view.getUint32(offset, true);
  }

  /** Stores `size` bytes (1, 2, 4 or 8) at `offset`; what exceeds them is cut off. */
  setData(offset: number, size: number, low: number, high: number): void {
    if (size === 1) this.#bytes[offset] = low;
    else if (size === 2) this.#view.setUint16(offset, low, true);
    else this.#view.setUint32(offset, low, true);
    if (size === 8) this.#view.setUint32(offset + 4, high, true);
  }

  /** Answers a read that nobody claims: all ones. */
  fillOnes(offset: number, size: number): void {
    for (let index = 0; index < size; index++) this.#bytes[offset + index] = 0xff;
  }
}

const NAMES = new Map(Object.entries(EXIT).map(([name, reason]) => [reason, name]));

/** The name of an exit reason without its KVM_EXIT_: "IO", "MMIO"; "reason 99" for one that is not known. */
export function exitName(reason: number): string {
  return NAMES.get(reason as typeof EXIT[keyof typeof EXIT]) ?? `reason ${reason}`;
}
