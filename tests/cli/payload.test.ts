/** `payload`: build, info and verify as their users start them. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { decodePayload } from "../../src/payload/format.ts";
import { buildIdOf, PROGRAM_ROOT } from "../../src/payload/source_tree.ts";
import { testWith } from "../support/capabilities.ts";
import { assertOneLine, finish, type Finished } from "../support/command.ts";
import { inDirectory } from "../support/directory.ts";

const FIX = "examples/payloads/fix-uart.ts";

async function payload(...args: string[]): Promise<Finished> {
  return await finish("payload", args);
}

/** A new pair of keys, as openssl(1) writes them. */
async function writeKeys(privatePath: string, publicPath: string): Promise<void> {
  const pair = await crypto.subtle.generateKey("Ed25519", true, ["sign", "verify"]) as CryptoKeyPair;
  const pem = async (format: "pkcs8" | "spki", key: CryptoKey, label: string) => {
    const body = new Uint8Array(await crypto.subtle.exportKey(format, key)).toBase64();
    return `-----BEGIN ${label}-----\n${body}\n-----END ${label}-----\n`;
  };
  await Deno.writeTextFile(privatePath, await pem("pkcs8", pair.privateKey, "PRIVATE KEY"));
  await Deno.writeTextFile(publicPath, await pem("spki", pair.publicKey, "PUBLIC KEY"));
}

testWith([], "a payload is built, signed, described and verified", () =>
  inDirectory(async (path) => {
    await writeKeys(path("key.pem"), path("pub.pem"));
    const quiet = { status: 0, stdout: "", stderr: "" };
    const { status, stdout, stderr } = await payload("build", FIX, "-o", path("fix.xpl"), "--sign", path("key.pem"));
    assertEquals({ status, stdout, stderr }, quiet);
    const { buildId, signature } = await decodePayload(await Deno.readFile(path("fix.xpl")));

    const info = await payload("info", path("fix.xpl"));
    assertEquals([info.status, info.stderr], [0, ""]);
    assertMatch(info.stdout, new RegExp(`^build-id +${buildId}$`, "m"));
    assertMatch(info.stdout, new RegExp(`^depends +${await buildIdOf(PROGRAM_ROOT)} \\(this hypervisor\\)$`, "m"));
    assertMatch(info.stdout, new RegExp(`^signed +by key ${signature!.keyId}$`, "m"));
    assertMatch(
      info.stdout,
      /^module +src\/devices\/uart.ts: \d+ bytes, device state is kept\n +changes +Uart.readByte$/m,
    );

    const json = JSON.parse((await payload("info", "--json", path("fix.xpl"))).stdout);
    assertEquals([json.schema, json.name, json.buildId], [1, "fix-uart", buildId]);
    assertEquals(json.modules.map((module: { path: string }) => module.path), ["src/devices/uart.ts"]);
    assertEquals([json.hooks, json.native, json.again], [[], [], true]);

    const verified = await payload("verify", path("fix.xpl"), "--key", path("pub.pem"));
    assertEquals([verified.status, verified.stderr], [0, ""]);
    assertMatch(verified.stdout, /: signed by .*pub\.pem \(key [0-9a-f]{64}\)\n$/);
    await writeKeys(path("other.pem"), path("other.pub"));
    assertOneLine(await payload("verify", path("fix.xpl"), "--key", path("other.pub")), 64, /fix-uart: signed by key/);
  }));

testWith([], "a definition anywhere builds on another payload, twice the same file", () =>
  inDirectory(async (path) => {
    await payload("build", FIX, "-o", path("fix.xpl"));
    await Deno.writeTextFile(
      path("more.ts"),
      'import { definePayload, edit, replace } from "xenolith/payload";\nexport default definePayload({ name: "more", ' +
        'modules: { "src/devices/uart.ts": edit(replace("return ~this.#state.getUint8(STATE.scratch) & 0xff;", "return 1;")) } });\n',
    );
    const outputs = [path("one.xpl"), path("two.xpl")];
    for (const output of outputs) {
      const { status, stderr } = await payload("build", path("more.ts"), "--on", path("fix.xpl"), "-o", output);
      assertEquals([status, stderr], [0, ""]);
    }
    const [one, two] = await Promise.all(outputs.map((output) => Deno.readFile(output)));
    assertEquals(one, two);
    const below = await decodePayload(await Deno.readFile(path("fix.xpl")));
    assertEquals((await decodePayload(one)).payload.depends, below.buildId);
    assertMatch((await payload("info", outputs[0])).stdout, /^depends .*\(another payload, or another hypervisor\)$/m);
  }));

testWith(
  [],
  "a definition, its modules, hooks and what they import lie in a folder of any name",
  () =>
    inDirectory(async (path) => {
      const folder = path("a#b c%"),
        write = (name: string, text: string) => Deno.writeTextFile(`${folder}/${name}`, text);
      await Deno.mkdir(folder);
      await write(
        "fix.ts",
        'export default { name: "fix", hooks: "./hooks.ts", modules: { "src/new.ts": "./new.ts" } };\n',
      );
      await write(
        "hooks.ts",
        'import { why } from "./why.ts";\nexport function load(): void {\n  throw new Error(why);\n}\n',
      );
      await write("why.ts", 'export const why = "no";\n');
      await write("new.ts", 'export { why } from "./why.ts";\n');
      const { status, stderr } = await payload("build", `${folder}/fix.ts`, "-o", path("fix.xpl"));
      assertEquals([status, stderr], [0, ""]);
      const { payload: { hooks, modules } } = await decodePayload(await Deno.readFile(path("fix.xpl")));
      assertEquals([hooks?.names, modules.map((module) => module.path)], [["load"], [
        "src/new.ts",
        "payloads/fix/1_why.js",
      ]]);
    }),
);

testWith([], "payload --help lists what there is", async () => {
  const { status, stdout, stderr } = await payload("--help");
  assertEquals([status, stdout], [0, ""]);
  assert(stderr.startsWith("usage: payload build DEFINITION.ts -o FILE.xpl"), stderr);
});

const REFUSED: readonly [string, string[], RegExp][] = [
  ["nothing", [], /^xenolith: payload: nothing to do: build, info, verify, upload, .* or load; --help says how$/],
  ["an unknown command", ["make"], /^xenolith: payload: unknown command make: build, info, verify, upload/],
  ["a build without output", ["build", FIX], /^xenolith: payload build: -o is missing/],
  ["a build of nothing", ["build", "-o", "x"], /^xenolith: payload build takes one definition, not 0/],
  ["a definition that is missing", ["build", "none.ts", "-o", "x"], /none.ts: no such file$/],
  [
    "an output that cannot be",
    ["build", FIX, "-o", "/nonexistent/x"],
    /^xenolith: \/nonexistent\/x: cannot be written: /,
  ],
  ["a payload that is missing", ["info", "none.xpl"], /^xenolith: none.xpl: no such file$/],
  ["a payload that is none", ["info", "README.md"], /^xenolith: README.md: not a payload: begins with [0-9a-f]{16}$/],
  ["a directory", ["info", "src"], /^xenolith: src: not a regular file$/],
  ["a payload below that is none", ["build", FIX, "-o", "x", "--on", "LICENSE"], /^xenolith: LICENSE: not a payload/],
  [
    "a key that is none",
    ["build", FIX, "-o", "x", "--sign", "LICENSE"],
    /^xenolith: LICENSE: has no PRIVATE KEY in PEM$/,
  ],
  ["verify without a key", ["verify", "x.xpl"], /^xenolith: payload verify: --key is missing/],
  ["an unknown option", ["info", "--verbose", "x"], /^xenolith: unknown option --verbose/],
];

testWith([], "keys without a control socket, by which payloads come, are bad usage", async () => {
  const finished = await finish("run", ["--payload-key", "LICENSE", "guests/hello.img"]);
  assertOneLine(finished, 64, /^xenolith: --payload-key needs --control: payloads come by the control socket$/);
});

for (const [what, args, line] of REFUSED) {
  testWith([], `payload refuses ${what}`, async () => assertOneLine(await payload(...args), 64, line));
}
