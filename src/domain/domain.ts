/** A domain: a VM's memory, vCPUs and ioreq servers, with the life cycle that holds them together. */

import { clock } from "../linux/calls.ts";
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
import { GuestMemory } from "../memory/guest_memory.ts";
import { P2m, p2mMemory } from "../memory/p2m.ts";
import { SecondStage } from "../memory/second_stage.ts";
import { Vmap } from "../memory/vmap.ts";
import { IO_APIC, PIT_IO_APIC_PIN } from "../devices/platform_map.ts";
import { BUFIOREQ } from "../ioreq/abi.ts";
import { IoreqServers } from "../ioreq/servers.ts";
import { divide, type Division } from "./carriers.ts";
import { ControlBlock, controlBlockBytes } from "./control_block.ts";
import { CrewMember } from "./crew.ts";
import { cutRam, type RamPiece } from "./grants.ts";
import { InterruptLines } from "./interrupt_lines.ts";
import { ModelSockets } from "./model_sockets.ts";
import { type Outcome, STATUS } from "./outcome.ts";
import { RequestWatch } from "./request_watch.ts";
import { ServedDomainMemory } from "./served_domain.ts";
import type { DomainSpecification } from "./specification.ts";
import { type Statistics, statisticsOf, type TracedRequest, tracedRequests } from "./statistics.ts";
import { traceBytes } from "./trace.ts";
import { VCPU_STATE, VCPU_STATES, type VcpuRecord, type VcpuState } from "./vcpu_record.ts";

/** The domain id that owns guest memory, and the host's (Xen: dom0), which owns everything else. */
const DOMID = 1;

/** How long a model may take to flush its output after an ending that nobody wants to wait for. */
const GRACE_MS = 500;

/** One domain. It runs from {@linkcode start} until {@linkcode ended} resolves, and holds everything until disposed. */
export class Domain implements AsyncDisposable {
  readonly #resources = new DisposableStack();
  readonly #ended = Promise.withResolvers<Outcome>();
  readonly #models: CrewMember[];
  /** Carriers or dispatchers, by the number of the waiter. */
  readonly #carriers: CrewMember[];
  readonly #control: ControlBlock;
  readonly #vm: Vm;
  readonly #vcpus: Vcpu[] = [];
  readonly #records: VcpuRecord[] = [];
  readonly #runPages: RunPage[] = [];
  readonly #machine: MachineMemory;
  readonly #ram: readonly RamPiece[];
  readonly #lines: InterruptLines;
  /** The ioreq servers; those of the device models in Workers have the first ids. */
  readonly servers: IoreqServers;
  /** The guest's memory, for loading an image. */
  readonly memory: GuestMemory;
  readonly #cpuid: CpuidTable;
  readonly #tscDeadline: boolean;
  readonly #madeTicks = clock();
  readonly #sockets: ModelSockets;
  /** Resolves at the next {@linkcode resume}: vCPUs that were let in again before they came to rest report nothing. */
  #resumed = Promise.withResolvers<void>();
  #halting: Promise<void> | undefined;
  /** The memory that the others look at is gone, or about to go: looking would kill the process. */
  #disposed = false;

  /** Makes everything but the first entry into the guest. @throws {LinuxError} @throws {MachineMemoryError} */
  constructor(kvm: Kvm, private readonly specification: DomainSpecification) {
    const { vcpus, models } = specification;
    const { role, vcpusPerWaiter, waiters } = divide(specification.carrier, vcpus, navigator.hardwareConcurrency);
    const member = (role: Division["role"] | "model", what: string) =>
      new CrewMember(role, what, (failure) => this.#memberEnded(what, failure));
    // Workers first: they load their code while this thread builds the VM.
    this.#models = models.map((_, id) => member("model", `device model ${id}`));
    const what = role === "carrier" ? "vCPU" : role;
    this.#carriers = Array.from({ length: waiters }, (_, id) => member(role, `${what} ${id}`));
    this.#sockets = new ModelSockets(specification, (outcome) => this.end(outcome));
    try {
      installKick();
      this.#cpuid = kvm.supportedCpuid();
      this.#tscDeadline = kvm.extension(CAP.TSC_DEADLINE_TIMER) > 0;
      const use = <T extends Disposable>(resource: T): T => this.#resources.use(resource);
      const block = use(Mapping.anonymous(controlBlockBytes(vcpus, waiters), "control block"));
      const traces = use(Mapping.anonymous(traceBytes(vcpus), "trace rings"));
      this.#control = new ControlBlock(block.address, vcpus);
      this.#machine = use(new MachineMemory());
      const p2mTable = use(p2mMemory());
      this.#control.setMemory(this.#machine.tableAddress, p2mTable.address, traces.address);
      const p2m = new P2m(p2mTable.address);
      this.memory = new GuestMemory(p2m, new BankViews(this.#machine.tableAddress));
      this.#vm = use(kvm.createVm());
      this.#control.vm = this.#vm.descriptor.number;
      const secondStage = use(new SecondStage(this.#vm, p2m));
      this.#ram = this.#createRam(secondStage);
      this.#createInterruptControllers();
      this.#lines = new InterruptLines(this.#control.interruptLines, this.#vm);
      const doorbells = this.#carriers.map(({ name }) => use(eventDescriptor(`doorbell of ${name}`)).number);
      this.#control.setWaiters(vcpusPerWaiter, doorbells);
      for (let id = 0; id < vcpus; id++) this.#createVcpu(id);
      const parts = { control: this.#control, machine: this.#machine, vmap: use(new Vmap(this.#machine)), secondStage };
      const served = new ServedDomainMemory({ ...parts, domid: DOMID, wakeVcpus: () => this.#wakeAll() });
      this.servers = use(new IoreqServers(served, this.#control.servers));
      for (let id = 0; id < models.length; id++) this.#createServer(id);
      this.#sockets.open({ control: this.#control, servers: this.servers, lines: this.#lines, ram: this.#ram });
    } catch (error) {
      void this.#sockets[Symbol.asyncDispose]();
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
    return this.#records.map(({ state }) => VCPU_STATES[state]);
  }

  /** Whether {@linkcode pause} was called and {@linkcode resume} not yet. */
  get paused(): boolean {
    return !this.#disposed && this.#control.paused;
  }

  /** What was counted so far. @throws {ReferenceError} the domain was disposed, and its counters with it */
  get statistics(): Statistics {
    if (this.#disposed) throw new ReferenceError("the domain was disposed, and its statistics with it");
    return statisticsOf(this.#control, this.#vcpus.map(({ descriptor }) => descriptor));
  }

  /** The last requests of each vCPU. @throws {ReferenceError} the domain was disposed */
  get trace(): TracedRequest[] {
    if (this.#disposed) throw new ReferenceError("the domain was disposed, and its trace with it");
    return tracedRequests(this.#control, this.#madeTicks);
  }

  /** Waits until every device model serves, then lets the vCPUs in. */
  async start(): Promise<void> {
    const { vcpus, models } = this.specification;
    const controlBlock = this.#control.address;
    models.forEach((model, server) => this.#models[server].start({ controlBlock, vcpus, server, ...model }));
    await Promise.all(this.#models.map((model) => model.ready));
    await this.#sockets.ready(this.ended);
    if (this.#control.stopping) return;
    this.#watchRequests();
    this.#carriers.forEach((carrier, waiter) => carrier.start({ controlBlock, vcpus, waiter }));
  }

  /** Ends the run from outside; an earlier ending stands. */
  end(outcome: Outcome): void {
    if (this.#disposed) return;
    this.#control.end(outcome);
    this.#halt();
  }

  /**
   * Takes every vCPU out of the guest. Resolves when none runs guest code, or they were let in again meanwhile; requests
   * under way are still answered.
   */
  async pause(): Promise<void> {
    if (this.#disposed) return;
    this.#control.paused = true;
    this.kick();
    while (!this.#disposed && this.#control.paused && !this.#control.stopping) {
      const change = Promise.race([this.#resumed.promise, ...this.#carriers.map((carrier) => carrier.nextReport)]);
      if (!this.#records.some(({ state }) => state === VCPU_STATE.RUNNING)) return;
      await change;
    }
  }

  /** Lets them in again. */
  resume(): void {
    if (this.#disposed) return;
    this.#control.paused = false;
    this.#wakeAll();
    this.#resumed.resolve();
    this.#resumed = Promise.withResolvers();
  }

  /** Takes every vCPU out of the guest once, and wakes those that wait: each then looks at what it is to do. */
  kick(): void {
    if (this.#disposed) return;
    for (let id = 0; id < this.#vcpus.length; id++) {
      this.#runPages[id].setImmediateExit(true);
      const { thread } = this.#records[id];
      if (thread !== 0) kickThread(thread);
    }
    this.#wakeAll();
  }

  /** Ends the run if it has not ended, waits for every thread and frees everything; a second time does nothing. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.end({ kind: "stopped", status: STATUS.OK, reason: "stopped from outside" });
    await this.ended;
    if (this.#disposed) return;
    this.#disposed = true;
    await this.#sockets[Symbol.asyncDispose]();
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
    const vcpu = this.#resources.use(this.#vm.createVcpu(id)), record = this.#control.vcpu(id);
    vcpu.setCpuid(this.#cpuid.forVcpu(id, this.specification.vcpus, this.#tscDeadline));
    const { address, sizeBytes } = vcpu.runPage;
    record.create(vcpu.descriptor.number, address, sizeBytes);
    this.#vcpus.push(vcpu);
    this.#records.push(record);
    this.#runPages.push(new RunPage(record.runPage()));
  }

  /** RAM is one bank, unless some of it is granted by itself. */
  #createRam(secondStage: SecondStage): RamPiece[] {
    const { memoryBytes, ram, models, sockets } = this.specification;
    const grants = [...models, ...sockets].map(({ memory }) => memory), pieces = cutRam(ram, grants);
    const whole = grants.every((grant) => typeof grant === "string");
    const bank = whole ? this.#machine.allocate("xenolith-ram", memoryBytes / PAGE_SIZE, DOMID) : undefined;
    return pieces.map(({ address, sizeBytes, offset }) => {
      const piece = bank === undefined
        ? { address, sizeBytes, bank: this.#machine.allocate("xenolith-ram", sizeBytes / PAGE_SIZE, DOMID), offset: 0 }
        : { address, sizeBytes, bank, offset };
      secondStage.mapRam(address, sizeBytes, piece.bank, piece.offset);
      return piece;
    });
  }

  /** The server of a device model in a Worker. Only models that somebody wrote may want the buffered ring. */
  #createServer(index: number): void {
    const buffered = this.specification.models[index].module === undefined ? BUFIOREQ.OFF : BUFIOREQ.ATOMIC;
    const id = this.servers.create(index, buffered);
    this.servers.acquire(index, id, 0, 0);
  }

  #watchRequests(): void {
    const { deviceModelTimeoutMs } = this.specification;
    if (deviceModelTimeoutMs === undefined) return;
    const isHeld = (server: number) => this.servers.isHeld(server);
    const watch = new RequestWatch(this.#control, deviceModelTimeoutMs, isHeld, (outcome) => this.end(outcome));
    void this.ended.then(() => watch[Symbol.dispose]());
  }

  /** Has every vCPU that waits look at what it is to do. */
  #wakeAll(): void {
    for (let id = 0; id < this.specification.vcpus; id++) this.#control.board.wake(id);
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
      this.servers.release();
      // Whoever is in another process may stay for ever; what it has to say before it goes is not worth that.
      const left = withinGrace(this.#sockets.empty);
      const stopped = Promise.all([...this.#models.map((model) => model.stopped), left]);
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
