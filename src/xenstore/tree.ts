/** A tree of nodes that can be changed, and how many nodes each domain owns in it. A copy costs nothing. */

import { descend, EMPTY_VALUE, graft, type StoreNode, subtree } from "./node.ts";
import { namesOf, ROOT_PATH } from "./path.ts";
import type { Permissions } from "./permissions.ts";

/** A tree as it is handed over: nothing in it changes, but for who goes on with it. */
export interface TreeState {
  /** The node above "/" and the special ones. */
  readonly root: StoreNode;
  /** Nodes by their owner's domid. */
  readonly owned: ReadonlyMap<number, number>;
}

/** The store's nodes, or a transaction's. Paths are canonical; the caller has checked who may do what. */
export class Tree {
  #root: StoreNode;
  readonly #owned: Map<number, number>;

  /**
   * A tree that begins with the nodes given.
   * @param stamp gives each generation that it is asked for only once
   */
  constructor(private readonly stamp: () => number, { root, owned }: TreeState) {
    this.#root = root;
    this.#owned = new Map(owned);
  }

  /** To be copied, or cloned, before the tree changes. */
  get state(): TreeState {
    return { root: this.#root, owned: this.#owned };
  }

  /** The node at a path. */
  get(path: string): StoreNode | undefined {
    return descend(this.#root, namesOf(path));
  }

  /** The path of the closest node that is there, above one that is not; "/" always is. */
  closestAbove(path: string): string {
    const names = namesOf(path);
    let depth = 0;
    for (let at = this.#root.children.get(names[0]); at !== undefined; at = at.children.get(names[depth])) depth++;
    return names.slice(0, depth).join("/") || ROOT_PATH;
  }

  /** Nodes that a domain owns. */
  nodesOf(domid: number): number {
    return this.#owned.get(domid) ?? 0;
  }

  /** Makes a node that is not there, and those above it that are not, too: with the same permissions, but no value. */
  create(path: string, value: Uint8Array, permissions: Permissions): void {
    const names = namesOf(path), existing = namesOf(this.closestAbove(path)).length;
    let node = this.#leaf(value, permissions);
    for (let depth = names.length - 1; depth > existing; depth--) {
      node = { ...this.#leaf(EMPTY_VALUE, permissions), children: new Map([[names[depth], node]]) };
    }
    this.#count(permissions, names.length - existing);
    this.#root = graft(this.#root, names.slice(0, existing + 1), node, this.stamp());
  }

  /** Gives a node that is there another value and other permissions; its children stay. */
  write(path: string, value: Uint8Array, permissions: Permissions): void {
    const names = namesOf(path), before = descend(this.#root, names)!;
    this.#count(before.permissions, -1);
    this.#count(permissions, 1);
    this.#root = graft(this.#root, names, { ...before, value, permissions, generation: this.stamp() }, this.stamp());
  }

  /** Takes a node out with all below it, if it is there. */
  remove(path: string): void {
    const names = namesOf(path), node = descend(this.#root, names);
    if (node === undefined) return;
    for (const [, { permissions }] of subtree(path, node)) this.#count(permissions, -1);
    this.#root = graft(this.#root, names, undefined, this.stamp());
  }

  #leaf(value: Uint8Array, permissions: Permissions): StoreNode {
    return { value, permissions, generation: this.stamp(), children: new Map() };
  }

  #count([owner]: Permissions, nodes: number): void {
    this.#owned.set(owner.domid, this.nodesOf(owner.domid) + nodes);
  }
}
