/** An MC146818 clock with 128 bytes of CMOS memory, in which a PC's firmware leaves the size of memory. */

import type { DeviceModelHost } from "../dm/host.ts";
import { BytePorts, type ByteRegisters } from "./byte_ports.ts";
import { decodeTime, encodeTime, TIME_REGISTERS } from "./cmos_time.ts";
import { CMOS } from "./platform_map.ts";

/** The memory of the machine, as its firmware would have counted it. */
export interface CmosOptions {
  readonly memoryBytes: number;
  /** The part of it that lies below 4 GiB, from address 0 on. */
  readonly lowMemoryBytes: number;
}

const REGISTER = { A: 0x0a, B: 0x0b, C: 0x0c, D: 0x0d } as const;
const A = { UPDATE_IN_PROGRESS: 0x80, DIVIDER_RESET: 0x60, INITIAL: 0x26 } as const; // 32 768 Hz, 1024 Hz periodic
const B = { HOURS_24: 0x02, UPDATE_INTERRUPT: 0x10, SET: 0x80 } as const;
const C = { UPDATED: 0x10, INTERRUPT: 0x80 } as const;
const D = { VALID: 0x80 } as const;

/** Where its state stands. `bytes` are the chip's own; among them the time registers as they were at the snapshot. */
const STATE = {
  initialised: 0,
  index: 1,
  /** One bit for each time register that has been read from this snapshot. */
  snapshotReads: 2,
  /** What the guest's clock is ahead of the host's. */
  offsetMs: 8,
  snapshotMs: 16,
  /** The guest's second when register C was read last. */
  updatesSeen: 24,
  bytes: 32,
  sizeBytes: 32 + 128,
} as const;

/** UIP is set from 244 us before an update until its end 1984 us later (MC146818, table 3), in whole milliseconds. */
const UPDATE_FROM_MS = 998;

/** A clock whose divider was held updates half a second after the release (MC146818, "Divider stages"). */
const AFTER_DIVIDER_RESET_MS = 500;

/** The index is masked to 7 bits (bit 7 masks the NMI, and there is none). No timer: the clock never interrupts. */
export class Cmos implements ByteRegisters {
  readonly #state: DataView<ArrayBuffer>;
  readonly #bytes: Uint8Array<ArrayBuffer>;

  /** @param now the host's clock: milliseconds since 1970, UTC */
  constructor(host: DeviceModelHost, options: CmosOptions, private readonly now: () => number = Date.now) {
    const state = this.#state = host.state(STATE.sizeBytes);
    this.#bytes = new Uint8Array(state.buffer, state.byteOffset + STATE.bytes, 128);
    if (state.getUint8(STATE.initialised) === 0) {
      this.#bytes.set([A.INITIAL, B.HOURS_24, 0, D.VALID], REGISTER.A);
      storeMemorySizes(this.#bytes, options);
      this.#takeSnapshot();
      state.setFloat64(STATE.updatesSeen, Math.floor(this.#clock() / 1000), true);
      state.setUint8(STATE.initialised, 1);
    }
    host.mapPorts(CMOS.index, CMOS.data - CMOS.index + 1, new BytePorts(this));
  }

  /** The index cannot be read back: the bus floats. */
  readByte(offset: number): number {
    return offset === 0 ? 0xff : this.#read(this.#state.getUint8(STATE.index));
  }

  writeByte(offset: number, value: number): void {
    if (offset === 0) this.#state.setUint8(STATE.index, value & 0x7f);
    else this.#write(this.#state.getUint8(STATE.index), value);
  }

  #read(index: number): number {
    const time = TIME_REGISTERS.indexOf(index);
    if (time >= 0) this.#refresh(time);
    else if (index === REGISTER.A) return this.#readA();
    else if (index === REGISTER.C) return this.#readC();
    return this.#bytes[index];
  }

  #write(index: number, value: number): void {
    if (index === REGISTER.C || index === REGISTER.D) return; // read-only
    if (index === REGISTER.A) return this.#control(index, value & ~A.UPDATE_IN_PROGRESS);
    if (index === REGISTER.B) return this.#control(index, value & B.SET ? value & ~B.UPDATE_INTERRUPT : value);
    const setsRunningClock = TIME_REGISTERS.includes(index) && this.#running;
    if (setsRunningClock) this.#takeSnapshot();
    this.#bytes[index] = value;
    if (setsRunningClock) this.#setClock(modulo(this.#clock(), 1000));
  }

  get #dividerHeld(): boolean {
    return (this.#bytes[REGISTER.A] & A.DIVIDER_RESET) === A.DIVIDER_RESET;
  }

  get #running(): boolean {
    return !this.#dividerHeld && (this.#bytes[REGISTER.B] & B.SET) === 0;
  }

  #clock(): number {
    return this.now() + this.#state.getFloat64(STATE.offsetMs, true);
  }

  /**
   * A snapshot answers each time register once, and for a second: so a guest that reads the time in several accesses
   * gets one time, however slow they are, and a guest that watches one register sees it tick.
   */
  #refresh(time: number): void {
    if (!this.#running) return;
    const ageMs = this.#clock() - this.#state.getFloat64(STATE.snapshotMs, true);
    const fresh = ageMs >= 0 && ageMs < 1000 && !(this.#state.getUint16(STATE.snapshotReads, true) & (1 << time));
    if (!fresh) this.#takeSnapshot();
    this.#state.setUint16(STATE.snapshotReads, this.#state.getUint16(STATE.snapshotReads, true) | (1 << time), true);
  }

  #takeSnapshot(): void {
    const clock = this.#clock();
    encodeTime(clock, this.#bytes, this.#bytes[REGISTER.B]);
    this.#state.setFloat64(STATE.snapshotMs, clock, true);
    this.#state.setUint16(STATE.snapshotReads, 0, true);
  }

  /** UIP clear promises that the time can be read now: it will be the time of this moment. */
  #readA(): number {
    if (!this.#running) return this.#bytes[REGISTER.A];
    if (modulo(this.#clock(), 1000) >= UPDATE_FROM_MS) return this.#bytes[REGISTER.A] | A.UPDATE_IN_PROGRESS;
    this.#takeSnapshot();
    return this.#bytes[REGISTER.A];
  }

  /** Reading clears it. Alarm and periodic flags would need a timer. */
  #readC(): number {
    const second = Math.floor(this.#clock() / 1000);
    if (!this.#running || second === this.#state.getFloat64(STATE.updatesSeen, true)) return 0;
    this.#state.setFloat64(STATE.updatesSeen, second, true);
    return C.UPDATED | (this.#bytes[REGISTER.B] & B.UPDATE_INTERRUPT ? C.INTERRUPT : 0);
  }

  /** Halting the clock leaves its time in the registers; starting it again takes the time from there. */
  #control(index: number, value: number): void {
    const wasRunning = this.#running, wasHeld = this.#dividerHeld;
    if (wasRunning) this.#takeSnapshot();
    this.#bytes[index] = value;
    if (!this.#running) return;
    if (!wasRunning) this.#setClock(wasHeld ? AFTER_DIVIDER_RESET_MS : modulo(this.#clock(), 1000));
    this.#takeSnapshot(); // in the format that B asks for now
  }

  #setClock(fractionMs: number): void {
    const time = decodeTime(this.#bytes, this.#bytes[REGISTER.B]) + fractionMs;
    this.#state.setFloat64(STATE.offsetMs, time - this.now(), true);
  }
}

/** The remainder that is never negative: the guest may set its clock to a time before 1970. */
function modulo(value: number, divisor: number): number {
  return ((value % divisor) + divisor) % divisor;
}

const KIB = 1 << 10, MIB = 1 << 20;
const CONVENTIONAL_KIB = 640;

/** The bytes as PC firmware has used them since the AT, and those for more memory as Bochs and QEMU do. */
function storeMemorySizes(bytes: Uint8Array, { memoryBytes, lowMemoryBytes }: CmosOptions): void {
  const above = (sizeBytes: number, start: number, unit: number) => Math.max(0, Math.floor((sizeBytes - start) / unit));
  const store = (index: number, value: number, count: number, limit: number) => {
    const stored = Math.min(value, limit);
    for (let byte = 0; byte < count; byte++) bytes[index + byte] = stored >>> (8 * byte);
  };
  store(0x15, CONVENTIONAL_KIB, 2, 0xffff);
  for (const index of [0x17, 0x30]) store(index, above(lowMemoryBytes, MIB, KIB), 2, 0xffff);
  store(0x34, above(lowMemoryBytes, 16 * MIB, 64 * KIB), 2, 0xffff);
  store(0x5b, above(memoryBytes, lowMemoryBytes, 64 * KIB), 3, 0xff_ffff);
}
