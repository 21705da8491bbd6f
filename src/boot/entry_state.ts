/** The flat entry states that the 32-bit boot protocols share. */

import type { EntryState, SegmentRegister } from "./plan.ts";

/** Linux's __BOOT_CS and __BOOT_DS; the other protocols leave the selectors to the loader. */
const CODE_SELECTOR = 0x10;
const DATA_SELECTOR = 0x18;

const FLAT = { base: 0, limit: 0xffff_ffff, granularity: true } as const;

/** 4 GiB of readable code. */
export const FLAT_CODE: SegmentRegister = { ...FLAT, selector: CODE_SELECTOR, type: 11, db: true, long: false };

/** The same in 64-bit mode. */
export const LONG_CODE: SegmentRegister = { ...FLAT_CODE, db: false, long: true };

/** 4 GiB of writable data, for every segment register but the code's. */
export const FLAT_DATA: SegmentRegister = { ...FLAT, selector: DATA_SELECTOR, type: 3, db: true, long: false };

/** 32-bit protected mode, flat, without paging. */
export function protectedEntry(rip: number, registers: EntryState["registers"]): EntryState {
  return { mode: "protected", rip, registers, code: FLAT_CODE, data: FLAT_DATA };
}
