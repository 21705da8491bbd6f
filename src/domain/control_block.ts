/** A domain's control block: everything that its isolates share, in one mapping. Isolates keep views of it only. */

import { viewAt } from "../linux/mapping.ts";
import { Lock } from "../linux/lock.ts";
import { PAGE_SIZE, roundUp } from "../memory/address.ts";
import { BankViews } from "../memory/bank.ts";
import { P2m } from "../memory/p2m.ts";
import { PhysicalMap } from "../memory/physical_map.ts";
import { StageTable } from "../memory/stage_table.ts";
import { Doorbell } from "../events/doorbell.ts";
import { WAKE_BOARD, WAKE_BOARD_BYTES, WAKE_BOARD_VCPUS, WakeBoard } from "../events/wake_board.ts";
import { SERVER_TABLE_BYTES, ServerTable } from "../ioreq/server_table.ts";
import { type Outcome, OUTCOMES } from "./outcome.ts";
import { TraceRing } from "./trace.ts";
import { VCPU_RECORD_BYTES, VcpuRecord } from "./vcpu_record.ts";
import { XenState } from "./xen_state.ts";

/** Words of the header. */
const VCPUS = 0, PAUSED = 1, CF8 = 2, LOCK = 3, VM = 4, VCPUS_PER_WAITER = 5, WAITERS = 6, WINDOWS = 7, OUTCOME = 8;
const STATUS = 9, OUTCOME_VCPU = 10, CODE_BITS = 11, CODE_LENGTH = 12, REASON_LENGTH = 13, RECORDED = 14;
const PAGER_ASLEEP = 15, PAGER_RELEASED = 30, ON_DEMAND = 31, USES_XEN = 258;
/** Addresses (doubles) and texts, by their bytes. */
const BANK_TABLE = 64, P2M = 72, RIP = 80, CODE = 88, CODE_BYTES = 15, TRACES = 104, STAGE = 112, REASON = 128;
const REASON_BYTES = 896, XEN = 1024, GENERATION = 272, SERVICE_RELIEF = 273;
const HEADER_BYTES = 2048;

const SERVERS = HEADER_BYTES;
const INTERRUPT_LINES = roundUp(SERVERS + SERVER_TABLE_BYTES, PAGE_SIZE);

/** The hypervisor's own wake board, then the waiters' eventfds. */
const BOARD = INTERRUPT_LINES + PAGE_SIZE, DOORBELLS = BOARD + WAKE_BOARD_BYTES;
const VCPU_RECORDS = DOORBELLS + WAKE_BOARD_VCPUS * 4;

/** A count of exits for each port. */
const PORTS = 65536, PORT_COUNTS_BYTES = PORTS * 8;

/** Size of the control block of a domain with `vcpus` vCPUs and so many waiters; what is not touched costs nothing. */
export function controlBlockBytes(vcpus: number, waiters: number = vcpus): number {
  return portCountsOffset(vcpus) + waiters * PORT_COUNTS_BYTES;
}

function portCountsOffset(vcpus: number): number {
  return roundUp(VCPU_RECORDS + vcpus * VCPU_RECORD_BYTES, PAGE_SIZE);
}

/** The control block as one isolate sees it. */
export class ControlBlock {
  readonly #memory: ArrayBuffer;
  readonly #words: Int32Array;
  readonly #doubles: Float64Array;
  readonly #bytes: Uint8Array;
  readonly #doorbells: Int32Array;
  readonly #portCounts: Float64Array[] = [];
  #board: WakeBoard | undefined;
  #map: PhysicalMap | undefined;
  #xen: XenState | undefined;
  readonly servers: ServerTable;
  /** Held while the outcome is written. */
  readonly lock: Lock;

  /** @param address where {@linkcode controlBlockBytes} bytes of shared memory, zeroed at first, begin */
  constructor(readonly address: bigint, vcpus: number) {
    this.#memory = viewAt(address, portCountsOffset(vcpus));
    this.#words = new Int32Array(this.#memory, 0, HEADER_BYTES / 4);
    this.#doubles = new Float64Array(this.#memory, 0, HEADER_BYTES / 8);
    this.#bytes = new Uint8Array(this.#memory, 0, HEADER_BYTES);
    this.servers = new ServerTable(address + BigInt(SERVERS));
    this.lock = new Lock(this.#words, LOCK, address);
    this.#doorbells = new Int32Array(this.#memory, DOORBELLS, WAKE_BOARD_VCPUS);
    this.#words[VCPUS] = vcpus;
    this.#words[VCPUS_PER_WAITER] ||= 1;
  }

  get vcpus(): number {
    return this.#words[VCPUS];
  }

  /** The VM's descriptor. */
  get vm(): number {
    return this.#words[VM];
  }

  set vm(descriptor: number) {
    this.#words[VM] = descriptor;
  }

  /** Addresses of the table of banks and of the p2m. */
  get bankTable(): bigint {
    return BigInt(this.#doubles[BANK_TABLE / 8]);
  }

  get p2m(): bigint {
    return BigInt(this.#doubles[P2M / 8]);
  }

  /** The p2m and its second stage as this isolate changes them. */
  get physicalMap(): PhysicalMap {
    if (this.#map !== undefined) return this.#map;
    const table = new StageTable(BigInt(this.#doubles[STAGE / 8]));
    return this.#map = new PhysicalMap(table, new P2m(this.p2m), new BankViews(this.bankTable));
  }

  /** What the guest's Xen has, beside its memory. */
  get xen(): XenState {
    return this.#xen ??= new XenState(BigInt(this.#doubles[XEN / 8]), this.vcpus);
  }

  /** Whether the guest has ever made a hypercall: without one, no carrier looks at {@linkcode xen}. */
  get usesXen(): boolean {
    return Atomics.load(this.#words, USES_XEN) !== 0;
  }

  set usesXen(on: boolean) {
    Atomics.store(this.#words, USES_XEN, on ? 1 : 0);
  }

  /** @param state where xenStateBytes(vcpus) of memory begin */
  setXen(state: bigint): void {
    this.#doubles[XEN / 8] = Number(state);
  }

  /** @param stage where STAGE_BYTES of memory begin */
  setStage(stage: bigint): void {
    this.#doubles[STAGE / 8] = Number(stage);
  }

  /** The pager's own doorbell. @param descriptor its eventfd */
  pagerDoorbell(descriptor: number): Doorbell {
    return new Doorbell(this.#words, PAGER_ASLEEP, descriptor);
  }

  /** Whether the pager is to end. */
  get pagerReleased(): boolean {
    return Atomics.load(this.#words, PAGER_RELEASED) !== 0;
  }

  releasePager(): void {
    Atomics.store(this.#words, PAGER_RELEASED, 1);
  }

  /** Whether RAM gets its memory page by page. */
  get populatesOnDemand(): boolean {
    return this.#words[ON_DEMAND] !== 0;
  }

  set populatesOnDemand(on: boolean) {
    this.#words[ON_DEMAND] = on ? 1 : 0;
  }

  /** Whether there has ever been a window: without one, no access is a violation. */
  get hasWindows(): boolean {
    return this.#words[WINDOWS] !== 0;
  }

  set hasWindows(on: boolean) {
    Atomics.store(this.#words, WINDOWS, on ? 1 : 0);
  }

  /** @param traces where traceBytes(vcpus) of memory begin */
  setMemory(bankTable: bigint, p2m: bigint, traces: bigint): void {
    this.#doubles[BANK_TABLE / 8] = Number(bankTable);
    this.#doubles[P2M / 8] = Number(p2m);
    this.#doubles[TRACES / 8] = Number(traces);
  }

  /** The latch of PCI's configuration address, port 0xcf8 (Xen: domain's pci_cf8). */
  get cf8(): number {
    return this.#words[CF8];
  }

  set cf8(value: number) {
    this.#words[CF8] = value;
  }

  /** While set, vCPUs that leave KVM_RUN stay out. */
  get paused(): boolean {
    return Atomics.load(this.#words, PAUSED) !== 0;
  }

  set paused(on: boolean) {
    Atomics.store(this.#words, PAUSED, on ? 1 : 0);
  }

  /** Which generation of Workers the vCPUs are carried by: those of another leave them as they are. */
  get generation(): number {
    return Atomics.load(this.#words, GENERATION);
  }

  set generation(number: number) {
    Atomics.store(this.#words, GENERATION, number);
  }

  /** What the pager and the Xen service are told of their relief: one of RELIEF. */
  get serviceRelief(): number {
    return Atomics.load(this.#words, SERVICE_RELIEF);
  }

  set serviceRelief(step: number) {
    Atomics.store(this.#words, SERVICE_RELIEF, step);
  }

  /** Where the levels of the interrupt lines are kept (see InterruptLines). */
  get interruptLines(): Int32Array {
    return new Int32Array(this.#memory, INTERRUPT_LINES, PAGE_SIZE / 4);
  }

  /** The ring of vCPU `id`'s requests. */
  trace(id: number): TraceRing {
    return new TraceRing(BigInt(this.#doubles[TRACES / 8]), id);
  }

  vcpu(id: number): VcpuRecord {
    return new VcpuRecord(id, this.#memory, VCPU_RECORDS + id * VCPU_RECORD_BYTES, this.address);
  }

  /**
   * Divides the vCPUs among the threads that wait for them; before any of these begins, and before {@linkcode board} is
   * used. Without it each vCPU has a waiter of its own, and nothing wakes it.
   * @param vcpusPerWaiter 1 or a multiple of 32; @param doorbells an eventfd for each waiter
   */
  setWaiters(vcpusPerWaiter: number, doorbells: readonly number[]): void {
    this.#words[VCPUS_PER_WAITER] = vcpusPerWaiter;
    this.#words[WAITERS] = doorbells.length;
    this.#doorbells.set(doorbells);
    const board = this.address + BigInt(BOARD);
    for (let id = 0; id < this.vcpus; id++) {
      const waiter = Math.floor(id / vcpusPerWaiter);
      const asleep = board + BigInt(WAKE_BOARD.asleep + waiter);
      this.vcpu(id).setWaker(board + BigInt(WAKE_BOARD.flags + (id >>> 5) * 4), id & 31, asleep, doorbells[waiter]);
    }
  }

  /** A waiter's vCPUs are `waiter * vcpusPerWaiter` and those that follow. */
  get vcpusPerWaiter(): number {
    return this.#words[VCPUS_PER_WAITER];
  }

  get waiters(): number {
    return this.#words[WAITERS];
  }

  /** The waiters' eventfds, by their numbers. */
  get doorbells(): ArrayLike<number> {
    return this.#doorbells.subarray(0, this.waiters);
  }

  /** The hypervisor's own wake board. */
  get board(): WakeBoard {
    return this.#board ??= new WakeBoard(this.address + BigInt(BOARD), this.vcpusPerWaiter, this.#doorbells);
  }

  /**
   * How often the vCPUs of a waiter left the guest for an access to each port; counted by that waiter.
   * @param vcpu any of them
   */
  portCounts(vcpu: number): Float64Array {
    const waiter = Math.floor(vcpu / this.vcpusPerWaiter);
    return this.#portCounts[waiter] ??= this.#viewPortCounts(waiter);
  }

  #viewPortCounts(waiter: number): Float64Array {
    const offset = portCountsOffset(this.vcpus) + waiter * PORT_COUNTS_BYTES;
    return new Float64Array(viewAt(this.address + BigInt(offset), PORT_COUNTS_BYTES));
  }

  /** Whether the run is over: every thread that comes to look leaves. */
  get stopping(): boolean {
    return Atomics.load(this.#words, OUTCOME) !== 0;
  }

  /** Ends the run; the first outcome stands. @returns whether this was the first */
  end(outcome: Outcome): boolean {
    return this.lock.hold(() => {
      if (this.stopping) return false;
      const room = this.#bytes.subarray(REASON, REASON + REASON_BYTES); // encodeInto() cuts between characters
      this.#words[REASON_LENGTH] = new TextEncoder().encodeInto(outcome.reason, room).written;
      this.#words[STATUS] = outcome.status;
      this.#words[OUTCOME_VCPU] = outcome.vcpu ?? -1;
      this.#words[RECORDED] = outcome.rip === undefined ? 0 : 1;
      new BigUint64Array(this.#memory, RIP, 1)[0] = outcome.rip ?? 0n;
      const code = outcome.code?.bytes.subarray(0, CODE_BYTES) ?? new Uint8Array();
      this.#bytes.set(code, CODE);
      this.#words[CODE_LENGTH] = code.length;
      this.#words[CODE_BITS] = outcome.code?.bits ?? 0;
      Atomics.store(this.#words, OUTCOME, OUTCOMES.indexOf(outcome.kind));
      return true;
    });
  }

  /** How the run ended; undefined while it goes on. */
  get outcome(): Outcome | undefined {
    const kind = OUTCOMES[Atomics.load(this.#words, OUTCOME)];
    if (kind === "running") return undefined;
    const words = this.#words, vcpu = words[OUTCOME_VCPU];
    const reason = new TextDecoder().decode(this.#bytes.slice(REASON, REASON + words[REASON_LENGTH]));
    const code = { bytes: this.#bytes.slice(CODE, CODE + words[CODE_LENGTH]), bits: words[CODE_BITS] };
    return {
      kind,
      status: words[STATUS],
      reason,
      ...(vcpu >= 0 && { vcpu }),
      ...(words[RECORDED] !== 0 && { rip: new BigUint64Array(this.#memory, RIP, 1)[0] }),
      ...(code.bytes.length > 0 && { code }),
    };
  }
}
