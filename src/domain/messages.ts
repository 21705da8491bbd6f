/** What the domain's owner and its Workers tell each other; everything on the exit path goes through shared memory. */

import type { MemoryPiece } from "../dm/host.ts";
import type { CarrierStart } from "./carrier.ts";
import type { MemoryGrant } from "./grants.ts";
import type { PagerStart } from "./pager.ts";
import type { XenServiceState, XenStart } from "./xen_service.ts";

/** To a model's Worker, once. */
export interface ModelStart {
  readonly controlBlock: bigint;
  readonly vcpus: number;
  readonly server: number;
  /** The pager's eventfd. */
  readonly pagerDoorbell: number;
  /** The URL of the module; undefined is the built-in platform model. */
  readonly module: string | undefined;
  readonly configuration: unknown;
  /** The guest memory that it gets. */
  readonly memory: MemoryGrant;
  /** Another generation of the model has served: what it has claimed and connected is there already. */
  readonly inherits: boolean;
  /** The same as files. */
  readonly files: readonly MemoryPiece[];
}

/** To a service's Worker. */
export type ServiceStart = PagerStart | XenStart;

/** To a Worker of any kind. */
export type Start = CarrierStart | ModelStart | ServiceStart;

/** To a Worker before that: it is to load whatever it will need for such a start, and to say so. */
export interface Load {
  readonly load: Start;
}

/** What a domain has only when it is needed: who answers for missing pages, and what a guest that uses Xen has. */
export type Service = "pager" | "xen";

/** What a model's Worker has the domain's owner do for it: descriptors are this process's, gfns and pages numbers. */
export type ModelRequest =
  | { readonly name: "add_memory"; readonly descriptor: number; readonly bytes: number }
  | { readonly name: "map_window"; readonly gfn: number; readonly pages: number; readonly transport: number }
  | { readonly name: "unmap_window"; readonly gfn: number; readonly pages: number };

/** Words of the reply, in memory that comes with the request: whether it is there, and the result or -errno. */
export const REPLY = { DONE: 0, RESULT: 1, WORDS: 2 } as const;

/** Why a Worker is gone. */
export interface Failure {
  /** One line. */
  readonly message: string;
  /** It lacks what it was told to use, which is the message; else it is a mistake of ours. */
  readonly isLack: boolean;
}

/**
 * From a Worker: "loaded" when its code is there, if that was asked for; "ready" when it begins: a model has claimed its
 * ranges by then; "paused" when a carrier's vCPU or the last of a dispatcher's has come to rest while the domain is paused, or
 * a model or a service for its successor; "ended" when a model or a dispatcher's vCPU ended the run,
 * "stopped" when the Worker will touch nothing any more, with what the next one of its kind needs, "failed" when an exception ended it, "needs" when a vCPU has
 * done something for which a service has to be there, "request" when a model waits for something that only the domain's
 * owner can do.
 */
export type Report =
  | { readonly kind: "loaded" | "ready" | "paused" | "ended" }
  | { readonly kind: "stopped"; readonly handedOver?: XenServiceState }
  | { readonly kind: "needs"; readonly service: Service }
  | { readonly kind: "failed"; readonly failure: Failure }
  | { readonly kind: "request"; readonly request: ModelRequest; readonly reply: Int32Array<SharedArrayBuffer> };
