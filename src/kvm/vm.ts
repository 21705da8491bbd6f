/** One KVM virtual machine: its memory slots, interrupt controllers and vCPUs. */

import * as calls from "../linux/calls.ts";
import { Descriptor } from "../linux/descriptor.ts";
import { check } from "../linux/linux_error.ts";
import { bytesAddress } from "../linux/mapping.ts";
import * as abi from "./abi.ts";
import { KVM } from "./abi.ts";
import { Vcpu } from "./vcpu.ts";

/** Where Intel hosts keep three pages of a real-mode TSS and one of identity page tables: below the BIOS, above RAM. */
const TSS_ADDRESS = 0xfffb_d000, IDENTITY_MAP_ADDRESS = 0xfffb_c000n;

/** Writes of the guest's that can signal an eventfd. */
export interface EventWrite {
  /** Of what the address is. */
  readonly space: "port" | "memory";
  /** A port, or guest-physical. */
  readonly address: number;
  /** 1, 2, 4 or 8. */
  readonly sizeBytes: number;
  /** What is written; undefined: anything. */
  readonly value?: number | bigint;
}

/** A VM descriptor, one method an ioctl. Every method throws LinuxError. */
export class Vm implements Disposable {
  readonly #irqLevel = new Uint32Array(abi.SIZE.kvm_irq_level / 4);
  readonly #clock = new Uint32Array(abi.SIZE.kvm_clock_data / 4);
  readonly #msi = new Uint32Array(abi.SIZE.kvm_msi / 4);

  constructor(readonly descriptor: Descriptor, private readonly runPageBytes: number) {}

  /** KVM_CREATE_VCPU. @param id the local APIC id */
  createVcpu(id: number): Vcpu {
    const number = this.descriptor.ioctlValue(KVM.CREATE_VCPU, "KVM_CREATE_VCPU", id);
    return Vcpu.adopt(new Descriptor(number, `vCPU ${id}`), this.runPageBytes);
  }

  /**
   * KVM_SET_USER_MEMORY_REGION: guest-physical [address, address + sizeBytes) is the memory at `host`.
   * @param sizeBytes 0 deletes the slot
   * @param readOnly writes of the guest leave it (KVM_CAP_READONLY_MEM)
   */
  setMemoryRegion(slot: number, address: number, sizeBytes: number, host: bigint, readOnly = false): void {
    const region = memoryRegion(slot, address, sizeBytes, host, readOnly);
    this.descriptor.ioctl(KVM.SET_USER_MEMORY_REGION, "KVM_SET_USER_MEMORY_REGION", region);
  }

  /**
   * The same on a thread of its own: while an access of a vCPU waits for its page (userfaultfd), KVM has changes of slots
   * wait for that. Rejects with LinuxError.
   */
  async changeMemoryRegion(slot: number, address: number, sizeBytes: number, host: bigint): Promise<void> {
    const region = memoryRegion(slot, address, sizeBytes, host, false), { number, subject } = this.descriptor;
    const result = await calls.ioctlWaiting(number, KVM.SET_USER_MEMORY_REGION, region);
    check(result, "ioctl KVM_SET_USER_MEMORY_REGION", subject);
  }

  /** KVM_CREATE_IRQCHIP and KVM_CREATE_PIT2: both PICs, the I/O APIC, a local APIC a vCPU, the PIT and port 0x61. */
  createInterruptControllers(): void {
    this.descriptor.ioctlValue(KVM.SET_TSS_ADDR, "KVM_SET_TSS_ADDR", TSS_ADDRESS);
    const identityMap = new BigUint64Array([IDENTITY_MAP_ADDRESS]);
    this.descriptor.ioctl(KVM.SET_IDENTITY_MAP_ADDR, "KVM_SET_IDENTITY_MAP_ADDR", identityMap);
    this.descriptor.ioctlValue(KVM.CREATE_IRQCHIP, "KVM_CREATE_IRQCHIP", 0);
    const pit = new Uint32Array(abi.SIZE.kvm_pit_config / 4);
    pit[0] = abi.PIT_SPEAKER_DUMMY;
    this.descriptor.ioctl(KVM.CREATE_PIT2, "KVM_CREATE_PIT2", pit);
  }

  /**
   * KVM_SET_GSI_ROUTING: GSIs 0-15 to the PICs as on a PC, and each GSI to the I/O APIC pin of its number, but GSI 0
   * to `pitPin` (whose own GSI then has no line).
   */
  routeInterrupts(ioApicPins: number, pitPin: number): void {
    const routes: [gsi: number, chip: number, pin: number][] = [];
    for (let gsi = 0; gsi < ioApicPins; gsi++) {
      if (gsi < 16) routes.push([gsi, gsi < 8 ? abi.CHIP_PIC_MASTER : abi.CHIP_PIC_SLAVE, gsi & 7]);
      if (gsi !== pitPin) routes.push([gsi, abi.CHIP_IOAPIC, gsi === 0 ? pitPin : gsi]);
    }
    const size = abi.SIZE.kvm_irq_routing + routes.length * abi.SIZE.kvm_irq_routing_entry;
    const table = new DataView(new ArrayBuffer(size));
    table.setUint32(abi.IRQ_ROUTING.nr, routes.length, true);
    routes.forEach(([gsi, chip, pin], index) => {
      const entry = abi.IRQ_ROUTING.entries + index * abi.SIZE.kvm_irq_routing_entry;
      table.setUint32(entry + abi.IRQ_ROUTING_ENTRY.gsi, gsi, true);
      table.setUint32(entry + abi.IRQ_ROUTING_ENTRY.type, abi.ROUTING_IRQCHIP, true);
      table.setUint32(entry + abi.IRQ_ROUTING_ENTRY.irqchip, chip, true);
      table.setUint32(entry + abi.IRQ_ROUTING_ENTRY.pin, pin, true);
    });
    this.descriptor.ioctl(KVM.SET_GSI_ROUTING, "KVM_SET_GSI_ROUTING", table);
  }

  /** KVM_IRQ_LINE: the level of one GSI; allocates nothing. */
  setIrqLevel(gsi: number, level: boolean): void {
    this.#irqLevel[abi.IRQ_LEVEL.irq / 4] = gsi;
    this.#irqLevel[abi.IRQ_LEVEL.level / 4] = level ? 1 : 0;
    this.descriptor.ioctl(KVM.IRQ_LINE, "KVM_IRQ_LINE", this.#irqLevel);
  }

  /**
   * KVM_SIGNAL_MSI: a message as a device writes it; allocates nothing.
   * @returns whether a local APIC has taken it: one that is disabled does not
   */
  signalMsi(address: number, data: number): boolean {
    this.#msi[abi.MSI.address_lo / 4] = address;
    this.#msi[abi.MSI.address_hi / 4] = Math.floor(address / 2 ** 32);
    this.#msi[abi.MSI.data / 4] = data;
    return this.descriptor.ioctl(KVM.SIGNAL_MSI, "KVM_SIGNAL_MSI", this.#msi) > 0;
  }

  /**
   * KVM_IOEVENTFD (KVM_CAP_IOEVENTFD): from now on such a write signals an eventfd, and the vCPU goes on at once. What was
   * written is lost; a read, or another write, leaves the guest as before.
   * @param eventDescriptor its number; the eventfd stays the caller's, KVM keeps it open
   * @param connect false: no longer
   */
  connectWrite(write: EventWrite, eventDescriptor: number, connect: boolean): void {
    const { space, address, sizeBytes, value } = write;
    const request = new DataView(new ArrayBuffer(abi.SIZE.kvm_ioeventfd));
    const flags = (space === "port" ? abi.IOEVENTFD_FLAG.PIO : 0) | (connect ? 0 : abi.IOEVENTFD_FLAG.DEASSIGN) |
      (value === undefined ? 0 : abi.IOEVENTFD_FLAG.DATAMATCH);
    request.setBigUint64(abi.IOEVENTFD.datamatch, BigInt(value ?? 0), true);
    request.setBigUint64(abi.IOEVENTFD.addr, BigInt(address), true);
    request.setUint32(abi.IOEVENTFD.len, sizeBytes, true);
    request.setInt32(abi.IOEVENTFD.fd, eventDescriptor, true);
    request.setUint32(abi.IOEVENTFD.flags, flags, true);
    this.descriptor.ioctl(KVM.IOEVENTFD, "KVM_IOEVENTFD", request);
  }

  /**
   * KVM_IRQFD: signalling `raise` is an edge of an interrupt line. With `ended` (KVM_IRQFD_FLAG_RESAMPLE) the line is
   * level-triggered: it is raised, and when the guest has ended the interrupt it falls and `ended` is signalled.
   * @param connect false: no longer
   */
  connectLine(gsi: number, raise: number, ended: number | undefined, connect: boolean): void {
    const request = new Uint32Array(abi.SIZE.kvm_irqfd / 4);
    request[abi.IRQFD.fd / 4] = raise;
    request[abi.IRQFD.gsi / 4] = gsi;
    request[abi.IRQFD.flags / 4] = !connect ? abi.IRQFD_DEASSIGN : ended === undefined ? 0 : abi.IRQFD_RESAMPLE;
    request[abi.IRQFD.resamplefd / 4] = ended ?? 0;
    this.descriptor.ioctl(KVM.IRQFD, "KVM_IRQFD", request);
  }

  /**
   * KVM_X86_SET_MSR_FILTER with KVM_CAP_X86_USER_SPACE_MSR: a guest's RDMSR and WRMSR of `msr` leave it, with
   * KVM_EXIT_X86_RDMSR and KVM_EXIT_X86_WRMSR.
   */
  interceptMsr(msr: number): void {
    this.enableCapability(abi.CAP.X86_USER_SPACE_MSR, BigInt(abi.MSR_EXIT_FILTER));
    const denied = new Uint8Array(8), filter = new DataView(new ArrayBuffer(abi.SIZE.kvm_msr_filter));
    const range = abi.MSR_FILTER.ranges;
    filter.setUint32(range + abi.MSR_FILTER_RANGE.flags, abi.MSR_FILTER_READ | abi.MSR_FILTER_WRITE, true);
    filter.setUint32(range + abi.MSR_FILTER_RANGE.nmsrs, 1, true);
    filter.setUint32(range + abi.MSR_FILTER_RANGE.base, msr, true);
    filter.setBigUint64(range + abi.MSR_FILTER_RANGE.bitmap, bytesAddress(denied), true);
    this.descriptor.ioctl(KVM.X86_SET_MSR_FILTER, "KVM_X86_SET_MSR_FILTER", filter);
  }

  /**
   * KVM_XEN_HVM_CONFIG (KVM_CAP_XEN_HVM): VMCALL and VMMCALL leave the guest, with KVM_EXIT_XEN.
   * @param msr where KVM would take the address of a page of them; {@linkcode interceptMsr} comes before that
   */
  interceptXenCalls(msr: number): void {
    const configuration = new DataView(new ArrayBuffer(abi.SIZE.kvm_xen_hvm_config));
    configuration.setUint32(abi.XEN_HVM_CONFIG.flags, abi.XEN_HVM_INTERCEPT_HCALL, true);
    configuration.setUint32(abi.XEN_HVM_CONFIG.msr, msr, true);
    this.descriptor.ioctl(KVM.XEN_HVM_CONFIG, "KVM_XEN_HVM_CONFIG", configuration);
  }

  /** KVM_GET_CLOCK: nanoseconds of the guests' paravirtual clock (kvmclock, Xen's system time). */
  get clockNs(): number {
    this.descriptor.ioctl(KVM.GET_CLOCK, "KVM_GET_CLOCK", this.#clock);
    return this.#clock[abi.CLOCK_DATA.clock / 4] + this.#clock[abi.CLOCK_DATA.clock / 4 + 1] * 2 ** 32;
  }

  /** KVM_ENABLE_CAP, with one argument. */
  enableCapability(capability: number, argument: bigint): void {
    const request = new DataView(new ArrayBuffer(abi.SIZE.kvm_enable_cap));
    request.setUint32(abi.ENABLE_CAP.cap, capability, true);
    request.setBigUint64(abi.ENABLE_CAP.args, argument, true);
    this.descriptor.ioctl(KVM.ENABLE_CAP, "KVM_ENABLE_CAP", request);
  }

  [Symbol.dispose](): void {
    this.descriptor[Symbol.dispose]();
  }
}

function memoryRegion(
  slot: number,
  address: number,
  sizeBytes: number,
  host: bigint,
  readOnly: boolean,
): DataView<ArrayBuffer> {
  const region = new DataView(new ArrayBuffer(abi.SIZE.kvm_userspace_memory_region));
  region.setUint32(abi.MEMORY_REGION.slot, slot, true);
  region.setUint32(abi.MEMORY_REGION.flags, readOnly ? abi.MEM_READONLY : 0, true);
  region.setBigUint64(abi.MEMORY_REGION.guest_phys_addr, BigInt(address), true);
  region.setBigUint64(abi.MEMORY_REGION.memory_size, BigInt(sizeBytes), true);
  region.setBigUint64(abi.MEMORY_REGION.userspace_addr, host, true);
  return region;
}
