/** Transactions: a copy of the nodes, and what has become of them when it is over. */

import type { StoreNode } from "./node.ts";
import { namesOf, parentOf } from "./path.ts";
import type { Permissions } from "./permissions.ts";
import { QUOTA } from "./quotas.ts";
import type { Xenstore } from "./store.ts";
import type { Tree, TreeState } from "./tree.ts";
import type { View } from "./view.ts";
import { XenstoreError } from "./xenstore_error.ts";

/** A node that the transaction has looked for. */
export interface Accessed {
  modified: boolean;
  /** Of the event at the end, if there is one. */
  exact?: boolean;
}

/** A transaction as it is handed over. */
export interface TransactionState {
  readonly before: TreeState;
  readonly tree: TreeState;
  readonly accessed: ReadonlyMap<string, Accessed>;
  readonly failed: boolean;
}

/**
 * A domain's transaction. It sees the store as it was at the start, with its own changes, and succeeds at the end only if
 * none of the nodes that it has looked for, found or not, has changed meanwhile.
 */
export class Transaction implements View {
  /** As it was at the start, and with the transaction's changes. */
  readonly #before: Tree;
  readonly #tree: Tree;
  readonly #accessed: Map<string, Accessed>;
  #failed: boolean;

  /** Begins; or goes on as it was handed over. */
  constructor(private readonly store: Xenstore, private readonly domid: number, state?: TransactionState) {
    this.#before = store.treeOf(state?.before);
    this.#tree = store.treeOf(state?.tree);
    this.#accessed = new Map(state?.accessed);
    this.#failed = state?.failed ?? false;
  }

  /** To be cloned before it goes on. */
  get state(): TransactionState {
    return {
      before: this.#before.state,
      tree: this.#tree.state,
      accessed: this.#accessed,
      failed: this.#failed,
    };
  }

  get(path: string): StoreNode | undefined {
    this.#access(path);
    return this.#tree.get(path);
  }

  /** Whether the node right below it comes is of interest, too: none further down can come without that. */
  closestAbove(path: string): string {
    const above = this.#tree.closestAbove(path);
    this.#access(above);
    this.#access(namesOf(path).slice(0, namesOf(above).length + 1).join("/"));
    return above;
  }

  create(path: string, value: Uint8Array, permissions: Permissions): void {
    const above = this.#tree.closestAbove(path);
    for (let at = path; at !== above; at = parentOf(at)) this.#modify(at);
    this.#tree.create(path, value, permissions);
  }

  write(path: string, value: Uint8Array, permissions: Permissions): void {
    this.#modify(path);
    this.#tree.write(path, value, permissions);
  }

  remove(path: string): void {
    this.#tree.remove(path);
  }

  nodesOf(domid: number): number {
    return this.#tree.nodesOf(domid);
  }

  knows(domid: number): boolean {
    return this.store.knows(domid);
  }

  /** One event a node; one for all watches above replaces one for those on the very path. */
  changed(path: string, exact: boolean): void {
    const accessed = this.#modify(path);
    accessed.exact = exact && accessed.exact !== false;
  }

  /** Something was refused for a quota, halfway maybe: nothing can be committed. */
  fail(): void {
    this.#failed = true;
  }

  /**
   * Carries the changes out, all or none.
   * @throws {XenstoreError} ENOMEM: it has failed before; ENOSPC: too many nodes; EAGAIN: it has to be done again
   */
  commit(): void {
    if (this.#failed) throw new XenstoreError("ENOMEM", "the transaction had exceeded a quota");
    const more = this.#tree.nodesOf(this.domid) - this.#before.nodesOf(this.domid);
    if (more > 0 && this.store.nodesOf(this.domid) + more > QUOTA.nodes) {
      throw new XenstoreError("ENOSPC", `${more} more nodes of domain ${this.domid}`);
    }
    for (const path of this.#accessed.keys()) {
      if (this.#before.get(path)?.generation !== this.store.get(path)?.generation) {
        throw new XenstoreError("EAGAIN", `${path} has changed`);
      }
    }
    // In any order: what is above a new node is new itself, and among these, or was there and still is.
    const modified = [...this.#accessed].filter(([, { modified }]) => modified);
    for (const [path] of modified) this.#carryOut(path);
    for (const [path, { exact }] of modified) {
      if (exact !== undefined) this.store.changed(path, exact, this.#before.get(path));
    }
  }

  #carryOut(path: string): void {
    const node = this.#tree.get(path), { store } = this;
    if (node === undefined) store.remove(path);
    else if (store.get(path) === undefined) store.create(path, node.value, node.permissions);
    else store.write(path, node.value, node.permissions);
  }

  #access(path: string): Accessed {
    let accessed = this.#accessed.get(path);
    if (accessed === undefined) {
      if (this.#accessed.size >= QUOTA.transactionNodes) {
        throw new XenstoreError("ENOSPC", "nodes of the transaction");
      }
      this.#accessed.set(path, accessed = { modified: false });
    }
    return accessed;
  }

  #modify(path: string): Accessed {
    const accessed = this.#access(path);
    accessed.modified = true;
    return accessed;
  }
}
