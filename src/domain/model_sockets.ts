/** The device models of a domain that come to sockets: who they are, what they get, how long they may take. */

import type { Vm } from "../kvm/vm.ts";
import type { IoreqServers } from "../ioreq/servers.ts";
import type { ControlBlock } from "./control_block.ts";
import { Gate } from "./gate.ts";
import type { GateDomain } from "./gate_operations.ts";
import { grantedFiles, type RamPiece } from "./grants.ts";
import type { InterruptLines } from "./interrupt_lines.ts";
import { ModelEvents } from "./model_events.ts";
import { ModelProcesses } from "./model_processes.ts";
import { type Outcome, SHUTDOWN, STATUS } from "./outcome.ts";
import type { DomainSpecification } from "./specification.ts";
import type { WindowOperations } from "./windows.ts";

/** What they need of the domain. */
export interface ModelSocketsParts {
  readonly control: ControlBlock;
  readonly servers: IoreqServers;
  readonly windows: WindowOperations;
  readonly pagerDoorbell: number;
  readonly lines: InterruptLines;
  readonly vm: Vm;
  readonly ram: readonly RamPiece[];
}

/** The sockets of one domain; without any it does nothing. */
export class ModelSockets implements AsyncDisposable {
  readonly #gate: Gate | undefined;
  readonly #processes: ModelProcesses;
  /** Where each of the specification's comes, in its order. */
  readonly #paths: string[];

  /** Starts the gate's Worker: it loads its code while the domain is made. @param end ends the domain's run */
  constructor(private readonly specification: DomainSpecification, private readonly end: (outcome: Outcome) => void) {
    const { sockets, hold } = specification;
    const own = sockets.flatMap(({ from }) => typeof from === "string" ? [] : [from]);
    this.#processes = new ModelProcesses(own, { hold, end });
    const places = this.#processes.sockets.values();
    this.#paths = sockets.map(({ from }) => typeof from === "string" ? from : places.next().value!);
    if (sockets.length === 0) return;
    const served = (path: string) => this.#processes.served(path);
    this.#gate = new Gate({ served, fault: (error) => this.#fault(error) });
  }

  /** Lets device models in. They are numbered after those in Workers, and make their servers themselves. */
  open({ control, servers, windows, pagerDoorbell, lines, vm, ram }: ModelSocketsParts): void {
    const { vcpus, models, sockets } = this.specification;
    const domain: GateDomain = {
      servers,
      windows,
      events: new ModelEvents(vm),
      pagerDoorbell,
      vcpus,
      vcpusPerWaiter: control.vcpusPerWaiter,
      waiterDoorbells: Array.from(control.doorbells),
      setIrqLevel: (gsi, level) => lines.setLevel(gsi, level),
      setIsaIrqLevel: (irq, level) => lines.setIsaLevel(irq, level),
      setPciIntxLevel: (segment, bus, device, pin, level) => lines.setPciIntx(segment, bus, device, pin, level),
      setPciLinkRoute: (link, irq) => lines.setPciLinkRoute(link, irq),
      injectMsi: (address, data) => lines.injectMsi(Number(address), data),
      shutdown: (reason) => this.end(SHUTDOWN[reason]),
      grants: (who) => grantedFiles(ram, sockets[who - models.length].memory),
    };
    this.#gate?.start(
      domain,
      this.#paths.map((path, index) => {
        // Who ends of our own has a successor, or ends the run.
        const hold = this.specification.hold || typeof sockets[index].from !== "string";
        return { path, emulator: models.length + index, hold };
      }),
    );
    this.#processes.start();
  }

  /** Resolves when a device model serves at every socket, or it took too long, or `ended` resolves. */
  async ready(ended: Promise<unknown>): Promise<void> {
    const { deviceModelTimeoutMs } = this.specification;
    if (this.#gate === undefined) return;
    const tooLong = () => {
      const reason = `no device model at ${this.#paths.join(", ")} within ${deviceModelTimeoutMs! / 1000} s`;
      this.end({ kind: "timeout", status: STATUS.TIMEOUT, reason });
    };
    const timer = deviceModelTimeoutMs === undefined ? undefined : setTimeout(tooLong, deviceModelTimeoutMs);
    await Promise.race([this.#gate.ready, ended]);
    clearTimeout(timer);
  }

  /** Those that the domain has started. */
  get processes(): ModelProcesses {
    return this.#processes;
  }

  /** The domain tells its device models to leave. */
  leave(): void {
    this.#processes.leave();
  }

  /** Resolves when no device model is connected. */
  get empty(): Promise<void> {
    return this.#gate?.empty ?? Promise.resolve();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.leave();
    await this.#gate?.[Symbol.asyncDispose]();
    await this.#processes[Symbol.asyncDispose]();
  }

  /** A mistake of ours: the run ends, with a status that says so. */
  #fault(error: unknown): void {
    const reason = `the gate failed: ${error instanceof Error ? error.message : error}`;
    this.end({ kind: "internal", status: STATUS.INTERNAL, reason });
  }
}
