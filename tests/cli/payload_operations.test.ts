/** `payload upload` and its like: what a run answers, as their users see it. */

import { assertEquals, assertMatch } from "@std/assert";
import { EAGAIN, EBUSY, EEXIST, EINVAL, ENOENT, EPERM } from "../../src/linux/errno.ts";
import { ANY_KVM, testWith } from "../support/capabilities.ts";
import { assertOneLine, finish, type Finished, ROOT, start } from "../support/command.ts";
import { inDirectory } from "../support/directory.ts";

async function payload(...args: string[]): Promise<Finished> {
  return await finish("payload", args);
}

/** @returns the lines that it says, with what a clock and a digest say left out */
async function says(...args: string[]): Promise<string[]> {
  const { status, stdout, stderr } = await payload(...args);
  assertEquals([status, stderr], [0, ""], `${args.join(" ")}: ${stderr}`);
  return stdout.replaceAll(/\d+\.\d ms/g, "MS").replaceAll(/[0-9a-f]{64}/g, "ID").replace(/\n$/, "").split("\n");
}

testWith(
  [ANY_KVM],
  "a payload is uploaded, applied, reverted, replaced and unloaded while a guest runs",
  () =>
    inDirectory(async (path) => {
      const socket = path("control"), limit = ["--limit", "10000"];
      await using run = start("run", ["--control", socket, "--vcpus", "2", "guests/watch.img"]);
      await run.stdout.expect("0 0x0\n");
      for (const name of ["fix-uart", "add-port"]) {
        assertEquals((await payload("build", `examples/payloads/${name}.ts`, "-o", path(name))).status, 0);
      }
      assertEquals(await says("list", socket), ["hypervisor, build-id ID"]);
      assertEquals(await says("upload", socket, path("fix-uart")), ["fix-uart: uploaded, build-id ID"]);
      assertOneLine(
        await payload("upload", socket, path("fix-uart")),
        64,
        /^xenolith: upload: fix-uart: there is one already \(EEXIST\)$/,
      );
      await Deno.writeTextFile(path("bad.xpl"), "damaged");
      assertOneLine(
        await payload("load", socket, path("bad.xpl")),
        64,
        /^xenolith: load: .*\/bad.xpl: not a payload: begins with [0-9a-f]{14} \(EINVAL\)$/,
      );
      assertEquals(await says("get", socket, "fix-uart"), ["fix-uart: CHECKED, rc 0, build-id ID"]);
      assertEquals(await says("apply", socket, "fix-uart", ...limit), [
        "fix-uart: applied, the guest stood still for MS",
      ]);
      await run.stdout.expect(" 0xff\n");
      assertOneLine(await payload("apply", socket, "fix-uart"), 64, /^xenolith: apply: .* applied already \(EINVAL\)$/);
      assertOneLine(
        await payload("unload", socket, "fix-uart"),
        64,
        /^xenolith: unload: fix-uart: applied \(EINVAL\)$/,
      );

      assertOneLine(
        await payload("load", socket, path("add-port")),
        64,
        /^xenolith: load: add-port: depends on .*EINVAL/,
      );
      assertOneLine(await payload("get", socket, "add-port"), 64, /^xenolith: get: no payload add-port \(ENOENT\)$/);
      assertEquals(await says("load", socket, path("add-port"), "--nodeps", ...limit), [
        "add-port: applied, the guest stood still for MS",
      ]);
      assertOneLine(
        await payload("revert", socket, "fix-uart"),
        69,
        /^xenolith: revert: .*add-port lies on it \(EBUSY\)$/,
      );
      assertEquals(await says("replace", socket, "fix-uart", ...limit), [
        "fix-uart: applied in place of all others, the guest stood still for MS",
      ]);
      assertEquals(await says("revert", socket, "fix-uart", ...limit), [
        "fix-uart: reverted, the guest stood still for MS",
      ]);
      const list = JSON.parse((await payload("list", socket, "--json")).stdout);
      assertEquals(list.schema, 1);
      assertEquals(
        list.payloads.map(({ name, state, rc }: Record<string, unknown>) => [name, state, rc]),
        [["fix-uart", "CHECKED", 0], ["add-port", "CHECKED", 0]],
      );
      assertEquals(await says("unload", socket, "add-port"), ["add-port: unloaded"]);
      await run.type("\n");
      assertEquals((await run.finished()).status, 0);
      assertOneLine(await payload("list", socket), 69, /^xenolith: .*control: No such file/);
    }),
);

/** A run that gives one answer, or none. @returns what it was asked */
async function answering(path: string, answer: unknown, ask: () => Promise<void>): Promise<Record<string, unknown>> {
  using listener = Deno.listen({ transport: "unix", path });
  const served = (async () => {
    using connection = await listener.accept();
    const bytes = new Uint8Array(4096), count = await connection.read(bytes) ?? 0;
    if (answer !== undefined) await connection.write(new TextEncoder().encode(`${JSON.stringify(answer)}\n`));
    return JSON.parse(new TextDecoder().decode(bytes.subarray(0, count)));
  })();
  await Promise.all([ask(), served]);
  return await served;
}

for (
  const [errno, name, status] of [
    [EINVAL, "EINVAL", 64],
    [ENOENT, "ENOENT", 64],
    [EEXIST, "EEXIST", 64],
    [EPERM, "EPERM", 64],
    [EBUSY, "EBUSY", 69],
    [EAGAIN, "EAGAIN", 69],
  ] as const
) {
  testWith([], `what a run refuses with ${name} has status ${status}`, () =>
    inDirectory(async (path) => {
      const asked = await answering(path("s"), { error: "fix: no", errno }, async () => {
        const line = new RegExp(`^xenolith: apply: fix: no \\(${name}\\)$`);
        assertOneLine(await payload("apply", path("s"), "fix", "--nodeps", "--limit", "7.5"), status, line);
      });
      assertEquals(asked, { execute: "payload-apply", name: "fix", nodeps: true, limit_ms: 7.5 });
    }));
}

testWith([], "a file's path is made absolute", () =>
  inDirectory(async (path) => {
    const asked = await answering(path("s"), { return: { name: "fix", buildId: "12" } }, async () => {
      assertEquals(await says("upload", path("s"), "fix.xpl"), ["fix: uploaded, build-id 12"]);
    });
    assertEquals(asked, { execute: "payload-upload", file: `${ROOT.pathname}fix.xpl` });
  }));

testWith([], "a run that ends instead of answering has status 69", () =>
  inDirectory(async (path) => {
    await answering(path("s"), undefined, async () => {
      const { status, lines } = await payload("list", path("s"));
      assertEquals([status, lines.length], [69, 1]);
      assertMatch(lines[0], /^xenolith: .*\/s: /);
    });
  }));

const REFUSED: readonly [string[], RegExp][] = [
  [["upload", "s"], /^xenolith: payload upload takes a socket and a file; --help says how$/],
  [["apply", "s"], /^xenolith: payload apply takes a socket and a payload's name/],
  [["list"], /^xenolith: payload list takes a socket/],
  [["apply", "s", "fix", "--limit", "soon"], /^xenolith: --limit soon: not a number of milliseconds$/],
  [["revert", "s", "fix", "--nodeps"], /^xenolith: payload revert takes no --nodeps/],
  [["get", "s", "fix", "--json"], /^xenolith: unknown option --json/],
];

for (const [args, line] of REFUSED) {
  testWith([], `payload ${args.join(" ")} is bad usage`, async () => assertOneLine(await payload(...args), 64, line));
}
