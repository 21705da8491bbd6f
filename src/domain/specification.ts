/** What a new domain is made of. */

import type { ExtendedRegion } from "../memory/extended_regions.ts";
import type { MemoryMapEntry } from "../hypercall/memory_op.ts";
import type { Carrier } from "./carriers.ts";
import type { MemoryGrant, RamRange } from "./grants.ts";

/** A device model to attach. */
export interface ModelSpecification {
  /** The module's URL; undefined is the built-in platform model. */
  readonly module: string | undefined;
  /** Structured-cloneable; the second argument of the module's default function. */
  readonly configuration: unknown;
  readonly memory: MemoryGrant;
}

/** A device model of the program's that runs in a process of its own. */
export interface ProcessSpecification {
  /** Its URL, which every process of the program can load. */
  readonly module: string;
  /** JSON; the second argument of the module's default function. */
  readonly configuration: unknown;
  /** What people call it. */
  readonly name: string;
}

/** A device model that comes to a socket: whoever connects at a path, or a process that the domain starts for it. */
export interface SocketSpecification {
  readonly from: string | ProcessSpecification;
  readonly memory: MemoryGrant;
}

/** What a new domain is made of. */
export interface DomainSpecification {
  /** What people call it. */
  readonly name: string;
  readonly vcpus: number;
  /** CPUID says that the hypervisor is Xen; else it says KVM. */
  readonly showsXen: boolean;
  readonly carrier: Carrier;
  readonly memoryBytes: number;
  /** RAM gets its memory page by page, with the first access. */
  readonly populateOnDemand: boolean;
  readonly ram: readonly RamRange[];
  /** What the guest is told of its memory. */
  readonly memoryMap: readonly MemoryMapEntry[];
  /** What is kept free for frames of others that the guest maps. */
  readonly regions: readonly ExtendedRegion[];
  /** In the order of their server ids; the platform model is the first. */
  readonly models: readonly ModelSpecification[];
  /** The guest starts when a device model serves at each of them. */
  readonly sockets: readonly SocketSpecification[];
  /** How long a device model may take to start, and for an answer. */
  readonly deviceModelTimeoutMs: number | undefined;
  /** Whether requests of a device model at a socket that is gone wait for the next. */
  readonly hold: boolean;
}
