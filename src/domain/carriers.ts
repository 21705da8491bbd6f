/** What runs a domain's vCPUs, and how they are divided among Workers. */

/** A Worker for each vCPU, or threads of machine code whose exits a few Workers handle. */
export type Carrier = "worker" | "native";

/** The Workers of one domain's vCPUs; each is a waiter (see events/wake_board.ts). */
export interface Division {
  readonly role: "carrier" | "dispatcher";
  readonly vcpusPerWaiter: number;
  readonly waiters: number;
}

/** No word of a wake board's bits belongs to two waiters. */
const BLOCK = 32;

/** An isolate takes 8 MB, and a thousand vCPUs are to run in tens of them. */
const MOST_DISPATCHERS = 8;

/** Divides `vcpus` vCPUs: among no more dispatchers than processors, each with at least 32 of them if there are as many. */
export function divide(kind: Carrier, vcpus: number, processors: number): Division {
  if (kind === "worker") return { role: "carrier", vcpusPerWaiter: 1, waiters: vcpus };
  const most = Math.min(processors, MOST_DISPATCHERS, Math.ceil(vcpus / BLOCK));
  const vcpusPerWaiter = Math.ceil(vcpus / most / BLOCK) * BLOCK;
  return { role: "dispatcher", vcpusPerWaiter, waiters: Math.ceil(vcpus / vcpusPerWaiter) };
}
