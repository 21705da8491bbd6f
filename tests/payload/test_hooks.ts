/** Hooks that do what their payload's name says: "fails-apply", "slow-apply"; or say what they are in a file of that name. */

import type { HookContext } from "../../src/payload/hooks.ts";

function hook(name: string): (context: HookContext) => void {
  return ({ payload }) => {
    if (payload === `fails-${name}`) throw new RangeError(`${name} of ${payload}`);
    while (payload === `slow-${name}`);
    if (payload.startsWith("xenolith-")) Deno.writeTextFileSync(`/tmp/${payload}`, `${name}\n`, { append: true });
  };
}

export const load = hook("load"), preApply = hook("preApply"), apply = hook("apply"), postApply = hook("postApply");
export const preRevert = hook("preRevert"), revert = hook("revert"), postRevert = hook("postRevert");
export const unload = hook("unload");
