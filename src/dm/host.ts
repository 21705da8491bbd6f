/** What a device model is written against: the interfaces that src/dm implements wherever the model runs. */

import type { EventWrite } from "../kvm/vm.ts";
import { MemoryViews } from "../memory/memory_views.ts";

export type { EventWrite } from "../kvm/vm.ts";

const NOTHING = new MemoryViews(new ArrayBuffer(), 0);

/** Answers accesses to one claimed range. Offsets count from the range's start; accesses have 1, 2 or 4 bytes. */
export interface RangeHandler {
  /** Answers a read. @returns the value; what exceeds `size` bytes is masked away. An 8-byte access comes as two of 4, low half first. */
  read(offset: number, size: number): number;
  /** Takes a write. @param value unsigned, less than 2^(8*size) */
  write(offset: number, size: number, value: number): void;
}

/** How a range is claimed. */
export interface RangeOptions {
  /**
   * Writes need no answer: they go through the buffered ring, and reach the handler in their order, before the next
   * access that is not buffered. Only below 1 MiB; what the ring cannot hold comes the ordinary way.
   */
  readonly buffered?: boolean;
}

/** A descriptor that the model wants to hear of while it waits for requests. */
export interface Watch {
  /** The descriptor's number; it stays the model's. */
  readonly descriptor: number;
  /** The poll(2) events wanted now (POLLIN 1, POLLOUT 4). 0: only errors and hang-up; -1: nothing at all. */
  interest(): number;
  /** Called when it is ready. @param events what poll(2) returned, never 0 */
  ready(events: number): void;
  /** Whether it may be ready without having been signalled: looked at while waiting is not worth it yet. Then ready(0). */
  pending?(): boolean;
}

/** The guest's memory, as much of it as the model was granted. Addresses are guest-physical. */
export interface GuestMemoryAccess {
  /** Fills `target`. @throws {RangeError} not all of it is granted; then nothing was copied */
  read(address: number, target: Uint8Array): void;
  /** Stores `source`. @throws {RangeError} not all of it is granted; then nothing was copied */
  write(address: number, source: Uint8Array): void;
  /** Whether all of [address, address + sizeBytes) is granted. */
  contains(address: number, sizeBytes: number): boolean;
  /**
   * Where memory is in this process, for rings that are shared with the guest and for I/O straight to it. It is good until
   * the guest changes what it has there; whoever uses it longer harms nobody but the guest. Allocates nothing.
   * @param write the guest may have memory that is only to be read, or none yet
   * @returns how many bytes from `address` on lie together, `sizeBytes` at most; 0: the first is not granted
   */
  locate(address: number, sizeBytes: number, write: boolean, found: LocatedMemory): number;
  /** All that is granted, for handing it on to a process that serves the guest in the model's stead. */
  readonly pieces: readonly MemoryPiece[];
}

/** Guest memory as a file has it; whole pages. */
export interface MemoryPiece {
  /** Its guest-physical address. */
  readonly address: number;
  /** How much of it there is. */
  readonly sizeBytes: number;
  /** Where in the file it begins. */
  readonly offset: number;
  /** The file, of which no more than what is granted is anybody's business; it stays the host's. */
  readonly descriptor: number;
}

/** A place in this process that is the guest's memory. */
export class LocatedMemory {
  /** What the memory is part of. */
  memory: MemoryViews = NOTHING;
  /** Where in it the memory begins, in bytes. */
  offset = 0;
}

/** Memory of the model's own, whose pages it can show the guest in its windows. */
export interface DeviceMemory {
  /** Zeroed at first; the guest's changes are seen here, and the other way round. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Pages of 4096 bytes. */
  readonly pages: number;
}

/** Pages to show in a window. */
export interface PageMapping {
  /** The first page of the window. */
  readonly page: number;
  /** Whose frames are shown there. */
  readonly memory: DeviceMemory;
  /** The first frame: a page of that memory. */
  readonly frame: number;
  /** How many, from both on; default 1. */
  readonly count?: number;
  /** A write of the guest is a violation. */
  readonly readOnly?: boolean;
}

/** Pages of a window, from the first on; a number is that page alone. */
export type PageRun = number | { readonly page: number; readonly count: number };

/**
 * What becomes of an access to a page that is not mapped: these pages are mapped, and it is tried again; it waits until
 * {@linkcode GuestWindow.retry}; or, on the exit transport only, the handler carries it out.
 */
export type Violation = readonly PageMapping[] | "later" | "emulate";

/** Answers accesses to the pages of a window that are not mapped, and writes to those that are mapped read-only. */
export interface WindowHandler extends Partial<RangeHandler> {
  /**
   * A p2m violation. May map more than that page: others will be next.
   * @param page of the window; @param write it is mapped read-only, or on the exit transport: the access is a write
   */
  violation(page: number, write: boolean): Violation;
}

/** How a window is claimed. */
export interface WindowOptions {
  /**
   * How violations come (docs/retry.md): by "fault" the guest's instruction waits, whatever it is; by "exit" KVM must be
   * able to emulate it. Default: by fault, where the host has that.
   */
  readonly transport?: "fault" | "exit";
}

/** Guest-physical pages that the model shows its memory in. What it does is in effect when the call returns. */
export interface GuestWindow {
  /** How many. */
  readonly pages: number;
  /** How violations come. */
  readonly transport: "fault" | "exit";
  /**
   * Shows pages, in this order; each is for the guest at every moment what was there, or what is there now.
   * @throws {DmOpError} EINVAL not all of it is in window and memory; EOPNOTSUPP read-only on a host that cannot; ENOMEM
   *   the host has no more mappings. What came before stands
   */
  map(mappings: readonly PageMapping[]): void;
  /** Takes pages back: the guest's next access is a violation. Pages that are not mapped stay so. @throws {DmOpError} EINVAL */
  revoke(pages: readonly PageRun[]): void;
  /** Has the accesses go on that {@linkcode WindowHandler.violation} put off. */
  retry(page: number): void;
}

/** The other end of a port of the guest's event channels. */
export interface EventChannel {
  /** Sends the guest an event. One that has closed its port misses it. */
  notify(): void;
}

/** An interrupt line that is driven by eventfds, which stay the host's. */
export interface LineEvents {
  /** Signalling it is an edge, or raises the line. */
  readonly raise: number;
  /** Of a level-triggered line: signalled when the guest has ended the interrupt; the line has fallen. */
  readonly ended: number | undefined;
}

/** Why a device model ends the domain's run. */
export type ShutdownReason = "poweroff" | "reset" | "left" | "console closed";

/** The hypervisor as a device model sees it. Names in brackets are Xen's dm_op for the same. */
export interface DeviceModelHost {
  /** vCPUs of the domain (nr_vcpus). */
  readonly vcpus: number;
  /** The guest memory that was granted. */
  readonly memory: GuestMemoryAccess;
  /** Claims I/O ports `first` to `first + count - 1` (map_io_range_to_ioreq_server, type PORT). */
  mapPorts(first: number, count: number, handler: RangeHandler, options?: RangeOptions): void;
  /**
   * Claims guest-physical `address` to `address + sizeBytes - 1` (type MEMORY).
   * @throws {DmOpError} EBUSY it is kept free for the guest (docs/extended-regions.md); EEXIST
   */
  mapMemory(address: number, sizeBytes: number, handler: RangeHandler, options?: RangeOptions): void;
  /**
   * Memory of the model's own. It lives as long as the model.
   * @param sizeBytes a multiple of 4096 @throws {DmOpError} ENOSPC the server has 16 already; ENOMEM
   */
  createMemory(sizeBytes: number): DeviceMemory;
  /**
   * The same with a file that somebody else made: a memfd with F_SEAL_SHRINK.
   * @param descriptor stays the model's @throws {DmOpError} EINVAL it is no such file, or smaller; ENOSPC; ENOMEM
   */
  importMemory(descriptor: number, sizeBytes: number): DeviceMemory;
  /**
   * Claims guest-physical `address` to `address + sizeBytes - 1` as a window, in which nothing is mapped.
   * @param address, sizeBytes multiples of 4096
   * @throws {DmOpError} EBUSY a violation by fault is still to be answered, or it is kept free for the guest; EEXIST there is memory or another window; EOPNOTSUPP no such transport on this host; ENOSPC
   */
  mapWindow(address: number, sizeBytes: number, handler: WindowHandler, options?: WindowOptions): GuestWindow;
  /** Gives up a window, which takes back all its pages; `address` is what {@linkcode mapWindow} got. @throws {DmOpError} EBUSY likewise */
  unmapWindow(address: number): void;
  /**
   * Claims the configuration space of a PCI function (type PCI): offsets are its registers, 0 to 255.
   * @param bus 0-255; @param device 0-31; @param fn 0-7
   */
  mapPci(bus: number, device: number, fn: number, handler: RangeHandler): void;
  /** Gives up what was claimed from `first` on with one call (unmap_io_range_from_ioreq_server). */
  unmapPorts(first: number): void;
  /** Likewise; `address` is what {@linkcode mapMemory} got. */
  unmapMemory(address: number): void;
  /** Sets an interrupt line (set_isa_irq_level, set_irq_level): `gsi` 0-23. Repeating a level changes nothing. */
  setIrqLevel(gsi: number, level: boolean): void;
  /** Sets INTA to INTD (`pin` 0-3) of a device on bus 0 (set_pci_intx_level). The line is shared: it is high while any is. */
  setPciIntxLevel(device: number, pin: number, level: boolean): void;
  /** Sends a message-signalled interrupt (inject_msi). */
  injectMsi(address: number, data: number): void;
  /**
   * Has such writes, to what is claimed, come as events and no longer as requests (KVM's ioeventfd): the guest goes on at
   * once, and several may come as one. It ends with the claim.
   * @returns the eventfd, to be watched or handed on; it stays the host's. undefined: this host has none
   * @throws {DmOpError} EINVAL not claimed, or no such width; EEXIST they come as events already
   */
  connectWrite(write: EventWrite): number | undefined;
  /**
   * Has eventfds drive interrupt line `gsi` (KVM's irqfd), in this process or wherever they are handed on to.
   * @param trigger by "edge" every signal is an edge; by "level" the line stays up until the guest has ended the interrupt
   * @returns undefined: this host has none @throws {DmOpError} EINVAL no such GSI
   */
  connectLine(gsi: number, trigger: "edge" | "level"): LineEvents | undefined;
  /**
   * Binds an event channel that the guest has offered to domain 0 (EVTCHNOP_alloc_unbound), or was built with.
   * @param port the guest's @param arrived called for the guest's events, several of which may come as one; and once at first
   * @throws {DmOpError} EINVAL no such port is offered; ENOSPC the model has 64 already; EOPNOTSUPP in another process
   */
  bindEventChannel(port: number, arrived: () => void): EventChannel;
  /** Called when the guest has given memory back: whatever was derived from its contents is to be forgotten. */
  onInvalidate(forget: () => void): void;
  /**
   * The next `sizeBytes` of the server's device state: in shared memory, zero at first, and still there when another
   * generation of the model takes over and asks in the same order.
   */
  state(sizeBytes: number): DataView<ArrayBuffer>;
  /** Also waits for a descriptor. */
  watch(watch: Watch): void;
  /** Called each time before the model goes to sleep: the moment to flush what was collected. */
  beforeSleep(flush: () => void): void;
  /** Called once, when the domain has stopped and the last access is answered: the last words. May block. What came to be last goes first. */
  beforeStop(flush: () => void): void;
  /**
   * Called once, when another generation of the model is about to take over: what is under way is to be brought to its
   * end, and what is to stay is in {@linkcode state}. May block, but not for long: the guest stands still.
   */
  beforeRelief(finish: () => void): void;
  /** Called once, when that one does take over, which it need not after all: what the model has of the host's goes. */
  whenRelieved(leave: () => void): void;
  /**
   * Blocks until `descriptor` reports one of `events`, an error or a hang-up, or the domain stops; inside `beforeStop`
   * only the descriptor counts.
   * @param timeoutMs how long at most; default for ever @returns false if it stops, or the time is over
   */
  waitFor(descriptor: number, events: number, timeoutMs?: number): boolean;
  /** Ends the domain's run (remote_shutdown). The access that led to it is answered all the same. */
  shutdown(reason: ShutdownReason): void;
}
