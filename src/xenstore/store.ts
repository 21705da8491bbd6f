/** The store: the nodes as they are, the domains that there are, and who is told of changes. */

import { EMPTY_VALUE, type StoreNode, subtree } from "./node.ts";
import { remove } from "./operations.ts";
import { parentOf, ROOT_PATH } from "./path.ts";
import { ACCESS, accessOf, type Permissions } from "./permissions.ts";
import { QUOTA } from "./quotas.ts";
import { Tree, type TreeState } from "./tree.ts";
import type { View } from "./view.ts";
import { type Cause, eventPath, hears, type Watch, type Watcher } from "./watches.ts";

/** What happens to domains, as paths that can be watched and that have permissions. */
export const INTRODUCE_DOMAIN = "@introduceDomain", RELEASE_DOMAIN = "@releaseDomain";

/** What a domain has to do with the store: its connection. */
export interface DomainConnection extends Watcher {
  /** Forgets watches, transactions and what waits to be sent. */
  reset(): void;
  /** Drops events that wait since before a time, in ms. */
  expire(beforeMs: number): void;
}

/** The store as it is handed over, between two requests: domains have yet to bring their connections. */
export interface StoreState {
  readonly generation: number;
  readonly tree: TreeState;
  /** Domids. */
  readonly domains: readonly number[];
}

/** Only the tool stack may do anything with what it does not open to others. */
const TOOL_STACK_ONLY: Permissions = [{ domid: 0, access: ACCESS.NONE }];

/** All nodes of all domains. One object; everything on it happens on one thread. */
export class Xenstore implements View {
  #generation: number;
  /** The nodes. Transactions begin with a copy of them. */
  readonly tree: Tree;
  /** By domid; undefined before the domain's introduction. */
  readonly #domains = new Map<number, DomainConnection | undefined>();
  readonly #watchers = new Set<Watcher>();
  #announcements: ((cause?: Cause) => void)[] = [];

  /** A new one, with nothing but its own nodes; or the one that was handed over. */
  constructor(state?: StoreState) {
    this.#generation = state?.generation ?? 0;
    this.tree = new Tree(() => this.#stamp(), state?.tree ?? this.#firstTree());
    for (const domid of state?.domains ?? []) this.#domains.set(domid, undefined);
    if (state === undefined) this.tree.create("/tool/xenstored", EMPTY_VALUE, TOOL_STACK_ONLY);
  }

  #firstTree(): TreeState {
    const leaf = () => ({
      value: EMPTY_VALUE,
      permissions: TOOL_STACK_ONLY,
      generation: this.#stamp(),
      children: new Map<string, StoreNode>(),
    });
    const names = ["", INTRODUCE_DOMAIN, RELEASE_DOMAIN];
    const root = { ...leaf(), children: new Map(names.map((name) => [name, leaf()])) };
    return { root, owned: new Map([[0, names.length]]) };
  }

  /** A tree beside the store's, which goes its own way: one that was handed over, or with what there is. */
  treeOf(state: TreeState = this.tree.state): Tree {
    return new Tree(() => this.#stamp(), state);
  }

  /** To be cloned before anything changes. What watches by {@linkcode listen} has to do so again. */
  get state(): StoreState {
    return { generation: this.#generation, tree: this.tree.state, domains: [...this.#domains.keys()] };
  }

  get(path: string): StoreNode | undefined {
    return this.tree.get(path);
  }

  closestAbove(path: string): string {
    return this.tree.closestAbove(path);
  }

  create(path: string, value: Uint8Array, permissions: Permissions): void {
    this.tree.create(path, value, permissions);
  }

  write(path: string, value: Uint8Array, permissions: Permissions): void {
    this.tree.write(path, value, permissions);
  }

  remove(path: string): void {
    this.tree.remove(path);
  }

  nodesOf(domid: number): number {
    return this.tree.nodesOf(domid);
  }

  knows(domid: number): boolean {
    return domid === 0 || this.#domains.has(domid);
  }

  changed(path: string, exact: boolean, before?: StoreNode): void {
    const now = this.treeOf();
    this.#announcements.push((cause) => {
      for (const watcher of [...this.#watchers]) {
        const watches = watcher.watches.filter((watch) => hears(watch, path, exact));
        if (watches.length === 0 || !mayKnow(watcher.domid, [before, now.get(path), now.get(parentOf(path))])) continue;
        for (const watch of watches) {
          // A callback before this one may have ended the watch.
          if (this.#watchers.has(watcher)) watcher.notify(watch, eventPath(watch, path), cause);
        }
      }
    });
  }

  /** A watch was set: it fires once, whether there is anything at its path or not. */
  fireFirst(watcher: Watcher, watch: Watch): void {
    this.#announcements.push(() => watcher.notify(watch, watch.asked));
  }

  /** Sends the events of what happened since the last time. @param cause the request that did it, if a domain's */
  flush(cause?: Cause): void {
    const announcements = this.#announcements;
    this.#announcements = [];
    for (const announce of announcements) announce(cause);
  }

  /** From now on whoever watches hears of changes. */
  listen(watcher: Watcher): void {
    this.#watchers.add(watcher);
  }

  /** The reverse of {@linkcode listen}. */
  ignore(watcher: Watcher): void {
    this.#watchers.delete(watcher);
  }

  /**
   * There is a domain: nodes may become its own. What was left to an earlier one of the same domid is taken back.
   * @throws {RangeError} domid 0, or one that no domain can have, or one that there is
   */
  createDomain(domid: number): void {
    if (!(Number.isInteger(domid) && domid > 0 && domid < 0x7ff0) || this.#domains.has(domid)) {
      throw new RangeError(`${domid} cannot be the domid of a new domain`);
    }
    for (const [path, { value, permissions: [owner, ...named] }] of this.#all()) {
      const others = named.filter((entry) => entry.domid !== domid);
      if (others.length < named.length) this.write(path, value, [owner, ...others]);
    }
    this.#domains.set(domid, undefined);
  }

  /** The domain can talk to the store: `@introduceDomain`. @throws {RangeError} it already can, or there is no such domain */
  introduce(connection: DomainConnection): void {
    this.resume(connection);
    this.changed(INTRODUCE_DOMAIN, true);
    this.flush();
  }

  /** The same of a connection that was handed over: nobody hears of it. */
  resume(connection: DomainConnection): void {
    const { domid } = connection;
    if (!this.#domains.has(domid) || this.#domains.get(domid) !== undefined) {
      throw new RangeError(`domain ${domid} cannot be introduced`);
    }
    this.#domains.set(domid, connection);
    this.listen(connection);
  }

  /** Whether this is the connection of a domain that there is. */
  serves(connection: DomainConnection): boolean {
    return this.#domains.get(connection.domid) === connection;
  }

  /** The domain has shut down, or crashed, and is still there: `@releaseDomain`. */
  domainShutDown(): void {
    this.changed(RELEASE_DOMAIN, true);
    this.flush();
  }

  /** The domain is gone, its connection and the nodes that it owned, with all below them: `@releaseDomain`. */
  releaseDomain(domid: number): void {
    const connection = this.#domains.get(domid);
    if (!this.#domains.delete(domid)) return;
    if (connection !== undefined) {
      this.ignore(connection);
      connection.reset();
    }
    for (const [path, node] of this.#all().reverse()) {
      const isOwn = node.permissions[0].domid === domid && path.startsWith(ROOT_PATH) && path !== ROOT_PATH;
      if (isOwn && this.get(path) !== undefined) remove(this, 0, path);
    }
    this.domainShutDown();
  }

  /**
   * Drops the events that domains have not taken for too long, so that those who caused them are served again. To be
   * called once in a while as long as a connection is held up.
   * @param nowMs by the clock that the connections have
   */
  expireEvents(nowMs: number): void {
    for (const connection of this.#domains.values()) connection?.expire(nowMs - QUOTA.eventMs);
  }

  #all(): [path: string, node: StoreNode][] {
    return [ROOT_PATH, INTRODUCE_DOMAIN, RELEASE_DOMAIN].flatMap((path) => subtree(path, this.get(path)!));
  }

  #stamp(): number {
    return ++this.#generation;
  }
}

/** Whether a domain may read any of the nodes. */
function mayKnow(domid: number, nodes: readonly (StoreNode | undefined)[]): boolean {
  return nodes.some((node) => node !== undefined && (accessOf(node.permissions, domid) & ACCESS.READ) !== 0);
}
