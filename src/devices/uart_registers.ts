/** The 16550A's registers and bits, by the data sheet's names (National Semiconductor PC16550D, section 8). */

/** Offsets from the first port. With DLAB set, 0 and 1 are the divisor latch. */
export const REGISTER = {
  /** RBR when read, THR when written. */
  DATA: 0,
  INTERRUPT_ENABLE: 1,
  /** IIR when read, FCR when written. */
  INTERRUPT_IDENTIFICATION: 2,
  FIFO_CONTROL: 2,
  LINE_CONTROL: 3,
  MODEM_CONTROL: 4,
  LINE_STATUS: 5,
  MODEM_STATUS: 6,
  SCRATCH: 7,
} as const;

/** IER. */
export const ENABLE = { RECEIVED: 0x01, TRANSMITTER_EMPTY: 0x02, LINE_STATUS: 0x04, MODEM_STATUS: 0x08, ALL: 0x0f };

/** IIR: the reason with the highest priority, first line first. */
export const REASON = {
  LINE_STATUS: 0x06,
  RECEIVED: 0x04,
  CHARACTER_TIMEOUT: 0x0c,
  TRANSMITTER_EMPTY: 0x02,
  MODEM_STATUS: 0x00,
  NONE: 0x01,
  /** Added while the FIFOs are enabled. */
  FIFOS_ENABLED: 0xc0,
} as const;

/** FCR. The reset bits clear themselves. */
export const FIFO = { ENABLE: 0x01, RESET_RECEIVER: 0x02, DMA_MODE: 0x08, TRIGGER_SHIFT: 6, KEPT: 0xc9 } as const;

/** Received bytes from which on the interrupt is asked for, by FCR's bits 6 and 7. */
export const TRIGGER_BYTES = [1, 4, 8, 14] as const;

/** Bytes in the receiver's FIFO. */
export const FIFO_BYTES = 16;

/** LCR. */
export const DIVISOR_LATCH_ACCESS = 0x80;

/** MCR. OUT2 is the gate between the chip's interrupt output and the bus. */
export const MODEM = { DTR: 0x01, RTS: 0x02, OUT1: 0x04, OUT2: 0x08, LOOP: 0x10, ALL: 0x1f } as const;

/** LSR. */
export const LINE = { DATA_READY: 0x01, OVERRUN: 0x02, HOLDING_EMPTY: 0x20, TRANSMITTER_EMPTY: 0x40 } as const;

/** MSR: the lines in the upper half; in the lower half which of them changed, RI only when it ended. */
export const STATUS = {
  CTS: 0x10,
  DSR: 0x20,
  RI: 0x40,
  DCD: 0x80,
  LINES: 0xf0,
  CHANGES: 0x0f,
  RI_ENDED: 0x04,
} as const;

/** Where the chip's state stands in its DataView: bytes, and the FIFO as described in receiver_fifo.ts. */
export const STATE = {
  initialised: 0,
  interruptEnable: 1,
  fifoControl: 2,
  lineControl: 3,
  modemControl: 4,
  modemStatus: 5,
  scratch: 6,
  divisorLow: 7,
  divisorHigh: 8,
  lineErrors: 9,
  /** Whether "transmitter empty" waits to be told. */
  transmitterInterrupt: 10,
  /** Reads of LSR since the last write of a control register, up to 2: see Uart.wants(). */
  lineStatusReads: 11,
  interruptLevel: 12,
  fifoHead: 13,
  fifoCount: 14,
  fifo: 16,
  sizeBytes: 48,
} as const;

/** The state after reset: the data sheet's values, and 115 200 baud in the divisor latch, which it leaves undefined. */
export const RESET_STATE = { modemStatus: STATUS.CTS | STATUS.DSR | STATUS.DCD, divisorLow: 1 } as const;
