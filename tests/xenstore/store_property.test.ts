/** Any sequence of operations by two domains against a flat table of nodes, as xenstored has one. */

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { dump, type Operation, operation, perform, populated } from "./operations.ts";

const RUNS = Number(Deno.env.get("XENOLITH_PROPERTY_RUNS") ?? 300);
const READ = "rb", WRITE = "wb";

interface Row {
  value: string;
  permissions: string[];
}

/** The rules once more, over a Map of whole paths, by strings alone. */
class Model {
  readonly rows = new Map<string, Row>();

  perform(domid: number, { name, payload }: Operation): string {
    const [first, ...rest] = payload.split("\0");
    const isSpecial = first.startsWith("@");
    const path = first.startsWith("/") || isSpecial ? first : `/local/domain/${domid}/${first}`;
    if (isSpecial && !name.endsWith("PERMS")) return "EINVAL";
    if (path !== "/" && (path.endsWith("/") || path.includes("//"))) return "EINVAL";
    switch (name) {
      case "READ":
        return this.look(domid, path, (row) => row.value);
      case "DIRECTORY":
        return this.look(domid, path, () => ["", ...this.children(path)].toSorted().join("\0"));
      case "GET_PERMS":
        return this.look(domid, path, (row) => row.permissions.join("\0") + "\0");
      case "MKDIR":
        return this.change(domid, path, (row) => row, "");
      case "WRITE":
        return this.change(domid, path, (row) => ({ ...row, value: rest.join("\0") }), rest.join("\0"));
      case "RM":
        return this.remove(domid, path);
      default:
        return this.permit(domid, path, rest.slice(0, -1));
    }
  }

  look(domid: number, path: string, found: (row: Row) => string): string {
    const row = this.rows.get(path);
    if (!this.may(domid, path, READ)) return "EACCES";
    return row === undefined ? "ENOENT" : found(row);
  }

  change(domid: number, path: string, changed: (row: Row) => Row, value: string): string {
    const row = this.rows.get(path);
    if (!this.may(domid, path, WRITE)) return "EACCES";
    if (row !== undefined) {
      this.rows.set(path, changed(row));
      return "OK\0";
    }
    const [owner, ...named] = this.rows.get(this.closest(path))!.permissions;
    const permissions = [`${owner[0]}${domid}`, ...named];
    for (let at = path; !this.rows.has(at); at = above(at)) {
      this.rows.set(at, { value: at === path ? value : "", permissions });
    }
    return "OK\0";
  }

  remove(domid: number, path: string): string {
    if (!this.may(domid, path, WRITE)) return "EACCES";
    if (path === "/") return "EINVAL";
    if (!this.rows.has(path)) return this.rows.has(above(path)) ? "OK\0" : "ENOENT";
    for (const at of this.rows.keys()) if (at === path || at.startsWith(`${path}/`)) this.rows.delete(at);
    return "OK\0";
  }

  permit(domid: number, path: string, permissions: string[]): string {
    if (permissions.length === 0) return "EINVAL";
    const row = this.rows.get(path);
    if (row === undefined) return this.may(domid, path, WRITE) ? "ENOENT" : "EACCES";
    if (row.permissions[0].slice(1) !== `${domid}`) return "EACCES";
    if (permissions[0].slice(1) !== `${domid}`) return "EPERM";
    row.permissions = permissions;
    this.rows.set(path, { ...row, permissions });
    return "OK\0";
  }

  /** By the node itself, or the closest one above. */
  may(domid: number, path: string, letters: string): boolean {
    const [owner, ...named] = this.rows.get(this.rows.has(path) ? path : this.closest(path))!.permissions;
    if (owner.slice(1) === `${domid}`) return true;
    const entry = named.find((entry) => entry.slice(1) === `${domid}`) ?? owner;
    return letters.includes(entry[0]);
  }

  closest(path: string): string {
    return this.rows.has(above(path)) ? above(path) : this.closest(above(path));
  }

  children(path: string): string[] {
    return [...this.rows.keys()].filter((at) => at !== "/" && above(at) === path && !at.startsWith("@")).map((at) =>
      at.slice(at.lastIndexOf("/") + 1)
    );
  }
}

function above(path: string): string {
  return path.slice(0, path.lastIndexOf("/")) || "/";
}

Deno.test("the store answers every sequence of operations as a flat table of nodes does, and ends up the same", () => {
  const answers = new Map<string, number>();
  const property = fc.property(
    fc.array(fc.tuple(fc.nat(1), operation), { minLength: 10, maxLength: 60, size: "max" }),
    (operations) => {
      const { store, guests } = populated(), model = new Model();
      for (const [path, line] of Object.entries(dump(store))) {
        const [value, permissions] = line.split(" ");
        model.rows.set(path, { value, permissions: permissions.split(",") });
      }
      for (const special of ["@releaseDomain"]) model.rows.set(special, { value: "", permissions: ["n0"] });
      for (const [index, operation] of operations) {
        const reply = perform(guests[index], operation);
        assertEquals(reply, model.perform(index + 1, operation), `domain ${index + 1}: ${JSON.stringify(operation)}`);
        const kind = /^E[A-Z]+$/.test(reply) ? reply : "ok";
        answers.set(kind, (answers.get(kind) ?? 0) + 1);
      }
      const rows = [...model.rows].filter(([path]) => path.startsWith("/"));
      assertEquals(
        dump(store),
        Object.fromEntries(rows.map(([path, { value, permissions }]) => [path, `${value} ${permissions}`] as const)),
      );
      for (const domid of [1, 2]) {
        assertEquals(store.nodesOf(domid), rows.filter(([, row]) => row.permissions[0].slice(1) === `${domid}`).length);
      }
    },
  );
  fc.assert(property, { numRuns: RUNS });
  for (const kind of ["ok", "EACCES", "ENOENT", "EINVAL", "EPERM"]) {
    assert((answers.get(kind) ?? 0) > RUNS / 10, `${kind}: ${answers.get(kind)}`);
  }
});
