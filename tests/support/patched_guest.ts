/** The guest `watch` (or another) under live patching: its lines are read, and none may be missing. */

import { assertEquals } from "@std/assert";
import { type Machine, startMachine, successionOf } from "../../src/machine/machine.ts";
import type { MachineOptions } from "../../src/machine/options.ts";
import type { Succession } from "../../src/domain/succession.ts";
import { pipe } from "../../src/linux/descriptor.ts";
import { TestConsole } from "../../src/testing/console.ts";

export class PatchedGuest implements AsyncDisposable {
  #line = 0;

  private constructor(
    readonly machine: Machine,
    private readonly console: TestConsole,
    private readonly ends: DisposableStack,
  ) {}

  static async start(image: string, options: Omit<MachineOptions, "image">): Promise<PatchedGuest> {
    using stack = new DisposableStack();
    const output = pipe("console output"), input = pipe("console input");
    for (const end of [output.reader, output.writer, input.reader, input.writer]) stack.use(end);
    const descriptors = { input: input.reader.number, output: output.writer.number, escape: null };
    const machine = await startMachine({ ...options, image: `guests/${image}.img` }, descriptors);
    const console = new TestConsole(
      output.reader.release(),
      input.writer.release(),
      () => machine.vcpuStates.join(" "),
    );
    return new PatchedGuest(machine, console, stack.move());
  }

  get succession(): Succession {
    return successionOf(this.machine);
  }

  /** The values of so many lines more, each with its number. */
  async lines(count: number): Promise<number[]> {
    const values: number[] = [];
    while (values.length < count) {
      const [, line, value] = await this.console.expect(/(\d+) 0x([0-9a-f]+)\n/);
      assertEquals(Number(line), this.#line++, "a line was lost");
      values.push(parseInt(value, 16));
    }
    return values;
  }

  /** Lines until one has that value. */
  async until(value: number): Promise<void> {
    while ((await this.lines(1))[0] !== value);
  }

  /** What the guest says. */
  expect(pattern: RegExp): Promise<RegExpMatchArray> {
    return this.console.expect(pattern);
  }

  /** What it is told. */
  type(text: string): void {
    this.console.send(text);
  }

  /** It is told to end, and does. */
  async end(): Promise<void> {
    this.console.send("\n");
    const { status, reason } = await this.machine.ended;
    assertEquals(status, 0, `${reason}\n${this.console.text.slice(-200)}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.machine[Symbol.asyncDispose]();
    this.ends.dispose();
    await this.console.ended;
    this.console.close();
  }
}
