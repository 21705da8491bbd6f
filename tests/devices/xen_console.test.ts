import { assertEquals } from "@std/assert";
import { Console } from "../../src/devices/console.ts";
import { xenConsole } from "../../src/devices/xen_console.ts";
import { FakeMachine, OUTPUT, PIPE } from "./fake_host.ts";

function machine(): FakeMachine {
  return new FakeMachine((host, machine) => {
    const console = new Console(host, machine.descriptors, { input: -1, output: OUTPUT, escape: null });
    xenConsole(host, console, machine.descriptors, PIPE);
  });
}

function pipe(fake: FakeMachine, text: string): void {
  fake.descriptors.piped.push(...new TextEncoder().encode(text));
}

Deno.test("xenConsole() prints what comes by the pipe, however much", () => {
  const fake = machine(), text = "0123456789".repeat(1500);
  pipe(fake, text);
  fake.roomAfterWait = 4096;
  fake.sleep();
  assertEquals(fake.descriptors.printed, text);
  pipe(fake, "more");
  fake.sleep();
  assertEquals(fake.descriptors.printed, text + "more");
});

Deno.test("xenConsole() prints what is still in the pipe when the domain stops", () => {
  const fake = machine();
  pipe(fake, "last words");
  fake.stop();
  assertEquals(fake.descriptors.printed, "last words");
});
