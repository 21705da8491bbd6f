/**
 * A guest whose vCPUs do what a test tells them, one access at a time, and a stage on which a device model with windows is
 * played beside the one that tells them.
 */

import { boot, type BootOptions, type TestMachine } from "xenolith/testing";
import { RANGE, STATE } from "../../src/ioreq/abi.ts";
import { PAGE_SIZE } from "../../src/memory/address.ts";
import { PlayedModel } from "./models/misbehaving.ts";
import { PlayedWindows } from "./models/window_played.ts";
import { DIRECTED } from "./real_mode.ts";

/** Where the guest's accesses go: 16 pages that are nobody's before a window is there. */
export const WINDOW = 0xd_0000, WINDOW_GFN = WINDOW / PAGE_SIZE, WINDOW_PAGES = 16;

/** What the guest reads where nobody answers. */
export const ONES = 0xff;

/** A run that has not ended by then never will. */
const LOST_MS = 20_000;

const COMMAND_PORT = 0x510, RESULT_PORT = 0x514;
const OP = { READ: 0, WRITE: 1, END: 2 } as const;

/** Another turn of the event loop: the gate's work is done in this isolate. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}

/** One access that a vCPU was told to make. */
export class Errand {
  #value: number | undefined;

  constructor(private readonly director: Director, readonly vcpu: number) {}

  /** What it read or wrote, once it is done. */
  get done(): Promise<number> {
    return this.#await();
  }

  /** Whether it is done by now. */
  get isDone(): boolean {
    this.#value ??= this.director.result(this.vcpu);
    return this.#value !== undefined;
  }

  async #await(): Promise<number> {
    while (!this.isDone) {
      this.director.check();
      await turn();
    }
    return this.#value!;
  }
}

/** Tells vCPUs what to do, as a device model at a port of its own. */
class Director {
  constructor(readonly model: PlayedModel, private readonly stage: DirectedStage) {}

  async claim(): Promise<void> {
    const range = { id: this.model.id, type: RANGE.PORT, start: BigInt(COMMAND_PORT), end: BigInt(RESULT_PORT) };
    await this.model.client.do("map_io_range_to_ioreq_server", range);
  }

  check(): void {
    this.stage.check();
  }

  /** Waits until the vCPU asks what to do. */
  async ready(vcpu: number): Promise<void> {
    const { slots } = this.model;
    while (slots.state(vcpu) !== STATE.READY || slots.address(vcpu) !== COMMAND_PORT) {
      this.check();
      await turn();
    }
  }

  async send(vcpu: number, op: number, offset: number, value: number): Promise<Errand> {
    await this.ready(vcpu);
    this.model.slots.setData(vcpu, offset | (value << 16) | (op << 24), 0);
    this.model.answer(vcpu);
    return new Errand(this, vcpu);
  }

  /** What the vCPU says that it read or wrote, if it does. */
  result(vcpu: number): number | undefined {
    const { slots } = this.model;
    if (slots.state(vcpu) !== STATE.READY || slots.address(vcpu) !== RESULT_PORT) return undefined;
    const value = slots.dataLow(vcpu) & 0xff;
    this.model.answer(vcpu);
    return value;
  }
}

/** A booted guest with its two device models. */
export class DirectedStage implements AsyncDisposable {
  readonly #stack = new AsyncDisposableStack();
  readonly #directory = Deno.makeTempDirSync({ prefix: "xenolith-test-" });
  #director!: Director;
  #ended = false;
  vm!: TestMachine;
  windows!: PlayedWindows;

  constructor(readonly vcpus = 1) {
    this.#stack.defer(() => Deno.remove(this.#directory, { recursive: true }));
  }

  /** @param others further device models, before those two */
  static async start(
    { vcpus = 1, ...options }: BootOptions = {},
    prepare: (windows: PlayedWindows) => Promise<void> = () => Promise.resolve(),
  ): Promise<DirectedStage> {
    await using stack = new AsyncDisposableStack();
    const stage = stack.use(new DirectedStage(vcpus));
    const deviceModels = [...options.deviceModels ?? [], ...[1, 2].map((number) => ({ socket: stage.socket(number) }))];
    const booting = boot(DIRECTED, { timeoutMs: LOST_MS, vcpus, ...options, deviceModels });
    stage.windows = await stage.attach();
    await prepare(stage.windows);
    await stage.windows.model.setEnabled(true);
    const model = stage.#stack.use(await PlayedModel.attach(stage.socket(2)));
    stage.#director = new Director(model, stage);
    await stage.#director.claim();
    await model.setEnabled(true);
    stage.vm = stage.#stack.use(await booting);
    void stage.vm.exited.then(() => stage.#ended = true);
    stack.move();
    return stage;
  }

  socket(number: number): string {
    return `${this.#directory}/${number}.sock`;
  }

  /** The first device model with windows, or its successor. */
  async attach(): Promise<PlayedWindows> {
    const model = this.#stack.use(await PlayedModel.attach(this.socket(1)));
    return this.#stack.use(new PlayedWindows(model, this.vcpus));
  }

  /** Has a vCPU read a byte of the window. */
  read(offset: number, vcpu = 0): Promise<Errand> {
    return this.#director.send(vcpu, OP.READ, offset, 0);
  }

  write(offset: number, value: number, vcpu = 0): Promise<Errand> {
    return this.#director.send(vcpu, OP.WRITE, offset, value);
  }

  /** Has vCPU 0 end the run with a status. @returns it, and why */
  async end(status = 0) {
    await this.#director.send(0, OP.END, 0, status);
    for (;;) {
      if (this.#ended) break;
      if (this.windows.model.released) this.windows.model[Symbol.dispose]();
      if (this.#director.model.released) this.#director.model[Symbol.dispose]();
      await turn();
    }
    return await this.vm.exited;
  }

  /** Waits until pages of the window are asked for, these and no others. */
  async violated(...gfns: readonly number[]): Promise<void> {
    await this.until(() => `${this.windows.violations}` === `${gfns}`);
  }

  async until(holds: () => boolean): Promise<void> {
    while (!holds()) {
      this.check();
      await turn();
    }
  }

  /** @throws {Error} the run is over */
  check(): void {
    if (this.#ended) throw new Error("the run has ended");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}
