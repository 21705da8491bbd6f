/** A domain: a VM's memory, vCPUs and ioreq servers, with the life cycle that holds them together. */

import { eventDescriptor } from "../linux/event_descriptor.ts";
import { Mapping } from "../linux/mapping.ts";
import { installKick, kickThread } from "../linux/signal.ts";
import { CAP, X2APIC_API_DISABLE_BROADCAST_QUIRK, X2APIC_API_USE_32BIT_IDS } from "../kvm/abi.ts";
import type { CpuidTable } from "../kvm/cpuid.ts";
import type { Kvm } from "../kvm/kvm.ts";
import { RunPage } from "../kvm/run_page.ts";
import type { Vcpu } from "../kvm/vcpu.ts";
import type { Vm } from "../kvm/vm.ts";
import { PAGE_SIZE } from "../memory/address.ts";
import { BankViews, MachineMemory } from "../memory/bank.ts";
import { FRAME_TYPE } from "../memory/frame_table.ts";
import { GuestMemory } from "../memory/guest_memory.ts";
import { P2m, p2mMemory } from "../memory/p2m.ts";
import { SecondStage } from "../memory/second_stage.ts";
import { IO_APIC, PIT_IO_APIC_PIN } from "../devices/platform_map.ts";
import { ControlBlock, controlBlockBytes, VCPU_STATE, VCPU_STATES, type VcpuState } from "./control_block.ts";
import { CrewMember } from "./crew.ts";
import { type Outcome, STATUS } from "./outcome.ts";
import { type Statistics, statisticsOf } from "./statistics.ts";

/** The domain id that owns guest memory, and the host's (Xen: dom0), which owns everything else. */
const DOMID = 1;

/** How long a model may take to flush its output after an ending that nobody wants to wait for. */
const GRACE_MS = 500;

/** RAM of the domain: guest-physical [address, address + sizeBytes) is the RAM bank from `offset` on. */
export interface RamRange {
  readonly address: number;
  readonly sizeBytes: number;
  readonly offset: number;
}

/** A device model to attach. */
export interface ModelSpecification {
  /** The module's URL; undefined is the built-in platform model. */
  readonly module: string | undefined;
  /** Structured-cloneable; the second argument of the module's default function. */
  readonly configuration: unknown;
}

/** What a new domain is made of. */
export interface DomainSpecification {
  readonly vcpus: number;
  readonly memoryBytes: number;
  readonly ram: readonly RamRange[];
  /** In the order of their server ids; the platform model is the first. */
  readonly models: readonly ModelSpecification[];
}

/** One domain. It runs from {@linkcode start} until {@linkcode ended} resolves, and holds everything until disposed. */
export class Domain implements AsyncDisposable {
  readonly #resources = new DisposableStack();
  readonly #ended = Promise.withResolvers<Outcome>();
  readonly #models: CrewMember[];
  readonly #carriers: CrewMember[];
  readonly #control: ControlBlock;
  readonly #vm: Vm;
  readonly #vcpus: Vcpu[] = [];
  readonly #machine: MachineMemory;
  /** The guest's memory, for loading an image. */
  readonly memory: GuestMemory;
  readonly #cpuid: CpuidTable;
  readonly #tscDeadline: boolean;
  #halting: Promise<void> | undefined;
  /** The memory that the others look at is gone, or about to go: looking would kill the process. */
  #disposed = false;

  /** Makes everything but the first entry into the guest. @throws {LinuxError} @throws {MachineMemoryError} */
  constructor(kvm: Kvm, private readonly specification: DomainSpecification) {
    const { vcpus, models } = specification;
    const member = (role: "carrier" | "model", what: string) =>
      new CrewMember(role, what, (failure) => this.#memberEnded(what, failure));
    // Workers first: they load their code while this thread builds the VM.
    this.#models = models.map((_, id) => member("model", `device model ${id}`));
    this.#carriers = Array.from({ length: vcpus }, (_, id) => member("carrier", `vCPU ${id}`));
    try {
      installKick();
      this.#cpuid = kvm.supportedCpuid();
      this.#tscDeadline = kvm.extension(CAP.TSC_DEADLINE_TIMER) > 0;
      const use = <T extends Disposable>(resource: T): T => this.#resources.use(resource);
      const block = use(Mapping.anonymous(controlBlockBytes(vcpus), "control block"));
      this.#control = new ControlBlock(block.address, vcpus);
      this.#machine = use(new MachineMemory());
      const p2mTable = use(p2mMemory());
      this.#control.setMemory(this.#machine.tableAddress, p2mTable.address);
      const p2m = new P2m(p2mTable.address);
      this.memory = new GuestMemory(p2m, new BankViews(this.#machine.tableAddress));
      this.#vm = use(kvm.createVm());
      this.#control.vm = this.#vm.descriptor.number;
      const secondStage = use(new SecondStage(this.#vm, p2m));
      const ram = this.#machine.allocate("xenolith-ram", specification.memoryBytes / PAGE_SIZE, DOMID);
      for (const range of specification.ram) secondStage.mapRam(range.address, range.sizeBytes, ram, range.offset);
      this.#createInterruptControllers();
      for (let id = 0; id < vcpus; id++) this.#createVcpu(id);
      for (let id = 0; id < models.length; id++) this.#createServer(id);
    } catch (error) {
      this.#terminate();
      this.#resources.dispose();
      throw error;
    }
  }

  /** vCPU 0, for its first registers. */
  get bootVcpu(): Vcpu {
    return this.#vcpus[0];
  }

  /** Resolves when the run is over and no thread of the domain runs any more. Never rejects. */
  get ended(): Promise<Outcome> {
    return this.#ended.promise;
  }

  /** What each vCPU is doing, by its id. */
  get vcpuStates(): readonly VcpuState[] {
    if (this.#disposed) return this.#vcpus.map(() => "stopped");
    return this.#vcpus.map((_, id) => VCPU_STATES[this.#control.vcpu(id).state]);
  }

  /** Whether {@linkcode pause} was called and {@linkcode resume} not yet. */
  get paused(): boolean {
    return !this.#disposed && this.#control.paused;
  }

  /** What was counted so far. @throws {ReferenceError} the domain was disposed, and its counters with it */
  get statistics(): Statistics {
    if (this.#disposed) throw new ReferenceError("the domain was disposed, and its statistics with it");
    return statisticsOf(this.#control);
  }

  /** Waits until every device model serves, then lets the vCPUs in. */
  async start(): Promise<void> {
    const { vcpus, models } = this.specification;
    const controlBlock = this.#control.address;
    models.forEach((model, server) => this.#models[server].start({ controlBlock, vcpus, server, ...model }));
    await Promise.all(this.#models.map((model) => model.ready));
    if (this.#control.stopping) return;
    this.#carriers.forEach((carrier, vcpu) => carrier.start({ controlBlock, vcpus, vcpu }));
  }

  /** Ends the run from outside; an earlier ending stands. */
  end(outcome: Outcome): void {
    if (this.#disposed) return;
    this.#control.end(outcome);
    this.#halt();
  }

  /** Takes every vCPU out of the guest. Resolves when none runs guest code; requests under way are still answered. */
  async pause(): Promise<void> {
    if (this.#disposed) return;
    this.#control.paused = true;
    while (!this.#disposed && this.#control.paused && !this.#control.stopping) {
      const change = Promise.race(this.#carriers.map((carrier) => carrier.nextReport));
      const running = this.#vcpus.filter((_, id) => this.#control.vcpu(id).state === VCPU_STATE.RUNNING);
      if (running.length === 0) return;
      this.kick();
      await change;
    }
  }

  /** Lets them in again. */
  resume(): void {
    if (this.#disposed) return;
    this.#control.paused = false;
    for (let id = 0; id < this.#vcpus.length; id++) this.#control.vcpu(id).doorbell().ring();
  }

  /** Takes every vCPU out of the guest once, and wakes those that wait: each then looks at what it is to do. */
  kick(): void {
    if (this.#disposed) return;
    for (let id = 0; id < this.#vcpus.length; id++) {
      const record = this.#control.vcpu(id);
      new RunPage(record.runPage()).setImmediateExit(true);
      if (record.thread !== 0) kickThread(record.thread);
      record.doorbell().ring();
    }
  }

  /** Ends the run if it has not ended, waits for every thread and frees everything; a second time does nothing. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.end({ kind: "stopped", status: STATUS.OK, reason: "stopped from outside" });
    await this.ended;
    if (this.#disposed) return;
    this.#disposed = true;
    const idle = this.#models.every((model) => model.idle);
    this.#terminate();
    // A model that was given up may still look at the memory: that is then left to the end of the process.
    if (idle) this.#resources.dispose();
  }

  #createInterruptControllers(): void {
    const { vcpus } = this.specification;
    this.#vm.createInterruptControllers();
    this.#vm.routeInterrupts(IO_APIC.pins, PIT_IO_APIC_PIN);
    if (vcpus <= 255) return;
    const flags = X2APIC_API_USE_32BIT_IDS | X2APIC_API_DISABLE_BROADCAST_QUIRK;
    this.#vm.enableCapability(CAP.X2APIC_API, BigInt(flags));
  }

  #createVcpu(id: number): void {
    const vcpu = this.#resources.use(this.#vm.createVcpu(id));
    const doorbell = this.#resources.use(eventDescriptor(`doorbell of vCPU ${id}`));
    vcpu.setCpuid(this.#cpuid.forVcpu(id, this.specification.vcpus, this.#tscDeadline));
    const { address, sizeBytes } = vcpu.runPage;
    this.#control.vcpu(id).create(vcpu.descriptor.number, address, sizeBytes, doorbell.number);
    this.#vcpus.push(vcpu);
  }

  /** One page serves 128 vCPUs; the domain owns it, and the server holds it as writable (Xen: get_page_and_type). */
  #createServer(id: number): void {
    const page = this.#machine.allocate(`xenolith-ioreq-${id}`, 1, DOMID);
    page.frameTable.getType(page.firstMfn, FRAME_TYPE.WRITABLE);
    this.#resources.defer(() => page.frameTable.putType(page.firstMfn));
    const doorbell = this.#resources.use(eventDescriptor(`doorbell of ioreq server ${id}`));
    const { servers } = this.#control;
    servers.change(() => servers.server(id).create(page.directmap.address, doorbell.number, this.specification.vcpus));
    this.#resources.defer(() => servers.change(() => servers.server(id).destroy()));
  }

  #memberEnded(what: string, failure: string | undefined): void {
    if (failure !== undefined) {
      this.#control.end({ kind: "internal", status: STATUS.INTERNAL, reason: `${what} failed: ${failure}` });
    }
    if (this.#control.stopping) this.#halt();
  }

  /** Brings every thread to its end, in the order in which they need each other: vCPUs, then device models. */
  #halt(): void {
    this.#halting ??= (async () => {
      const outcome = this.#control.outcome!;
      this.kick();
      await Promise.all(this.#carriers.map((carrier) => carrier.stopped));
      for (let id = 0; id < this.#models.length; id++) this.#control.servers.server(id).release();
      const stopped = Promise.all(this.#models.map((model) => model.stopped));
      await (IMPATIENT.has(outcome.kind) ? withinGrace(stopped) : stopped);
      this.#ended.resolve(outcome);
    })();
  }

  #terminate(): void {
    for (const member of [...this.#carriers, ...this.#models]) member.terminate();
  }
}

/** Endings after which nobody waits for a console that does not take its output. */
const IMPATIENT: ReadonlySet<string> = new Set(["timeout", "signal", "left", "stopped", "internal"]);

async function withinGrace(work: Promise<unknown>): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, GRACE_MS);
  await Promise.race([work, promise]);
  clearTimeout(timer);
}
