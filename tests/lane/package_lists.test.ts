import { assertEquals } from "@std/assert";
import { otherSuite } from "../../src/lane/package_lists.ts";

const replaced = (text: string) => otherSuite(text, "bookworm", "trixie");

Deno.test("otherSuite() replaces the suite in lines of the one-line style, and keeps their options", () => {
  assertEquals(
    replaced(`# a comment: deb http://example.org/debian bookworm main
deb [signed-by=/key arch=amd64] http://example.org/debian bookworm main contrib
deb-src http://example.org/debian bookworm main
deb http://example.org/security bookworm-security main
`),
    `deb [signed-by=/key arch=amd64] http://example.org/debian trixie main contrib

deb http://example.org/security trixie-security main
`,
  );
});

Deno.test("otherSuite() replaces the suites of a stanza, and drops those that are not the release's", () => {
  const stanza = (suites: string) =>
    `Types: deb\nURIs: http://example.org/debian\nSuites: ${suites}\nComponents: main\n`;
  assertEquals(
    replaced(`${stanza("bookworm bookworm-updates bookworm-backports")}\n# and\n\n${stanza("bookworm-security")}`),
    `${stanza("trixie trixie-updates")}\n${stanza("trixie-security")}`,
  );
});

Deno.test("otherSuite() drops other vendors' lists, also those that are named after a release", () => {
  assertEquals(replaced("deb https://example.org/apt cloud-sdk-bookworm main\n"), "");
  assertEquals(replaced("Types: deb\nURIs: https://example.org/node\nSuites: nodistro\nComponents: main\n"), "");
  assertEquals(replaced(""), "");
});
