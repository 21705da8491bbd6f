import { assertEquals } from "@std/assert";
import { BACKLOG_BYTES, Console, type ConsoleOptions, lastLine, PUT_BACK_BYTES } from "../../src/devices/console.ts";
import { FakeMachine, INPUT, OUTPUT } from "./fake_host.ts";

const PLAIN: ConsoleOptions = { input: INPUT, output: OUTPUT, escape: null };
const INTERACTIVE: ConsoleOptions = { ...PLAIN, escape: 0x1d };

/** What the console holds for a guest that takes nothing; the rest of 32 KiB is for bytes that are put back. */
const HELD_BYTES = 32768 - PUT_BACK_BYTES;

/** A console with a consumer that wants as many bytes as it is told to. */
class Fixture {
  wanted = 0;
  readonly taken: string[] = [];
  console!: Console;
  readonly machine: FakeMachine;
  readonly descriptors: FakeMachine["descriptors"];

  constructor(options: ConsoleOptions) {
    this.machine = new FakeMachine((host, machine) => {
      this.console = new Console(host, machine.descriptors, options);
      this.console.attach({ wants: () => this.wanted > 0, arrived: () => this.take() });
    });
    this.descriptors = this.machine.descriptors;
  }

  take(): void {
    for (; this.wanted > 0; this.wanted--) {
      const byte = this.console.take();
      if (byte < 0) return;
      this.taken.push(String.fromCharCode(byte));
    }
  }

  print(text: string): void {
    for (const character of text) this.console.put(character.charCodeAt(0));
  }
}

Deno.test("Console.put() collects until the model would sleep, then writes once", () => {
  const fixture = new Fixture(PLAIN);
  fixture.print("hello");
  assertEquals(fixture.descriptors.writes, []);
  fixture.machine.sleep();
  assertEquals([fixture.descriptors.printed, fixture.descriptors.writes], ["hello", [5]]);
});

Deno.test("Console.put() waits for room only when the backlog is full", () => {
  const fixture = new Fixture(PLAIN);
  const text = "x".repeat(BACKLOG_BYTES);
  fixture.descriptors.room = 0;
  fixture.print(text);
  fixture.machine.sleep();
  assertEquals(fixture.machine.waits, 0);
  fixture.machine.roomAfterWait = 100;
  fixture.print("y");
  assertEquals([fixture.machine.waits, fixture.descriptors.printed.length], [1, 100]);
  fixture.descriptors.room = Infinity;
  fixture.machine.sleep();
  assertEquals(fixture.descriptors.printed, text + "y");
});

Deno.test("Console.put() gives up when the domain stops, and the last words are written all the same", () => {
  const fixture = new Fixture(PLAIN);
  const text = "x".repeat(BACKLOG_BYTES);
  fixture.descriptors.room = 0;
  fixture.print(text + "lost");
  fixture.descriptors.room = Infinity;
  fixture.machine.stop();
  assertEquals(fixture.descriptors.printed, text);
});

Deno.test("Console writes its backlog when the domain stops, also to an output that would block", () => {
  const fixture = new Fixture(PLAIN);
  fixture.print("bye");
  fixture.descriptors.failures.push(-11, -4); // EAGAIN, EINTR
  fixture.machine.stop();
  assertEquals([fixture.descriptors.printed, fixture.machine.waits], ["bye", 1]);
});

Deno.test("Console keeps its backlog over EINTR, EAGAIN and short writes", () => {
  const fixture = new Fixture(PLAIN);
  fixture.descriptors.failures.push(-4, -11);
  fixture.descriptors.room = 2;
  fixture.print("abcde");
  fixture.machine.sleep();
  assertEquals(fixture.descriptors.printed, "ab");
  fixture.descriptors.room = 100;
  fixture.machine.restart();
  fixture.machine.sleep();
  assertEquals([fixture.descriptors.printed, fixture.descriptors.writes], ["abcde", [2, 3]]);
});

Deno.test("Console ends the run when its output is closed, even while the guest prints nothing", () => {
  const fixture = new Fixture(PLAIN);
  fixture.machine.sleep();
  fixture.descriptors.broken = true;
  fixture.machine.sleep();
  fixture.print("unheard");
  fixture.machine.sleep();
  assertEquals(fixture.machine.shutdowns, ["console closed"]);
});

Deno.test("Console ends the run when a write fails", () => {
  for (const errno of [5, 28, 32]) { // EIO, ENOSPC, EPIPE
    const fixture = new Fixture(PLAIN);
    fixture.descriptors.failures.push(-errno);
    fixture.print("x");
    fixture.machine.sleep();
    assertEquals(fixture.machine.shutdowns, ["console closed"]);
  }
});

Deno.test("lastLine() is what was printed last, without empty lines, and as much as there is room for", () => {
  const fixture = new Fixture(PLAIN), last = () => lastLine(new DataView(fixture.machine.state));
  assertEquals(last(), "");
  for (
    const [printed, expected] of [
      ["one", "one"],
      [" line\r", "one line"],
      ["\n\r\n\n", "one line"],
      ["two\n", "two"],
      ["x".repeat(1000), "x".repeat(240)],
      ["\nthree", "three"],
    ]
  ) {
    fixture.print(printed);
    assertEquals(last(), expected);
    fixture.machine.restart();
    assertEquals(last(), expected, "in the next generation");
  }
});

Deno.test("Console with neither input nor output neither prints nor waits", () => {
  const fixture = new Fixture({ input: -1, output: -1, escape: 0x1d });
  fixture.print("x".repeat(2 * BACKLOG_BYTES));
  fixture.machine.sleep();
  assertEquals([fixture.machine.waits, fixture.descriptors.printed], [0, ""]);
});

Deno.test("Console reads only for a consumer that wants input", () => {
  const fixture = new Fixture(PLAIN);
  fixture.descriptors.type("abcdef");
  fixture.machine.sleep();
  assertEquals(fixture.descriptors.typed.length, 6);
  fixture.wanted = 2;
  fixture.machine.sleep();
  assertEquals(fixture.taken.join(""), "ab");
  fixture.wanted = 10;
  fixture.take();
  assertEquals(fixture.taken.join(""), "abcdef");
});

Deno.test("Console stops watching an input that has ended or failed", () => {
  for (const failure of [0, -5]) {
    const fixture = new Fixture(PLAIN);
    fixture.wanted = 1;
    fixture.descriptors.ended = true;
    fixture.descriptors.failures.push(failure);
    fixture.machine.sleep(); // would never end if it went on watching
    fixture.machine.restart();
    fixture.machine.sleep();
    assertEquals([fixture.taken, fixture.machine.shutdowns], [[], []]);
  }
});

Deno.test("Console tries again after EINTR and EAGAIN on its input", () => {
  const fixture = new Fixture(PLAIN);
  fixture.wanted = 1;
  fixture.descriptors.failures.push(-4, -11);
  fixture.descriptors.type("a");
  fixture.machine.sleep();
  assertEquals(fixture.taken, ["a"]);
});

Deno.test("the escape byte ends the run, even while the guest takes no input; what stood before it arrives", () => {
  const fixture = new Fixture(INTERACTIVE);
  fixture.descriptors.type("ab\x1dcd");
  fixture.machine.sleep();
  assertEquals(fixture.machine.shutdowns, ["left"]);
  fixture.wanted = 10;
  fixture.take();
  assertEquals(fixture.taken.join(""), "ab");
});

Deno.test("without an escape byte Ctrl-] reaches the guest", () => {
  const fixture = new Fixture(PLAIN);
  fixture.wanted = 10;
  fixture.descriptors.type("\x1d");
  fixture.machine.sleep();
  assertEquals([fixture.taken, fixture.machine.shutdowns], [["\x1d"], []]);
});

Deno.test("Console.putBack() makes bytes the next ones again, also when the buffer is full and wraps", () => {
  const fixture = new Fixture(INTERACTIVE);
  const text = Array.from({ length: 100_000 }, (_, index) => 97 + index % 26);
  const received: number[] = [];
  for (let round = 0, typed = 0; received.length < text.length; round++) {
    const more = text.slice(typed, received.length + HELD_BYTES);
    fixture.descriptors.typed.push(...more);
    typed += more.length;
    fixture.machine.sleep();
    const taken: number[] = [];
    for (let count = 0; count < 16; count++) taken.push(fixture.console.take());
    fixture.machine.sleep();
    if (round % 3 === 0) {
      for (const byte of taken.splice(round % 17).reverse()) if (byte >= 0) fixture.console.putBack(byte);
    }
    received.push(...taken.filter((byte) => byte >= 0));
  }
  assertEquals(received, text);
});

Deno.test("the escape byte leaves a guest that has not taken more than the console holds", () => {
  const fixture = new Fixture(INTERACTIVE);
  fixture.descriptors.typed.push(...new Array(HELD_BYTES + 5000).fill(97), 0x1d);
  for (let sleeps = 0; fixture.machine.shutdowns.length === 0; sleeps++) {
    if (sleeps > 1000) throw new Error("the escape byte was not seen");
    fixture.machine.sleep();
  }
  assertEquals(fixture.machine.shutdowns, ["left"]);
  for (let index = 0; index < HELD_BYTES; index++) assertEquals(fixture.console.take(), 97);
  assertEquals(fixture.console.take(), -1);
});

Deno.test("without an escape byte nothing is read that the console cannot hold", () => {
  const fixture = new Fixture(PLAIN);
  fixture.descriptors.typed.push(...new Array(HELD_BYTES * 2).fill(97));
  fixture.wanted = 1;
  for (let sleeps = 0; sleeps < 100; sleeps++) fixture.machine.sleep();
  assertEquals(fixture.descriptors.typed.length >= HELD_BYTES, true);
});
