/** Permissions: Xen's notation, and what they allow. */

import { assertEquals, assertThrows } from "@std/assert";
import { ACCESS, accessOf, formatPermissions, ownedBy, parsePermissions } from "../../src/xenstore/permissions.ts";
import { XenstoreError } from "../../src/xenstore/xenstore_error.ts";

const { NONE, READ, WRITE, OWNER } = ACCESS;

Deno.test("parsePermissions() and formatPermissions() are each other's reverse", () => {
  for (const entries of [["n0"], ["r1"], ["w65535"], ["b7", "n3", "r3"]]) {
    assertEquals(formatPermissions(parsePermissions(entries)), entries);
  }
});

Deno.test("parsePermissions() refuses everything else with EINVAL", () => {
  for (const entries of [[], [""], ["r"], ["x1"], ["1"], ["r1x"], ["R1"], ["r-1"], ["r65536"], ["n0", ""], ["r 1"]]) {
    assertThrows(() => parsePermissions(entries), XenstoreError, "EINVAL");
  }
});

Deno.test("accessOf() is all for the owner and domain 0, the first entry that names the domain, or the owner's", () => {
  const permissions = parsePermissions(["r1", "w2", "b3", "n4", "b4"]);
  const expected = [READ | WRITE | OWNER, READ | WRITE | OWNER, WRITE, READ | WRITE, NONE, READ];
  assertEquals(expected.map((_, domid) => accessOf(permissions, domid)), expected);
});

Deno.test("ownedBy() changes the owner and nothing else", () => {
  assertEquals(formatPermissions(ownedBy(parsePermissions(["n0", "r5"]), 5)), ["n5", "r5"]);
});
