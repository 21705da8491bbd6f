/**
 * Writing payloads for the running hypervisor: a module whose default export is {@linkcode definePayload}'s, built by
 * `deno task payload build` (docs/live-patching.md).
 *
 * @module
 */

export { definePayload, type Edit, edit, type PayloadDefinition, replace, type Replacement } from "./definition.ts";
export { HOOK_NAMES } from "./hooks.ts";
export type { Hook, HookContext, HookName, PayloadHooks } from "./hooks.ts";
export type { HandOver } from "./manifest.ts";
