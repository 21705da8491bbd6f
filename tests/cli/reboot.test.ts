/** --reboot: boots again after a reset, as often as there is one. */

import { assertEquals } from "@std/assert";
import { ControlClient } from "../../src/cli/control_client.ts";
import { buildPayload } from "../../src/payload/build.ts";
import { edit, replace } from "../../src/payload/definition.ts";
import { encodePayload } from "../../src/payload/format.ts";
import { ANY_KVM, testWith } from "../support/capabilities.ts";
import { finish, ROOT, start } from "../support/command.ts";
import { REBOOTING } from "../support/real_mode.ts";

const CONSOLE = "src/devices/debug_console.ts";

async function withImage(body: (path: string) => Promise<void>): Promise<void> {
  const path = await Deno.makeTempFile({ prefix: "xenolith-test-" });
  await Deno.writeFile(path, REBOOTING.bytes);
  try {
    await body(path);
  } finally {
    await Deno.remove(path);
  }
}

testWith(
  [ANY_KVM],
  "--reboot boots again after each reset, and the run ends as the last boot does",
  () =>
    withImage(async (image) => {
      await using command = start("run", ["--reboot", image]);
      for (const boots of ["b", "bb", "bbb"]) {
        await command.stdout.expect(boots);
        await command.type(boots === "bbb" ? "." : "r");
      }
      const { status, stdout, lines } = await command.finished();
      assertEquals({ status, stdout }, { status: 9, stdout: "bbb" });
      assertEquals(lines, Array(2).fill(`xenolith: ${image}: the guest asked for a reset`));
    }),
);

testWith(
  [ANY_KVM],
  "payloads outlive the guest's reset: its first word is theirs already, and they can be reverted",
  () =>
    withImage(async (image) => {
      const definition = { name: "upper", modules: { [CONSOLE]: edit(replace("put(value)", "put(value & ~0x20)")) } };
      await Deno.writeFile(`${image}.xpl`, await encodePayload(await buildPayload(definition, ROOT)));
      const socket = `${image}.control`;
      await using command = start("run", ["--reboot", "--control", socket, image]);
      const ask = async (what: string, members: Readonly<Record<string, unknown>> = {}) => {
        using client = await ControlClient.connect(socket);
        return await client.execute(`payload-${what}`, { name: "upper", limit_ms: 10_000, ...members });
      };
      await command.stdout.expect("b");
      await ask("upload", { file: `${image}.xpl` });
      await ask("apply");
      for (const boots of ["bB", "bBB"]) {
        await command.type("r");
        await command.stdout.expect(boots);
      }
      assertEquals((await ask("get")).state, "APPLIED");
      await ask("revert");
      await command.type("r");
      await command.stdout.expect("bBBb");
      await command.type(".");
      const { status, stdout, lines } = await command.finished();
      assertEquals({ status, stdout }, { status: 9, stdout: "bBBb" });
      assertEquals(lines, Array(3).fill(`xenolith: ${image}: the guest asked for a reset`));
      await Deno.remove(`${image}.xpl`);
    }),
);

testWith([ANY_KVM], "without --reboot the first reset ends the run with 66", () =>
  withImage(async (image) => {
    await using command = start("run", [image]);
    await command.stdout.expect("b");
    await command.type("r");
    const { status, stdout } = await command.finished();
    assertEquals({ status, stdout }, { status: 66, stdout: "b" });
  }));

testWith(
  [ANY_KVM],
  "a guest that resets for ever ends by the time-out, which counts for all boots together",
  async () => {
    const { status, lines } = await finish("run", ["--reboot", "--timeout", "1", "guests/reset.img"]);
    assertEquals({ status, last: lines.at(-1) }, {
      status: 124,
      last: "xenolith: guests/reset.img: time-out after 1 s",
    });
  },
);

for (const [signal, status] of [["SIGINT", 130], ["SIGTERM", 143]] as const) {
  testWith([ANY_KVM], `a guest that resets for ever ends by ${signal}, at whatever moment it comes`, async () => {
    for (const resets of [1, 2, 3]) {
      await using command = start("run", ["--reboot", "guests/reset.img"]);
      await command.stdout.expect("reset: by the keyboard controller\n".repeat(resets));
      command.kill(signal);
      assertEquals((await command.finished()).status, status);
    }
  });
}
