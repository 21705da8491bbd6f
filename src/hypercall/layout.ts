/** Numbers and texts in structures of the hypercall ABI, beyond the longs that a call itself knows. */

/** A 64-bit unsigned number at `at`: exact below 2^53, above that rounded (and never below 2^53). */
export function unsigned64(view: DataView, at: number): number {
  return view.getUint32(at, true) + view.getUint32(at + 4, true) * 2 ** 32;
}

/** Puts an unsigned number below 2^53 as 64 bits at `at`. */
export function setUnsigned64(view: DataView, at: number, value: number): void {
  view.setUint32(at, value, true);
  view.setUint32(at + 4, Math.floor(value / 2 ** 32), true);
}

/**
 * A 64-bit signed system time in nanoseconds at `at`, as a number that can be compared with the clock's: what is
 * negative is long past (0), and from 2^53 on (104 days) it is rounded.
 */
export function systemTime(view: DataView, at: number): number {
  return view.getInt32(at + 4, true) < 0 ? 0 : unsigned64(view, at);
}

/** Fills `bytes` bytes from `at` on with 0. */
export function clear(view: DataView, at: number, bytes: number): void {
  for (let index = 0; index < bytes; index++) view.setUint8(at + index, 0);
}

/** Puts ASCII, ended and filled up with 0, into a field of `bytes` bytes at `at`; what does not fit is cut off. */
export function setText(view: DataView, at: number, bytes: number, text: string): void {
  clear(view, at, bytes);
  for (let index = 0; index < Math.min(text.length, bytes - 1); index++) {
    view.setUint8(at + index, text.charCodeAt(index));
  }
}
