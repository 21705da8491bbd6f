/** What a domain's owner has of its guest's Xen: it makes it before the domain runs, and takes it down after. */

import { pipe } from "../linux/descriptor.ts";
import { eventDescriptor } from "../linux/event_descriptor.ts";
import { Mapping } from "../linux/mapping.ts";
import { gfnOf, PAGE_SIZE } from "../memory/address.ts";
import type { MachineMemory } from "../memory/bank.ts";
import { grantTableMemory } from "../memory/grant_table.ts";
import { createSpecialFrames, SPECIAL_FRAME } from "../memory/special_frames.ts";
import type { PvConsoleOptions } from "../devices/pv_console.ts";
import { SPECIAL_PAGES } from "../devices/platform_map.ts";
import { HVM_PARAM } from "../hypercall/abi/hvm.ts";
import { HYPERCALL_PAGE_MSR } from "../hypercall/abi/cpuid.ts";
import { CAP, XEN_HVM_INTERCEPT_HCALL } from "../kvm/abi.ts";
import type { Kvm } from "../kvm/kvm.ts";
import type { Vm } from "../kvm/vm.ts";
import type { MemoryMapEntry } from "../hypercall/memory_op.ts";
import type { ControlBlock } from "./control_block.ts";
import type { ModelSpecification } from "./specification.ts";
import { XenDomain } from "./xen_domain.ts";
import { SHUTDOWN_REQUESTS, type ShutdownRequest, type XenState, xenStateBytes } from "./xen_state.ts";
import { GUEST_DOMID, HOST_DOMID } from "../memory/domid.ts";

export type { ShutdownRequest } from "./xen_state.ts";

/** The ports that the domain is built with, as a tool stack allocates them. */
const STORE_PORT = 1, CONSOLE_PORT = 2;

/** What of the domain its Xen is made of. */
export interface XenParts {
  readonly control: ControlBlock;
  readonly machine: MachineMemory;
  /** As the guest is told it. */
  readonly memoryMap: readonly MemoryMapEntry[];
  readonly vm: Vm;
  readonly kvm: Kvm;
  /** The eventfd of the Xen service. */
  readonly doorbell: number;
}

/** A domain's Xen, with what it holds. */
export class XenHost implements Disposable {
  readonly #resources = new DisposableStack();
  readonly #domain: XenDomain;
  readonly #state: XenState;
  readonly #consoles: { readonly console: PvConsoleOptions; readonly pipe: number };

  /** @throws {LinuxError} @throws {MachineMemoryError} */
  constructor({ control, machine, memoryMap, vm, kvm, doorbell }: XenParts) {
    vm.interceptMsr(HYPERCALL_PAGE_MSR);
    if (kvm.extension(CAP.XEN_HVM) & XEN_HVM_INTERCEPT_HCALL) vm.interceptXenCalls(HYPERCALL_PAGE_MSR);
    using stack = new DisposableStack();
    const state = stack.use(Mapping.anonymous(xenStateBytes(control.vcpus), "the guest's Xen"));
    control.setXen(state.address);
    const special = createSpecialFrames(machine, control.physicalMap.table, GUEST_DOMID);
    const shared = special.firstMfn + SPECIAL_FRAME.SHARED_INFO;
    const xen = this.#state = control.xen;
    const store = special.firstMfn + SPECIAL_FRAME.STORE, console = special.firstMfn + SPECIAL_FRAME.CONSOLE;
    xen.setFrames(shared, store, console);
    xen.setGrantTable(stack.use(grantTableMemory()).address);
    xen.setMemoryMap(memoryMap);
    const line = stack.use(eventDescriptor("the callback's line", false));
    const ended = stack.use(eventDescriptor("the end of the callback's interrupt", false));
    const { reader, writer } = pipe("the guest's console", false);
    stack.use(reader);
    stack.use(writer);
    xen.setDescriptors(line.number, ended.number, doorbell, writer.number);
    crypto.getRandomValues(xen.handle);
    xen.ports.initialise({ domid: GUEST_DOMID, vcpus: control.vcpus, sharedInfo: shared });
    this.#domain = new XenDomain(control, () => {});
    this.#domain.placeRing(gfnOf(SPECIAL_PAGES.xenstore), store);
    this.#domain.placeRing(gfnOf(SPECIAL_PAGES.console), console);
    for (const port of [STORE_PORT, CONSOLE_PORT]) {
      if (this.#domain.channels.allocUnbound(HOST_DOMID) !== port) throw new RangeError(`port ${port} is taken`);
    }
    xen.setParam(HVM_PARAM.STORE_PFN, gfnOf(SPECIAL_PAGES.xenstore), 0);
    xen.setParam(HVM_PARAM.STORE_EVTCHN, STORE_PORT, 0);
    xen.setParam(HVM_PARAM.CONSOLE_PFN, gfnOf(SPECIAL_PAGES.console), 0);
    xen.setParam(HVM_PARAM.CONSOLE_EVTCHN, CONSOLE_PORT, 0);
    xen.setUp(0, true);
    xen.markInitialised(0);
    this.#domain.setWallClock();
    this.#consoles = { console: { page: SPECIAL_PAGES.console, port: CONSOLE_PORT }, pipe: reader.number };
    this.#resources = stack.move();
  }

  /** The domain's UUID as text. */
  get uuid(): string {
    const digits = Array.from(this.#domain.handle, (byte) => byte.toString(16).padStart(2, "0")).join("");
    return digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
  }

  /** The platform model with the guest's consoles, and nothing else of its memory. */
  platform(model: ModelSpecification): ModelSpecification {
    const { page } = this.#consoles.console, memory = [{ first: page, last: page + PAGE_SIZE - 1 }];
    return { ...model, configuration: { ...model.configuration as object, xen: this.#consoles }, memory };
  }

  requestShutdown(reason: ShutdownRequest): void {
    this.#state.request(SHUTDOWN_REQUESTS.indexOf(reason) + 1);
    this.#state.doorbell.ring();
  }

  /** Has the service end. */
  release(): void {
    this.#state.release();
    this.#state.doorbell.ring();
  }

  /** Gives back what the guest's vCPUs have of its memory. Nobody looks at it any more. */
  [Symbol.dispose](): void {
    this.#domain.releaseInfos();
    this.#resources.dispose();
  }
}
