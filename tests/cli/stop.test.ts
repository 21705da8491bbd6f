/** --stop: a guest is asked to power off from outside; and what is wrong with asking. */

import { assertEquals, assertRejects } from "@std/assert";
import { ControlClient } from "../../src/cli/control_client.ts";
import { ANY_KVM, testWith } from "../support/capabilities.ts";
import { assertOneLine, type Command, finish, start } from "../support/command.ts";

/** Runs a guest with a control socket, until it has printed `ready`. */
async function running(
  args: readonly string[],
  ready: string,
  body: (path: string, command: Command) => Promise<void>,
): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "xenolith-test-" });
  try {
    const path = `${directory}/control`;
    await using command = start("run", ["--control", path, ...args]);
    await command.stdout.expect(ready);
    await body(path, command);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

const WAITING = ["--cmdline", "wait", "guests/xenstore.img"], READY = "xenstore: waiting for control/shutdown\n";

testWith(
  [ANY_KVM],
  "--stop has the guest power itself off, and the run ends with 0",
  () =>
    running(WAITING, READY, async (path, command) => {
      const { status, stdout, stderr } = await finish("run", ["--stop", path]);
      assertEquals({ status, stdout, stderr }, { status: 0, stdout: "", stderr: "" });
      const ended = await command.finished();
      assertEquals({ status: ended.status, stdout: ended.stdout, stderr: ended.stderr }, {
        status: 0,
        stdout: `${READY}xenstore: told to poweroff\n`,
        stderr: "",
      });
    }),
);

testWith(
  [ANY_KVM],
  "request-shutdown takes a reason, and refuses others",
  () =>
    running(["--reboot", ...WAITING], READY, async (path, command) => {
      using client = await ControlClient.connect(path);
      await client.send('{"id": 1, "execute": "request-shutdown", "reason": "burn"}\n');
      assertEquals(await client.answer(), { id: 1, error: "reason: one of poweroff, halt, reboot, suspend" });
      await client.send('{"id": 2, "execute": "request-shutdown", "reason": "reboot"}\n');
      assertEquals(await client.answer(), { id: 2, return: {} });
      await command.stdout.expect(`${READY}xenstore: told to reboot\n${READY}`);
      assertEquals((await finish("run", ["--stop", path])).status, 0);
      assertEquals((await command.finished()).status, 0);
    }),
);

testWith(
  [ANY_KVM],
  "a guest that does not know Xen goes on when --stop asks",
  () =>
    running(["guests/echo.img"], "> ", async (path, command) => {
      assertEquals((await finish("run", ["--stop", path])).status, 0);
      await command.type("quit 3\n");
      assertEquals((await command.finished()).status, 3);
    }),
);

Deno.test("--stop where no run takes commands is one line and status 69", async () => {
  const path = await Deno.makeTempFile({ prefix: "xenolith-test-" });
  await Deno.remove(path);
  assertOneLine(await finish("run", ["--stop", path]), 69, new RegExp(`^xenolith: --stop ${path}: No such file`));
  using listener = Deno.listen({ transport: "unix", path });
  const accepted = listener.accept().then((connection) => connection.close());
  assertOneLine(await finish("run", ["--stop", path]), 69, new RegExp(`^xenolith: --stop ${path}: `));
  await accepted;
  await Deno.remove(path);
  await assertRejects(() => Deno.stat(path), Deno.errors.NotFound);
});

for (const args of [["--stop", "socket", "image"], ["--stop", "socket", "--reboot"], ["--stop=a", "--stop=b"]]) {
  Deno.test(`${args.join(" ")} is bad usage`, async () => {
    assertOneLine(await finish("run", args), 64, /^xenolith: --stop (goes with|given)/);
  });
}
