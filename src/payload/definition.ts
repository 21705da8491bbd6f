/** What the author of a payload writes: a module whose default export is made by definePayload(). */

import type { HandOver } from "./manifest.ts";

/** Where a payload comes from. Paths of files are relative to the definition's own. */
export interface PayloadDefinition {
  /** Letters, digits, ".", "_", "-"; at most 127. */
  readonly name: string;
  /** What it does, in a line. */
  readonly description?: string;
  /** Who made it. */
  readonly author?: string;
  /** Any text: the clock is not asked, so that the same sources give the same payload. */
  readonly date?: string;
  /**
   * By the path of a module from the root of the tree ("src/devices/uart.ts"): the file that replaces it, or an edit of
   * what is there. A file's imports count from its own place, and where they lead nowhere, from the replaced module's.
   */
  readonly modules?: Readonly<Record<string, string | Edit>>;
  /** By the path of a module: what becomes of the state of the device models that run it ("keep"). */
  readonly handOver?: Readonly<Record<string, HandOver>>;
  /** A module that exports hooks, as {@linkcode PayloadHooks} says. */
  readonly hooks?: string;
  /** Objects of machine code by name: files of gcc -c. */
  readonly native?: Readonly<Record<string, string>>;
  /** Whether it may be applied again after a revert. Default: if it has neither hooks nor native objects. */
  readonly again?: boolean;
}

/** A part of a module's text, and what stands there instead. */
export interface Replacement {
  /** Stands there exactly once. */
  readonly old: string;
  /** Stands there afterwards. */
  readonly new: string;
}

/** Changes of a module, made one after another when the payload is built. */
export interface Edit {
  /** Each works on what those before it left. */
  readonly replacements: readonly Replacement[];
}

/**
 * Names the payload's parts; the editor checks them.
 *
 * @example A scratch register that answers with all bits inverted
 * ```ts
 * import { definePayload, edit, replace } from "xenolith/payload";
 *
 * export default definePayload({
 *   name: "fix-uart",
 *   modules: {
 *     "src/devices/uart.ts": edit(replace(
 *       "return this.#state.getUint8(STATE.scratch);",
 *       "return ~this.#state.getUint8(STATE.scratch) & 0xff;",
 *     )),
 *   },
 * });
 * ```
 */
export function definePayload(definition: PayloadDefinition): PayloadDefinition {
  return definition;
}

/** A module as the tree has it (with the payloads below), changed. */
export function edit(...replacements: readonly Replacement[]): Edit {
  return { replacements };
}

/**
 * A change for {@linkcode edit}.
 * @param old text that stands in the module exactly once
 * @param by what stands there afterwards
 */
export function replace(old: string, by: string): Replacement {
  return { old, new: by };
}
