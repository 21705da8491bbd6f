/** --control: the commands of docs/control-protocol.md, and what clients get wrong. */

import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { ControlClient } from "../../src/cli/control_client.ts";
import { ANY_KVM, testWith } from "../support/capabilities.ts";
import { assertOneLine, type Command, finish, start } from "../support/command.ts";

const NAMES = "status, statistics, pause, resume, kick, shutdown, request-shutdown, payload-upload, payload-get, " +
  "payload-list, payload-apply, payload-revert, payload-replace, payload-unload";

/** Runs a guest with a control socket, until it has printed `ready`. */
async function controlled(
  args: readonly string[],
  ready: string,
  body: (client: ControlClient, command: Command, path: string) => Promise<void>,
): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "xenolith-test-" });
  try {
    const path = `${directory}/control`;
    await using command = start("run", ["--control", path, ...args]);
    await command.stdout.expect(ready);
    using client = await ControlClient.connect(path);
    await body(client, command, path);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

const ECHO = [["guests/echo.img"], "> "] as const;

testWith(
  [ANY_KVM],
  "status, pause and resume say what the vCPUs do",
  () =>
    controlled(["--vcpus", "2", "guests/echo.img"], "> ", async (client, command) => {
      // What it has printed may still be acknowledged, and the other one's thread may still start.
      const isSettled = async () => !/waiting|offline/.test(String((await client.execute("status")).vcpus));
      while (!await isSettled());
      assertEquals(await client.execute("status"), { paused: false, vcpus: ["running", "running"] });
      assertEquals(await client.execute("pause"), { vcpus: ["paused", "paused"] });
      assertEquals(await client.execute("status"), { paused: true, vcpus: ["paused", "paused"] });
      await command.type("kept\n");
      const before = await client.execute("statistics");
      assertEquals(await client.execute("kick"), {});
      assertEquals((await client.execute("statistics")).exits, before.exits);
      assertEquals(await client.execute("resume"), {});
      await command.stdout.expect("echo: kept\n");
      assertEquals((await client.execute("status")).paused, false);
    }),
);

testWith(
  [ANY_KVM],
  "a guest that is kicked thousands of times while it writes loses nothing",
  () =>
    controlled(["--cmdline", "count=30000 port=0x80", "guests/exits.img"], "times\n", async (client, command) => {
      let kicks = 0;
      try {
        for (;; kicks++) await client.execute("kick");
      } catch {
        // The guest has ended.
      }
      const { status, stdout, stderr } = await command.finished();
      assertEquals({ status, stderr }, { status: 0, stderr: "" });
      assertEquals(stdout, "exits: out of 1 bytes at port 0x80, 30000 times\nexits: 30000 done\n");
      assertEquals(kicks > 20, true, `only ${kicks} kicks`);
    }),
);

testWith([ANY_KVM], "statistics has the members of --json", () =>
  controlled(...ECHO, async (client) => {
    const { exits, ports, servers, vcpus } = await client.execute("statistics") as Record<string, unknown[]>;
    assertEquals(typeof (exits as unknown as { IO: number }).IO, "number");
    assertEquals([ports.length > 0, servers.length, vcpus.length], [true, 1, 1]);
  }));

testWith(
  [ANY_KVM],
  "shutdown ends the run with 0, and the socket is gone",
  () =>
    controlled(...ECHO, async (client, command, path) => {
      await client.send('{"execute": "shutdown"}\n');
      const { status, stdout } = await command.finished();
      assertEquals({ status, stdout }, { status: 0, stdout: "> " });
      await assertRejects(() => Deno.stat(path), Deno.errors.NotFound);
      assertEquals(await client.answer().then((answer) => answer?.return ?? {}, () => ({})), {});
    }),
);

for (
  const [what, line, answer] of [
    ["a command that there is not", '{"id": 2, "execute": "stauts"}', { id: 2, error: `execute: one of ${NAMES}` }],
    ["no command", '{"id": "x"}', { id: "x", error: `execute: one of ${NAMES}` }],
    ["a command that is no string", '{"execute": ["pause"]}', { error: `execute: one of ${NAMES}` }],
    ["a name that every object has", '{"execute": "toString"}', { error: `execute: one of ${NAMES}` }],
    ["a number", "7", { error: "a request is a JSON object" }],
    ["null", "null", { error: "a request is a JSON object" }],
    ["a list", "[]", { error: `execute: one of ${NAMES}` }],
  ] as const
) {
  testWith(
    [ANY_KVM],
    `a line with ${what} is answered with an error, and the next one as usual`,
    () =>
      controlled(...ECHO, async (client) => {
        await client.send(`${line}\n`);
        assertEquals(await client.answer(), answer);
        assertEquals((await client.execute("status")).paused, false);
      }),
  );
}

testWith(
  [ANY_KVM],
  "lines that are no JSON, in whatever pieces, do no harm",
  () =>
    controlled(...ECHO, async (client) => {
      for (const line of ["pause", "{", '{"execute": "status"', "\0", "\ud83d"]) {
        await client.send(`${line}\n`);
        const answer = await client.answer();
        assertEquals(typeof answer?.error, "string");
        assertEquals(answer!.error!.includes("\n"), false);
      }
      await client.send('\n\r\n  \n{"id": {"a": [1]}, "exe');
      await client.send('cute": "resume", "more": 1}\n{"id": 2, "execute": "kick"}\n');
      assertEquals(await client.answer(), { id: { a: [1] }, return: {} });
      assertEquals(await client.answer(), { id: 2, return: {} });
    }),
);

testWith(
  [ANY_KVM],
  "a line without an end is refused, and other clients are served on",
  () =>
    controlled(...ECHO, async (client, _command, path) => {
      using other = await ControlClient.connect(path);
      await client.send("x".repeat(70 << 10)).catch(() => {});
      const answer = await client.answer().catch(() => undefined);
      if (answer !== undefined) assertMatch(String(answer.error), /a line of more than 65536 bytes/);
      assertEquals((await other.execute("status")).paused, false);
    }),
);

testWith(
  [ANY_KVM],
  "a client that goes away in the middle leaves the guest running",
  () =>
    controlled(...ECHO, async (client, command, path) => {
      await client.send('{"execute": "statistics"}\n{"execute": "pau');
      client[Symbol.dispose]();
      await command.type("hello\n");
      await command.stdout.expect("echo: hello\n");
      using other = await ControlClient.connect(path);
      assertEquals((await other.execute("status")).paused, false);
    }),
);

testWith([ANY_KVM], "a path that is taken is one line and status 64, and is left alone", async () => {
  const path = await Deno.makeTempFile({ prefix: "xenolith-test-" });
  await Deno.writeTextFile(path, "mine");
  const finished = await finish("run", ["--control", path, "guests/hello.img"]);
  assertOneLine(finished, 64, new RegExp(`^xenolith: --control ${path}: .*in use`));
  assertEquals(finished.stdout, "", "no guest ran");
  assertEquals(await Deno.readTextFile(path), "mine");
  await Deno.remove(path);
});
