/**
 * A domain's special frames: memory of the hypervisor's that its guest may place in its physical map, wherever it likes
 * (Xen: pages of Xen's heap that are shared with the domain).
 */

import type { Bank, MachineMemory } from "./bank.ts";
import type { StageTable } from "./stage_table.ts";

/** Frames that a grant table can have, as libxl gives a domU (max_grant_frames), and those of their status. */
export const MAX_GRANT_FRAMES = 64, MAX_STATUS_FRAMES = 8;

/** Numbers of special frames: struct shared_info, the rings of xenstore and of the console, the grant table. */
export const SPECIAL_FRAME = { SHARED_INFO: 0, STORE: 1, CONSOLE: 2, GRANT: 3, STATUS: 3 + MAX_GRANT_FRAMES } as const;

const FRAMES = SPECIAL_FRAME.STATUS + MAX_STATUS_FRAMES;

/**
 * Allocates them all, before the domain runs: afterwards any isolate finds them, and a carrier needs no new memory. What
 * is not touched costs nothing.
 * @throws {LinuxError} @throws {MachineMemoryError}
 */
export function createSpecialFrames(machine: MachineMemory, table: StageTable, owner: number): Bank {
  const bank = machine.allocate("xenolith-special", FRAMES, owner);
  table.setSpecials(bank.firstMfn, FRAMES);
  return bank;
}
