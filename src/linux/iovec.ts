/** Lists of ranges for system calls: struct iovec, an address and a size, in words. */

/** Words of a range. */
export const IOVEC_WORDS = 4;

/** Makes a range the `index`th of a list. @param sizeBytes < 2^32 */
export function setRange(list: Uint32Array, index: number, address: number, sizeBytes: number): void {
  const at = index * IOVEC_WORDS;
  list[at] = address;
  list[at + 1] = address / 2 ** 32;
  list[at + 2] = sizeBytes;
  list[at + 3] = 0;
}
