/**
 * A domain's event channel ports: what each is bound to, in shared memory that every thread looks at.
 *
 * A port is changed under the domain's lock, and never while an event is on its way through it: whoever sends holds the
 * port ({@linkcode PortTable.hold}) without that lock, whoever changes it seizes it first, which waits for the senders to
 * leave and keeps others out. Xen's rule with its lock for each channel: nothing becomes pending by a port after it is closed.
 * Who holds a port neither holds a second one nor takes the lock.
 *
 * To hold and release is two additions: 20 ns, also with two threads at two ports. With the domain's lock instead, which
 * is as cheap for one thread, it was 140 ns for each of two.
 */

import { pause } from "../linux/calls.ts";
import { ENOSPC } from "../linux/errno.ts";
import { Lock } from "../linux/lock.ts";
import { viewAt } from "../linux/mapping.ts";
import { MAX_VCPU_IDS } from "../kvm/abi.ts";
import { EVENT_VCPUS_WORDS, EventVcpus } from "./event_vcpus.ts";

/** What a port is (Xen: ECS_*). */
export const PORT = { FREE: 0, RESERVED: 1, UNBOUND: 2, INTERDOMAIN: 3, PIRQ: 4, VIRQ: 5, IPI: 6 } as const;

/** Ports of the 2-level ABI with 64-bit longs. */
export const MAX_PORTS = 4096;
/** No back end is at the other end of a port. */
export const NO_BACK_END = -1;

/** Xen makes ports valid by the page: EVTCHNS_PER_BUCKET. */
const VALID_STEP = 64;

/** Words of the header; what is often written lies in cache lines of its own. */
const LOCK = 0;
const VCPUS = 16, DOMID = 17, BITS = 18, SHARED_INFO = 19, VALID = 20, RESETTING = 21;
const HEADER_WORDS = 32;

/** Words of a port: a cache line, so that vCPUs that send to different ones do not meet. */
const REMOTE_DOMID = 1, REMOTE_PORT = 2, BACK_END = 3, LINE = 4, VIRQ_VCPU = 5, PORT_WORDS = 16;

/** The first word of a port, from its lowest bit: state, the vCPU that is notified, whether it is seized, who holds it. */
const STATE_MASK = 7, VCPU_SHIFT = 3, VCPU_MASK = MAX_VCPU_IDS - 1, SEIZED = 1 << 15, HOLDER = 1 << 16;
const HOLDER_SHIFT = 16, BINDING_MASK = HOLDER - 1;

const PORTS = HEADER_WORDS, OF_VCPUS = PORTS + MAX_PORTS * PORT_WORDS;

/** Bytes of a table; what is never used is never touched. */
export const PORT_TABLE_BYTES = (OF_VCPUS + EVENT_VCPUS_WORDS) * 4;

/** The state in what {@linkcode PortTable.hold} has returned. */
export function stateIn(binding: number): number {
  return binding & STATE_MASK;
}

/** The vCPU to notify in what {@linkcode PortTable.hold} has returned. */
export function vcpuIn(binding: number): number {
  return (binding >>> VCPU_SHIFT) & VCPU_MASK;
}

/** The table as one isolate sees it. */
export class PortTable {
  readonly #words: Int32Array;
  /** For every change of a port. */
  readonly lock: Lock;
  /** What the vCPUs have of their own. */
  readonly ofVcpus: EventVcpus;

  /** @param address where {@linkcode PORT_TABLE_BYTES} of zeroed memory begin */
  constructor(address: bigint) {
    this.#words = new Int32Array(viewAt(address, PORT_TABLE_BYTES));
    this.lock = new Lock(this.#words, LOCK, address);
    this.ofVcpus = new EventVcpus(this.#words.subarray(OF_VCPUS));
  }

  /**
   * Once, before anybody else looks.
   * @param domain its id, its number of vCPUs, and the frame that it shares with its hypervisor (struct shared_info)
   * @throws {RangeError} more vCPUs than there is room for
   */
  initialise(domain: { readonly domid: number; readonly vcpus: number; readonly sharedInfo: number }): void {
    if (!(domain.vcpus > 0 && domain.vcpus <= MAX_VCPU_IDS)) {
      throw new RangeError(`${domain.vcpus} vCPUs, not 1 to ${MAX_VCPU_IDS}`);
    }
    this.#words[DOMID] = domain.domid;
    this.#words[VCPUS] = domain.vcpus;
    this.#words[SHARED_INFO] = domain.sharedInfo;
    this.#words[BITS] = 64;
    this.#words[VALID] = VALID_STEP;
    Atomics.store(this.#words, PORTS, PORT.RESERVED);
  }

  get domid(): number {
    return this.#words[DOMID];
  }

  get vcpus(): number {
    return this.#words[VCPUS];
  }

  /** The frame of struct shared_info. */
  get sharedInfo(): number {
    return this.#words[SHARED_INFO];
  }

  /** The width of the longs in which the guest has its events. */
  get bits(): 32 | 64 {
    return Atomics.load(this.#words, BITS) === 32 ? 32 : 64;
  }

  set bits(bits: 32 | 64) {
    Atomics.store(this.#words, BITS, bits);
  }

  /** Where a reset has got to; 0 none is under way. Under the lock. */
  get resetting(): number {
    return this.#words[RESETTING];
  }

  set resetting(port: number) {
    this.#words[RESETTING] = port;
  }

  /** Ports from here on were never used. */
  get validEnd(): number {
    return Atomics.load(this.#words, VALID);
  }

  /** Whether it names a port. @param port an unsigned number */
  isValid(port: number): boolean {
    return port < this.validEnd;
  }

  /** The lowest free port, which stays free until it is bound; or -ENOSPC. Under the lock. */
  allocate(): number {
    const bits = this.bits, limit = bits * bits, end = this.validEnd;
    for (let port = 0; port < limit; port++) {
      if (port === end) Atomics.store(this.#words, VALID, end + VALID_STEP);
      if (this.state(port) === PORT.FREE) return port;
    }
    return -ENOSPC;
  }

  state(port: number): number {
    return stateIn(Atomics.load(this.#words, PORTS + port * PORT_WORDS));
  }

  /** The vCPU that is notified. */
  vcpu(port: number): number {
    return vcpuIn(Atomics.load(this.#words, PORTS + port * PORT_WORDS));
  }

  /** Keeps a port as it is until {@linkcode release}. @returns its state and its vCPU, see {@linkcode stateIn} */
  hold(port: number): number {
    const at = PORTS + port * PORT_WORDS;
    for (;;) {
      const word = Atomics.add(this.#words, at, HOLDER);
      if ((word & SEIZED) === 0) return word;
      Atomics.sub(this.#words, at, HOLDER);
      this.lock.acquire(); // who has seized it holds this
      this.lock.release();
    }
  }

  release(port: number): void {
    Atomics.sub(this.#words, PORTS + port * PORT_WORDS, HOLDER);
  }

  /** Waits until nobody holds the port, and keeps everybody out until {@linkcode bind}. Under the lock. */
  seize(port: number): void {
    const at = PORTS + port * PORT_WORDS;
    Atomics.or(this.#words, at, SEIZED);
    while (Atomics.load(this.#words, at) >>> HOLDER_SHIFT !== 0) pause();
  }

  /** What a seized port is from now on, and whom it notifies. */
  bind(port: number, state: number, vcpu: number): void {
    this.#change(port, state | (vcpu << VCPU_SHIFT));
  }

  /** Whom the port notifies from the next event on; senders may be under way. Under the lock. */
  setVcpu(port: number, vcpu: number): void {
    this.#change(port, this.state(port) | (vcpu << VCPU_SHIFT));
  }

  /** The holders' half of the word is the others' to change meanwhile. */
  #change(port: number, binding: number): void {
    const at = PORTS + port * PORT_WORDS;
    Atomics.add(this.#words, at, binding - (Atomics.load(this.#words, at) & BINDING_MASK));
  }

  /** Of a port that is or will be UNBOUND or INTERDOMAIN: who is, or may come, at the other end. Seized. */
  setRemote(port: number, domid: number, remotePort: number, backEnd: number): void {
    const at = PORTS + port * PORT_WORDS;
    this.#words[at + REMOTE_DOMID] = domid;
    this.#words[at + REMOTE_PORT] = remotePort;
    this.#words[at + BACK_END] = backEnd;
  }

  remoteDomid(port: number): number {
    return this.#words[PORTS + port * PORT_WORDS + REMOTE_DOMID];
  }

  remotePort(port: number): number {
    return this.#words[PORTS + port * PORT_WORDS + REMOTE_PORT];
  }

  /** The back end at the other end, or {@linkcode NO_BACK_END}. */
  backEnd(port: number): number {
    return this.#words[PORTS + port * PORT_WORDS + BACK_END];
  }

  /** Of a port that will be PIRQ or VIRQ: which; and of the latter, which vCPU it belongs to, -1 all. Seized. */
  setLine(port: number, line: number, vcpu = -1): void {
    this.#words[PORTS + port * PORT_WORDS + LINE] = line;
    this.#words[PORTS + port * PORT_WORDS + VIRQ_VCPU] = vcpu;
  }

  /** The number of the physical or virtual interrupt. */
  line(port: number): number {
    return this.#words[PORTS + port * PORT_WORDS + LINE];
  }

  /** Whether a virtual interrupt is the domain's, and not one vCPU's. */
  isGlobal(port: number): boolean {
    return this.#words[PORTS + port * PORT_WORDS + VIRQ_VCPU] < 0;
  }

  /** Whether it waits for `domid` to come to its other end. Under the lock. */
  isOffered(port: number, domid: number): boolean {
    return this.isValid(port) && this.state(port) === PORT.UNBOUND && this.remoteDomid(port) === domid;
  }

  /** A seized port waits for `domid` to come, and notifies whom it has notified. */
  offer(port: number, domid: number, vcpu: number = this.vcpu(port)): void {
    this.setRemote(port, domid, 0, NO_BACK_END);
    this.bind(port, PORT.UNBOUND, vcpu);
  }
}

/** Whether a port in this state may have events. */
export function isUsable(state: number): boolean {
  return state !== PORT.FREE && state !== PORT.RESERVED;
}
