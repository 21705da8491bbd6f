/** What a loader decides: which bytes go where in guest memory, and in which state vCPU 0 begins. Pure data. */

import type { ExtendedRegion } from "../memory/extended_regions.ts";

/** A reason why an image cannot be booted: the user's or the image's fault (status 64). One line, with the facts. */
export class ImageError extends Error {
  static {
    this.prototype.name = "ImageError";
  }
}

/** Bytes for guest memory. What `bytes` does not cover up to `sizeBytes` is zero (guest RAM starts as zeros). */
export interface Segment {
  /** What it is, for messages and for `doctor`: "kernel segment 2", "initrd", "RSDP". */
  readonly what: string;
  /** First guest-physical address. */
  readonly address: number;
  /** Size in guest memory; at least `bytes.length`. */
  readonly sizeBytes: number;
  readonly bytes: Uint8Array;
}

/** A segment register as KVM's sregs want it. */
export interface SegmentRegister {
  readonly selector: number;
  readonly base: number;
  readonly limit: number;
  /** Descriptor type, 0-15: 11 code RX accessed, 3 data RW accessed. */
  readonly type: number;
  /** D/B: 32-bit code or stack. */
  readonly db: boolean;
  /** L: 64-bit code. */
  readonly long: boolean;
  /** Limit counted in pages. */
  readonly granularity: boolean;
}

/** The state of vCPU 0 at the image's entry point. Registers that are not named are 0; rflags is 2. */
export interface EntryState {
  /** "real" 16-bit; "protected" 32-bit flat without paging; "long" 64-bit with the page tables at `cr3`. */
  readonly mode: "real" | "protected" | "long";
  readonly rip: number;
  readonly registers: Readonly<
    Partial<Record<"rax" | "rbx" | "rcx" | "rdx" | "rsi" | "rdi" | "rsp" | "rbp", number>>
  >;
  readonly code: SegmentRegister;
  readonly data: SegmentRegister;
  readonly gdt?: { readonly base: number; readonly limit: number };
  /** Page-table root, "long" only. */
  readonly cr3?: number;
}

/** Types of a guest-physical range, with E820's and PVH's numbers. */
export const MEMORY_TYPE = { RAM: 1, RESERVED: 2, ACPI: 3, NVS: 4, UNUSABLE: 5 } as const;

/** One entry of the guest's memory map: [address, address + sizeBytes). */
export interface MemoryRange {
  readonly address: number;
  readonly sizeBytes: number;
  readonly type: (typeof MEMORY_TYPE)[keyof typeof MEMORY_TYPE];
}

/** A file handed to the guest beside the image. */
export interface Module {
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly commandLine: string;
}

/** A virtio device as a guest is told of it: registers over MMIO below 4 GiB, and an interrupt, active high. */
export interface VirtioRegisters {
  readonly address: number;
  readonly sizeBytes: number;
  readonly gsi: number;
  readonly trigger: "edge" | "level";
}

/** By what a guest learns of its virtio devices. */
export type Announcement = "ACPI" | "device tree" | "command line";

/** What is asked of a loader. */
export interface BootRequest {
  readonly image: Uint8Array;
  readonly memoryBytes: number;
  readonly vcpus: number;
  readonly commandLine: string;
  readonly initrd?: Uint8Array;
  readonly modules: readonly Module[];
  /** Whether the guest is to find Xen; "auto": as its format's guests expect, which loaders are not asked any more. */
  readonly xen: "auto" | "on" | "off";
  /** What is kept free for what a guest of Xen's maps. */
  readonly regions: readonly ExtendedRegion[];
  /** Whether the guest gets a device tree. */
  readonly deviceTree: boolean;
  /** Its virtio devices. */
  readonly virtio: readonly VirtioRegisters[];
  /** How it is told of them; undefined: as its kernel finds them (docs/virtio.md), which loaders are not asked any more. */
  readonly announcement?: Announcement;
}

/** A loader's whole answer. */
export interface BootPlan {
  /** The format's name, as `doctor` prints it: "ELF64 with a Xen PVH note". */
  readonly format: string;
  readonly entry: EntryState;
  /** Disjoint, inside RAM, sorted by address: `planBoot` checks it for every loader. */
  readonly segments: readonly Segment[];
  /** The memory map that the guest is told. */
  readonly memoryMap: readonly MemoryRange[];
}

/** A plan, and what the machine is to be for it. */
export interface MachinePlan extends BootPlan {
  /** Extended regions included, whether the format tells them or not: Xen does (XENMEM_memory_map). */
  readonly memoryMap: readonly MemoryRange[];
  /** Whether the guest is to find Xen by CPUID; else it finds KVM. */
  readonly findsXen: boolean;
  /** Sorted; none for a guest that finds KVM. */
  readonly regions: readonly ExtendedRegion[];
}

/** An image format. One per file; the list in loaders.ts is the order of asking. */
export interface Loader {
  readonly format: string;
  /** The format reads address 0 as "not there": no segment may begin at it. */
  readonly nothingAtZero?: true;
  /** Its guests expect a PC of KVM's own, and are not to find Xen unless somebody asks for that. */
  readonly findsKvm?: true;
  /** Its guests look for devices in ACPI tables: it is Linux's, or a PC's, whose BIOS hands no command line over. */
  readonly readsAcpi?: true;
  /** How it hands a device tree over: as a module, or in a way of its own; undefined: it cannot. */
  readonly deviceTree?: "module" | "own";
  /** Whether the bytes are of this format at all, however damaged. Never throws. */
  recognises(image: Uint8Array): boolean;
  /** @throws {ImageError} the image, initrd, modules or command line cannot be loaded so */
  plan(request: BootRequest): BootPlan;
}
