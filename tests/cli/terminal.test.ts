/** The command in a terminal: raw while the guest runs, and afterwards as it was, however the run ended. */

import { assertEquals, assertNotEquals } from "@std/assert";
import { ANY_KVM, testWith } from "../support/capabilities.ts";
import { Command, type Finished, start } from "../support/command.ts";
import { PseudoTerminal, TERMINAL } from "../support/pseudo_terminal.ts";

const NEEDS = [ANY_KVM, TERMINAL];

/** Runs a command in a terminal whose settings nobody would guess, and checks that it gives them back. */
async function inTerminal(
  args: readonly string[],
  talk: (terminal: PseudoTerminal, command: Command, settingsBefore: string) => Promise<void>,
): Promise<Finished & { screen: string }> {
  await using terminal = new PseudoTerminal();
  terminal.set("intr", "^x", "-echoe", "rows", "33");
  const before = terminal.settings();
  await using command = start("run", args, { stdin: "null", prefix: terminal.prefix });
  await talk(terminal, command, before);
  const finished = await command.finished();
  assertEquals(terminal.settings(), before, "the terminal's settings");
  return { ...finished, screen: terminal.screen.text };
}

testWith(NEEDS, "Ctrl-] leaves a run with status 67 and without a word", async () => {
  const { status, stderr } = await inTerminal(["guests/echo.img"], async (terminal) => {
    await terminal.screen.expect("> ");
    terminal.type("\x1d");
  });
  assertEquals({ status, stderr }, { status: 67, stderr: "" });
});

testWith(NEEDS, "Ctrl-] leaves a guest that takes no input, after any other keys", async () => {
  const { status } = await inTerminal(["guests/hang.img"], async (terminal) => {
    await terminal.screen.expect("hang: ");
    terminal.type("some keys\r\x03\x04");
    terminal.type("\x1d");
  });
  assertEquals(status, 67);
});

testWith(NEEDS, "Ctrl-] ends a run of several images: the next one is not booted", async () => {
  const { status, screen } = await inTerminal(["guests/echo.img", "guests/hello.img"], async (terminal) => {
    await terminal.screen.expect("> ");
    terminal.type("\x1d");
  });
  assertEquals({ status, greeted: screen.includes("Hello") }, { status: 67, greeted: false });
});

testWith(NEEDS, "the terminal is raw while the guest runs: every key reaches it at once, Ctrl-C too", async () => {
  const { status, screen } = await inTerminal(["guests/echo.img"], async (terminal, _command, before) => {
    await terminal.screen.expect("> ");
    assertNotEquals(terminal.settings(), before);
    terminal.type("he");
    await terminal.screen.expect("he"); // without a line's end, and once: the terminal does not echo
    terminal.type("\x03\x18llo\r");
    await terminal.screen.expect("echo: hello");
    terminal.type("quit 4\r");
  });
  assertEquals(status, 4);
  assertEquals(screen.replaceAll("\r", ""), "> hello\necho: hello\n> quit 4\n");
});

for (const [signal, status] of [["SIGINT", 130], ["SIGTERM", 143], ["SIGHUP", 129]] as const) {
  testWith(NEEDS, `${signal} ends a run in a terminal with ${status}, and the terminal is given back`, async () => {
    const finished = await inTerminal(["guests/hang.img"], async (terminal, command) => {
      await terminal.screen.expect("hang: ");
      command.kill(signal);
    });
    assertEquals({ status: finished.status, lines: finished.lines }, {
      status,
      lines: [`xenolith: guests/hang.img: ended by ${signal}`],
    });
  });
}

for (
  const [how, args, status] of [
    ["the guest's own status", ["guests/exit.img"], 7],
    ["a crash", ["guests/triplefault.img"], 125],
    ["a time-out", ["--timeout", "0.3", "guests/hang.img"], 124],
    ["a reset", ["guests/reset.img"], 66],
    ["a missing image", ["missing.img"], 64],
    ["an image that is no image", ["deno.json"], 64],
  ] as const
) {
  testWith(NEEDS, `the terminal is given back after ${how}`, async () => {
    assertEquals((await inTerminal(args, () => Promise.resolve())).status, status);
  });
}

testWith(NEEDS, "a terminal that hangs up ends the run", async () => {
  const terminal = new PseudoTerminal();
  await using command = start("run", ["guests/hang.img"], { stdin: "null", prefix: terminal.prefix });
  await terminal.screen.expect("hang: ");
  await terminal[Symbol.asyncDispose]();
  const { status } = await command.finished();
  // SIGHUP, or the closed terminal that is stdout: whichever is seen first.
  assertEquals([129, 141].includes(status), true, `status ${status}`);
});
