/** The back end of Xen's PV console: a ring that the guest shares, and an event channel (xen/io/console.h). */

import type { DeviceModelHost, EventChannel } from "../dm/host.ts";
import type { Console, InputConsumer } from "./console.ts";

/** Where the guest's ring is. Plain data: it travels to the model's Worker. */
export interface PvConsoleOptions {
  /** Guest-physical address of struct xencons_interface, which was granted to the model. */
  readonly page: number;
  /** The guest's port, offered to domain 0. */
  readonly port: number;
}

/** struct xencons_interface: input, output, and their indices, which run free. */
const INPUT = 0, OUTPUT = 1024, INPUT_BYTES = 1024, OUTPUT_BYTES = 2048;
const IN_CONS = 3072, IN_PROD = 3076, OUT_CONS = 3080, OUT_PROD = 3084;

/** Prints what the guest puts into its ring; from then on the input is the ring's, too. */
export class PvConsole implements InputConsumer {
  readonly #channel: EventChannel;
  readonly #word = new Uint32Array(1);
  readonly #bytes = new Uint8Array(this.#word.buffer);
  readonly #output = new Uint8Array(OUTPUT_BYTES);
  readonly #byte = new Uint8Array(1);
  /** The guest has printed; what says so for good is the ring's own index. */
  #isUsed = false;

  /** @throws {DmOpError} the port is not there */
  constructor(
    private readonly host: DeviceModelHost,
    private readonly console: Console,
    private readonly options: PvConsoleOptions,
  ) {
    this.#channel = host.bindEventChannel(options.port, () => this.#arrived());
    host.beforeStop(() => this.#print());
  }

  wants(): boolean {
    return this.#get(IN_PROD) - this.#get(IN_CONS) >>> 0 < INPUT_BYTES;
  }

  arrived(): void {
    let produced = this.#get(IN_PROD);
    const consumed = this.#get(IN_CONS), first = produced;
    while (produced - consumed >>> 0 < INPUT_BYTES) {
      const byte = this.console.take();
      if (byte < 0) break;
      this.#byte[0] = byte;
      this.host.memory.write(this.options.page + INPUT + produced % INPUT_BYTES, this.#byte);
      produced = produced + 1 >>> 0;
    }
    if (produced === first) return;
    this.#set(IN_PROD, produced);
    this.#channel.notify();
  }

  /** The guest has put something there, or taken something. */
  #arrived(): void {
    this.#print();
    if (!this.#isUsed && this.#get(OUT_CONS) !== 0) {
      this.#isUsed = true;
      this.console.attach(this);
    }
    if (this.#isUsed) this.arrived();
  }

  /** Indices that make no sense are the guest's loss: it is told that everything was taken. */
  #print(): void {
    for (let consumed = this.#get(OUT_CONS);;) {
      const produced = this.#get(OUT_PROD), count = produced - consumed >>> 0;
      if (count === 0) return;
      if (count <= OUTPUT_BYTES) this.#put(consumed, count);
      consumed = produced;
      this.#set(OUT_CONS, consumed);
      this.#channel.notify();
    }
  }

  #put(consumed: number, count: number): void {
    const at = consumed % OUTPUT_BYTES, before = Math.min(count, OUTPUT_BYTES - at);
    const { page } = this.options, bytes = this.#output.subarray(0, count);
    this.host.memory.read(page + OUTPUT + at, bytes.subarray(0, before));
    this.host.memory.read(page + OUTPUT, bytes.subarray(before));
    for (const byte of bytes) this.console.put(byte);
  }

  #get(offset: number): number {
    this.host.memory.read(this.options.page + offset, this.#bytes);
    return this.#word[0];
  }

  #set(offset: number, value: number): void {
    this.#word[0] = value;
    this.host.memory.write(this.options.page + offset, this.#bytes);
  }
}
