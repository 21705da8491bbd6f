/** One hypercall of a guest: who makes it, what it says, and which file answers it. */

import { ENOSYS } from "../linux/errno.ts";
import { HYPERCALL } from "./abi.ts";
import { memoryOp } from "./memory_op.ts";

/** The domain as its guest's hypercalls see it. */
export interface HypercallDomain {
  readonly domid: number;
  /** Pages that the guest has, and may have. */
  readonly currentReservation: number;
  readonly maximumReservation: number;
  /** The guest gives pages back, from the first on. @returns how many it had */
  decrease(gfn: number, count: number): number;
  /** The guest gets pages. @returns how many, from the first on */
  populate(gfn: number, count: number): number;
}

/** A hypercall as it was made. */
export interface Hypercall {
  readonly number: number;
  /** The width of the caller's code: its registers, and the layout of structures. */
  readonly bits: 32 | 64;
  readonly arguments: readonly bigint[];
  /** Fills `target` from the caller's memory. @returns false a page of it is not there */
  read(linear: bigint, target: Uint8Array): boolean;
}

/** What a hypercall results in. */
export interface HypercallResult {
  /** For (r/e)ax: 0 or more, or -errno. */
  readonly value: number;
  /** The guest has given memory back: device models are to forget it before the guest goes on. */
  readonly invalidates: boolean;
}

/** Carries out a hypercall; one that is not known is -ENOSYS. */
export function hypercall(domain: HypercallDomain, call: Hypercall): HypercallResult {
  if (call.number === HYPERCALL.memory_op) return memoryOp(domain, call);
  return { value: -ENOSYS, invalidates: false };
}
