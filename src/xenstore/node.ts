/** Nodes. They never change: a changed tree shares all that is not above the change with the one before. */

import { NODE_HEADER_BYTES, PERMISSION_BYTES } from "./quotas.ts";
import { childPath } from "./path.ts";
import type { Permissions } from "./permissions.ts";

/** A node of the store, with everything below it. */
export interface StoreNode {
  /** Any bytes. Nobody changes them. */
  readonly value: Uint8Array;
  /** The owner first. */
  readonly permissions: Permissions;
  /** Differs after each change of value, permissions, or the list of children; unique in the store. */
  readonly generation: number;
  /** By name, in the order in which they came. */
  readonly children: ReadonlyMap<string, StoreNode>;
}

/** A value of no bytes. */
export const EMPTY_VALUE = new Uint8Array();

/** What {@linkcode names} lead to. */
export function descend(node: StoreNode, names: readonly string[]): StoreNode | undefined {
  let at: StoreNode | undefined = node;
  for (const name of names) {
    at = at.children.get(name);
    if (at === undefined) return undefined;
  }
  return at;
}

/**
 * The tree with another node, or none, where the names from `depth` on lead to.
 * @param generation what the parent gets if it gains or loses a child
 */
export function graft(
  node: StoreNode,
  names: readonly string[],
  child: StoreNode | undefined,
  generation: number,
  depth = 0,
): StoreNode {
  const name = names[depth], before = node.children.get(name), isParent = depth === names.length - 1;
  const after = isParent || before === undefined ? child : graft(before, names, child, generation, depth + 1);
  const children = new Map(node.children);
  if (after === undefined) children.delete(name);
  else children.set(name, after);
  const listChanges = (before === undefined) !== (after === undefined);
  return { ...node, children, generation: listChanges ? generation : node.generation };
}

/** A node and all below it with their paths, children before their parents. */
export function subtree(path: string, node: StoreNode): [path: string, node: StoreNode][] {
  const found: [string, StoreNode][] = [];
  function visit(path: string, node: StoreNode): void {
    for (const [name, child] of node.children) visit(childPath(path, name), child);
    found.push([path, node]);
  }
  visit(path, node);
  return found;
}

/** Bytes of a node's list of children: their names, each followed by a NUL. */
export function childrenBytes(node: StoreNode): number {
  let bytes = 0;
  for (const name of node.children.keys()) bytes += name.length + 1;
  return bytes;
}

/** A node's size as the quota counts it. */
export function nodeBytes(permissions: Permissions, valueBytes: number, childrenBytes: number): number {
  return NODE_HEADER_BYTES + permissions.length * PERMISSION_BYTES + valueBytes + childrenBytes;
}
