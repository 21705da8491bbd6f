/** An 8042 keyboard controller without a keyboard: what a guest's probe asks for, and the reset line. */

import type { DeviceModelHost } from "../dm/host.ts";
import { InterruptLine } from "./interrupt_line.ts";
import { KEYBOARD_CONTROLLER } from "./platform_map.ts";

/** Commands, by the IBM PS/2 Hardware Interface Technical Reference, "Keyboard and Auxiliary Device Controller". */
const COMMAND = {
  READ_RAM: 0x20, // to 0x3f: byte 0 is the configuration
  WRITE_RAM: 0x60, // to 0x7f
  TEST_PASSWORD: 0xa4,
  DISABLE_AUXILIARY: 0xa7,
  ENABLE_AUXILIARY: 0xa8,
  TEST_AUXILIARY: 0xa9,
  SELF_TEST: 0xaa,
  TEST_KEYBOARD: 0xab,
  DISABLE_KEYBOARD: 0xad,
  ENABLE_KEYBOARD: 0xae,
  READ_INPUT_PORT: 0xc0,
  READ_OUTPUT_PORT: 0xd0,
  WRITE_OUTPUT_PORT: 0xd1,
  WRITE_KEYBOARD_OUTPUT: 0xd2,
  WRITE_AUXILIARY_OUTPUT: 0xd3,
  WRITE_AUXILIARY: 0xd4,
  PULSE_OUTPUT: 0xf0, // to 0xff
} as const;

/** The status register. "Input buffer full" is never set: a byte is digested before the guest runs on. */
const STATUS = { OUTPUT_FULL: 0x01, SYSTEM: 0x04, COMMAND: 0x08, NOT_LOCKED: 0x10, TIMEOUT: 0x40 } as const;

const CONFIGURATION = {
  INTERRUPT: 0x01,
  SYSTEM: 0x04,
  KEYBOARD_DISABLED: 0x10,
  AUXILIARY_DISABLED: 0x20,
  TRANSLATE: 0x40,
} as const;

/** Answers. "Clock line stuck low" is how an auxiliary port that is not there tests; 0xfe asks to send again. */
const ANSWER = { SELF_TEST_PASSED: 0x55, TEST_PASSED: 0x00, CLOCK_LOW: 0x01, NO_PASSWORD: 0xf1, RESEND: 0xfe } as const;

/** The output port's low bits are the reset line (0 resets) and A20; above them idle clock and data lines. */
const OUTPUT_PORT = { NOT_RESET: 0x01, INITIAL: 0xc3 } as const;

/** Bit 7 of the input port: the keyboard is not locked. */
const INPUT_PORT = 0x80;

/** Where its state stands: bytes. */
const STATE = {
  initialised: 0,
  /** The command whose data byte is still to come, or 0. */
  pendingCommand: 1,
  outputPort: 2,
  data: 3,
  status: 4,
  interruptLevel: 5,
  ram: 8,
  sizeBytes: 40,
} as const;

const KEYBOARD_IRQ = 1;

/** The two ports, 0x60 and 0x64. */
export class KeyboardController {
  readonly #state: DataView<ArrayBuffer>;
  readonly #interrupt: InterruptLine;

  constructor(private readonly host: DeviceModelHost) {
    const state = this.#state = host.state(STATE.sizeBytes);
    this.#interrupt = new InterruptLine(host, KEYBOARD_IRQ, state, STATE.interruptLevel);
    if (state.getUint8(STATE.initialised) === 0) {
      const { SYSTEM, KEYBOARD_DISABLED, AUXILIARY_DISABLED, TRANSLATE } = CONFIGURATION;
      state.setUint8(STATE.ram, SYSTEM | KEYBOARD_DISABLED | AUXILIARY_DISABLED | TRANSLATE);
      state.setUint8(STATE.outputPort, OUTPUT_PORT.INITIAL);
      state.setUint8(STATE.initialised, 1);
    }
    host.mapPorts(KEYBOARD_CONTROLLER.data, 1, {
      read: () => this.#readData(),
      write: (_offset, _size, value) => this.#writeData(value),
    });
    host.mapPorts(KEYBOARD_CONTROLLER.command, 1, {
      read: () => this.#readStatus(),
      write: (_offset, _size, value) => this.#writeCommand(value),
    });
  }

  #readStatus(): number {
    const system = this.#state.getUint8(STATE.ram) & CONFIGURATION.SYSTEM ? STATUS.SYSTEM : 0;
    return this.#state.getUint8(STATE.status) | system | STATUS.NOT_LOCKED;
  }

  /** An empty output buffer reads as what it held last. */
  #readData(): number {
    this.#state.setUint8(STATE.status, this.#state.getUint8(STATE.status) & STATUS.COMMAND);
    this.#update();
    return this.#state.getUint8(STATE.data);
  }

  #writeCommand(command: number): void {
    const state = this.#state;
    state.setUint8(STATE.status, state.getUint8(STATE.status) | STATUS.COMMAND);
    state.setUint8(STATE.pendingCommand, 0);
    const group = command & 0xe0;
    if (group === COMMAND.READ_RAM) return this.#answer(state.getUint8(STATE.ram + (command & 0x1f)));
    if (group === COMMAND.WRITE_RAM) return state.setUint8(STATE.pendingCommand, command);
    if (command >= COMMAND.PULSE_OUTPUT) {
      if (!(command & OUTPUT_PORT.NOT_RESET)) this.host.shutdown("reset");
      return;
    }
    this.#execute(command);
  }

  #execute(command: number): void {
    switch (command) {
      case COMMAND.TEST_PASSWORD:
        return this.#answer(ANSWER.NO_PASSWORD);
      case COMMAND.DISABLE_AUXILIARY:
        return this.#configure(CONFIGURATION.AUXILIARY_DISABLED, 0);
      case COMMAND.ENABLE_AUXILIARY:
        return this.#configure(0, CONFIGURATION.AUXILIARY_DISABLED);
      case COMMAND.TEST_AUXILIARY:
        return this.#answer(ANSWER.CLOCK_LOW);
      case COMMAND.SELF_TEST:
        this.#configure(CONFIGURATION.SYSTEM, 0);
        return this.#answer(ANSWER.SELF_TEST_PASSED);
      case COMMAND.TEST_KEYBOARD:
        return this.#answer(ANSWER.TEST_PASSED);
      case COMMAND.DISABLE_KEYBOARD:
        return this.#configure(CONFIGURATION.KEYBOARD_DISABLED, 0);
      case COMMAND.ENABLE_KEYBOARD:
        return this.#configure(0, CONFIGURATION.KEYBOARD_DISABLED);
      case COMMAND.READ_INPUT_PORT:
        return this.#answer(INPUT_PORT);
      case COMMAND.READ_OUTPUT_PORT:
        return this.#answer(this.#state.getUint8(STATE.outputPort));
      case COMMAND.WRITE_OUTPUT_PORT:
      case COMMAND.WRITE_KEYBOARD_OUTPUT:
      case COMMAND.WRITE_AUXILIARY_OUTPUT:
      case COMMAND.WRITE_AUXILIARY:
        return this.#state.setUint8(STATE.pendingCommand, command);
      default: // a command that this controller does not have: no answer
    }
  }

  #writeData(value: number): void {
    const state = this.#state;
    const command = state.getUint8(STATE.pendingCommand);
    state.setUint8(STATE.pendingCommand, 0);
    state.setUint8(STATE.status, state.getUint8(STATE.status) & ~STATUS.COMMAND);
    if ((command & 0xe0) === COMMAND.WRITE_RAM) {
      state.setUint8(STATE.ram + (command & 0x1f), value);
      return this.#update();
    }
    switch (command) {
      case COMMAND.WRITE_OUTPUT_PORT:
        state.setUint8(STATE.outputPort, value);
        if (!(value & OUTPUT_PORT.NOT_RESET)) this.host.shutdown("reset");
        return;
      // There is no auxiliary port, so its loop-back comes without its mark. Silence would tell the same to Linux, but
      // only after half a second of waiting.
      case COMMAND.WRITE_AUXILIARY_OUTPUT:
      case COMMAND.WRITE_KEYBOARD_OUTPUT:
        return this.#answer(value);
      default: // for the keyboard or the auxiliary device: nobody there takes it
        return this.#answer(ANSWER.RESEND, STATUS.TIMEOUT);
    }
  }

  #configure(set: number, clear: number): void {
    this.#state.setUint8(STATE.ram, (this.#state.getUint8(STATE.ram) | set) & ~clear);
  }

  #answer(value: number, flags = 0): void {
    const state = this.#state;
    state.setUint8(STATE.data, value);
    state.setUint8(STATE.status, (state.getUint8(STATE.status) & STATUS.COMMAND) | STATUS.OUTPUT_FULL | flags);
    this.#update();
  }

  #update(): void {
    const full = (this.#state.getUint8(STATE.status) & STATUS.OUTPUT_FULL) !== 0;
    this.#interrupt.set(full && (this.#state.getUint8(STATE.ram) & CONFIGURATION.INTERRUPT) !== 0);
  }
}
