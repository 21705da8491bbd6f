/** What a device model is written against: the interfaces that src/dm implements wherever the model runs. */

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
}

/** The guest's memory, as much of it as the model was granted. Addresses are guest-physical. */
export interface GuestMemoryAccess {
  /** Fills `target`. @throws {RangeError} not all of it is granted; then nothing was copied */
  read(address: number, target: Uint8Array): void;
  /** Stores `source`. @throws {RangeError} not all of it is granted; then nothing was copied */
  write(address: number, source: Uint8Array): void;
  /** Whether all of [address, address + sizeBytes) is granted. */
  contains(address: number, sizeBytes: number): boolean;
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
  /** Claims guest-physical `address` to `address + sizeBytes - 1` (type MEMORY). */
  mapMemory(address: number, sizeBytes: number, handler: RangeHandler, options?: RangeOptions): void;
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
  /** Called once, when the domain has stopped and the last access is answered: the last words. May block. */
  beforeStop(flush: () => void): void;
  /**
   * Blocks until `descriptor` reports one of `events`, an error or a hang-up, or the domain stops; inside `beforeStop`
   * only the descriptor counts. @returns false if it stops
   */
  waitFor(descriptor: number, events: number): boolean;
  /** Ends the domain's run (remote_shutdown). The access that led to it is answered all the same. */
  shutdown(reason: ShutdownReason): void;
}
