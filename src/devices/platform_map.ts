/** Where the built-in platform model's registers are: what the devices claim and the firmware tables announce. */

/** 16550A UART: eight ports from 0x3f8 on ISA interrupt 4, as on every PC. */
export const COM1 = { port: 0x3f8, ports: 8, irq: 4 } as const;

/**
 * Bochs' and Xen's debug console: a byte written is printed; a read answers 0xe9, so that guests can probe it. Test
 * suites for Xen write to another port, too, mostly with outs.
 */
export const DEBUG_CONSOLE = { port: 0xe9, other: 0x12 } as const;

/** 8042 keyboard controller: data and command/status. Only its reset line has a use here. */
export const KEYBOARD_CONTROLLER = { data: 0x60, command: 0x64 } as const;

/** MC146818 clock: index and data. */
export const CMOS = { index: 0x70, data: 0x71 } as const;

/** POST code: written by firmware and by delay loops. */
export const POST = { port: 0x80 } as const;

/**
 * ACPI sleep registers of a hardware-reduced platform (ACPI 6.5, 4.8.3.7). The control register stands at the upper
 * byte of 0x604 and S5's type is 0, so the PM1a write that small kernels know from QEMU (0x2000 to 0x604) means the same.
 */
export const SLEEP = { port: 0x604, ports: 4, control: 0x605, status: 0x606, s5Type: 0 } as const;

/** Reset control register (0xcf9 as on Intel's chip sets): writing bit 2 resets the machine. */
export const RESET = { port: 0xcf9, value: 0x06 } as const;

/** The in-kernel interrupt controllers' windows and the identity of the one I/O APIC. */
export const LOCAL_APIC = { address: 0xfee0_0000, sizeBytes: 0x10_0000 } as const;
export const IO_APIC = { address: 0xfec0_0000, sizeBytes: 0x1000, pins: 24 } as const;

/** Guest frames of ioreq servers that are got at by gfn (HVM_PARAM_IOREQ_SERVER_PFN): above the local APIC's window. */
export const IOREQ_GFNS = { address: 0xfef0_0000, sizeBytes: 0xf_8000 } as const;

/** The pages that Xen's tool stack gives every guest, where it has them: rings of xenstore and of the console. */
export const SPECIAL_PAGES = {
  address: 0xfeff_8000,
  sizeBytes: 0x8000,
  xenstore: 0xfeff_c000,
  console: 0xfeff_f000,
} as const;

/** Where a guest may put the frames of its grant table and of their status, if it has no better place. */
export const GRANT_FRAMES = { address: 0xff80_0000, sizeBytes: 0x10_0000 } as const;

/** Where virtio devices have their registers, so far apart; and their interrupts: of the PC's own, what nobody has here. */
export const VIRTIO_WINDOW = { address: 0xd000_0000, apart: 0x1000 } as const;
export const VIRTIO_GSIS = [5, 6, 7, 9, 10, 11, 3] as const;

/** ISA interrupt 0 (the PIT) arrives at I/O APIC pin 2, as on every PC; all others at the pin of their number. */
export const PIT_IO_APIC_PIN = 2;

/** Guest-physical addresses where nobody else's windows can be, and whose they are. */
export const RESERVED_RANGES: readonly { readonly first: number; readonly last: number; readonly what: string }[] = [
  reserved("I/O APIC", IO_APIC),
  reserved("local APICs", LOCAL_APIC),
  reserved("pages of ioreq servers, by gfn", IOREQ_GFNS),
  reserved("rings of xenstore and console", SPECIAL_PAGES),
  reserved("place for the grant table", GRANT_FRAMES),
  reserved("KVM's own, on VMX", { address: 0xfffb_c000, sizeBytes: 0x4000 }),
];

function reserved(what: string, { address, sizeBytes }: { readonly address: number; readonly sizeBytes: number }) {
  return { first: address, last: address + sizeBytes - 1, what };
}
