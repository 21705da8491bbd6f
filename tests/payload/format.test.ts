/** The file of a payload: what goes in comes out, and whatever is wrong with a file is one line. */

import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import fc from "fast-check";
import { EINVAL } from "../../src/linux/errno.ts";
import { sha256 } from "../../src/payload/digest.ts";
import { decodePayload, encodePayload } from "../../src/payload/format.ts";
import { HOOK_NAMES } from "../../src/payload/hooks.ts";
import type { Payload } from "../../src/payload/manifest.ts";
import { PayloadError } from "../../src/payload/payload_error.ts";
import { DIGEST, PAYLOAD } from "./payloads.ts";

const RUNS = Number(Deno.env.get("XENOLITH_PROPERTY_RUNS") ?? 100_000);

const HEADER_BYTES = 20;

const GOOD = await encodePayload(PAYLOAD);

Deno.test("decodePayload() gives what encodePayload() took, and the build-id", async () => {
  const { payload, buildId, signature, signedBytes } = await decodePayload(GOOD);
  assertEquals(payload, PAYLOAD);
  assertEquals(buildId, await sha256(GOOD.slice(0, -32)));
  assertEquals([signature, signedBytes.length], [undefined, GOOD.length]);
});

Deno.test("the same contents are the same file", async () => {
  assertEquals(await encodePayload(structuredClone(PAYLOAD)), GOOD);
});

/** A file with this manifest and these sections, everything about it right. */
async function file(manifest: unknown, sections = new Uint8Array(), length = sections.length) {
  const text = new TextEncoder().encode(typeof manifest === "string" ? manifest : JSON.stringify(manifest));
  const bytes = new Uint8Array(HEADER_BYTES + text.length + sections.length + 32);
  bytes.set(GOOD.subarray(0, 12));
  const view = new DataView(bytes.buffer);
  view.setUint32(12, text.length, true);
  view.setUint32(16, length, true);
  bytes.set(text, HEADER_BYTES);
  bytes.set(sections, HEADER_BYTES + text.length);
  bytes.set(Uint8Array.fromHex(await sha256(bytes.slice(0, -32))), bytes.length - 32);
  return bytes;
}

async function changed(at: number, ...to: readonly number[]): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = GOOD.slice();
  bytes.set(to, at);
  return await Promise.resolve(bytes);
}

const HOOKS = { names: ["load"], sizeBytes: 0 };
const MINIMUM = { name: "x", depends: DIGEST, again: true, modules: [], hooks: HOOKS, native: [] };
const MODULE = { path: "src/a.ts", replaces: null, handOver: "keep", functions: [], sizeBytes: 0 };
const FUNCTION = { name: "f", old: null, new: DIGEST };

Deno.test("decodePayload() takes the smallest payload", async () => {
  assertEquals((await decodePayload(await file(MINIMUM))).payload.hooks, { names: ["load"], source: "" });
});

const REFUSED: readonly [string, Promise<Uint8Array<ArrayBuffer>>, RegExp][] = [
  ["an empty file", Promise.resolve(new Uint8Array()), /^truncated: 0 bytes, of which the header needs 20$/],
  [
    "something else",
    Promise.resolve(new TextEncoder().encode("#!/bin/sh\nexit 0\n")),
    /^not a payload: begins with 2321/,
  ],
  ["a file cut in its header", Promise.resolve(GOOD.slice(0, 19)), /^truncated: 19 bytes/],
  ["a file cut later", Promise.resolve(GOOD.slice(0, 100)), new RegExp(`^truncated: 100 of ${GOOD.length} bytes$`)],
  ["another version", changed(8, 2), /^format 2, where this hypervisor knows 1$/],
  ["an absurd manifest", changed(15, 0xff), /^its manifest would have 42\d+ bytes, where 1048576 are the most$/],
  ["absurd sections", changed(19, 0xff), /^its sections would have 42\d+ bytes, where 33554432 are the most$/],
  [
    "an altered byte",
    changed(GOOD.length - 33, 0xee),
    /^altered: its build-id is [0-9a-f]{64}, its content's [0-9a-f]{64}$/,
  ],
  [
    "bytes after the end",
    Promise.resolve(new Uint8Array([...GOOD, 0])),
    /^1 bytes after its build-id, where a signature/,
  ],
  ["no JSON", file("{"), /^manifest: .*JSON/],
  [
    "no UTF-8 in a module",
    file({ ...MINIMUM, hooks: { ...HOOKS, sizeBytes: 1 } }, new Uint8Array([0xff])),
    /^hooks: is not UTF-8$/,
  ],
  ["a list for a manifest", file([]), /^manifest is not an object$/],
  [
    "an empty payload",
    file({ ...MINIMUM, hooks: undefined }),
    /^manifest has no modules, no hooks and no native objects$/,
  ],
  ["no name", file({ ...MINIMUM, name: undefined }), /^manifest: name is not a name: missing$/],
  ["a name with a slash", file({ ...MINIMUM, name: "../x" }), /^manifest: name is not a name: "..\/x"$/],
  ["a name of 128 letters", file({ ...MINIMUM, name: "x".repeat(128) }), /^manifest: name is not a name/],
  ["a depends that is no digest", file({ ...MINIMUM, depends: "12" }), /^manifest: depends is not a SHA-256: "12"$/],
  ["an unknown member", file({ ...MINIMUM, extra: 1 }), /^manifest has a member "extra" that nobody knows$/],
  ["__proto__", file(JSON.stringify(MINIMUM).replace("{", '{"__proto__":{},')), /^manifest has a member "__proto__"/],
  ["again as a word", file({ ...MINIMUM, again: "yes" }), /^manifest: again is not true or false$/],
  [
    "a path through a module",
    file({ ...MINIMUM, modules: [{ ...MODULE, path: "src/a.ts/b.ts" }] }),
    /modules\[0\].path is not the path/,
  ],
  [
    "a module in the place of its hooks",
    file({ ...MINIMUM, modules: [{ ...MODULE, path: `payloads/${MINIMUM.name}/hooks.js` }] }),
    /modules has payloads\/\S+\/hooks.js twice/,
  ],
  [
    "a path out of the tree",
    file({ ...MINIMUM, modules: [{ ...MODULE, path: "src/../../a.ts" }] }),
    /modules\[0\].path is not the path/,
  ],
  ["one module twice", file({ ...MINIMUM, modules: [MODULE, MODULE] }), /^manifest: modules has src\/a.ts twice$/],
  [
    "an unknown hand-over",
    file({ ...MINIMUM, modules: [{ ...MODULE, handOver: "eat" }] }),
    /handOver is none of keep, reset: "eat"$/,
  ],
  [
    "a function without difference",
    file({ ...MINIMUM, modules: [{ ...MODULE, functions: [{ ...FUNCTION, new: null }] }] }),
    /functions\[0\] does not differ$/,
  ],
  [
    "an unknown hook",
    file({ ...MINIMUM, hooks: { ...HOOKS, names: ["boot"] } }),
    /hooks.names\[0\] is none of load, .*: "boot"$/,
  ],
  [
    "a length below zero",
    file({ ...MINIMUM, hooks: { ...HOOKS, sizeBytes: -1 } }),
    /hooks.sizeBytes is not a number of bytes$/,
  ],
  [
    "sections too short",
    file({ ...MINIMUM, hooks: { ...HOOKS, sizeBytes: 2 } }, new Uint8Array(1)),
    /^sections end at 1, of 2 bytes$/,
  ],
  ["sections too long", file(MINIMUM, new Uint8Array(3)), /^3 bytes of sections that its manifest does not know$/],
];

for (const [what, bytes, line] of REFUSED) {
  Deno.test(`decodePayload() refuses ${what}`, async () => {
    const error = await assertRejects(async () => await decodePayload(await bytes), PayloadError);
    assertEquals(error.errno, EINVAL);
    assertMatch(error.message, line);
  });
}

Deno.test("encodePayload() refuses what decodePayload() would", async () => {
  const [module] = PAYLOAD.modules;
  const refused: readonly [Payload, RegExp][] = [
    [{ ...PAYLOAD, name: "a b" }, /name is not a name/],
    [{ ...PAYLOAD, modules: [module, module] }, /twice/],
    [{ ...PAYLOAD, modules: [{ ...module, source: "\ud800" }] }, /half a surrogate pair/],
  ];
  for (const [payload, line] of refused) {
    assertMatch((await assertRejects(() => encodePayload(payload), PayloadError)).message, line);
  }
});

const text = () => fc.string({ unit: "binary", maxLength: 40 });
const digest = () => fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => bytes.toHex());
const word = () => fc.stringMatching(/^[A-Za-z0-9_][A-Za-z0-9._-]{0,20}$/);

/** Any payload. */
const payloads: fc.Arbitrary<Payload> = fc.record({
  name: word(),
  depends: digest(),
  again: fc.boolean(),
  description: text(),
  author: text(),
  date: text(),
  modules: fc.uniqueArray(
    fc.record({
      path: fc.oneof(fc.constantFrom("src", "src/a"), word().map((name) => `payloads/${name}`))
        .chain((folder) => word().map((name) => `${folder}/${name}.ts`)),
      source: text(),
      replaces: fc.option(digest()),
      handOver: fc.constantFrom("keep" as const, "reset" as const),
      functions: fc.uniqueArray(fc.record({ name: text(), old: fc.option(digest()), new: digest() }), {
        selector: ({ name }) => name,
        maxLength: 3,
      }),
    }),
    { selector: ({ path }) => path, maxLength: 3 },
  ),
  hooks: fc.record({ names: fc.subarray([...HOOK_NAMES]), source: text() }),
  native: fc.uniqueArray(
    fc.record({ name: word(), bytes: fc.uint8Array({ maxLength: 40 }).map((bytes) => new Uint8Array(bytes)) }),
    { selector: ({ name }) => name, maxLength: 2 },
  ),
}, { requiredKeys: ["name", "depends", "again", "modules", "hooks", "native"] });

Deno.test("decodePayload(encodePayload(x)) is x", async () => {
  await fc.assert(
    fc.asyncProperty(payloads, async (payload) => {
      assertEquals((await decodePayload(await encodePayload(payload))).payload, payload);
    }),
    { numRuns: Math.ceil(RUNS / 200) },
  );
});

/** Damage anywhere but in a signature: a byte changed, bytes gone, bytes more. */
const damage = fc.oneof(
  fc.record({ at: fc.nat(GOOD.length - 1), by: fc.integer({ min: 1, max: 255 }) })
    .map(({ at, by }) => GOOD.map((byte, index) => index === at ? byte ^ by : byte)),
  fc.record({ at: fc.nat(GOOD.length - 1), bytes: fc.integer({ min: 1, max: 64 }) })
    .map(({ at, bytes }) => new Uint8Array([...GOOD.subarray(0, at), ...GOOD.subarray(at + bytes)])),
  fc.record({ at: fc.nat(GOOD.length), bytes: fc.uint8Array({ minLength: 1, maxLength: 95 }) })
    .map(({ at, bytes }) => new Uint8Array([...GOOD.subarray(0, at), ...bytes, ...GOOD.subarray(at)])),
);

Deno.test("decodePayload() refuses a damaged payload, in one line", async () => {
  await fc.assert(
    fc.asyncProperty(damage, async (bytes) => {
      const error = await assertRejects(() => decodePayload(bytes), PayloadError);
      assertEquals(error.errno, EINVAL);
      assert(!error.message.includes("\n") && error.message.length < 250, error.message);
    }),
    { numRuns: Math.ceil(RUNS / 50) },
  );
});

Deno.test("decodePayload() of a manifest that says anything is a payload or a PayloadError", async () => {
  await fc.assert(
    fc.asyncProperty(fc.object({ key: fc.constantFrom(...Object.keys(MINIMUM), "x") }), async (said) => {
      const bytes = await file({ ...MINIMUM, ...said });
      await decodePayload(bytes).catch((error) => assert(error instanceof PayloadError, String(error)));
    }),
    { numRuns: Math.ceil(RUNS / 100) },
  );
});
