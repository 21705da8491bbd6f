/** `run --lane`: what the command prints, writes and returns is what it does without. */

import { assertEquals, assertMatch } from "@std/assert";
import { assertOneLine, finish, start } from "../../support/command.ts";
import { PseudoTerminal, TERMINAL } from "../../support/pseudo_terminal.ts";
import { laneTest } from "./support.ts";

const patienceMs = 120_000;

laneTest("hello: its line and nothing else on stdout, status 0, within 15 s of an idle host", async () => {
  const startMs = performance.now();
  await using command = start("run", ["--lane", "guests/hello.img"], { stdin: "null", patienceMs });
  await command.stdout.expect("Hello");
  console.log(`${((performance.now() - startMs) / 1000).toFixed(1)} s to the guest's line`);
  const { status, stdout, stderr } = await command.finished();
  assertEquals({ status, stdout, stderr }, {
    status: 0,
    stdout: "Hello from Xenolith, in 64-bit long mode\n",
    stderr: "",
  });
});

laneTest("a crash: one line with the instruction, status 125", async () => {
  const finished = await finish("run", ["--lane", "guests/triplefault.img"], { patienceMs });
  assertOneLine(finished, 125, /^xenolith: guests\/triplefault\.img: triple fault: vcpu=0 rip=0x[0-9a-f]+/);
});

laneTest("several images, a command line, a module, piped input, a report", async () => {
  const report = Deno.makeTempFileSync();
  try {
    const args = ["--lane", "--json", report, "--cmdline", "status=7", "guests/echo.img", "guests/exit.img"];
    const { status, stdout, stderr } = await finish("run", args, { stdin: "hello\nquit 0\n", patienceMs });
    assertEquals({ status, stderr }, { status: 7, stderr: "" });
    assertMatch(stdout, /echo: hello/);
    const { schema, outcome, status: reported } = JSON.parse(Deno.readTextFileSync(report));
    assertEquals({ schema, outcome, reported }, { schema: 1, outcome: "exit", reported: 7 });
  } finally {
    Deno.removeSync(report);
  }
});

laneTest("an image that cannot be booted is refused without a machine: status 64", async () => {
  const path = Deno.makeTempFileSync();
  Deno.writeFileSync(path, Uint8Array.of(0x7f, 0x45, 0x4c, 0x46, 2, 1, 1));
  const finished = await finish("run", ["--lane", path]);
  Deno.removeSync(path);
  assertOneLine(finished, 64, /^xenolith: .*ELF/);
  assertOneLine(
    await finish("run", ["--lane", "guests/none.img"]),
    64,
    /^xenolith: image guests\/none\.img: no such file$/,
  );
});

laneTest("a time-out ends the guest: status 124", async () => {
  const args = ["--lane", "--timeout", "1", "guests/hang.img"];
  assertOneLine(await finish("run", args, { patienceMs }), 124, /time-out after 1 s/);
});

laneTest("SIGTERM ends the guest: status 143", async () => {
  await using command = start("run", ["--lane", "guests/echo.img"], { patienceMs });
  await command.stdout.expect("> ");
  command.kill("SIGTERM");
  assertEquals((await command.finished()).status, 143);
});

laneTest("in a terminal keys reach the guest at once, Ctrl-] leaves, and the terminal is as it was", async () => {
  await using terminal = new PseudoTerminal();
  const before = terminal.settings();
  await using command = start("run", ["--lane", "guests/echo.img"], {
    stdin: "null",
    prefix: terminal.prefix,
    patienceMs,
  });
  await terminal.screen.expect("> ");
  terminal.type("he");
  await terminal.screen.expect("he");
  terminal.type("llo\r");
  await terminal.screen.expect("echo: hello");
  terminal.type("\x1d");
  const { status, stderr } = await command.finished();
  assertEquals({ status, stderr, settings: terminal.settings() }, { status: 67, stderr: "", settings: before });
}, [TERMINAL]);
