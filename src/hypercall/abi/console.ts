/** console_io (xen/xen.h) and the ring of the PV console (xen/io/console.h). */

/** Subops (CONSOLEIO_*). */
export const CONSOLEIO = { write: 0, read: 1 } as const;

/** struct xencons_interface: the guest consumes in and produces out; the indices run freely. */
export const XENCONS_INTERFACE = {
  in: 0,
  out: 1024,
  in_cons: 3072,
  in_prod: 3076,
  out_cons: 3080,
  out_prod: 3084,
  bytes: 3088,
} as const;

/** Bytes of the two rings. */
export const XENCONS_RING_BYTES = { in: 1024, out: 2048 } as const;
