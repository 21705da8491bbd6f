/**
 * Writing device models: a module whose default export takes the {@linkcode DeviceModelHost}, claims its ranges and
 * returns. It may be asynchronous; the guest starts when it is done.
 *
 * @example A port that counts its reads
 * ```ts
 * import type { DeviceModelHost } from "xenolith/dm";
 *
 * export default function counter(host: DeviceModelHost): void {
 *   const state = host.state(4);
 *   host.mapPorts(0x510, 4, {
 *     read() {
 *       state.setUint32(0, state.getUint32(0) + 1);
 *       return state.getUint32(0);
 *     },
 *     write() {},
 *   });
 * }
 * ```
 *
 * @module
 */

export { DmOpError } from "../ioreq/dm_op_error.ts";
export { LocatedMemory } from "./host.ts";
export { MemoryViews } from "../memory/memory_views.ts";
export type {
  DeviceMemory,
  DeviceModelHost,
  EventChannel,
  EventWrite,
  GuestMemoryAccess,
  GuestWindow,
  LineEvents,
  MemoryPiece,
  PageMapping,
  PageRun,
  RangeHandler,
  RangeOptions,
  ShutdownReason,
  Violation,
  Watch,
  WindowHandler,
  WindowOptions,
} from "./host.ts";
