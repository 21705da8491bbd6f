/** The one place that puts a VM together: options to files, files to a boot plan, plan to a running domain. */

import { CAP } from "../kvm/abi.ts";
import { Kvm } from "../kvm/kvm.ts";
import type { ConsoleOptions } from "../devices/console.ts";
import type { PlatformConfiguration } from "../devices/platform.ts";
import type { VcpuState } from "../domain/vcpu_record.ts";
import { Domain } from "../domain/domain.ts";
import type { ModelSpecification, SocketSpecification } from "../domain/specification.ts";
import type { ShutdownRequest } from "../domain/xen_state.ts";
import type { Succession } from "../domain/succession.ts";
import type { Outcome } from "../domain/outcome.ts";
import type { Statistics, TracedRequest } from "../domain/statistics.ts";
import { P2M_ADDRESS_BITS } from "../memory/p2m.ts";
import { planBoot } from "../boot/loaders.ts";
import { backedRanges, lowRamEnd } from "../boot/memory_map.ts";
import type { BootPlan, BootRequest, Module } from "../boot/plan.ts";
import { checkConsoles } from "./consoles.ts";
import { setEntry } from "./entry.ts";
import { loadFile, moduleUrl } from "./files.ts";
import { checkDisks } from "./disks.ts";
import { checkNets } from "./nets.ts";
import { checkBackends } from "./vhost_user.ts";
import { consolesOf, hasVirtioStdio, type VirtioModel, virtioModels, virtioRegisters } from "./virtio.ts";
import {
  checkGrant,
  checkModelCount,
  checkModels,
  checkVcpus,
  checkVirtio,
  chooseCarrier,
  DEFAULT_MEMORY_BYTES,
  type FileSource,
  type MachineOptions,
  machineRegions,
  type ModelModule,
  type ModelOptions,
  type ModelSocket,
  type ModuleOptions,
  parseMemory,
  UsageError,
} from "./options.ts";

/** A running machine. It holds everything until it is disposed. */
export interface Machine extends AsyncDisposable {
  /** Resolves when the run is over and none of the machine's threads runs any more. Never rejects. */
  readonly ended: Promise<Outcome>;
  /** Whether {@linkcode pause} was called and {@linkcode resume} not yet. */
  readonly paused: boolean;
  /** What each vCPU is doing, by its id. */
  readonly vcpuStates: readonly VcpuState[];
  /** What was counted so far. */
  readonly statistics: Statistics;
  /** The last requests of each vCPU to ioreq servers. */
  readonly trace: readonly TracedRequest[];
  /** Ends the run from outside; an earlier ending stands. */
  end(outcome: Outcome): void;
  /** Takes every vCPU out of the guest. Resolves when none runs guest code. */
  pause(): Promise<void>;
  /** Lets them in again. */
  resume(): void;
  /** Takes every vCPU out of the guest once; they go on at once. */
  kick(): void;
  /**
   * Asks the guest by xenstore (control/shutdown) to end itself. One that does not look there goes on as if nothing had
   * been said.
   */
  requestShutdown(reason: ShutdownRequest): void;
}

/** How the Workers of a machine give way to others: for live patching. @throws {TypeError} startMachine() has not made it */
export function successionOf(machine: Machine): Succession {
  if (machine instanceof Domain) return machine.succession;
  throw new TypeError("a machine that startMachine() has not made");
}

/** KVM's limit as far as a plan needs one that is made without KVM. */
const ANY_HOST = Infinity;

/** The files of the options as a request to the loaders. @throws {UsageError} */
export function bootRequest(
  options: MachineOptions,
  hostMaximum: number = ANY_HOST,
  addressBits: number = P2M_ADDRESS_BITS,
): BootRequest {
  checkVirtio(options);
  const memoryBytes = parseMemory(options.memory ?? DEFAULT_MEMORY_BYTES);
  const vcpus = checkVcpus(options.vcpus ?? 1, hostMaximum);
  const load = (what: string, source: FileSource) => loadFile(what, source, memoryBytes);
  return {
    xen: options.xen ?? "auto",
    regions: machineRegions(options.extendedRegions ?? true, memoryBytes, addressBits),
    deviceTree: options.deviceTree ?? false,
    image: load("image", options.image).bytes,
    memoryBytes,
    vcpus,
    commandLine: options.cmdline ?? "",
    virtio: virtioRegisters(virtioModels(options)),
    ...(options.initrd !== undefined && { initrd: load("initrd", options.initrd).bytes }),
    modules: (options.modules ?? []).map((module): Module => {
      const { file, cmdline } = moduleOptions(module);
      return { ...load("module", file), commandLine: cmdline ?? "" };
    }),
  };
}

/**
 * Makes a machine and starts it. Everything that can be wrong with the options or the image is found before KVM is
 * asked for anything.
 *
 * @param console descriptors that stay the caller's
 * @param made called as soon as the machine can be ended: it may wait long for its device models
 * @returns the running machine; it belongs to the caller
 * @throws {UsageError} @throws {ImageError} @throws {KvmUnavailable} @throws {LinuxError}
 */
export async function startMachine(
  options: MachineOptions,
  console: ConsoleOptions,
  made: (machine: Machine) => void = () => {},
): Promise<Machine> {
  let request = bootRequest(options), plan = planBoot(request);
  const ram = backedRanges(request.memoryBytes);
  checkDisks(options.disks ?? []);
  checkNets(options.nets ?? []);
  checkBackends(options.vhostUserBlks ?? []);
  checkConsoles(consolesOf(options));
  const deviceModels = checkModels(options.deviceModels ?? [], ram), virtio = virtioModels(options, console);
  for (const { configuration: { legacy = false, isRestricted }, memory, name } of virtio) {
    checkGrant(memory, ram);
    if (legacy && isRestricted) throw new UsageError(`${name}: no legacy driver knows of memory that it cannot see`);
  }
  checkModelCount(deviceModels.length + virtio.length);
  const isWorker = ({ isHere }: VirtioModel) => isHere || options.virtioIn === "worker";
  using kvm = Kvm.open();
  checkVcpus(request.vcpus, kvm.extension(CAP.MAX_VCPUS));
  const { addressBits } = kvm.supportedCpuid();
  if (plan.regions.some(({ address, sizeBytes }) => address + sizeBytes > 2 ** addressBits)) {
    request = {
      ...request,
      regions: machineRegions(options.extendedRegions ?? true, request.memoryBytes, addressBits),
    };
    plan = planBoot(request);
  }
  const platform: PlatformConfiguration = {
    // Of two who read it, each would get a part.
    console: hasVirtioStdio(options) ? { ...console, input: -1 } : console,
    memoryBytes: request.memoryBytes,
    lowMemoryBytes: lowRamEnd(request.memoryBytes),
  };
  const domain = new Domain(kvm, {
    name: nameOf(options.image),
    vcpus: request.vcpus,
    showsXen: plan.findsXen,
    carrier: chooseCarrier(options.carrier ?? "auto", request.vcpus),
    memoryBytes: request.memoryBytes,
    populateOnDemand: options.populateOnDemand ?? false,
    ram,
    memoryMap: plan.memoryMap,
    regions: plan.regions,
    models: [
      { module: undefined, configuration: platform, memory: "none" },
      ...deviceModels.flatMap((model) => isSocket(model) ? [] : [modelSpecification(model)]),
      ...virtio.filter(isWorker),
    ],
    sockets: [
      ...deviceModels.flatMap((model) => isSocket(model) ? [socketSpecification(model)] : []),
      ...virtio.filter((model) => !isWorker(model)).map((from): SocketSpecification => ({ from, memory: from.memory })),
    ],
    deviceModelTimeoutMs: options.deviceModelTimeoutMs,
    hold: options.hold ?? false,
  });
  try {
    made(domain);
    load(domain, plan);
    await domain.start();
    return domain;
  } catch (error) {
    await domain[Symbol.asyncDispose]();
    throw error;
  }
}

/** A domain is called by its image. */
function nameOf(image: FileSource): string {
  const name = typeof image === "object" && "name" in image ? image.name : String(image);
  return name.split("/").at(-1)!;
}

function load(domain: Domain, plan: BootPlan): void {
  for (const segment of plan.segments) domain.memory.write(segment.address, segment.bytes);
  setEntry(domain.bootVcpu, plan.entry);
}

function moduleOptions(module: ModuleOptions | FileSource): ModuleOptions {
  return typeof module === "object" && "file" in module ? module : { file: module };
}

function isSocket(model: ModelOptions): model is ModelSocket {
  return typeof model === "object" && "socket" in model;
}

function modelSpecification(model: Exclude<ModelOptions, ModelSocket>): ModelSpecification {
  const { module, configuration, memory }: ModelModule = typeof model === "object" && "module" in model
    ? model
    : { module: model };
  return { module: moduleUrl(module), configuration, memory: memory ?? "none" };
}

function socketSpecification({ socket, memory }: ModelSocket): SocketSpecification {
  return { from: socket, memory: memory ?? "none" };
}
