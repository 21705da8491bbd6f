/** A domain's control block: everything that its isolates share, in one mapping. Isolates keep views of it only. */

import { viewAt } from "../linux/mapping.ts";
import { Lock } from "../linux/lock.ts";
import { EXIT_REASONS } from "../kvm/abi.ts";
import { PAGE_SIZE, roundUp } from "../memory/address.ts";
import { Doorbell } from "../events/doorbell.ts";
import { MAX_SERVERS } from "../ioreq/abi.ts";
import { SERVER_TABLE_BYTES, ServerTable } from "../ioreq/server_table.ts";
import { type Outcome, OUTCOMES } from "./outcome.ts";

/** Words of the header. */
const VCPUS = 0, PAUSED = 1, CF8 = 2, LOCK = 3, VM = 4;
const OUTCOME = 8, STATUS = 9, OUTCOME_VCPU = 10, CODE_BITS = 11, CODE_LENGTH = 12, REASON_LENGTH = 13, RECORDED = 14;
/** Bytes of the header. */
const BANK_TABLE = 64, P2M = 72, RIP = 80, CODE = 88, CODE_BYTES = 15, REASON = 128, REASON_BYTES = 896;
const HEADER_BYTES = 1024;

/** Device state of one server's model (see DeviceModelHost.state). */
export const DEVICE_STATE_BYTES = 64 << 10;

const SERVERS = HEADER_BYTES;
const DEVICE_STATE = roundUp(SERVERS + SERVER_TABLE_BYTES, PAGE_SIZE);
const VCPU_RECORDS = DEVICE_STATE + MAX_SERVERS * DEVICE_STATE_BYTES;

/** Words of a vCPU's record, then doubles by their byte. */
const STATE = 0, ASLEEP = 1, DOORBELL = 2, TID = 3, DESCRIPTOR = 4;
const RUN_PAGE = 32, RUN_BYTES = 40, CLOCK = 48, SERVED = 128, EXITS = 256, RECORD_BYTES = EXITS + EXIT_REASONS * 8;
const PORT_COUNTS_BYTES = 65536 * 8;

/** What a vCPU is doing. RUNNING includes halted: KVM waits for interrupts by itself. */
export type VcpuState = "offline" | "running" | "waiting" | "paused" | "stopped";

/** The states by their number in the vCPU's record. */
export const VCPU_STATES: readonly VcpuState[] = ["offline", "running", "waiting", "paused", "stopped"];
export const VCPU_STATE = { OFFLINE: 0, RUNNING: 1, WAITING: 2, PAUSED: 3, STOPPED: 4 } as const;

/** Size of the control block of a domain with `vcpus` vCPUs; what is not touched costs nothing. */
export function controlBlockBytes(vcpus: number): number {
  return portCountsOffset(vcpus) + vcpus * PORT_COUNTS_BYTES;
}

function portCountsOffset(vcpus: number): number {
  return roundUp(VCPU_RECORDS + vcpus * RECORD_BYTES, PAGE_SIZE);
}

/** The control block as one isolate sees it. */
export class ControlBlock {
  readonly #memory: ArrayBuffer;
  readonly #words: Int32Array;
  readonly #doubles: Float64Array;
  readonly #bytes: Uint8Array;
  readonly servers: ServerTable;
  /** Held while the outcome is written, and by whoever changes the p2m. */
  readonly lock: Lock;

  /** @param address where `controlBlockBytes(vcpus)` bytes of shared memory, zeroed at first, begin */
  constructor(readonly address: bigint, vcpus: number) {
    this.#memory = viewAt(address, controlBlockBytes(vcpus));
    this.#words = new Int32Array(this.#memory, 0, HEADER_BYTES / 4);
    this.#doubles = new Float64Array(this.#memory, 0, HEADER_BYTES / 8);
    this.#bytes = new Uint8Array(this.#memory, 0, HEADER_BYTES);
    this.servers = new ServerTable(address + BigInt(SERVERS));
    this.lock = new Lock(this.#words, LOCK, address);
    this.#words[VCPUS] = vcpus;
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

  setMemory(bankTable: bigint, p2m: bigint): void {
    this.#doubles[BANK_TABLE / 8] = Number(bankTable);
    this.#doubles[P2M / 8] = Number(p2m);
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

  /** Device state of the model behind server `id`. */
  deviceState(id: number): DataView<ArrayBuffer> {
    return new DataView(this.#memory, DEVICE_STATE + id * DEVICE_STATE_BYTES, DEVICE_STATE_BYTES);
  }

  vcpu(id: number): VcpuRecord {
    return new VcpuRecord(id, this.#memory, VCPU_RECORDS + id * RECORD_BYTES, this.address);
  }

  /** How often vCPU `id` left the guest for an access to each port. */
  portCounts(id: number): Float64Array {
    return new Float64Array(this.#memory, portCountsOffset(this.vcpus) + id * PORT_COUNTS_BYTES, 65536);
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

/** One vCPU's part of the control block. */
export class VcpuRecord {
  readonly #words: Int32Array;
  readonly #doubles: Float64Array;
  /** Exits by reason. */
  readonly exits: Float64Array;
  /** Requests that each server answered. */
  readonly served: Float64Array;
  /** Address of the ticks in the guest and outside it, which xl_run counts. */
  readonly clockAddress: bigint;
  readonly #clock: BigUint64Array;

  constructor(readonly id: number, memory: ArrayBuffer, offset: number, address: bigint) {
    this.#words = new Int32Array(memory, offset, RUN_PAGE / 4);
    this.#doubles = new Float64Array(memory, offset, EXITS / 8);
    this.exits = new Float64Array(memory, offset + EXITS, EXIT_REASONS);
    this.served = new Float64Array(memory, offset + SERVED, MAX_SERVERS);
    this.#clock = new BigUint64Array(memory, offset + CLOCK, 2);
    this.clockAddress = address + BigInt(offset + CLOCK);
  }

  /** Before any carrier starts. @param descriptor the vCPU's; @param doorbell an eventfd's */
  create(descriptor: number, runPage: bigint, runBytes: number, doorbell: number): void {
    this.#words[DESCRIPTOR] = descriptor;
    this.#words[DOORBELL] = doorbell;
    this.#doubles[RUN_PAGE / 8] = Number(runPage);
    this.#doubles[RUN_BYTES / 8] = runBytes;
  }

  get descriptor(): number {
    return this.#words[DESCRIPTOR];
  }

  /** What wakes the carrier while it waits for this vCPU. */
  doorbell(): Doorbell {
    return new Doorbell(this.#words, ASLEEP, this.#words[DOORBELL]);
  }

  /** A view of the run page. */
  runPage(): ArrayBuffer {
    return viewAt(BigInt(this.#doubles[RUN_PAGE / 8]), this.#doubles[RUN_BYTES / 8]);
  }

  /** One of VCPU_STATE. */
  get state(): number {
    return Atomics.load(this.#words, STATE);
  }

  set state(state: number) {
    Atomics.store(this.#words, STATE, state);
  }

  /** The thread that carries the vCPU; 0 while none does. */
  get thread(): number {
    return Atomics.load(this.#words, TID);
  }

  set thread(tid: number) {
    Atomics.store(this.#words, TID, tid);
  }

  /** Time-stamp ticks in KVM_RUN and outside it. */
  get ticks(): { guest: number; outside: number } {
    return { guest: Number(this.#clock[0]), outside: Number(this.#clock[1]) };
  }
}
