/** The guest's interrupt lines as device models drive them: PCI pins share a line, and a link may lead it to an ISA interrupt. */

import { EINVAL } from "../linux/errno.ts";
import { CAP, X2APIC_API_DISABLE_BROADCAST_QUIRK, X2APIC_API_USE_32BIT_IDS } from "../kvm/abi.ts";
import type { Vm } from "../kvm/vm.ts";
import { IO_APIC, PIT_IO_APIC_PIN } from "../devices/platform_map.ts";
import { DmOpError } from "../ioreq/dm_op_error.ts";

/** Words: a bit for each PCI pin (device * 4 + pin), who raises each GSI, and the ISA interrupt of each link (0: none). */
const PINS = 0, PIN_WORDS = 4, RAISED = 4, LINKS = 64;
const PCI_DEVICES = 32, PCI_PINS = 4, PCI_LINKS = 4, ISA_INTERRUPTS = 16;

/** The one bit of a GSI's word that belongs to its own line; each PCI pin that raises it adds 2. */
const OWN = 1, PIN = 2;

/** Creates what the lines lead to: PICs, an I/O APIC and local APICs, with x2APIC ids as wide as so many vCPUs need. */
export function createInterruptControllers(vm: Vm, vcpus: number): void {
  vm.createInterruptControllers();
  vm.routeInterrupts(IO_APIC.pins, PIT_IO_APIC_PIN);
  if (vcpus <= 255) return;
  const flags = X2APIC_API_USE_32BIT_IDS | X2APIC_API_DISABLE_BROADCAST_QUIRK;
  vm.enableCapability(CAP.X2APIC_API, BigInt(flags));
}

/** The GSI of a pin of a device on bus 0 (Xen: hvm_pci_intx_gsi, folded into the pins that the I/O APIC has). */
export function pciGsi(device: number, pin: number): number {
  const above = IO_APIC.pins - ISA_INTERRUPTS;
  return ISA_INTERRUPTS + (((device << 2) + (device >> 3) + pin) & 31) % above;
}

/** The link of a pin (Xen: hvm_pci_intx_link). */
export function pciLink(device: number, pin: number): number {
  return (device + pin) & 3;
}

/** The lines as one isolate drives them; levels are in shared memory, since a line may have several drivers. */
export class InterruptLines {
  /** @param levels {@linkcode ControlBlock.interruptLines} */
  constructor(private readonly levels: Int32Array, private readonly vm: Pick<Vm, "setIrqLevel" | "signalMsi">) {}

  /** set_isa_irq_level. @throws {DmOpError} EINVAL no such interrupt */
  setIsaLevel(irq: number, level: boolean): void {
    if (!isBelow(irq, ISA_INTERRUPTS)) throw new DmOpError("set_isa_irq_level", EINVAL, `no ISA interrupt ${irq}`);
    this.setLevel(irq, level);
  }

  /** set_irq_level. @throws {DmOpError} EINVAL no such GSI */
  setLevel(gsi: number, level: boolean): void {
    if (!isBelow(gsi, IO_APIC.pins)) throw new DmOpError("set_irq_level", EINVAL, `no GSI ${gsi}`);
    const before = level ? Atomics.or(this.levels, RAISED + gsi, OWN) : Atomics.and(this.levels, RAISED + gsi, ~OWN);
    if (((before & OWN) !== 0) !== level) this.#drive(gsi);
  }

  /** set_pci_intx_level. @throws {DmOpError} EINVAL another segment or bus than 0, no such device or pin */
  setPciIntx(segment: number, bus: number, device: number, pin: number, level: boolean): void {
    if (segment !== 0 || bus !== 0 || !isBelow(device, PCI_DEVICES) || !isBelow(pin, PCI_PINS)) {
      throw new DmOpError("set_pci_intx_level", EINVAL, `${segment}:${bus}:${device} INT${"ABCD"[pin] ?? pin}`);
    }
    const index = device * PCI_PINS + pin, word = PINS + (index >>> 5), bit = 1 << (index & 31);
    const before = level ? Atomics.or(this.levels, word, bit) : Atomics.and(this.levels, word, ~bit);
    if (((before & bit) !== 0) === level) return;
    this.#change(pciGsi(device, pin), level);
    const route = Atomics.load(this.levels, LINKS + pciLink(device, pin));
    if (route !== 0) this.#change(route, level);
  }

  /**
   * set_pci_link_route: a link's pins raise ISA interrupt `irq`, too; 0: none.
   * @throws {DmOpError} EINVAL no such link or interrupt
   */
  setPciLinkRoute(link: number, irq: number): void {
    if (!isBelow(link, PCI_LINKS) || !isBelow(irq, ISA_INTERRUPTS)) {
      throw new DmOpError("set_pci_link_route", EINVAL, `link ${link} to interrupt ${irq}`);
    }
    const before = Atomics.exchange(this.levels, LINKS + link, irq);
    for (let index = 0; index < PIN_WORDS * 32; index++) {
      const raised = (Atomics.load(this.levels, PINS + (index >>> 5)) & (1 << (index & 31))) !== 0;
      if (!raised || pciLink(index >>> 2, index & 3) !== link || before === irq) continue;
      if (before !== 0) this.#change(before, false);
      if (irq !== 0) this.#change(irq, true);
    }
  }

  /** inject_msi. @throws {LinuxError} KVM takes no such message */
  injectMsi(address: number, data: number): void {
    this.vm.signalMsi(address, data);
  }

  #change(gsi: number, raise: boolean): void {
    Atomics.add(this.levels, RAISED + gsi, raise ? PIN : -PIN);
    this.#drive(gsi);
  }

  /** A line is high while anybody raises it. Two drivers at once may both get here: the last look is the right one. */
  #drive(gsi: number): void {
    for (;;) {
      const raised = Atomics.load(this.levels, RAISED + gsi);
      this.vm.setIrqLevel(gsi, raised !== 0);
      if (Atomics.load(this.levels, RAISED + gsi) === raised) return;
    }
  }
}

function isBelow(value: number, limit: number): boolean {
  return Number.isInteger(value) && value >= 0 && value < limit;
}
