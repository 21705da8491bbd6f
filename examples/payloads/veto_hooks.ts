/** The hooks of veto.ts. */

import type { HookContext } from "xenolith/payload";

/** Runs before anything is changed, while the guest runs. */
export function preApply({ payload }: HookContext): void {
  throw new Error(`${payload} never wants to be applied`);
}
