/** stdin and stdout: back-pressure, ends, and no byte lost. */

import { assertEquals } from "@std/assert";
import { ANY_KVM, program, testWith } from "../support/capabilities.ts";
import { finish, start } from "../support/command.ts";
import { SlowPipe } from "../support/slow_pipe.ts";
import { printedSeed, randomBytes } from "../support/random.ts";
import { hash, SPOUT_BYTES, spouting, swallowing } from "../support/real_mode.ts";

const MKFIFO = program("mkfifo", "coreutils");

async function withImage(bytes: Uint8Array, body: (path: string) => Promise<void>): Promise<void> {
  const path = await Deno.makeTempFile({ prefix: "xenolith-test-" });
  await Deno.writeFile(path, bytes);
  try {
    await body(path);
  } finally {
    await Deno.remove(path);
  }
}

testWith([ANY_KVM, MKFIFO], "output waits for a slow reader, and not a byte of it is lost", async () => {
  const { image, output } = spouting(6, randomBytes(SPOUT_BYTES, printedSeed()));
  await withImage(image.bytes, async (path) => {
    await using pipe = await SlowPipe.create();
    await using command = start("run", [path], { stdin: "null", prefix: pipe.prefix });
    await pipe.full(); // the guest now waits: it has much more to say than fits
    const read = await pipe.readAll();
    assertEquals((await command.finished()).status, 0);
    assertEquals(read.length, output.length);
    assertEquals(read, output);
  });
});

testWith([ANY_KVM, MKFIFO], "a guest that waits for a slow reader ends by the time-out all the same", async () => {
  const { image } = spouting(6, randomBytes(SPOUT_BYTES, printedSeed()));
  await withImage(image.bytes, async (path) => {
    await using pipe = await SlowPipe.create();
    await using command = start("run", ["--timeout", "2", path], { stdin: "null", prefix: pipe.prefix });
    await pipe.full();
    assertEquals((await command.finished()).status, 124);
  });
});

testWith(
  [ANY_KVM],
  "100 KB of input reach a guest that reads them at its leisure, and not a byte is lost",
  async () => {
    const input = randomBytes(100_000, printedSeed());
    await withImage(swallowing(input.length).bytes, async (path) => {
      const { status, stdoutBytes } = await finish("run", [path], { stdin: input });
      assertEquals(status, 0);
      assertEquals(new DataView(stdoutBytes.slice().buffer).getUint32(0, true), hash(input));
    });
  },
);

testWith([ANY_KVM], "a long conversation through pipes is complete", async () => {
  await using command = start("run", ["guests/echo.img"]);
  const lines = Array.from({ length: 50 }, (_, line) => `line ${line} ${"x".repeat(line * 3)}`);
  let said = "> ";
  for (const line of lines) {
    await command.stdout.expect(said);
    await command.type(`${line}\n`);
    said += `${line}\necho: ${line}\n> `;
  }
  await command.stdout.expect(said);
  await command.type("quit 6\n");
  const { status, stdout, stderr } = await command.finished();
  assertEquals({ status, stdout, stderr }, { status: 6, stdout: `${said}quit 6\n`, stderr: "" });
});

testWith([ANY_KVM], "stdin at its end leaves the guest running", async () => {
  await using command = start("run", ["guests/echo.img"], { stdin: "hello\n" });
  await command.stdout.expect("> hello\necho: hello\n> ");
  command.kill("SIGTERM");
  assertEquals((await command.finished()).status, 143);
});

testWith([ANY_KVM], "a guest whose stdin is /dev/null runs, and gets no input", async () => {
  await using command = start("run", ["guests/echo.img"], { stdin: "null" });
  await command.stdout.expect("> ");
  command.kill("SIGINT");
  const { status, stdout } = await command.finished();
  assertEquals({ status, stdout }, { status: 130, stdout: "> " });
});

for (const [words, stdin] of [["<&-", "closed"], ["</", "a directory"], ["<guests/echo.img", "a file"]] as const) {
  testWith([ANY_KVM], `a guest whose stdin is ${stdin} runs`, async () => {
    const prefix = ["sh", "-c", `exec "$@" ${words}`, "sh"];
    const { status, stdout, stderr } = await finish("run", ["guests/exit.img"], { prefix });
    assertEquals({ status, stdout, stderr }, { status: 7, stdout: "exit: status 7\n", stderr: "" });
  });
}

testWith([ANY_KVM], "stdout that is closed while the guest is silent ends the run with 141", async () => {
  await using command = start("run", ["guests/hang.img"], { stdin: "null" });
  await command.stdout.expect("hang: halted with interrupts off\n");
  await command.stdout.close();
  const { status, lines } = await command.finished();
  assertEquals({ status, lines }, {
    status: 141,
    lines: ["xenolith: guests/hang.img: the console's output was closed"],
  });
});

testWith([ANY_KVM], "stdout that is closed while the guest talks ends the run with 141", async () => {
  const { image } = spouting(4, randomBytes(SPOUT_BYTES, printedSeed()));
  await withImage(image.bytes, async (path) => {
    await using command = start("run", [path], { stdin: "null" });
    while (command.stdout.bytes.length === 0) await command.stdout.next;
    await command.stdout.close();
    assertEquals((await command.finished()).status, 141);
  });
});

for (const [signal, status] of [["SIGHUP", 129], ["SIGINT", 130], ["SIGTERM", 143]] as const) {
  testWith([ANY_KVM], `${signal} ends a run with ${status} and one line`, async () => {
    await using command = start("run", ["--cmdline", "spin", "guests/hang.img", "guests/hello.img"]);
    await command.stdout.expect("hang: spinning\n");
    command.kill(signal);
    const finished = await command.finished();
    assertEquals({ status: finished.status, stdout: finished.stdout, lines: finished.lines }, {
      status,
      stdout: "hang: spinning\n",
      lines: [`xenolith: guests/hang.img: ended by ${signal}`],
    });
  });
}
