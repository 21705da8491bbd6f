/** What the domain's owner and its Workers tell each other; everything on the exit path goes through shared memory. */

import type { CarrierStart } from "./carrier.ts";
import type { MemoryGrant } from "./grants.ts";

/** To a model's Worker, once. */
export interface ModelStart {
  readonly controlBlock: bigint;
  readonly vcpus: number;
  readonly server: number;
  /** The URL of the module; undefined is the built-in platform model. */
  readonly module: string | undefined;
  readonly configuration: unknown;
  /** The guest memory that it gets. */
  readonly memory: MemoryGrant;
}

/** To a Worker of any kind. */
export type Start = CarrierStart | ModelStart;

/**
 * From a Worker: "ready" when a model has claimed its ranges, "paused" when a carrier's vCPU or the last of a
 * dispatcher's has come to rest while the domain is paused, "ended" when a model or a dispatcher's vCPU ended the run,
 * "stopped" when the Worker will touch nothing any more, "failed" when an exception ended it.
 */
export type Report =
  | { readonly kind: "ready" | "paused" | "ended" | "stopped" }
  | { readonly kind: "failed"; readonly message: string };
