/** What all threads of a domain know of its guest's Xen, beside its event channels: shared memory. */

import { Lock } from "../linux/lock.ts";
import { viewAt } from "../linux/mapping.ts";
import { PAGE_SIZE, roundUp } from "../memory/address.ts";
import { Doorbell } from "../events/doorbell.ts";
import { PORT_TABLE_BYTES, PortTable } from "../events/port_table.ts";
import { HVM_NR_PARAMS } from "../hypercall/abi/hvm.ts";
import type { MemoryMapEntry } from "../hypercall/memory_op.ts";
import { XEN_VCPU_BYTES, XenVcpuStates } from "./xen_vcpu_states.ts";

export { ORDER } from "./xen_vcpu_states.ts";

/** How vCPUs without an upcall vector of their own hear of events. */
export const CALLBACK = { NONE: 0, GSI: 1, VECTOR: 2 } as const;

/** What a guest may be asked for by xenstore (control/shutdown); in shared memory a number from 1 on. */
export const SHUTDOWN_REQUESTS: readonly ShutdownRequest[] = ["poweroff", "halt", "reboot", "suspend"];
/** What a guest may be asked for. */
export type ShutdownRequest = "poweroff" | "halt" | "reboot" | "suspend";

/** Words of the header. */
const LOCK = 0, CALLBACK_KIND = 2, CALLBACK_VALUE = 3, SHUTDOWN_CODE = 4, WATCHDOGS = 5, ASLEEP = 6;
const CONSOLE = 7, RELEASED = 8, PENDING = 9, STORE_FRAME = 10, CONSOLE_FRAME = 11, SHARED_FRAME = 12, LINE = 13;
const SERVICE = 14, ENDED_LINE = 15, REQUEST = 16, RUNSTATE_UPDATE = 17;
/** By their bytes: pairs of words for the parameters, doubles for the watchdogs. */
const HANDLE = 96, PARAMS = 128, WATCHDOG_DEADLINES = PARAMS + HVM_NR_PARAMS * 8, GRANT_TABLE = 456;
const MAP_LENGTH = 464, MAP = 472, MAX_MAP_ENTRIES = 32, HEADER_BYTES = 2048;

const PORTS = HEADER_BYTES;
const VCPUS = roundUp(PORTS + PORT_TABLE_BYTES, PAGE_SIZE);

/** Bytes of the state of a domain with so many vCPUs. */
export function xenStateBytes(vcpus: number): number {
  return roundUp(VCPUS + vcpus * XEN_VCPU_BYTES, PAGE_SIZE);
}

/** The state as one isolate sees it. */
export class XenState extends XenVcpuStates {
  readonly #words: Int32Array;
  readonly #doubles: Float64Array;
  readonly #memory: ArrayBuffer;
  readonly ports: PortTable;
  #doorbell: Doorbell | undefined;
  /** For parameters, callbacks, first states, timers and watchdogs. */
  readonly lock: Lock;

  /** @param address where {@linkcode xenStateBytes} bytes of memory, zeroed at first, begin */
  constructor(address: bigint, vcpus: number) {
    const vcpuBytes = vcpus * XEN_VCPU_BYTES;
    super(viewAt(address + BigInt(VCPUS), vcpuBytes));
    this.#memory = viewAt(address, PORTS);
    this.#words = new Int32Array(this.#memory);
    this.#doubles = new Float64Array(this.#memory);
    this.lock = new Lock(this.#words, LOCK, address);
    this.ports = new PortTable(address + BigInt(PORTS));
  }

  /** Frames that the hypervisor shares with the guest: rings of xenstore and console, and struct shared_info. */
  get storeFrame(): number {
    return this.#words[STORE_FRAME];
  }

  get consoleFrame(): number {
    return this.#words[CONSOLE_FRAME];
  }

  get sharedFrame(): number {
    return this.#words[SHARED_FRAME];
  }

  setFrames(shared: number, store: number, console: number): void {
    this.#words[SHARED_FRAME] = shared;
    this.#words[STORE_FRAME] = store;
    this.#words[CONSOLE_FRAME] = console;
  }

  /** Descriptors: what raises the callback's line, the doorbell of the service, the console's pipe. */
  get lineDescriptor(): number {
    return this.#words[LINE];
  }

  get serviceDescriptor(): number {
    return this.#words[SERVICE];
  }

  get consoleDescriptor(): number {
    return this.#words[CONSOLE];
  }

  /** Signalled when the guest has ended the callback's interrupt. */
  get endedLineDescriptor(): number {
    return this.#words[ENDED_LINE];
  }

  setDescriptors(line: number, endedLine: number, service: number, console: number): void {
    this.#words[ENDED_LINE] = endedLine;
    this.#words[LINE] = line;
    this.#words[SERVICE] = service;
    this.#words[CONSOLE] = console;
  }

  /** Where the memory of the grant table is. */
  get grantTable(): bigint {
    return BigInt(this.#doubles[GRANT_TABLE / 8]);
  }

  setGrantTable(address: bigint): void {
    this.#doubles[GRANT_TABLE / 8] = Number(address);
  }

  /** What the guest is told of its memory. */
  get memoryMap(): MemoryMapEntry[] {
    return Array.from({ length: this.#doubles[MAP_LENGTH / 8] }, (_, index) => {
      const [address, sizeBytes, type] = this.#doubles.subarray(MAP / 8 + index * 3);
      return { address, sizeBytes, type };
    });
  }

  /** @throws {RangeError} more ranges than there is room for */
  setMemoryMap(map: readonly MemoryMapEntry[]): void {
    if (map.length > MAX_MAP_ENTRIES) throw new RangeError(`${map.length} ranges of memory`);
    this.#doubles[MAP_LENGTH / 8] = map.length;
    map.forEach(({ address, sizeBytes, type }, index) => {
      this.#doubles.set([address, sizeBytes, type], MAP / 8 + index * 3);
    });
  }

  /** One of {@linkcode CALLBACK}. */
  get callback(): number {
    return Atomics.load(this.#words, CALLBACK_KIND);
  }

  /** The GSI, or the vector. */
  get callbackValue(): number {
    return Atomics.load(this.#words, CALLBACK_VALUE);
  }

  setCallback(kind: number, value: number): void {
    Atomics.store(this.#words, CALLBACK_KIND, CALLBACK.NONE);
    Atomics.store(this.#words, CALLBACK_VALUE, value);
    Atomics.store(this.#words, CALLBACK_KIND, kind);
  }

  /** Whether XEN_RUNSTATE_UPDATE is set in runstate areas while they are being written (VMASST_TYPE_runstate_update_flag). */
  get runstateUpdateFlag(): boolean {
    return this.#words[RUNSTATE_UPDATE] !== 0;
  }

  set runstateUpdateFlag(on: boolean) {
    this.#words[RUNSTATE_UPDATE] = on ? 1 : 0;
  }

  /** The reason of a shutdown, if one is settled; else -1. */
  get shutdownCode(): number {
    return Atomics.load(this.#words, SHUTDOWN_CODE) - 1;
  }

  /** Settles it, unless one is. @returns the one that is */
  settleShutdownCode(reason: number): number {
    const before = Atomics.compareExchange(this.#words, SHUTDOWN_CODE, 0, reason + 1);
    return before === 0 ? reason : before - 1;
  }

  paramLow(index: number): number {
    return this.#words[PARAMS / 4 + index * 2] >>> 0;
  }

  paramHigh(index: number): number {
    return this.#words[PARAMS / 4 + index * 2 + 1] >>> 0;
  }

  setParam(index: number, low: number, high: number): void {
    this.#words[PARAMS / 4 + index * 2] = low;
    this.#words[PARAMS / 4 + index * 2 + 1] = high;
  }

  /** Takes a watchdog. @returns false it is taken */
  takeWatchdog(watchdog: number): boolean {
    return (Atomics.or(this.#words, WATCHDOGS, 1 << watchdog) & (1 << watchdog)) === 0;
  }

  isWatchdogTaken(watchdog: number): boolean {
    return (Atomics.load(this.#words, WATCHDOGS) & (1 << watchdog)) !== 0;
  }

  releaseWatchdog(watchdog: number): void {
    Atomics.and(this.#words, WATCHDOGS, ~(1 << watchdog));
  }

  /** System time at which a watchdog bites; 0: it does not. */
  watchdogDeadline(watchdog: number): number {
    return this.#doubles[WATCHDOG_DEADLINES / 8 + watchdog];
  }

  setWatchdogDeadline(watchdog: number, at: number): void {
    this.#doubles[WATCHDOG_DEADLINES / 8 + watchdog] = at;
  }

  /** The doorbell of the service. */
  get doorbell(): Doorbell {
    return this.#doorbell ??= new Doorbell(this.#words, ASLEEP, this.serviceDescriptor);
  }

  /** The domain's UUID, 16 bytes. */
  get handle(): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.#memory, HANDLE, 16);
  }

  /** Where the service's pending event channels are. */
  get pending(): { readonly words: Int32Array; readonly first: number } {
    return { words: this.#words, first: PENDING };
  }

  /** Takes what the guest is to be asked for (xenstore's control/shutdown); 0: nothing. */
  takeRequest(): number {
    return Atomics.exchange(this.#words, REQUEST, 0);
  }

  request(request: number): void {
    Atomics.store(this.#words, REQUEST, request);
  }

  /** Whether the service is to end. */
  get released(): boolean {
    return Atomics.load(this.#words, RELEASED) !== 0;
  }

  release(): void {
    Atomics.store(this.#words, RELEASED, 1);
  }
}
