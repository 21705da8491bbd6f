/**
 * Where device models of a test's own misbehave. guests/ioreq-many has 5 vCPUs. The reads of all go to a witness, which is
 * a Worker; the writes of vCPUs 1 to 3 go to the misbehaving server, as long as it is there, and to the witness after
 * that. What the witness answers is checked by the guest.
 */

import { boot, type BootOptions, type TestMachine } from "xenolith/testing";
import { STATE } from "../../src/ioreq/abi.ts";
import { type AttachOptions, PlayedModel } from "./models/misbehaving.ts";

export const WINDOW = 0xfd00_0000, REGISTER_BYTES = 8, NUMBER_BYTES = 4;
export const VCPUS = 5, VICTIMS = [1, 2, 3], ROUNDS = 20;
/** Two requests a round. */
export const ALL = VCPUS * ROUNDS * 2, BYSTANDERS_OWN = (VCPUS - VICTIMS.length) * ROUNDS * 2;
/** The ids of the two servers. */
export const WITNESS = 1, CULPRIT = 2;
/** A run that has not ended by then never will. */
export const LOST_MS = 60_000;

/** Another turn of the event loop: the gate's work is done in this isolate. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}

/** Requests that a server answered. */
export function served(vm: TestMachine, server: number): number {
  return vm.statistics.servers.find(({ id }) => id === server)?.requests ?? 0;
}

/** Accesses that it claimed and did not get. */
export function unhandled(vm: TestMachine, server: number): number {
  return vm.statistics.servers.find(({ id }) => id === server)?.unhandled ?? 0;
}

/** Where ioreq-many runs with a witness, and with a model at a socket that somebody plays. */
export class Stage implements AsyncDisposable {
  readonly #stack = new AsyncDisposableStack();
  readonly #directory = Deno.makeTempDirSync({ prefix: "xenolith-test-" });
  readonly #models: PlayedModel[] = [];
  #ended = false;
  vm!: TestMachine;

  constructor(readonly address = WINDOW, private readonly attaching: AttachOptions = {}) {
    this.#stack.defer(() => Deno.remove(this.#directory, { recursive: true }));
  }

  socket(number = 1): string {
    return `${this.#directory}/${number}.sock`;
  }

  /** Boots with a model at each of `sockets` that claims the victims' writes. @param prepare before they are enabled */
  async start(options: BootOptions, sockets = 1, prepare: (model: PlayedModel) => void = () => {}) {
    const configuration = { address: this.address, vcpus: VCPUS };
    const witness = { module: "tests/support/models/misbehaving_witness.ts", configuration };
    const numbers = Array.from({ length: sockets }, (_, index) => index + 1);
    const deviceModels = [witness, ...numbers.map((number) => ({ socket: this.socket(number) }))];
    const cmdline = `address=0x${this.address.toString(16)} ${options.cmdline ?? `rounds=${ROUNDS}`}`;
    const booting = boot("guests/ioreq-many.img", {
      timeoutMs: LOST_MS,
      vcpus: VCPUS,
      ...options,
      cmdline,
      deviceModels,
    });
    const models: PlayedModel[] = [];
    for (const number of numbers) {
      const model = await this.attach(number);
      models.push(model);
      for (const vcpu of VICTIMS) await this.claim(model, vcpu);
      prepare(model);
      await model.setEnabled(true);
    }
    this.vm = this.#stack.use(await booting);
    this.vm.exited.then(() => this.#ended = true);
    return models;
  }

  /** Another model: the next one at its socket. */
  async attach(number = 1): Promise<PlayedModel> {
    const model = await PlayedModel.attach(this.socket(number), this.attaching);
    this.#models.push(model);
    this.#stack.use(model);
    return model;
  }

  /** The register that a vCPU writes its number to. */
  async claim(model: PlayedModel, vcpu: number): Promise<void> {
    const first = this.address + vcpu * REGISTER_BYTES;
    await model.claim(first, first + NUMBER_BYTES - 1);
  }

  /** Turns until it holds. Fails if the guest comes to its end first. */
  async until(what: string, holds: () => boolean): Promise<void> {
    while (!holds()) {
      if (this.#ended) {
        const { status, reason } = await this.vm.exited;
        throw new Error(`${what}: the run ended before: ${status}: ${reason}\n${this.vm.console.text}`);
      }
      await turn();
    }
  }

  /** Until all victims wait for the model, and everybody else has finished: requests that wait hold up nobody. */
  async stuck(model: PlayedModel): Promise<void> {
    const waits = () => VICTIMS.every((vcpu) => model.slots.state(vcpu) === STATE.READY);
    await this.until("the victims' requests", waits);
    await this.until("the others' requests", () => served(this.vm, WITNESS) === BYSTANDERS_OWN);
  }

  /** Does `step` in each turn until the run is over; then all models leave, which nobody has to wait for. */
  async toTheEnd(step: () => void | Promise<void> = () => {}): Promise<void> {
    while (!this.#ended && !this.#models.some(({ released }) => released)) {
      await step();
      await turn();
    }
    for (const model of this.#models) model[Symbol.dispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}
