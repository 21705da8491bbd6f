/** What can be done with nodes, with the rights and within the quotas of a domain. */

import { childrenBytes, EMPTY_VALUE, nodeBytes, type StoreNode, subtree } from "./node.ts";
import { namesOf, parentOf, ROOT_PATH } from "./path.ts";
import { ACCESS, accessOf, ownedBy, parsePermissions, type Permissions } from "./permissions.ts";
import { QUOTA } from "./quotas.ts";
import type { View } from "./view.ts";
import { XenstoreError } from "./xenstore_error.ts";

/**
 * The node at a path, to read its value, permissions and children.
 * @throws {XenstoreError} EACCES, or ENOENT to a domain that may read the closest node above
 */
export function read(view: View, domid: number, path: string): StoreNode {
  const node = find(view, domid, path, ACCESS.READ);
  if (node === undefined) throw new XenstoreError("ENOENT", path);
  return node;
}

/**
 * Gives a node a value; makes it, and those above it, if it is not there.
 * @throws {XenstoreError} EACCES; ENOSPC: a quota
 */
export function write(view: View, domid: number, path: string, value: Uint8Array): void {
  const node = find(view, domid, path, ACCESS.WRITE);
  if (node === undefined) {
    create(view, domid, path, value);
  } else {
    checkSize(domid, path, node.permissions, value.length, childrenBytes(node));
    view.write(path, value, node.permissions);
  }
  view.changed(path, false);
}

/** Makes a node with an empty value, and those above it; one that is there stays as it is. @throws as {@linkcode write} */
export function mkdir(view: View, domid: number, path: string): void {
  if (find(view, domid, path, ACCESS.WRITE) !== undefined) return;
  create(view, domid, path, EMPTY_VALUE);
  view.changed(path, false);
}

/**
 * Takes out a node and all below it, whosoever's that is; one that is not there needs a parent that is.
 * @throws {XenstoreError} EACCES; ENOENT: no parent either; EINVAL: "/"
 */
export function remove(view: View, domid: number, path: string): void {
  const node = find(view, domid, path, ACCESS.WRITE), parent = view.get(parentOf(path));
  if (parent === undefined) throw new XenstoreError("ENOENT", `the parent of ${path}`);
  if (path === ROOT_PATH) throw new XenstoreError("EINVAL", "the root stays");
  if (node === undefined) return;
  for (const [removed, before] of subtree(path, node)) view.changed(removed, removed !== path, before);
  view.remove(path);
}

/**
 * Gives a node other permissions: its owner may, who cannot give it away.
 * @param entries in Xen's notation, the owner first: `n0`, `r5`
 * @throws {XenstoreError} ENOSPC: too many; EINVAL: not of that form; ENOENT: no such node, or no such owner; EACCES: not
 * its owner; EPERM: given away
 */
export function setPermissions(view: View, domid: number, path: string, entries: readonly string[]): void {
  if (domid !== 0 && entries.length > QUOTA.permissions) {
    throw new XenstoreError("ENOSPC", `${entries.length} permissions`);
  }
  const permissions = parsePermissions(entries), [owner] = permissions;
  if (!view.knows(owner.domid)) throw new XenstoreError("ENOENT", `there is no domain ${owner.domid}`);
  const node = find(view, domid, path, ACCESS.WRITE | ACCESS.OWNER);
  if (node === undefined) throw new XenstoreError("ENOENT", path);
  if (domid !== 0 && owner.domid !== node.permissions[0].domid) {
    throw new XenstoreError("EPERM", `${path} to domain ${owner.domid}`);
  }
  checkSize(domid, path, permissions, node.value.length, childrenBytes(node));
  view.write(path, node.value, permissions);
  view.changed(path, false, node);
}

/** The node if it is there. Whether it is there is only said to a domain that may `need` the closest node above. */
function find(view: View, domid: number, path: string, need: number): StoreNode | undefined {
  const node = view.get(path), asked = node ?? view.get(view.closestAbove(path))!;
  const access = accessOf(asked.permissions, domid);
  if (node === undefined ? (access & need) !== 0 : (access & need) === need) return node;
  throw new XenstoreError("EACCES", `domain ${domid} and ${path}`);
}

/** What a domain makes has the permissions of the closest node above, but is its own. */
function create(view: View, domid: number, path: string, value: Uint8Array): void {
  const abovePath = view.closestAbove(path), above = view.get(abovePath)!;
  const permissions = domid === 0 ? above.permissions : ownedBy(above.permissions, domid);
  const missing = namesOf(path).slice(namesOf(abovePath).length);
  checkSize(domid, abovePath, above.permissions, above.value.length, childrenBytes(above) + missing[0].length + 1);
  for (const child of missing.slice(1)) checkSize(domid, path, permissions, 0, child.length + 1);
  checkSize(domid, path, permissions, value.length, 0);
  if (domid !== 0 && view.nodesOf(domid) + missing.length > QUOTA.nodes) {
    throw new XenstoreError("ENOSPC", `${missing.length} more nodes of domain ${domid}`);
  }
  view.create(path, value, permissions);
}

function checkSize(domid: number, path: string, permissions: Permissions, value: number, children: number): void {
  if (domid === 0 || nodeBytes(permissions, value, children) <= QUOTA.nodeBytes) return;
  throw new XenstoreError("ENOSPC", `the size of ${path}`);
}
