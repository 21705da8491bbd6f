/** When upcalls are tried again that vCPUs could not take: with interrupts disabled, say, or before they have started. */

/** How soon at first, and at last: a vCPU may never start. */
const FIRST_NS = 1e6, LAST_NS = 1.28e8;

/** The retries of a domain's vCPUs; each time is nanoseconds of system time. */
export class Retries {
  /** When the next is; 0: not known. */
  readonly #dueAt: Float64Array;
  readonly #triedAt: Float64Array;
  readonly #waitNs: Float64Array;

  constructor(vcpus: number) {
    this.#dueAt = new Float64Array(vcpus);
    this.#triedAt = new Float64Array(vcpus);
    this.#waitNs = new Float64Array(vcpus);
  }

  /** When the upcall that the vCPU has not taken is tried again: each time after twice as long, as long as it goes on. */
  dueAt(vcpu: number, now: number): number {
    if (this.#dueAt[vcpu] !== 0) return this.#dueAt[vcpu];
    const before = this.#waitNs[vcpu], goesOn = now - this.#triedAt[vcpu] <= before;
    this.#waitNs[vcpu] = goesOn ? Math.min(before * 2, LAST_NS) : FIRST_NS;
    return this.#dueAt[vcpu] = now + this.#waitNs[vcpu];
  }

  /** It is being tried. */
  tried(vcpu: number, now: number): void {
    this.#dueAt[vcpu] = 0;
    this.#triedAt[vcpu] = now;
  }
}
