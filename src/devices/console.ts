/** The guest's console: the descriptors that COM1 and the debug console share, and the bytes on their way. */

import type { DeviceModelHost } from "../dm/host.ts";

/** What the console needs of Linux. A result below zero is -errno. */
export interface DescriptorCalls {
  read(descriptor: number, buffer: Uint8Array<ArrayBuffer>): number;
  write(descriptor: number, buffer: Uint8Array<ArrayBuffer>): number;
}

/** Which descriptors the console has. Plain data: it travels to the model's Worker. */
export interface ConsoleOptions {
  /** Where the guest's input comes from; -1: it gets none. */
  readonly input: number;
  /** Where its output goes; -1: nowhere. */
  readonly output: number;
  /** The input byte that ends the run instead of reaching the guest (0x1d is Ctrl-]); null: every byte reaches it. */
  readonly escape: number | null;
}

/** Who receives the input. */
export interface InputConsumer {
  /** Whether it would take a byte now. */
  wants(): boolean;
  /** There are bytes to {@linkcode Console.take}. */
  arrived(): void;
  /** There is {@linkcode Console.room} again: for those who do not {@linkcode Console.put} what there is none for. */
  drained?(): void;
}

/**
 * Bytes that one write carries at most. A pipe that reports POLLOUT has room for a page, so such a write does not block
 * (pipe(7): PIPE_BUF).
 */
export const BACKLOG_BYTES = 4096;

/** How many taken bytes can be put back at any time: as many as the receiver of a 16550A holds. */
export const PUT_BACK_BYTES = 16;

const INPUT_BYTES = 32768; // a power of two

/** As much of a line is kept, for whoever wants to know what the guest said last. */
const LINE_BYTES = 240;
const LINE = 16 + BACKLOG_BYTES + INPUT_BYTES;

/** Where the console's state stands in its DataView. */
const STATE = {
  backlogLength: 0,
  inputHead: 4,
  inputLength: 8,
  inputEnded: 12,
  outputClosed: 13,
  lineEnded: 14,
  lineLength: 15,
  backlog: 16,
  input: 16 + BACKLOG_BYTES,
  line: LINE,
  sizeBytes: LINE + LINE_BYTES,
} as const;

const POLLIN = 1, POLLOUT = 4, POLLERR = 8, POLLHUP = 16, POLLNVAL = 32;
const EINTR = 4, EAGAIN = 11;
const NEWLINE = 0x0a, CARRIAGE_RETURN = 0x0d;

/** The last line that a guest has printed, or the part of it that there is. @param state of its console, which begins there */
export function lastLine(state: DataView): string {
  const bytes = new Uint8Array(state.buffer, state.byteOffset + STATE.line, state.getUint8(STATE.lineLength));
  return new TextDecoder().decode(bytes.slice());
}

/** Output is collected until the model would sleep or the backlog is full; input waits here until a consumer takes it. */
export class Console {
  readonly #state: DataView<ArrayBuffer>;
  readonly #backlog: Uint8Array<ArrayBuffer>;
  readonly #input: Uint8Array<ArrayBuffer>;
  readonly #excess = new Uint8Array(256);
  #consumer: InputConsumer | null = null;

  constructor(
    private readonly host: DeviceModelHost,
    private readonly calls: DescriptorCalls,
    private readonly options: ConsoleOptions,
  ) {
    const state = this.#state = host.state(STATE.sizeBytes);
    this.#backlog = new Uint8Array(state.buffer, state.byteOffset + STATE.backlog, BACKLOG_BYTES);
    this.#input = new Uint8Array(state.buffer, state.byteOffset + STATE.input, INPUT_BYTES);
    if (options.output >= 0) {
      // A watch on POLLOUT is the flush before sleep: poll(2) comes back at once while there is room.
      const interest = () => this.#closed ? -1 : this.#length > 0 ? POLLOUT : 0;
      host.watch({ descriptor: options.output, interest, ready: (events) => this.#outputReady(events) });
      host.beforeStop(() => this.#drain());
    }
    if (options.input >= 0) {
      host.watch({ descriptor: options.input, interest: () => this.#inputInterest(), ready: () => this.#receive() });
    }
  }

  /** Names the one who receives the input. */
  attach(consumer: InputConsumer): void {
    this.#consumer = consumer;
  }

  /** Bytes that can be put without blocking. */
  get room(): number {
    return BACKLOG_BYTES - this.#length;
  }

  /** Prints a byte. While the backlog is full, blocks until the output takes some of it or the domain stops. */
  put(byte: number): void {
    this.#keepLine(byte);
    if (this.options.output < 0 || this.#closed) return;
    while (this.#length === BACKLOG_BYTES) {
      if (!this.host.waitFor(this.options.output, POLLOUT)) return;
      this.#writeOnce();
      if (this.#closed) return;
    }
    this.#backlog[this.#length++] = byte;
  }

  /** Empty lines do not count, nor does what exceeds a line's room. */
  #keepLine(byte: number): void {
    const state = this.#state;
    if (byte === NEWLINE) return state.setUint8(STATE.lineEnded, 1);
    if (byte === CARRIAGE_RETURN) return;
    const length = state.getUint8(STATE.lineEnded) !== 0 ? 0 : state.getUint8(STATE.lineLength);
    if (length === LINE_BYTES) return;
    state.setUint8(STATE.lineEnded, 0);
    state.setUint8(STATE.line + length, byte);
    state.setUint8(STATE.lineLength, length + 1);
  }

  /** The next byte of input, or -1. */
  take(): number {
    const length = this.#inputLength;
    if (length === 0) return -1;
    const head = this.#state.getUint32(STATE.inputHead, true);
    this.#setInput(head + 1, length - 1);
    return this.#input[head];
  }

  /** Makes `byte` the next byte of input again. At most {@linkcode PUT_BACK_BYTES} that were taken may be put back. */
  putBack(byte: number): void {
    const head = (this.#state.getUint32(STATE.inputHead, true) - 1) & (INPUT_BYTES - 1);
    this.#input[head] = byte;
    this.#setInput(head, this.#inputLength + 1);
  }

  get #length(): number {
    return this.#state.getUint32(STATE.backlogLength, true);
  }

  set #length(bytes: number) {
    this.#state.setUint32(STATE.backlogLength, bytes, true);
  }

  get #closed(): boolean {
    return this.#state.getUint8(STATE.outputClosed) !== 0;
  }

  get #inputLength(): number {
    return this.#state.getUint32(STATE.inputLength, true);
  }

  #setInput(head: number, length: number): void {
    this.#state.setUint32(STATE.inputHead, head & (INPUT_BYTES - 1), true);
    this.#state.setUint32(STATE.inputLength, length, true);
  }

  #outputReady(events: number): void {
    if (events & (POLLERR | POLLHUP | POLLNVAL)) this.#close();
    else if (this.#length > 0) this.#writeOnce();
    this.#consumer?.drained?.();
  }

  /** @returns what write(2) returned */
  #writeOnce(): number {
    const length = this.#length;
    const written = this.calls.write(this.options.output, this.#backlog.subarray(0, length));
    if (written >= 0) {
      this.#backlog.copyWithin(0, written, length);
      this.#length = length - written;
    } else if (written !== -EINTR && written !== -EAGAIN) {
      this.#close();
    }
    return written;
  }

  #close(): void {
    this.#state.setUint8(STATE.outputClosed, 1);
    this.#length = 0;
    this.host.shutdown("console closed");
  }

  /** The last words: nobody waits for this thread any more, so the write itself may block, as in any program. */
  #drain(): void {
    while (this.#length > 0) {
      if (this.#writeOnce() === -EAGAIN && !this.host.waitFor(this.options.output, POLLOUT)) return;
    }
  }

  /**
   * With an escape byte everything typed is read, so that it works while the guest takes no input; what it does not
   * take for 32 KiB is lost then, as on a serial line.
   */
  #inputInterest(): number {
    if (this.#state.getUint8(STATE.inputEnded) !== 0) return -1;
    if (this.options.escape !== null) return POLLIN;
    if (this.#inputRoom() === 0) return -1;
    return this.#inputLength === 0 && this.#consumer?.wants() ? POLLIN : -1;
  }

  /** Bytes that a read may bring, in one piece; the room for what is put back stays free. */
  #inputRoom(): number {
    const tail = (this.#state.getUint32(STATE.inputHead, true) + this.#inputLength) & (INPUT_BYTES - 1);
    return Math.min(Math.max(0, INPUT_BYTES - PUT_BACK_BYTES - this.#inputLength), INPUT_BYTES - tail);
  }

  #receive(): void {
    const head = this.#state.getUint32(STATE.inputHead, true);
    const tail = (head + this.#inputLength) & (INPUT_BYTES - 1), room = this.#inputRoom();
    const fresh = room > 0 ? this.#input.subarray(tail, tail + room) : this.#excess;
    const count = this.calls.read(this.options.input, fresh);
    if (count === -EINTR || count === -EAGAIN) return;
    if (count <= 0) {
      this.#state.setUint8(STATE.inputEnded, 1); // end of file, or a terminal that hung up
      return;
    }
    const escape = this.options.escape === null ? -1 : fresh.indexOf(this.options.escape);
    const left = escape >= 0 && escape < count;
    if (room > 0) this.#setInput(head, this.#inputLength + (left ? escape : count));
    if (left) {
      this.#state.setUint8(STATE.inputEnded, 1);
      this.host.shutdown("left");
    }
    this.#consumer?.arrived();
  }
}
