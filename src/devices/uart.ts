/** A 16550A UART on COM1, wired to the guest's console. */

import type { DeviceModelHost } from "../dm/host.ts";
import { BytePorts, type ByteRegisters } from "./byte_ports.ts";
import type { Console, InputConsumer } from "./console.ts";
import { InterruptLine } from "./interrupt_line.ts";
import { COM1 } from "./platform_map.ts";
import { LOOPED, ReceiverFifo } from "./receiver_fifo.ts";
import {
  DIVISOR_LATCH_ACCESS,
  ENABLE,
  FIFO,
  FIFO_BYTES,
  LINE,
  MODEM,
  REASON,
  REGISTER,
  RESET_STATE,
  STATE,
  STATUS,
  TRIGGER_BYTES,
} from "./uart_registers.ts";

/**
 * The line is infinitely fast: what is written is sent at once, so the transmitter is always empty, and the pause after
 * which a character time-out is told is over at once. Speed, word length, parity and break are stored and change nothing.
 */
export class Uart implements ByteRegisters, InputConsumer {
  readonly #state: DataView<ArrayBuffer>;
  readonly #fifo: ReceiverFifo;
  readonly #interrupt: InterruptLine;

  constructor(host: DeviceModelHost, private readonly console: Console) {
    const state = this.#state = host.state(STATE.sizeBytes);
    this.#fifo = new ReceiverFifo(state);
    this.#interrupt = new InterruptLine(host, COM1.irq, state, STATE.interruptLevel);
    if (state.getUint8(STATE.initialised) === 0) {
      state.setUint8(STATE.modemStatus, RESET_STATE.modemStatus);
      state.setUint8(STATE.divisorLow, RESET_STATE.divisorLow);
      state.setUint8(STATE.initialised, 1);
    }
    host.mapPorts(COM1.port, COM1.ports, new BytePorts(this));
    host.beforeSleep(() => this.arrived());
    console.attach(this);
  }

  readByte(offset: number): number {
    switch (offset) {
      case REGISTER.DATA:
        return this.#divisorLatch ? this.#state.getUint8(STATE.divisorLow) : this.#readReceiver();
      case REGISTER.INTERRUPT_ENABLE:
        return this.#state.getUint8(this.#divisorLatch ? STATE.divisorHigh : STATE.interruptEnable);
      case REGISTER.INTERRUPT_IDENTIFICATION:
        return this.#readInterruptIdentification();
      case REGISTER.LINE_CONTROL:
        return this.#state.getUint8(STATE.lineControl);
      case REGISTER.MODEM_CONTROL:
        return this.#modemControl;
      case REGISTER.LINE_STATUS:
        return this.#readLineStatus();
      case REGISTER.MODEM_STATUS:
        return this.#readModemStatus();
      default:
        return this.#state.getUint8(STATE.scratch);
    }
  }

  writeByte(offset: number, value: number): void {
    switch (offset) {
      case REGISTER.DATA:
        return this.#divisorLatch ? this.#state.setUint8(STATE.divisorLow, value) : this.#transmit(value);
      case REGISTER.INTERRUPT_ENABLE:
        if (this.#divisorLatch) return this.#state.setUint8(STATE.divisorHigh, value);
        return this.#writeInterruptEnable(value & ENABLE.ALL);
      case REGISTER.FIFO_CONTROL:
        return this.#writeFifoControl(value);
      case REGISTER.LINE_CONTROL:
        this.#state.setUint8(STATE.lineStatusReads, 0);
        return this.#state.setUint8(STATE.lineControl, value);
      case REGISTER.MODEM_CONTROL:
        return this.#writeModemControl(value & MODEM.ALL);
      case REGISTER.SCRATCH:
        return this.#state.setUint8(STATE.scratch, value);
      default: // LSR and MSR are for reading (data sheet, 8.4 and 8.8)
    }
  }

  /**
   * Bytes come in only while the guest listens: with the interrupt enabled, or reading LSR again and again. The bytes
   * that an operating system finds in the receiver while it sets up the port, and throws away, would be lost input.
   */
  wants(): boolean {
    if (this.#modemControl & MODEM.LOOP || this.#fifo.count >= this.#capacity) return false;
    return (this.#interruptEnable & ENABLE.RECEIVED) !== 0 || this.#state.getUint8(STATE.lineStatusReads) >= 2;
  }

  arrived(): void {
    this.#fill();
    this.#update();
  }

  get #divisorLatch(): boolean {
    return (this.#state.getUint8(STATE.lineControl) & DIVISOR_LATCH_ACCESS) !== 0;
  }

  get #interruptEnable(): number {
    return this.#state.getUint8(STATE.interruptEnable);
  }

  get #modemControl(): number {
    return this.#state.getUint8(STATE.modemControl);
  }

  get #fifosEnabled(): boolean {
    return (this.#state.getUint8(STATE.fifoControl) & FIFO.ENABLE) !== 0;
  }

  /** Bytes that the receiver holds: without FIFO only RBR itself. */
  get #capacity(): number {
    return this.#fifosEnabled ? FIFO_BYTES : 1;
  }

  /** IIR's low half, and with it whether the chip asks for an interrupt: everything follows from the state. */
  #reason(): number {
    const state = this.#state;
    const enabled = this.#interruptEnable;
    if (enabled & ENABLE.LINE_STATUS && state.getUint8(STATE.lineErrors) !== 0) return REASON.LINE_STATUS;
    const received = this.#fifo.count;
    if (enabled & ENABLE.RECEIVED && received > 0) {
      const trigger = TRIGGER_BYTES[state.getUint8(STATE.fifoControl) >> FIFO.TRIGGER_SHIFT];
      return received >= trigger ? REASON.RECEIVED : REASON.CHARACTER_TIMEOUT;
    }
    if (state.getUint8(STATE.transmitterInterrupt) !== 0) return REASON.TRANSMITTER_EMPTY;
    if (enabled & ENABLE.MODEM_STATUS && state.getUint8(STATE.modemStatus) & STATUS.CHANGES) return REASON.MODEM_STATUS;
    return REASON.NONE;
  }

  /** OUT2 is taken from MCR in loop-back, too, where a chip's pin goes inactive: else no guest could test interrupts. */
  #update(): void {
    this.#interrupt.set((this.#modemControl & MODEM.OUT2) !== 0 && this.#reason() !== REASON.NONE);
  }

  #fill(): void {
    while (this.wants()) {
      const byte = this.console.take();
      if (byte < 0) return;
      this.#fifo.push(byte);
    }
  }

  #readReceiver(): number {
    this.#pauseListening();
    if (this.#fifo.count === 0) return 0;
    const reason = this.#reason();
    const byte = this.#fifo.shift() & 0xff;
    // On a wire the next byte would come later. The line drops for a moment, so that a guest which reads one byte an
    // interrupt gets an edge for each.
    if (reason === REASON.RECEIVED || reason === REASON.CHARACTER_TIMEOUT) this.#interrupt.set(false);
    this.arrived();
    return byte;
  }

  /** Reading the reason "transmitter empty" is what ends it (data sheet, table III). */
  #readInterruptIdentification(): number {
    this.#pauseListening();
    const reason = this.#reason();
    if (reason === REASON.TRANSMITTER_EMPTY) {
      this.#state.setUint8(STATE.transmitterInterrupt, 0);
      this.#update();
    }
    return reason | (this.#fifosEnabled ? REASON.FIFOS_ENABLED : 0);
  }

  #readLineStatus(): number {
    const state = this.#state;
    const reads = Math.min(2, state.getUint8(STATE.lineStatusReads) + 1);
    state.setUint8(STATE.lineStatusReads, reads);
    // With the interrupt enabled alone nothing arrives here: a guest that has reset the FIFO must see it empty.
    if (reads === 2) this.#fill();
    const errors = state.getUint8(STATE.lineErrors);
    state.setUint8(STATE.lineErrors, 0);
    this.#update();
    const ready = this.#fifo.count > 0 ? LINE.DATA_READY : 0;
    return LINE.HOLDING_EMPTY | LINE.TRANSMITTER_EMPTY | errors | ready;
  }

  #readModemStatus(): number {
    this.#pauseListening();
    const status = this.#state.getUint8(STATE.modemStatus);
    this.#state.setUint8(STATE.modemStatus, status & STATUS.LINES);
    this.#update();
    return status;
  }

  /** A set-up reads LSR only between other registers; a loop that waits for a byte, once found, stays one. */
  #pauseListening(): void {
    if (this.#state.getUint8(STATE.lineStatusReads) < 2) this.#state.setUint8(STATE.lineStatusReads, 0);
  }

  /** The write ends the interrupt; the byte is gone at once, which asks for the next: the line drops in between. */
  #transmit(byte: number): void {
    this.#state.setUint8(STATE.transmitterInterrupt, 0);
    this.#update();
    if (this.#modemControl & MODEM.LOOP) this.#loopBack(byte);
    else this.console.put(byte);
    this.#state.setUint8(STATE.transmitterInterrupt, this.#interruptEnable & ENABLE.TRANSMITTER_EMPTY ? 1 : 0);
    this.#update();
  }

  /** A full FIFO keeps its bytes and the new one is lost; a full RBR is overwritten (data sheet, 8.4, bit 1). */
  #loopBack(byte: number): void {
    if (this.#fifo.count >= this.#capacity) {
      this.#state.setUint8(STATE.lineErrors, LINE.OVERRUN);
      if (this.#fifosEnabled) return;
      this.#emptyReceiver();
    }
    this.#fifo.push(byte | LOOPED);
  }

  /** Enabling "transmitter empty" while it is empty asks at once: drivers start sending so, and Linux tests it. */
  #writeInterruptEnable(value: number): void {
    const state = this.#state;
    const enabled = value & ENABLE.TRANSMITTER_EMPTY;
    const newly = enabled & ~this.#interruptEnable;
    if (newly || !enabled) state.setUint8(STATE.transmitterInterrupt, newly ? 1 : 0);
    state.setUint8(STATE.interruptEnable, value);
    state.setUint8(STATE.lineStatusReads, 0);
    this.arrived();
  }

  /** Without the enable bit the other bits are not programmed; changing it empties the FIFOs (data sheet, 8.5). */
  #writeFifoControl(value: number): void {
    const enable = value & FIFO.ENABLE;
    const changed = enable !== (this.#state.getUint8(STATE.fifoControl) & FIFO.ENABLE);
    if (changed || (enable && value & FIFO.RESET_RECEIVER)) this.#emptyReceiver();
    this.#state.setUint8(STATE.fifoControl, enable ? value & FIFO.KEPT : 0);
    this.#state.setUint8(STATE.lineStatusReads, 0);
    this.#update();
  }

  /** What came from the console has not been read: it waits there as if it had not arrived yet. */
  #emptyReceiver(): void {
    while (this.#fifo.count > 0) {
      const entry = this.#fifo.pop();
      if (!(entry & LOOPED)) this.console.putBack(entry);
    }
  }

  #writeModemControl(value: number): void {
    const state = this.#state;
    const before = state.getUint8(STATE.modemStatus);
    const lines = modemLines(value);
    const changed = ((before ^ lines) & (STATUS.CTS | STATUS.DSR | STATUS.DCD)) >> 4;
    const ended = before & ~lines & STATUS.RI ? STATUS.RI_ENDED : 0;
    state.setUint8(STATE.modemStatus, lines | (before & STATUS.CHANGES) | changed | ended);
    state.setUint8(STATE.modemControl, value);
    state.setUint8(STATE.lineStatusReads, 0);
    this.arrived();
  }
}

/** The modem's lines: a ready peer, or in loop-back the chip's own outputs (data sheet, 8.6, bit 4). */
function modemLines(modemControl: number): number {
  if (!(modemControl & MODEM.LOOP)) return STATUS.CTS | STATUS.DSR | STATUS.DCD;
  return (modemControl & MODEM.RTS ? STATUS.CTS : 0) | (modemControl & MODEM.DTR ? STATUS.DSR : 0) |
    (modemControl & MODEM.OUT1 ? STATUS.RI : 0) | (modemControl & MODEM.OUT2 ? STATUS.DCD : 0);
}
