/** Random operations on a small tree that two domains share, for the property tests. */

import fc from "fast-check";
import { subtree } from "../../src/xenstore/node.ts";
import { formatPermissions } from "../../src/xenstore/permissions.ts";
import type { Xenstore } from "../../src/xenstore/store.ts";
import { type Guest, type MessageName, storeWith } from "./guest.ts";

/** What a guest asks for. */
export interface Operation {
  readonly name: MessageName;
  readonly payload: string;
}

/** Two domains; domain 1 has `a` = "1", `b/c` = "2"; both may write `/shared`, and read each other's home. */
export function populated() {
  const all = storeWith([1, 2]), [guest] = all.guests;
  all.tools.mkdir("/shared");
  all.tools.setPermissions("/shared", ["n0", "b1", "b2"]);
  guest.call("WRITE", "a\x001");
  guest.call("WRITE", "b/c\x002");
  return all;
}

/** All nodes: value and permissions by path. Lists of children have no order here. */
export function dump(store: Xenstore): Record<string, string> {
  return Object.fromEntries(
    subtree("/", store.get("/")!).map(([path, { value, permissions }]) =>
      [path, `${String.fromCharCode(...value)} ${formatPermissions(permissions)}`] as const
    ).toSorted(),
  );
}

/** The reply; a list of children sorted, since a transaction's end may make them in another order. */
export function perform(guest: Guest, { name, payload }: Operation, txId = 0): string {
  const reply = guest.call(name, payload, txId);
  return name === "DIRECTORY" ? reply.split("\0").toSorted().join("\0") : reply;
}

/** A path of few names, so that operations meet. */
export const path = fc.tuple(
  fc.constantFrom("", "/shared/", "/local/domain/1/", "/local/domain/2/"),
  fc.array(fc.constantFrom("a", "b", "c"), { minLength: 1, maxLength: 3 }),
).map(([prefix, names]) => prefix + names.join("/"));

const anyPath = fc.oneof(
  { weight: 9, arbitrary: path },
  { weight: 1, arbitrary: fc.constantFrom("/", "/shared", "/local", "/missing/x", "a/", "b//c", "@releaseDomain", "") },
);
const permission = fc.tuple(fc.constantFrom("n", "r", "w", "b"), fc.constantFrom(0, 1, 2)).map((parts) =>
  parts.join("")
);

/** Any operation on nodes. */
export const operation: fc.Arbitrary<Operation> = fc.oneof(
  fc.record({
    name: fc.constantFrom<MessageName[]>("READ", "DIRECTORY", "GET_PERMS", "MKDIR", "RM"),
    payload: anyPath.map((path) => `${path}\0`),
  }),
  fc.record({
    name: fc.constant<MessageName>("WRITE"),
    payload: fc.tuple(anyPath, fc.constantFrom("", "x", "yy", "\0")).map((parts) => parts.join("\0")),
  }),
  fc.record({
    name: fc.constant<MessageName>("SET_PERMS"),
    payload: fc.tuple(anyPath, fc.array(permission, { maxLength: 4 })).map(([path, entries]) =>
      [path, ...entries, ""].join("\0")
    ),
  }),
);
