/** The loop of a device model: takes requests out of its server's page, has them answered, and waits. */

import { POLLIN, PollSet } from "../linux/poll.ts";
import type { EventChannels } from "../events/event_channels.ts";
import { AdaptiveSpin } from "../events/spin.ts";
import { RANGE, type RangeType, STATE, TYPE } from "../ioreq/abi.ts";
import type { IoreqPage } from "../ioreq/page.ts";
import type { Server, ServerTable } from "../ioreq/server_table.ts";
import type { DeviceModelHost, RangeHandler, ShutdownReason, Watch } from "./host.ts";

/** What the domain does for a device model, wherever the model runs. */
export interface DomainOperations {
  setIrqLevel(gsi: number, level: boolean): void;
  shutdown(reason: ShutdownReason): void;
  /** Wakes the carrier of a vCPU whose request was answered. */
  notify(vcpu: number): void;
}

/** Descriptors are looked at at least once in so many requests, even when the next request is always there. */
const REQUESTS_PER_LOOK = 64;
const MAX_WATCHES = 63;
/** Ports of an x86 processor. */
const PORTS = 0x1_0000;

interface Claim {
  readonly first: number;
  readonly last: number;
  readonly handler: RangeHandler;
}

/** One device model at one server. */
export class DeviceModelRuntime implements DeviceModelHost {
  readonly #page: IoreqPage;
  readonly #channels: EventChannels;
  readonly #spin = new AdaptiveSpin();
  readonly #claims: Record<RangeType, Claim[]> = { [RANGE.PORT]: [], [RANGE.MEMORY]: [], [RANGE.PCI]: [] };
  readonly #ports = new Map<number, Claim>();
  readonly #watches: Watch[] = [];
  readonly #flushes: (() => void)[] = [];
  readonly #stops: (() => void)[] = [];
  readonly #poll = new PollSet(MAX_WATCHES + 1);
  readonly #deliver = (vcpu: number) => this.#serve(vcpu);
  readonly #attention = () => this.#channels.pending || this.server.released;
  #stateUsed = 0;
  #leaving = false;

  /** @param deviceState the server's part of the control block */
  constructor(
    private readonly table: ServerTable,
    private readonly server: Server,
    private readonly deviceState: DataView<ArrayBuffer>,
    private readonly domain: DomainOperations,
  ) {
    this.#page = server.page();
    this.#channels = server.eventChannels();
  }

  mapPorts(first: number, count: number, handler: RangeHandler): void {
    if (first + count > PORTS) throw new RangeError(`port 0x${first.toString(16)} + ${count}: there are only ${PORTS}`);
    this.#map(RANGE.PORT, first, first + count - 1, handler);
    for (let port = first; port < first + count; port++) this.#ports.set(port, this.#claims[RANGE.PORT].at(-1)!);
  }

  mapMemory(address: number, sizeBytes: number, handler: RangeHandler): void {
    this.#map(RANGE.MEMORY, address, address + sizeBytes - 1, handler);
  }

  setIrqLevel(gsi: number, level: boolean): void {
    this.domain.setIrqLevel(gsi, level);
  }

  state(sizeBytes: number): DataView<ArrayBuffer> {
    const offset = this.#stateUsed, size = Math.ceil(sizeBytes / 8) * 8;
    if (offset + size > this.deviceState.byteLength) {
      throw new RangeError(`server ${this.server.id} has no ${sizeBytes} bytes of device state left`);
    }
    this.#stateUsed += size;
    return new DataView(this.deviceState.buffer, this.deviceState.byteOffset + offset, sizeBytes);
  }

  watch(watch: Watch): void {
    if (this.#watches.length === MAX_WATCHES) throw new RangeError(`more than ${MAX_WATCHES} watched descriptors`);
    this.#watches.push(watch);
  }

  beforeSleep(flush: () => void): void {
    this.#flushes.push(flush);
  }

  beforeStop(flush: () => void): void {
    this.#stops.push(flush);
  }

  waitFor(descriptor: number, events: number): boolean {
    const doorbell = this.#channels.doorbell, poll = this.#poll;
    for (;;) {
      doorbell.arm();
      if (this.server.released && !this.#leaving) return doorbell.disarm(), false;
      poll.clear();
      poll.add(doorbell.descriptor, POLLIN);
      poll.add(descriptor, events);
      poll.wait();
      doorbell.disarm();
      if (poll.result(0) !== 0) doorbell.clear();
      if (poll.result(1) !== 0) return true;
    }
  }

  shutdown(reason: ShutdownReason): void {
    this.domain.shutdown(reason);
  }

  /** Serves requests until the server is released. */
  serve(): void {
    let unlooked = 0;
    while (!this.server.released) {
      unlooked += this.#channels.drain(this.#deliver);
      const busy = this.#spin.until(this.#attention);
      if (busy && unlooked < REQUESTS_PER_LOOK) continue;
      this.#wait(!busy);
      unlooked = 0;
    }
    this.#channels.drain(this.#deliver); // a carrier sends its last request, and leaves without waiting for the answer
    this.#leaving = true;
    this.#stops.forEach((flush) => flush());
  }

  /**
   * Hands out what the watched descriptors have; sleeps until one has something, or a request comes, if it may.
   * Indexed loops: this runs between requests, and an iterator would be an allocation.
   */
  #wait(sleep: boolean): void {
    const doorbell = this.#channels.doorbell, poll = this.#poll, watches = this.#watches;
    for (let index = 0; index < this.#flushes.length; index++) this.#flushes[index]();
    if (sleep) doorbell.arm();
    poll.clear();
    poll.add(doorbell.descriptor, POLLIN);
    for (let index = 0; index < watches.length; index++) {
      const interest = watches[index].interest();
      poll.add(interest < 0 ? -1 : watches[index].descriptor, Math.max(interest, 0)); // poll(2) skips descriptor -1
    }
    if (!sleep || this.#attention()) poll.look();
    else poll.wait();
    doorbell.disarm();
    if (poll.result(0) !== 0) doorbell.clear();
    for (let index = 0; index < watches.length; index++) {
      const events = poll.result(index + 1);
      if (events !== 0) watches[index].ready(events);
    }
  }

  #map(type: RangeType, first: number, last: number, handler: RangeHandler): void {
    this.table.change(() => this.server.ranges[type].add(first, last));
    this.#claims[type].push({ first, last, handler });
  }

  /** One request: INPROCESS, the handler's work, IORESP_READY, and the vCPU is woken. */
  #serve(vcpu: number): void {
    const page = this.#page;
    if (page.state(vcpu) !== STATE.READY) return;
    page.setState(vcpu, STATE.INPROCESS);
    const size = page.size(vcpu), address = page.address(vcpu);
    if (page.isRead(vcpu)) {
      const low = this.#read(page.type(vcpu), address, Math.min(size, 4));
      page.setData(vcpu, low, size === 8 ? this.#read(page.type(vcpu), address + 4, 4) : 0);
    } else {
      this.#write(page.type(vcpu), address, Math.min(size, 4), page.dataLow(vcpu));
      if (size === 8) this.#write(page.type(vcpu), address + 4, 4, page.dataHigh(vcpu));
    }
    page.setState(vcpu, STATE.IORESP_READY);
    this.domain.notify(vcpu);
  }

  /** Ranges of one server that touch are one range to selection: an access may go over from one handler to the next. */
  #read(type: number, address: number, size: number): number {
    const claim = this.#find(type, address);
    if (claim === undefined) return mask(-1, size);
    if (address + size - 1 <= claim.last) return mask(claim.handler.read(address - claim.first, size), size);
    const half = size / 2;
    return this.#read(type, address, half) + this.#read(type, address + half, half) * 2 ** (half * 8);
  }

  #write(type: number, address: number, size: number, value: number): void {
    const claim = this.#find(type, address);
    if (claim === undefined) return;
    if (address + size - 1 <= claim.last) return claim.handler.write(address - claim.first, size, mask(value, size));
    const half = size / 2;
    this.#write(type, address, half, mask(value, half));
    this.#write(type, address + half, half, Math.floor(value / 2 ** (half * 8)));
  }

  #find(type: number, address: number): Claim | undefined {
    if (type === TYPE.PIO) return this.#ports.get(address);
    return this.#claims[RANGE.MEMORY].find((claim) => address >= claim.first && address <= claim.last);
  }
}

/** The low `size` bytes (1, 2 or 4) of `value`, unsigned. */
function mask(value: number, size: number): number {
  return size === 4 ? value >>> 0 : value & ((1 << (size * 8)) - 1);
}
