/** What a request sees of the store: all of it as it is, or as its transaction has it. */

import type { StoreNode } from "./node.ts";
import type { Permissions } from "./permissions.ts";

/** The store, or a transaction. Paths are canonical; nothing here asks who may do what. */
export interface View {
  /** The node at a path. */
  get(path: string): StoreNode | undefined;
  /** The path of the closest node that is there, above one that is not. */
  closestAbove(path: string): string;
  /** Makes a node that is not there and those above it, all with the same permissions. */
  create(path: string, value: Uint8Array, permissions: Permissions): void;
  /** Gives a node that is there another value and other permissions. */
  write(path: string, value: Uint8Array, permissions: Permissions): void;
  /** Takes out a node and all below it. */
  remove(path: string): void;
  /** Nodes that a domain owns. */
  nodesOf(domid: number): number;
  /** Whether there is such a domain. */
  knows(domid: number): boolean;
  /**
   * Watches are to hear of a change of the node at `path`.
   * @param exact only those on the very path, since those above it hear of the removal of a node above this one
   * @param before the node as it was: whoever could read that one may know, too
   */
  changed(path: string, exact: boolean, before?: StoreNode): void;
}
