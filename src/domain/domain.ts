/** A domain: a VM's memory, vCPUs and ioreq servers, with the life cycle that holds them together. */

import { clock } from "../linux/calls.ts";
import { EIO } from "../linux/errno.ts";
import { eventDescriptor } from "../linux/event_descriptor.ts";
import { Mapping } from "../linux/mapping.ts";
import { ThreadStacks } from "../linux/native_thread.ts";
import { installKick } from "../linux/signal.ts";
import { CAP } from "../kvm/abi.ts";
import type { CpuidTable } from "../kvm/cpuid.ts";
import type { Kvm } from "../kvm/kvm.ts";
import type { Vcpu } from "../kvm/vcpu.ts";
import type { Vm } from "../kvm/vm.ts";
import { BankViews, MachineMemory } from "../memory/bank.ts";
import { GuestMemory } from "../memory/guest_memory.ts";
import { GuestRam } from "../memory/guest_ram.ts";
import { p2mMemory } from "../memory/p2m.ts";
import { SecondStage } from "../memory/second_stage.ts";
import { STAGE_BYTES } from "../memory/stage_table.ts";
import { Vmap } from "../memory/vmap.ts";
import { BUFIOREQ } from "../ioreq/abi.ts";
import { xenLeaves } from "../hypercall/cpuid_leaves.ts";
import { IoreqServers } from "../ioreq/servers.ts";
import type { CarrierStart } from "./carrier.ts";
import { divide, type Division } from "./carriers.ts";
import { ControlBlock, controlBlockBytes } from "./control_block.ts";
import { CrewMember, type CrewOwner } from "./crew.ts";
import { grantedFiles, type RamPiece } from "./grants.ts";
import { IMPATIENT, PATIENCE, withinGrace, withinPatience } from "./grace.ts";
import { createInterruptControllers, InterruptLines } from "./interrupt_lines.ts";
import type { Failure, ModelRequest, ModelStart, Service } from "./messages.ts";
import { withLastWords } from "./last_words.ts";
import { ModelSockets } from "./model_sockets.ts";
import { type Outcome, STATUS } from "./outcome.ts";
import type { Crew } from "./quiescence.ts";
import { createRam } from "./ram.ts";
import { RequestWatch } from "./request_watch.ts";
import { ServedDomainMemory } from "./served_domain.ts";
import { SERVICE_NAMES, ServiceCrew } from "./service_crew.ts";
import type { DomainSpecification } from "./specification.ts";
import { type Statistics, statisticsOf, ticksPerMs, type TracedRequest, tracedRequests } from "./statistics.ts";
import { Succession } from "./succession.ts";
import { traceBytes } from "./trace.ts";
import { VcpuPause } from "./vcpu_pause.ts";
import { VCPU_STATES, type VcpuState } from "./vcpu_record.ts";
import { WindowOperations } from "./windows.ts";
import { describe } from "./worker.ts";
import { type ShutdownRequest, XenHost } from "./xen_host.ts";
import { GUEST_DOMID, HOST_DOMID } from "../memory/domid.ts";

/** One domain. It runs from {@linkcode start} until {@linkcode ended} resolves, and holds everything until disposed. */
export class Domain implements AsyncDisposable {
  readonly #resources = new DisposableStack();
  readonly #ended = Promise.withResolvers<Outcome>();
  readonly #crew: Crew;
  readonly #control: ControlBlock;
  readonly #vm: Vm;
  readonly #vcpus: Vcpu[] = [];
  readonly #pause: VcpuPause;
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
  readonly #madeMs = performance.now();
  /** How long code may take to load or to begin, by how long it took at first. */
  #patienceMs: number = PATIENCE.leastMs;
  readonly #sockets: ModelSockets;
  readonly #secondStage: SecondStage;
  readonly #windows: WindowOperations;
  readonly #pager: ServiceCrew;
  readonly #xenService: ServiceCrew;
  readonly #xen: XenHost;
  readonly #role: Division["role"];
  readonly #owner: CrewOwner;
  readonly #stacks: bigint;
  #succession: Succession | undefined;
  #halting: Promise<void> | undefined;
  /** The memory that the others look at is gone, or about to go: looking would kill the process. */
  #disposed = false;

  /** Makes everything but the first entry into the guest. @throws {LinuxError} @throws {MachineMemoryError} */
  constructor(kvm: Kvm, private readonly specification: DomainSpecification) {
    const { vcpus, models } = specification;
    const { role, vcpusPerWaiter, waiters } = divide(specification.carrier, vcpus, navigator.hardwareConcurrency);
    this.#role = role;
    const owner: CrewOwner = this.#owner = {
      memberEnded: (name, failure) => this.#memberEnded(name, failure),
      startService: (service) => this.#startService(service),
      modelRequest: (name, request) => this.#modelRequest(name, request),
    };
    this.#pager = this.#resources.use(new ServiceCrew("pager", owner));
    this.#xenService = this.#resources.use(new ServiceCrew("xen", owner));
    // Workers first: they load their code while this thread builds the VM.
    if (specification.populateOnDemand) this.#pager.prepare();
    const what = role === "carrier" ? "vCPU" : role;
    this.#crew = {
      models: models.map((_, id) => new CrewMember("model", `device model ${id}`, owner)),
      carriers: Array.from({ length: waiters }, (_, id) => new CrewMember(role, `${what} ${id}`, owner)),
    };
    this.#sockets = new ModelSockets(specification, (outcome) => this.end(outcome));
    try {
      installKick();
      this.#cpuid = kvm.supportedCpuid();
      const kvmReportsFetches = kvm.extension(CAP.EXIT_ON_EMULATION_FAILURE) > 0;
      this.#tscDeadline = kvm.extension(CAP.TSC_DEADLINE_TIMER) > 0;
      const use = <T extends Disposable>(resource: T): T => this.#resources.use(resource);
      const block = use(Mapping.anonymous(controlBlockBytes(vcpus, waiters), "control block"));
      const traces = use(Mapping.anonymous(traceBytes(vcpus), "trace rings"));
      this.#control = new ControlBlock(block.address, vcpus);
      this.#pause = new VcpuPause(this.#control);
      this.#stacks = role === "dispatcher" ? use(new ThreadStacks(vcpus)).address : 0n;
      this.#machine = use(new MachineMemory());
      const p2mTable = use(p2mMemory());
      this.#control.setMemory(this.#machine.tableAddress, p2mTable.address, traces.address);
      this.#control.setStage(use(Mapping.anonymous(STAGE_BYTES, "second stage")).address);
      const map = this.#control.physicalMap, banks = new BankViews(this.#machine.tableAddress);
      map.table.ticksPerUs = ticksPerMs() / 1000;
      this.#control.populatesOnDemand = specification.populateOnDemand;
      const guestRam = new GuestRam(map, banks);
      this.memory = new GuestMemory(map.p2m, banks, (gfn) => guestRam.touch(gfn));
      this.#vm = use(kvm.createVm());
      this.#control.vm = this.#vm.descriptor.number;
      this.#secondStage = use(new SecondStage(this.#vm, map));
      this.#ram = createRam(specification, this.#machine, this.#secondStage);
      this.#secondStage.addRegions(specification.regions);
      createInterruptControllers(this.#vm, vcpus);
      this.#lines = new InterruptLines(this.#control.interruptLines, this.#vm);
      const doorbells = this.#crew.carriers.map(({ name }) => use(eventDescriptor(`doorbell of ${name}`)).number);
      this.#control.setWaiters(vcpusPerWaiter, doorbells);
      const parts = { control: this.#control, machine: this.#machine, secondStage: this.#secondStage };
      this.#xen = use(
        new XenHost({ ...parts, ...specification, vm: this.#vm, kvm, doorbell: this.#xenService.doorbell.number }),
      );
      for (let id = 0; id < vcpus; id++) this.#createVcpu(id);
      this.#windows = new WindowOperations({
        ...parts,
        owner: HOST_DOMID,
        startPager: () => this.#startService("pager"),
        ringPager: () => this.#ringPager(),
        reportFetches: () => this.#reportFetches(kvmReportsFetches),
      });
      const places = { vmap: use(new Vmap(this.#machine)), windows: this.#windows };
      const served = new ServedDomainMemory({
        ...parts,
        ...places,
        domid: GUEST_DOMID,
        wakeVcpus: () => this.#pause.wakeAll(),
      });
      this.servers = use(new IoreqServers(served, this.#control.servers));
      for (let id = 0; id < models.length; id++) this.#createServer(id);
      this.#sockets.open({
        control: this.#control,
        servers: this.servers,
        windows: this.#windows,
        pagerDoorbell: this.#pager.doorbell.number,
        lines: this.#lines,
        vm: this.#vm,
        ram: this.#ram,
      });
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
    return this.#pause.records.map(({ state }) => VCPU_STATES[state]);
  }

  /** Whether {@linkcode pause} was called and {@linkcode resume} not yet. */
  get paused(): boolean {
    return !this.#disposed && this.#pause.isPausedBy("user");
  }

  /** What was counted so far. @throws {ReferenceError} the domain was disposed, and its counters with it */
  get statistics(): Statistics {
    if (this.#disposed) throw new ReferenceError("the domain was disposed, and its statistics with it");
    return statisticsOf(this.#control, this.#vcpus.map(({ descriptor }) => descriptor), this.#succession?.statistics);
  }

  /** The last requests of each vCPU. @throws {ReferenceError} the domain was disposed */
  get trace(): TracedRequest[] {
    if (this.#disposed) throw new ReferenceError("the domain was disposed, and its trace with it");
    return tracedRequests(this.#control, this.#madeTicks);
  }

  /** Waits until every device model serves, then lets the vCPUs in. */
  async start(): Promise<void> {
    const { carriers, models } = this.#crew;
    models.forEach((model, server) => model.start(this.#modelStart(server)));
    await Promise.all(models.map((model) => model.ready));
    this.#patienceMs = Math.max(PATIENCE.leastMs, PATIENCE.factor * (performance.now() - this.#madeMs));
    await this.#sockets.ready(this.ended);
    if (this.specification.populateOnDemand) this.#startService("pager");
    if (this.#control.stopping) return;
    this.#watchRequests();
    carriers.forEach((carrier, waiter) => carrier.start(this.#carrierStart(waiter)));
  }

  #modelStart(server: number): ModelStart {
    const { vcpus, models } = this.specification, model = models[server];
    const given = model.module === undefined ? this.#xen.platform(model) : model;
    const parts = { controlBlock: this.#control.address, pagerDoorbell: this.#pager.doorbell.number };
    return { ...parts, vcpus, server, files: grantedFiles(this.#ram, model.memory), ...given, inherits: false };
  }

  #carrierStart(waiter: number): CarrierStart {
    const { address: controlBlock, generation } = this.#control;
    return { controlBlock, vcpus: this.specification.vcpus, waiter, generation, stacks: this.#stacks };
  }

  /** Asks the guest by xenstore to shut itself down; one that does not know Xen never hears of it. */
  requestShutdown(reason: ShutdownRequest): void {
    if (this.#disposed) return;
    this.#startService("xen");
    this.#xen.requestShutdown(reason);
  }

  #startService(service: Service): void {
    const start = { controlBlock: this.#control.address, vcpus: this.specification.vcpus };
    if (service === "pager") return this.#pager.start({ ...start, doorbell: this.#pager.doorbell.number });
    const { name, memoryBytes } = this.specification;
    this.#xenService.start({ ...start, name, uuid: this.#xen.uuid, memoryKiB: memoryBytes / 1024 });
  }

  #ringPager(): void {
    this.#control.pagerDoorbell(this.#pager.doorbell.number).ring();
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
    this.#pause.begin("user");
    await this.#pause.settled(() => [...this.#crew.carriers, ...this.#pager.members, ...this.#xenService.members]);
  }

  /** Lets them in again. */
  resume(): void {
    if (!this.#disposed) this.#pause.end("user");
  }

  /** Takes every vCPU out of the guest once, and wakes those that wait: each then looks at what it is to do. */
  kick(): void {
    if (!this.#disposed) this.#pause.kick();
  }

  /** The generations of the Workers that carry vCPUs and device models. */
  get succession(): Succession {
    return this.#succession ??= new Succession({
      control: this.#control,
      crew: this.#crew,
      role: this.#role,
      owner: this.#owner,
      services: [this.#pager, this.#xenService],
      pause: this.#pause,
      processes: this.#sockets.processes,
      patienceMs: this.#patienceMs,
      carrierStart: (waiter) => this.#carrierStart(waiter),
      modelStart: (server) => this.#modelStart(server),
      ringServices: () => {
        this.#ringPager();
        this.#control.xen.doorbell.ring();
      },
    });
  }

  /** Ends the run if it has not ended, waits for every thread and frees everything; a second time does nothing. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.end({ kind: "stopped", status: STATUS.OK, reason: "stopped from outside" });
    await this.ended;
    if (this.#disposed) return;
    this.#disposed = true;
    await this.#sockets[Symbol.asyncDispose]();
    this.servers[Symbol.dispose]();
    await this.#windows.settled();
    const idle = this.#members.every((member) => member.idle);
    this.#terminate();
    // Who was given up may still look at the memory: that is then left to the end of the process.
    if (idle) this.#resources.dispose();
  }

  #createVcpu(id: number): void {
    const vcpu = this.#resources.use(this.#vm.createVcpu(id)), record = this.#control.vcpu(id);
    const { vcpus, showsXen, regions } = this.specification;
    const table = this.#cpuid.forVcpu(id, vcpus, this.#tscDeadline);
    if (showsXen) table.setHypervisor(xenLeaves(id, GUEST_DOMID, vcpu.tscKhz, regions));
    vcpu.setCpuid(table);
    const { address, sizeBytes } = vcpu.runPage;
    record.create(vcpu.descriptor.number, address, sizeBytes);
    this.#vcpus.push(vcpu);
    this.#pause.add(record);
  }

  /** Without it, code at CPL3 that KVM cannot fetch gets #UD (KVM API documentation, 7.29). */
  #reportFetches(possible: boolean): void {
    if (possible) this.#vm.enableCapability(CAP.EXIT_ON_EMULATION_FAILURE, 1n);
  }

  /** What a model in a Worker asks for. @returns the result, or -errno */
  async #modelRequest(name: string, request: ModelRequest): Promise<number> {
    const server = this.#crew.models.findIndex((model) => model.name === name);
    try {
      return this.#control.stopping ? -EIO : await this.#windows.request(server, request);
    } catch (error) {
      const reason = `${request.name} of ${name} failed: ${describe(error)}`;
      this.end({ kind: "internal", status: STATUS.INTERNAL, reason });
      return -EIO;
    }
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

  #memberEnded(what: string, failure: Failure | undefined): void {
    if (failure !== undefined) {
      const { message, isLack } = failure, status = isLack ? STATUS.HOST : STATUS.INTERNAL;
      this.#control.end({ kind: "internal", status, reason: isLack ? message : `${what} failed: ${message}` });
    }
    if (this.#control.stopping) this.#halt();
    // Without a pager nobody answers those who wait for pages.
    if (what === SERVICE_NAMES.pager && failure !== undefined) this.#secondStage.releaseAll();
  }

  /** Brings every thread to its end, in the order in which they need each other: vCPUs, then device models. */
  #halt(): void {
    this.#halting ??= (async () => {
      const outcome = this.#control.outcome!;
      this.kick();
      this.#ringPager();
      await this.#succession?.close();
      await withinPatience(Promise.all(this.#crew.carriers.map((carrier) => carrier.stopped)));
      await withinPatience(this.#pager.release(() => {
        this.#control.releasePager();
        this.#ringPager();
      }));
      await withinPatience(this.#xenService.release(() => this.#xen.release()));
      this.#sockets.leave();
      this.servers.release();
      // Whoever is in another process may stay for ever; what it has to say before it goes is not worth that.
      const stopped = Promise.all([
        ...this.#crew.models.map((model) => model.stopped),
        withinGrace(this.#sockets.empty),
      ]);
      await (IMPATIENT.has(outcome.kind) ? withinGrace(stopped) : stopped);
      this.#ended.resolve(withLastWords(outcome, this.#control));
    })();
  }

  get #members(): CrewMember[] {
    const { carriers, models } = this.#crew;
    return [...carriers, ...models, ...this.#pager.members, ...this.#xenService.members];
  }

  #terminate(): void {
    for (const member of this.#members) member.terminate();
  }
}
