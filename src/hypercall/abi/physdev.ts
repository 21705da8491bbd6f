/** physdev_op, as far as an HVM guest makes it (xen/physdev.h). */

/** Subops (PHYSDEVOP_*). */
export const PHYSDEVOP = {
  IRQ_UNMASK_NOTIFY: 4,
  irq_status_query: 5,
  set_iopl: 6,
  set_iobitmap: 7,
  apic_read: 8,
  apic_write: 9,
  alloc_irq_vector: 10,
  free_irq_vector: 11,
  eoi: 12,
  map_pirq: 13,
  unmap_pirq: 14,
  manage_pci_add: 15,
  manage_pci_remove: 16,
  pirq_eoi_gmfn_v1: 17,
  restore_msi: 19,
  manage_pci_add_ext: 20,
  setup_gsi: 21,
  get_free_pirq: 23,
  pci_mmcfg_reserved: 24,
  pci_device_add: 25,
  pci_device_remove: 26,
  restore_msi_ext: 27,
  pirq_eoi_gmfn_v2: 28,
  dbgp_op: 29,
  prepare_msix: 30,
  release_msix: 31,
} as const;

/** struct physdev_eoi. */
export const PHYSDEV_EOI = { irq: 0, bytes: 4 } as const;

/** struct physdev_pirq_eoi_gmfn. */
export const PHYSDEV_PIRQ_EOI_GMFN = {
  64: { gmfn: 0, bytes: 8, long: 8 },
  32: { gmfn: 0, bytes: 4, long: 4 },
} as const;

/** struct physdev_irq_status_query. */
export const PHYSDEV_IRQ_STATUS_QUERY = { irq: 0, flags: 4, bytes: 8 } as const;

/** physdev_irq_status_query.flags (XENIRQSTAT_*). */
export const XENIRQSTAT = { needs_eoi: 1, shared: 2 } as const;

/** struct physdev_map_pirq. */
export const PHYSDEV_MAP_PIRQ = {
  64: { domid: 0, type: 4, index: 8, pirq: 12, bus: 16, devfn: 20, entry_nr: 24, table_base: 32, bytes: 40 },
  32: { domid: 0, type: 4, index: 8, pirq: 12, bus: 16, devfn: 20, entry_nr: 24, table_base: 28, bytes: 36 },
} as const;

/** physdev_map_pirq.type and physdev_get_free_pirq.type (MAP_PIRQ_TYPE_*). */
export const MAP_PIRQ_TYPE = { MSI: 0, GSI: 1, UNKNOWN: 2, MSI_SEG: 3, MULTI_MSI: 4 } as const;

/** struct physdev_unmap_pirq. */
export const PHYSDEV_UNMAP_PIRQ = { domid: 0, pirq: 4, bytes: 8 } as const;

/** struct physdev_get_free_pirq. */
export const PHYSDEV_GET_FREE_PIRQ = { type: 0, pirq: 4, bytes: 8 } as const;

/** struct physdev_setup_gsi. */
export const PHYSDEV_SETUP_GSI = { gsi: 0, triggering: 4, polarity: 5, bytes: 8 } as const;

/** struct physdev_irq, of alloc_irq_vector and free_irq_vector. */
export const PHYSDEV_IRQ = { irq: 0, vector: 4, bytes: 8 } as const;

/** struct physdev_pci_device. */
export const PHYSDEV_PCI_DEVICE = { seg: 0, bus: 2, devfn: 3, bytes: 4 } as const;
