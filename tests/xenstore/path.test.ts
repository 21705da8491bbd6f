/** Paths: Xen's rules for what is one, and how they come apart. */

import { assertEquals, assertThrows } from "@std/assert";
import { canonical, childPath, isWithin, namesOf, parentOf } from "../../src/xenstore/path.ts";
import { XenstoreError } from "../../src/xenstore/xenstore_error.ts";

const OWN = "/local/domain/7/";

Deno.test("canonical() gives the absolute path, below the domain's own if it is relative", () => {
  const cases: [path: string, canonical: string][] = [
    ["/", "/"],
    ["/a", "/a"],
    ["a", `${OWN}a`],
    ["a/b-C_9@z", `${OWN}a/b-C_9@z`],
    ["/@x", "/@x"],
    ["@releaseDomain", "@releaseDomain"],
    [`/${"a".repeat(2047)}`, `/${"a".repeat(2047)}`],
    ["a".repeat(2048), OWN + "a".repeat(2048)],
    [OWN + "a".repeat(2048), OWN + "a".repeat(2048)],
    ["/local/domain/65535/" + "a".repeat(2048), "/local/domain/65535/" + "a".repeat(2048)],
  ];
  for (const [path, expected] of cases) assertEquals(canonical(path, 7, true), expected);
});

Deno.test("canonical() refuses what is no path with EINVAL", () => {
  const bad = ["", "a/", "/a/", "//", "/a//b", "a//b", "/a b", "/a.b", "/ä", "/a\n", "/+", "/a:b", "\0", "/a\\b", "@/"];
  const long = [
    `/${"a".repeat(2048)}`,
    "a".repeat(2049),
    OWN + "a".repeat(2049),
    `/local/domain/x/${"a".repeat(2040)}`,
  ];
  for (const path of [...bad, ...long]) {
    const error = assertThrows(() => canonical(path, 7, true), XenstoreError);
    assertEquals(error.errnoName, "EINVAL");
  }
  assertThrows(() => canonical("@releaseDomain", 7), XenstoreError, "EINVAL");
});

Deno.test("canonical() lets domain 0 have paths of 3072 bytes", () => {
  assertEquals(canonical(`/${"a".repeat(3071)}`, 0).length, 3072);
  assertThrows(() => canonical(`/${"a".repeat(3072)}`, 0), XenstoreError, "EINVAL");
});

Deno.test("parentOf(), childPath() and namesOf() agree", () => {
  const cases: [path: string, parent: string, names: string[]][] = [
    ["/", "/", [""]],
    ["/a", "/", ["", "a"]],
    ["/a/b", "/a", ["", "a", "b"]],
    ["@releaseDomain", "/", ["@releaseDomain"]],
  ];
  for (const [path, parent, names] of cases) {
    assertEquals([parentOf(path), namesOf(path)], [parent, names]);
    if (names.length > 1) assertEquals(childPath(parent, names.at(-1)!), path);
  }
});

Deno.test("isWithin() goes by whole names", () => {
  assertEquals(["/a", "/a/b", "/ab", "/", "@x"].map((path) => isWithin(path, "/a")), [true, true, false, false, false]);
  assertEquals(["/a", "@x"].map((path) => isWithin(path, "/")), [true, true]);
});
