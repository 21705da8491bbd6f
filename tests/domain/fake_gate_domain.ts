/** A domain without vCPUs for testing the gate: real ioreq servers and real memory, and a list of what was asked of it. */

import type { ShutdownReason } from "../../src/dm/host.ts";
import { Gate } from "../../src/domain/gate.ts";
import type { GateDomain, Grant } from "../../src/domain/gate_operations.ts";
import { GfnPool } from "../../src/ioreq/gfn_pool.ts";
import { SERVER_TABLE_BYTES, ServerTable } from "../../src/ioreq/server_table.ts";
import { type Emulator, IoreqServers, type ServedDomain } from "../../src/ioreq/servers.ts";
import { VmapWindow } from "../../src/ioreq/vmap_window.ts";
import { ModelEvents } from "../../src/domain/model_events.ts";
import * as calls from "../../src/linux/calls.ts";
import { EINVAL } from "../../src/linux/errno.ts";
import type { Descriptor } from "../../src/linux/descriptor.ts";
import { eventDescriptor } from "../../src/linux/event_descriptor.ts";
import { Mapping } from "../../src/linux/mapping.ts";
import { type Gfn, PAGE_SIZE, roundUp } from "../../src/memory/address.ts";
import { type Bank, MachineMemory } from "../../src/memory/bank.ts";
import { Vmap } from "../../src/memory/vmap.ts";
import { DmOpError } from "../../src/ioreq/dm_op_error.ts";

const F_GETFD = 1, DOMID = 1, POOL_BASE = 0xfeff0 as Gfn, POOL_GFNS = 40;

/** Whether that descriptor of this process is open. */
function isOpen(number: number): boolean {
  return calls.fcntl(number, F_GETFD, 0) >= 0;
}

/** What the fake can be made with. */
export interface FakeOptions {
  readonly vcpus?: number;
  readonly vcpusPerWaiter?: number;
}

export class FakeGateDomain implements GateDomain, ServedDomain, Disposable {
  readonly #stack = new DisposableStack();
  readonly machine = this.#stack.use(new MachineMemory());
  readonly #vmap = this.#stack.use(new Vmap(this.machine));
  readonly #table = this.#stack.use(Mapping.anonymous(roundUp(SERVER_TABLE_BYTES, PAGE_SIZE), "server table"));
  readonly table = new ServerTable(this.#table.address);
  readonly vcpus: number;
  readonly vcpusPerWaiter: number;
  readonly waiterDoorbells: readonly number[];
  readonly guestFrames;
  /** gfns of the pool that the guest can see. */
  readonly visible = new Set<Gfn>();
  readonly servers: IoreqServers;
  /** Everything that was asked of the domain itself, in order. */
  readonly asked: unknown[][] = [];
  readonly granted = new Map<Emulator, readonly Grant[]>();
  dying = false;
  /** Addresses that the guest keeps free. */
  keptFree = -1;
  readonly #pager = this.#stack.use(eventDescriptor("doorbell of the pager", false));
  readonly pagerDoorbell = this.#pager.number;
  /** Windows as they were asked for; what a file holds nobody looks at. */
  readonly windows = {
    addMemory: (server: number, file: Descriptor, sizeBytes: number) => {
      this.#stack.use(file);
      return this.asked.push(["memory", server, sizeBytes]);
    },
    removeMemory: (...memory: [number, number]) => void this.asked.push(["no memory", ...memory]),
    mapWindow: async (...window: [number, number, number, number]) => {
      await Promise.resolve();
      this.asked.push(["window", ...window]);
    },
    unmapWindow: async (...window: [number, number]) => {
      await Promise.resolve();
      this.asked.push(["no window", ...window]);
    },
    hasWindow: (...[server, first, pages]: [number, number, number]) =>
      this.asked.some(([what, ...window]) => {
        return what === "window" && window[0] === server && window[1] === first && window[2] === pages;
      }),
  };
  /** What KVM would be asked for. */
  readonly events = new ModelEvents({
    connectWrite: ({ space, address, sizeBytes, value }, event, on) =>
      void this.asked.push(["write", space, address, sizeBytes, value, isOpen(event), on]),
    connectLine: (gsi, raise, ended, on) =>
      void this.asked.push(["line", gsi, isOpen(raise), ended === undefined ? undefined : isOpen(ended), on]),
  });
  /** Thrown by the next operation on interrupts. */
  mistake: unknown;

  keepsFree(first: number, last: number): boolean {
    return first <= this.keptFree && this.keptFree <= last;
  }

  constructor({ vcpus = 2, vcpusPerWaiter = 1 }: FakeOptions = {}) {
    this.vcpus = vcpus;
    this.vcpusPerWaiter = vcpusPerWaiter;
    this.waiterDoorbells = Array.from({ length: Math.ceil(vcpus / vcpusPerWaiter) }, (_, waiter) => {
      return this.#stack.use(eventDescriptor(`doorbell of waiter ${waiter}`)).number;
    });
    const memory = new Map<Gfn, Bank>();
    this.guestFrames = {
      pool: new GfnPool(GfnPool.memory(POOL_GFNS), POOL_BASE, POOL_GFNS),
      memory: (gfn: Gfn) => {
        if (!memory.has(gfn)) memory.set(gfn, this.machine.allocate(`gfn ${gfn}`, 1, DOMID));
        this.visible.add(gfn);
        return memory.get(gfn)!;
      },
      add: (gfn: Gfn) => void this.visible.add(gfn),
      remove: (gfn: Gfn) => void this.visible.delete(gfn),
    };
    this.servers = this.#stack.use(new IoreqServers(this, this.table));
  }

  allocate(name: string, pages: number): Bank {
    return this.machine.allocate(name, pages, DOMID);
  }

  window(): VmapWindow {
    return new VmapWindow(this.#vmap);
  }

  wakeVcpus(): void {}

  revokeAll(server: number): void {
    this.asked.push(["revoke all", server]);
  }

  enabled(): void {}

  forget(server: number): void {
    this.asked.push(["forget", server]);
  }

  setIrqLevel(gsi: number, level: boolean): void {
    if (this.mistake !== undefined) throw this.mistake;
    if (gsi > 23) throw new DmOpError("set_irq_level", EINVAL, `GSI ${gsi}`);
    this.asked.push(["irq", gsi, level]);
  }

  setIsaIrqLevel(irq: number, level: boolean): void {
    this.asked.push(["isa", irq, level]);
  }

  setPciIntxLevel(...pin: [number, number, number, number, boolean]): void {
    this.asked.push(["intx", ...pin]);
  }

  setPciLinkRoute(link: number, irq: number): void {
    this.asked.push(["link", link, irq]);
  }

  injectMsi(address: number | bigint, data: number): void {
    this.asked.push(["msi", address, data]);
  }

  shutdown(reason: ShutdownReason | "crash"): void {
    this.asked.push(["shutdown", reason]);
  }

  grants(emulator: Emulator): readonly Grant[] {
    return this.granted.get(emulator) ?? [];
  }

  [Symbol.dispose](): void {
    this.#stack.dispose();
  }
}

/** A gate over such a domain, with a socket for each emulator 1, 2, ... in a directory of its own. */
export class FakeGate implements AsyncDisposable {
  readonly directory: string;
  readonly domain: FakeGateDomain;
  readonly gate: Gate;
  /** Mistakes of ours that came to light. */
  readonly faults: unknown[] = [];

  /** @param options.directory where the sockets are to be; it goes with this */
  constructor(sockets = 1, options: FakeOptions & { directory?: string; hold?: boolean } = {}) {
    this.directory = options.directory ?? Deno.makeTempDirSync({ prefix: "xenolith-test-" });
    this.domain = new FakeGateDomain(options);
    this.gate = new Gate({ fault: (error) => this.faults.push(error) });
    this.gate.start(
      this.domain,
      Array.from({ length: sockets }, (_, index) => {
        return { path: this.path(index + 1), emulator: index + 1, hold: options.hold ?? false };
      }),
    );
  }

  /** The socket of an emulator. */
  path(emulator = 1): string {
    return `${this.directory}/${emulator}.sock`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.gate[Symbol.asyncDispose]();
    this.domain[Symbol.dispose]();
    await Deno.remove(this.directory, { recursive: true });
    if (this.faults.length > 0) throw this.faults[0];
  }
}
