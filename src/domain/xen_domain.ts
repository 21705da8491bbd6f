/** A domain as its guest's hypercalls see it: the interfaces that they declare, over what the domain's threads share. */

import { POLLOUT, PollSet } from "../linux/poll.ts";
import { write } from "../linux/calls.ts";
import { EAGAIN, EINVAL } from "../linux/errno.ts";
import { haltedNanoseconds } from "../kvm/vcpu_statistics.ts";
import { PAGE_SIZE } from "../memory/address.ts";
import { EventChannels } from "../events/event_channels.ts";
import { GuestChannels } from "../events/guest_channels.ts";
import { TwoLevelEvents } from "../events/two_level.ts";
import { RUNSTATE } from "../hypercall/abi/vcpu.ts";
import { SHARED_INFO, VCPU_INFO, XEN_LEGACY_MAX_VCPUS } from "../hypercall/abi/xen.ts";
import { TWO_LEVEL_ABI } from "../hypercall/event_layout.ts";
import type { XenCalls } from "../hypercall/hypercall.ts";
import { ServerViews } from "../ioreq/server_view.ts";
import type { Callback } from "../hypercall/hvm_params.ts";
import type { Runstate } from "../hypercall/runstate.ts";
import type { ControlBits, HvmVcpuContext } from "../hypercall/vcpu_context.ts";
import type { ControlBlock } from "./control_block.ts";
import { pciGsi } from "./interrupt_lines.ts";
import { STATUS } from "./outcome.ts";
import { storeContext } from "./xen_context.ts";
import { XenMemory } from "./xen_memory.ts";
import { outcomeOf } from "./xen_shutdown.ts";
import { CALLBACK, ORDER } from "./xen_state.ts";
import { XenUpcalls } from "./xen_upcalls.ts";

/** Numbers of back ends: the service that keeps timers and rings (XenService), then the device models by their servers. */
export const XEN_SERVICE = 0, FIRST_MODEL = 1;

/** How long at once a carrier waits for the console. */
const ROOM_NS = 1e8;

/** The domain as one isolate's hypercalls see it. */
export class XenDomain extends XenMemory implements XenCalls {
  readonly physicalInterrupts = 0;
  readonly vcpus: number;
  readonly channels: GuestChannels;
  readonly upcalls: XenUpcalls;
  readonly #poll = new PollSet(1);
  readonly #time = new Float64Array(4);
  readonly #runstate = { state: RUNSTATE.running as number, stateEntryTime: 0, time: this.#time };

  /** @param needPager called before a page is given back: from then on accesses may wait for one */
  constructor(control: ControlBlock, needPager: () => void) {
    super(control, needPager);
    const { state, banks } = this;
    this.vcpus = control.vcpus;
    this.upcalls = new XenUpcalls(control, state, this.vm);
    const models = new ServerViews(control.servers);
    const frames = {
      words: (frame: number) => banks.words(banks.find(frame)),
      index: (frame: number) => banks.offset(banks.find(frame), frame) / 4,
    };
    const { words, first } = state.pending;
    const worker = new EventChannels(words, first, 1, state.doorbell);
    this.channels = new GuestChannels(
      state.ports,
      new TwoLevelEvents(state.ports, frames, TWO_LEVEL_ABI),
      this.upcalls,
      { get: (backEnd) => backEnd === XEN_SERVICE ? worker : models.view(backEnd - FIRST_MODEL).area?.channels },
    );
  }

  // xen_version

  get handle(): Uint8Array {
    return this.state.handle;
  }

  // sched_op

  enableEvents(_vcpu: number): void {} // of an HVM domain nobody looks at evtchn_upcall_mask

  hasEvents(vcpu: number): boolean {
    return this.channels.events.isUpcallPending(vcpu);
  }

  pollPort(port: number): number {
    return this.channels.poll(port);
  }

  poll(vcpu: number, ports: Uint32Array, count: number, until: number): void {
    const { delivery } = this.channels;
    delivery.beginPoll(vcpu);
    if (count === 1) delivery.narrowPoll(vcpu, ports[0]);
    this.state.setPollUntil(vcpu, until === Infinity ? 0 : Math.max(until, 1));
    for (let index = 0; index < count; index++) if (this.channels.poll(ports[index]) !== 0) this.#stopPolling(vcpu);
    if (until !== Infinity) this.#ringService();
  }

  /** Whether a vCPU waits for ports, and nobody has woken it. */
  isPolling(vcpu: number): boolean {
    return this.state.ports.ofVcpus.isPoller(vcpu);
  }

  #stopPolling(vcpu: number): void {
    if (this.channels.delivery.endPoll(vcpu)) this.upcalls.unblock(vcpu);
  }

  shutDown(reason: number): void {
    this.control.end(outcomeOf(this.state.settleShutdownCode(reason)));
  }

  setShutdownCode(reason: number): void {
    this.state.settleShutdownCode(reason);
  }

  takeWatchdog(watchdog: number): boolean {
    return this.state.takeWatchdog(watchdog);
  }

  isWatchdogTaken(watchdog: number): boolean {
    return this.state.isWatchdogTaken(watchdog);
  }

  setWatchdog(watchdog: number, seconds: number): void {
    this.state.setWatchdogDeadline(watchdog, this.now() + seconds * 1e9);
    this.#ringService();
  }

  stopWatchdog(watchdog: number): void {
    this.state.setWatchdogDeadline(watchdog, 0);
    this.state.releaseWatchdog(watchdog);
  }

  // vcpu_op

  now(): number {
    return this.vm.clockNs;
  }

  get sharedInfoBits(): 32 | 64 {
    return this.state.ports.bits;
  }

  get allowed(): ControlBits {
    return ALLOWED;
  }

  isInitialised(vcpu: number): boolean {
    return this.state.isInitialised(vcpu);
  }

  initialise(vcpu: number, context: HvmVcpuContext): boolean {
    if (!this.state.markInitialised(vcpu)) return false;
    storeContext(this.state.context(vcpu), context);
    this.state.setHasContext(vcpu, true);
    return true;
  }

  isUp(vcpu: number): boolean {
    return this.state.isUp(vcpu);
  }

  up(vcpu: number): void {
    if (this.state.isUp(vcpu)) return;
    this.state.setUp(vcpu, true);
    this.upcalls.order(vcpu, ORDER.UP);
  }

  down(vcpu: number): void {
    this.state.setUp(vcpu, false);
    this.upcalls.order(vcpu, ORDER.DOWN);
  }

  runstate(vcpu: number, own: boolean): Runstate {
    const { state } = this, now = this.now();
    // KVM keeps whoever asks about a vCPU that is in the guest waiting, so only its own thread does.
    if (own) state.setBlocked(vcpu, haltedNanoseconds(this.control.vcpu(vcpu).vcpu) ?? 0);
    const isUp = this.isUp(vcpu), running = isUp ? Math.max(0, now - state.blocked(vcpu)) : 0;
    this.#runstate.state = isUp ? RUNSTATE.running : RUNSTATE.offline;
    this.#time[RUNSTATE.running] = running;
    this.#time[RUNSTATE.blocked] = isUp ? now - running : 0;
    this.#time[RUNSTATE.offline] = isUp ? 0 : now;
    return this.#runstate;
  }

  setRunstateArea(vcpu: number, low: number, high: number): void {
    this.state.setRunstateArea(vcpu, low, high);
    this.upcalls.order(vcpu, ORDER.AREAS);
  }

  setTimeArea(vcpu: number, low: number, high: number): void {
    this.state.setTimeArea(vcpu, low, high);
    this.upcalls.order(vcpu, ORDER.AREAS);
  }

  hasVcpuInfo(vcpu: number): boolean {
    return vcpu < XEN_LEGACY_MAX_VCPUS || this.hasRegisteredVcpuInfo(vcpu);
  }

  hasRegisteredVcpuInfo(vcpu: number): boolean {
    return this.state.ports.ofVcpus.infoFrame(vcpu) !== 0;
  }

  registerVcpuInfo(vcpu: number, gfn: number, offset: number): number {
    const frame = this.frames.getFrame(gfn, true);
    if (frame < 0) return -EINVAL;
    this.state.setInfoGfn(vcpu, gfn);
    const result = this.channels.registerVcpuInfo(vcpu, frame, offset);
    if (result === 0) this.upcalls.order(vcpu, ORDER.CLOCK);
    else this.frames.putFrame(frame);
    return result;
  }

  setSingleshotTimer(vcpu: number, at: number): void {
    this.state.lock.hold(() => this.state.setSingleshot(vcpu, at === Infinity ? 0 : Math.max(at, 1)));
    if (at !== Infinity) this.#ringService();
  }

  setPeriodicTimer(vcpu: number, period: number): void {
    const next = period === 0 ? 0 : this.now() + period;
    this.state.lock.hold(() => this.state.setPeriodic(vcpu, period, next));
    if (period !== 0) this.#ringService();
  }

  sendNmi(vcpu: number): void {
    this.upcalls.order(vcpu, ORDER.NMI);
  }

  // hvm_op

  paramLow(index: number): number {
    return this.state.paramLow(index);
  }

  paramHigh(index: number): number {
    return this.state.paramHigh(index);
  }

  setParam(index: number, low: number, high: number): void {
    this.state.setParam(index, low, high);
  }

  setCallback(callback: Callback): void {
    const { state } = this;
    state.lock.hold(() => {
      if (state.callback === CALLBACK.GSI) this.#connectLine(state.callbackValue, false);
      switch (callback.kind) {
        case "none":
          state.setCallback(CALLBACK.NONE, 0);
          break;
        case "vector":
          state.setCallback(CALLBACK.VECTOR, callback.vector);
          break;
        case "gsi":
          state.setCallback(CALLBACK.GSI, callback.gsi);
          break;
        case "intx":
          state.setCallback(CALLBACK.GSI, pciGsi(callback.device, callback.pin));
      }
      if (state.callback === CALLBACK.GSI) this.#connectLine(state.callbackValue, true);
    });
    for (let vcpu = 0; vcpu < this.vcpus; vcpu++) if (this.hasEvents(vcpu)) this.upcalls.upcall(vcpu);
  }

  /** The service hears of the interrupt's end. */
  #connectLine(gsi: number, on: boolean): void {
    this.vm.connectLine(gsi, this.state.lineDescriptor, this.state.endedLineDescriptor, on);
  }

  setUpcallVector(vcpu: number, vector: number): void {
    this.state.setUpcallVector(vcpu, vector);
    this.upcalls.upcall(vcpu); // whether there are any or not, as Xen does
  }

  latchSharedInfo(bits: 32 | 64): void {
    this.state.ports.bits = bits;
    this.setWallClock();
  }

  /** The time of day when the guest's system time was 0: where both widths of the guest look for it. */
  setWallClock(): void {
    const { sharedFrame } = this.state, layout = SHARED_INFO[this.sharedInfoBits], bank = this.banks.find(sharedFrame);
    const at = this.banks.offset(bank, sharedFrame) / 4, words = this.banks.words(bank);
    const startNs = Date.now() * 1e6 - this.now(), seconds = Math.floor(startNs / 1e9);
    Atomics.add(words, at + layout.wc_version / 4, 1); // odd: it is being changed
    words[at + layout.wc_sec / 4] = seconds;
    words[at + layout.wc_sec_hi / 4] = Math.floor(seconds / 2 ** 32);
    words[at + layout.wc_nsec / 4] = startNs - seconds * 1e9;
    Atomics.add(words, at + layout.wc_version / 4, 1);
  }

  protected override sharedInfoPlaced(): void {
    for (let vcpu = 0; vcpu < this.vcpus; vcpu++) this.upcalls.order(vcpu, ORDER.CLOCK);
  }

  flushTlbs(): void {
    for (let vcpu = 0; vcpu < this.vcpus; vcpu++) this.upcalls.order(vcpu, ORDER.FLUSH);
  }

  crash(why: string): void {
    this.control.end({ kind: "crash", status: STATUS.CRASH, reason: why });
  }

  // console_io

  /** The pipe to whoever has the console. While it is full this waits, as long as the domain runs. */
  writeDebugConsole(bytes: DataView, count: number): void {
    const descriptor = this.state.consoleDescriptor, text = new Uint8Array(count);
    for (let index = 0; index < count; index++) text[index] = bytes.getUint8(index);
    for (let done = 0; done < count && !this.control.stopping;) {
      const written = Number(write(descriptor, text.subarray(done), BigInt(count - done)));
      if (written === -EAGAIN) this.#awaitRoom(descriptor);
      else if (written < 0) return;
      else done += written;
    }
  }

  /** A while: whoever kicks this thread ends it, too. */
  #awaitRoom(descriptor: number): void {
    this.#poll.clear();
    this.#poll.add(descriptor, POLLOUT);
    this.#poll.waitFor(ROOM_NS);
  }

  // vm_assist

  setRunstateUpdateFlag(enabled: boolean): void {
    this.state.runstateUpdateFlag = enabled;
  }

  /** The end: gives back what vCPUs hold of the guest's memory. */
  releaseInfos(): void {
    for (let vcpu = 0; vcpu < this.vcpus; vcpu++) {
      const frame = this.state.ports.ofVcpus.infoFrame(vcpu);
      if (frame !== 0) this.frames.putFrame(frame - 1);
    }
  }

  /** Where a vCPU's vcpu_info is in the guest's memory; -1: nowhere. */
  infoAddress(vcpu: number): number {
    const { state } = this;
    if (this.hasRegisteredVcpuInfo(vcpu)) {
      return state.infoGfn(vcpu) * PAGE_SIZE + state.ports.ofVcpus.infoOffset(vcpu);
    }
    const gfn = this.control.physicalMap.table.gfnOfSpecial(state.sharedFrame);
    if (gfn < 0 || vcpu >= XEN_LEGACY_MAX_VCPUS) return -1;
    return gfn * PAGE_SIZE + vcpu * VCPU_INFO[64].bytes;
  }

  /** The callback's vector could not be taken: the Worker has it tried again. */
  interruptLater(vcpu: number): void {
    this.state.order(vcpu, ORDER.LATER);
    this.#ringService();
  }

  #ringService(): void {
    this.state.doorbell.ring();
  }
}

/** What a guest's first state may have of control bits: KVM refuses what the processor lacks. */
const ALLOWED: ControlBits = { cr4: 0xffff_ffff, efer: 0xd01 | 0x4000 | 0x1000 };

const domains = new WeakMap<ControlBlock, XenDomain>();

/** The domain of an isolate: one, whichever of its vCPUs asks. */
export function xenDomain(control: ControlBlock, needPager: () => void): XenDomain {
  let domain = domains.get(control);
  if (domain === undefined) domains.set(control, domain = new XenDomain(control, needPager));
  return domain;
}
