/** The tool stack's way to the store: domid 0, in this process, without a ring and without quotas. */

import { mkdir, read, remove, setPermissions, write } from "./operations.ts";
import { canonical } from "./path.ts";
import { formatPermissions } from "./permissions.ts";
import type { Xenstore } from "./store.ts";

/**
 * Reads and changes the store as domid 0; relative paths are below /local/domain/0. Events go out before a method
 * returns, so watches' callbacks run within it.
 *
 * All methods throw a {@linkcode XenstoreError}: EINVAL for what is no path, ENOENT for a node that is not there.
 */
export class ToolStack {
  /** The tool stack of a store. */
  constructor(readonly store: Xenstore) {}

  /** A node's value. */
  read(path: string): Uint8Array {
    return this.#node(path).value;
  }

  /** A node's value as UTF-8; undefined if there is no such node. */
  readText(path: string): string | undefined {
    return this.exists(path) ? new TextDecoder().decode(this.read(path)) : undefined;
  }

  /** Whether there is such a node. */
  exists(path: string): boolean {
    return this.store.get(canonical(path, 0)) !== undefined;
  }

  /** Gives a node a value, a text as UTF-8; makes it, and those above it, if it is not there. */
  write(path: string, value: string | Uint8Array): void {
    const bytes = typeof value === "string" ? new TextEncoder().encode(value) : value.slice();
    this.#change(() => write(this.store, 0, canonical(path, 0), bytes));
  }

  /** Makes a node, and those above it; one that is there keeps its value. */
  mkdir(path: string): void {
    this.#change(() => mkdir(this.store, 0, canonical(path, 0)));
  }

  /** Takes out a node and all below it. It need not be there, but its parent has to be. */
  remove(path: string): void {
    this.#change(() => remove(this.store, 0, canonical(path, 0)));
  }

  /** Names of the nodes right below one, in the order in which they came. */
  directory(path: string): string[] {
    return [...this.#node(path).children.keys()];
  }

  /** A node's permissions in Xen's notation, the owner first: `n0`, `r5`. */
  permissions(path: string): string[] {
    return formatPermissions(this.#node(path, true).permissions);
  }

  /**
   * Gives a node other permissions.
   * @param permissions a letter (n none, r read, w write, b both) and a domid each: first the owner and what everybody may
   * who is not named, then domains
   * @throws {XenstoreError} ENOENT, too: the owner is no domain; EINVAL, too: not of that form
   */
  setPermissions(path: string, permissions: readonly string[]): void {
    this.#change(() => setPermissions(this.store, 0, canonical(path, 0, true), permissions));
  }

  /**
   * Calls back when the node at a path or one below it changes, comes or goes, and once before this returns.
   * @param path may be {@linkcode INTRODUCE_DOMAIN} or {@linkcode RELEASE_DOMAIN}
   * @param callback gets the path that changed, relative if `path` is; what it throws reaches whoever made the change
   * @returns ends the watch
   */
  watch(path: string, callback: (path: string) => void): Disposable {
    const watch = { path: canonical(path, 0, true), asked: path, token: "" };
    const watcher = { domid: 0, watches: [watch], notify: (_: unknown, changed: string) => callback(changed) };
    this.store.listen(watcher);
    this.#change(() => this.store.fireFirst(watcher, watch));
    return { [Symbol.dispose]: () => this.store.ignore(watcher) };
  }

  #node(path: string, special = false) {
    return read(this.store, 0, canonical(path, 0, special));
  }

  #change(change: () => void): void {
    change();
    this.store.flush();
  }
}
