/** What a payload may run of its own while it comes and goes, with Xen's names (xen/include/xen/livepatch_payload.h). */

/** In the order of a payload's life. */
export const HOOK_NAMES = [
  "load",
  "preApply",
  "apply",
  "postApply",
  "preRevert",
  "revert",
  "postRevert",
  "unload",
] as const;

/** The name under which the hooks' module exports a hook. */
export type HookName = (typeof HOOK_NAMES)[number];

/** What a hook is told. */
export interface HookContext {
  /** The payload's name. */
  readonly payload: string;
  /** Its build-id: 64 hexadecimal digits. */
  readonly buildId: string;
}

/** A hook vetoes by throwing; the message goes to whoever asked for the operation. */
export type Hook = (context: HookContext) => void | Promise<void>;

/** What the module of a payload's hooks exports; all of them may be left out. */
export type PayloadHooks = { readonly [name in HookName]?: Hook };
