/** The loop of a device model: takes requests out of its server's page, has them answered, and waits. */

import { POLLIN, PollSet } from "../linux/poll.ts";
import type { EventChannels } from "../events/event_channels.ts";
import { AdaptiveSpin } from "../events/spin.ts";
import { RANGE, type RangeType, STATE, TYPE } from "../ioreq/abi.ts";
import { ENOSPC } from "../linux/errno.ts";
import { DmOpError } from "../ioreq/dm_op_error.ts";
import { MAX_CHANNELS, portChannel, portFault, portVcpu, RELIEF } from "../ioreq/notification.ts";
import type { IoreqSlots } from "../ioreq/slots.ts";
import type { Attachment } from "./attachment.ts";
import { Claims, mask } from "./claims.ts";
import type {
  DeviceMemory,
  DeviceModelHost,
  EventChannel,
  EventWrite,
  GuestMemoryAccess,
  GuestWindow,
  LineEvents,
  RangeHandler,
  RangeOptions,
  ShutdownReason,
  Watch,
  WindowHandler,
  WindowOptions,
} from "./host.ts";
import { ConnectedEvents } from "./connected_events.ts";
import { Windows } from "./windows.ts";

/** Descriptors are looked at at least once in so many requests, even when the next request is always there. */
const REQUESTS_PER_LOOK = 64;
const MAX_WATCHES = 63;
/** Ports of an x86 processor. */
const PORTS = 0x1_0000;

/** One device model at one server. */
export class DeviceModelRuntime implements DeviceModelHost, Disposable {
  readonly #slots: IoreqSlots;
  readonly #channels: EventChannels;
  readonly #spin = new AdaptiveSpin();
  /** For waits after an event for the guest, which may well answer at once, whatever other waits are like. */
  readonly #spinAfterEvent = new AdaptiveSpin();
  readonly #claims = new Claims();
  readonly #windows: Windows;
  readonly #events: ConnectedEvents;
  readonly #watches: Watch[] = [];
  readonly #flushes: (() => void)[] = [];
  readonly #stops: (() => void)[] = [];
  readonly #invalidations: (() => void)[] = [];
  readonly #reliefs: (() => void)[] = [];
  readonly #leaves: (() => void)[] = [];
  /** What to do when events come, by the channel's number. */
  readonly #arrivals: (() => void)[] = [];
  readonly #poll = new PollSet(MAX_WATCHES + 1);
  /** For waits for one thing, which a watch may need while the others are still to be looked at. */
  readonly #pollOne = new PollSet(2);
  readonly #deliver = (port: number) => this.#event(port);
  readonly #deliverBuffered = (type: number, address: number, size: number, low: number, high: number) =>
    this.#claims.writeAll(type, address, size, low, high);
  readonly #attention = () => {
    const { area } = this.attachment;
    return this.#channels.pending || area.released || area.relief !== RELIEF.NONE || this.#hasPending();
  };
  /** Those of the watches that need no signal. */
  readonly #lookedAt: Required<Watch>[] = [];
  #stateUsed = 0;
  #leaving = false;
  /** The guest got an event since the last wait. */
  #hasNotified = false;

  constructor(private readonly attachment: Attachment) {
    this.#slots = attachment.slots;
    this.#channels = attachment.area.channels;
    this.#events = new ConnectedEvents(attachment);
    this.#windows = new Windows(attachment, () => void this.#channels.drain(this.#deliver));
  }

  get vcpus(): number {
    return this.attachment.area.vcpus;
  }

  get memory(): GuestMemoryAccess {
    return this.attachment.memory;
  }

  mapPorts(first: number, count: number, handler: RangeHandler, options?: RangeOptions): void {
    if (first + count > PORTS) throw new RangeError(`port 0x${first.toString(16)} + ${count}: there are only ${PORTS}`);
    this.#map(RANGE.PORT, first, first + count - 1, handler, options);
  }

  mapMemory(address: number, sizeBytes: number, handler: RangeHandler, options?: RangeOptions): void {
    this.#map(RANGE.MEMORY, address, address + sizeBytes - 1, handler, options);
  }

  createMemory(sizeBytes: number): DeviceMemory {
    return this.#windows.createMemory(sizeBytes);
  }

  importMemory(descriptor: number, sizeBytes: number): DeviceMemory {
    return this.#windows.importMemory(descriptor, sizeBytes);
  }

  mapWindow(address: number, sizeBytes: number, handler: WindowHandler, options?: WindowOptions): GuestWindow {
    const window = this.#windows.map(address, sizeBytes, handler, options), last = address + sizeBytes - 1;
    const emulated = { read: handler.read ?? (() => -1), write: handler.write ?? (() => {}) };
    this.#claims.add(RANGE.MEMORY, address, last, emulated);
    return window;
  }

  unmapWindow(address: number): void {
    this.#windows.unmap(address);
    this.#claims.remove(RANGE.MEMORY, address);
  }

  mapPci(bus: number, device: number, fn: number, handler: RangeHandler): void {
    if (!(bus >= 0 && bus < 256 && device >= 0 && device < 32 && fn >= 0 && fn < 8)) {
      throw new RangeError(`${bus}:${device}.${fn} is no PCI function`);
    }
    const sbdf = (bus << 8) | (device << 3) | fn;
    this.attachment.mapRange(RANGE.PCI, sbdf, sbdf);
    this.#claims.addFunction(sbdf, handler);
  }

  unmapPorts(first: number): void {
    this.#unmap(RANGE.PORT, first);
  }

  unmapMemory(address: number): void {
    this.#unmap(RANGE.MEMORY, address);
  }

  setIrqLevel(gsi: number, level: boolean): void {
    this.attachment.setIrqLevel(gsi, level);
  }

  setPciIntxLevel(device: number, pin: number, level: boolean): void {
    this.attachment.setPciIntxLevel(device, pin, level);
  }

  injectMsi(address: number, data: number): void {
    this.attachment.injectMsi(address, data);
  }

  connectWrite(write: EventWrite): number | undefined {
    return this.#events.connectWrite(write);
  }

  connectLine(gsi: number, trigger: "edge" | "level"): LineEvents | undefined {
    return this.#events.connectLine(gsi, trigger);
  }

  bindEventChannel(port: number, arrived: () => void): EventChannel {
    const index = this.#arrivals.length;
    if (index === MAX_CHANNELS) throw new DmOpError("bind_event_channel", ENOSPC, `port ${port}`);
    this.attachment.bindChannel(port, index);
    this.#arrivals.push(arrived);
    return {
      notify: () => {
        this.attachment.notifyChannel(port);
        this.#hasNotified = true;
      },
    };
  }

  onInvalidate(forget: () => void): void {
    this.#invalidations.push(forget);
  }

  state(sizeBytes: number): DataView<ArrayBuffer> {
    const { deviceState } = this.attachment.area;
    const offset = this.#stateUsed, size = Math.ceil(sizeBytes / 8) * 8;
    if (offset + size > deviceState.byteLength) {
      throw new RangeError(`server ${this.attachment.server} has no ${sizeBytes} bytes of device state left`);
    }
    this.#stateUsed += size;
    return new DataView(deviceState.buffer, deviceState.byteOffset + offset, sizeBytes);
  }

  watch(watch: Watch): void {
    if (this.#watches.length === MAX_WATCHES) throw new RangeError(`more than ${MAX_WATCHES} watched descriptors`);
    this.#watches.push(watch);
    if (watch.pending !== undefined) this.#lookedAt.push(watch as Required<Watch>);
  }

  beforeSleep(flush: () => void): void {
    this.#flushes.push(flush);
  }

  beforeStop(flush: () => void): void {
    this.#stops.push(flush);
  }

  waitFor(descriptor: number, events: number, timeoutMs = Infinity): boolean {
    const doorbell = this.#channels.doorbell, poll = this.#pollOne, endMs = performance.now() + timeoutMs;
    for (;;) {
      doorbell.arm();
      if (this.attachment.area.released && !this.#leaving) return doorbell.disarm(), false;
      poll.clear();
      poll.add(doorbell.descriptor, POLLIN);
      poll.add(descriptor, events);
      const leftMs = endMs - performance.now();
      if (leftMs === Infinity) poll.wait();
      else poll.waitFor(Math.max(leftMs, 0) * 1e6);
      doorbell.disarm();
      if (poll.result(0) !== 0) doorbell.clear();
      if (poll.result(1) !== 0) return true;
      if (leftMs <= 0) return false;
    }
  }

  shutdown(reason: ShutdownReason): void {
    this.attachment.shutdown(reason);
  }

  beforeRelief(finish: () => void): void {
    this.#reliefs.push(finish);
  }

  whenRelieved(leave: () => void): void {
    this.#leaves.push(leave);
  }

  /** Serves requests until the server is released, or until a successor takes over: then nothing is said for the last time. */
  serve(): void {
    let unlooked = 0;
    const { area } = this.attachment;
    while (!area.released) {
      if (area.relief !== RELIEF.NONE && this.#isRelieved()) return this.#leaves.reverse().forEach((leave) => leave());
      unlooked += this.#channels.drain(this.#deliver) + this.#servePending();
      const spin = this.#hasNotified ? this.#spinAfterEvent : this.#spin;
      this.#hasNotified = false;
      const busy = spin.until(this.#attention);
      if (busy && unlooked < REQUESTS_PER_LOOK) continue;
      this.#wait(!busy);
      unlooked = 0;
    }
    this.#channels.drain(this.#deliver); // a carrier sends its last request, and leaves without waiting for the answer
    this.#leaving = true;
    this.#stops.reverse().forEach((flush) => flush());
  }

  /** The model's memory and eventfds go. */
  [Symbol.dispose](): void {
    this.#events[Symbol.dispose]();
    this.#windows[Symbol.dispose]();
  }

  /**
   * No vCPU runs: what has come is answered, what is under way is finished, and then nothing is touched until it is decided.
   * @returns whether the successor takes over
   */
  #isRelieved(): boolean {
    const { area } = this.attachment, doorbell = this.#channels.doorbell;
    while (this.#channels.pending) this.#channels.drain(this.#deliver);
    this.#flushes.forEach((flush) => flush());
    this.#reliefs.forEach((finish) => finish());
    this.attachment.rested();
    while (area.relief === RELIEF.ASKED && !area.released) {
      doorbell.arm();
      this.#poll.clear();
      this.#poll.add(doorbell.descriptor, POLLIN);
      if (area.relief === RELIEF.ASKED && !area.released) this.#poll.wait();
      doorbell.disarm();
      doorbell.clear();
    }
    return area.relief === RELIEF.LEAVE;
  }

  #hasPending(): boolean {
    for (let index = 0; index < this.#lookedAt.length; index++) if (this.#lookedAt[index].pending()) return true;
    return false;
  }

  /** @returns how many there were */
  #servePending(): number {
    let served = 0;
    for (let index = 0; index < this.#lookedAt.length; index++) {
      const watch = this.#lookedAt[index];
      if (!watch.pending()) continue;
      watch.ready(0);
      served++;
    }
    return served;
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

  #map(type: RangeType, first: number, last: number, handler: RangeHandler, options: RangeOptions = {}): void {
    this.attachment.mapRange(type, first, last);
    if (options.buffered) this.attachment.bufferRange(type, first, last);
    this.#claims.add(type, first, last, handler);
  }

  #unmap(type: RangeType, first: number): void {
    const { last } = this.#claims.remove(type, first);
    this.attachment.unmapRange(type, first, last);
  }

  /** What was buffered comes before what is asked now: the order in which the guest did it. */
  #event(port: number): void {
    const ring = this.attachment.ring;
    if (ring !== undefined && ring.pending) ring.drain(this.#deliverBuffered);
    const vcpu = portVcpu(port);
    if (vcpu < this.attachment.area.vcpus) return this.#serve(vcpu);
    const channel = portChannel(this.attachment.area.vcpus, port);
    if (channel >= 0) return this.#arrivals[channel]?.();
    const slot = portFault(this.attachment.area.vcpus, port);
    if (slot < 0) return;
    if (this.attachment.area.faults.advance(slot, STATE.READY, STATE.INPROCESS)) this.#windows.fault(slot);
  }

  /** One request: INPROCESS, the handler's work, IORESP_READY, and the vCPU is woken. */
  #serve(vcpu: number): void {
    const slots = this.#slots;
    if (!slots.advance(vcpu, STATE.READY, STATE.INPROCESS)) return;
    const size = slots.size(vcpu), type = slots.type(vcpu);
    if (type === TYPE.PCI_CONFIG) this.#configure(vcpu, size);
    else if (type === TYPE.INVALIDATE) this.#invalidations.forEach((forget) => forget());
    else if (type === TYPE.COPY && this.#windows.access(vcpu, slots.address(vcpu), !slots.isRead(vcpu)) === "done") {
      return;
    } else this.#access(vcpu, type, size);
    slots.setState(vcpu, STATE.IORESP_READY);
    this.attachment.notify(vcpu);
  }

  #access(vcpu: number, type: number, size: number): void {
    const slots = this.#slots, claims = this.#claims, address = slots.address(vcpu);
    if (slots.isRead(vcpu)) {
      const low = claims.read(type, address, Math.min(size, 4));
      slots.setData(vcpu, low, size === 8 ? claims.read(type, address + 4, 4) : 0);
    } else {
      claims.writeAll(type, address, size, slots.dataLow(vcpu), slots.dataHigh(vcpu));
    }
  }

  #configure(vcpu: number, size: number): void {
    const slots = this.#slots, register = slots.addressLow(vcpu);
    const handler = this.#claims.functionOf(slots.addressHigh(vcpu));
    if (slots.isRead(vcpu)) {
      slots.setData(vcpu, mask(handler === undefined ? -1 : handler.read(register, size), size), 0);
    } else {
      handler?.write(register, size, mask(slots.dataLow(vcpu), size));
    }
  }
}
