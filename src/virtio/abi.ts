/** Numbers of virtio 1.2: registers of virtio over MMIO, device status, features, rings. Data and nothing else. */

/** Device types (5). */
export const DEVICE_ID = { NET: 1, BLOCK: 2, CONSOLE: 3, ENTROPY: 4 } as const;

/** Registers of a device over MMIO (4.2.2), and those that only legacy devices have (4.2.4). */
export const MMIO = {
  MAGIC: 0x000,
  VERSION: 0x004,
  DEVICE_ID: 0x008,
  VENDOR_ID: 0x00c,
  DEVICE_FEATURES: 0x010,
  DEVICE_FEATURES_SEL: 0x014,
  DRIVER_FEATURES: 0x020,
  DRIVER_FEATURES_SEL: 0x024,
  /** Legacy: bytes of the guest's pages, in which QUEUE_PFN counts. */
  GUEST_PAGE_SIZE: 0x028,
  QUEUE_SEL: 0x030,
  QUEUE_NUM_MAX: 0x034,
  QUEUE_NUM: 0x038,
  /** Legacy: the used ring begins at a multiple of it. */
  QUEUE_ALIGN: 0x03c,
  /** Legacy: the page where the rings begin; 0: the queue is not used. */
  QUEUE_PFN: 0x040,
  QUEUE_READY: 0x044,
  QUEUE_NOTIFY: 0x050,
  INTERRUPT_STATUS: 0x060,
  INTERRUPT_ACK: 0x064,
  STATUS: 0x070,
  QUEUE_DESC_LOW: 0x080,
  QUEUE_DESC_HIGH: 0x084,
  QUEUE_DRIVER_LOW: 0x090,
  QUEUE_DRIVER_HIGH: 0x094,
  QUEUE_DEVICE_LOW: 0x0a0,
  QUEUE_DEVICE_HIGH: 0x0a4,
  SHM_LEN_LOW: 0x0b0,
  SHM_BASE_HIGH: 0x0bc,
  CONFIG_GENERATION: 0x0fc,
  CONFIG: 0x100,
} as const;

/** "virt". */
export const MAGIC = 0x7472_6976;
export const VERSION = { LEGACY: 1, MODERN: 2 } as const;

/** Bytes of a device's registers and configuration. */
export const MMIO_BYTES = 0x200;

/** Bits of the device status (2.1). */
export const STATUS = {
  ACKNOWLEDGE: 1,
  DRIVER: 2,
  DRIVER_OK: 4,
  FEATURES_OK: 8,
  NEEDS_RESET: 64,
  FAILED: 128,
} as const;

/** Bits of the interrupt status (4.2.2). */
export const INTERRUPT = { USED_BUFFER: 1, CONFIGURATION: 2 } as const;

/** Features of every device (6), by the number of their bit. */
export const FEATURE = { RING_INDIRECT_DESC: 28, RING_EVENT_IDX: 29, VERSION_1: 32, ACCESS_PLATFORM: 33 } as const;

/** A descriptor (2.7.5). */
export const DESCRIPTOR = { addr: 0, len: 8, flags: 12, next: 14, bytes: 16 } as const;
export const DESCRIPTOR_FLAG = { NEXT: 1, WRITE: 2, INDIRECT: 4 } as const;

/** The rings of the driver and of the device (2.7.6, 2.7.8): a head, entries of so many bytes, and how they are aligned. */
export const AVAILABLE = { flags: 0, idx: 2, ring: 4, entry: 2, align: 2 } as const;
export const USED = { flags: 0, idx: 2, ring: 4, entry: 8, align: 4 } as const;
export const AVAILABLE_NO_INTERRUPT = 1, USED_NO_NOTIFY = 1;

/** The largest split queue. */
export const MAX_QUEUE_SIZE = 32768;
