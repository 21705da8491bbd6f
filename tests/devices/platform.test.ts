import { assertEquals } from "@std/assert";
import platform, { type PlatformConfiguration } from "../../src/devices/platform.ts";
import { FakeMachine, INPUT, OUTPUT } from "./fake_host.ts";

const CONFIGURATION: PlatformConfiguration = {
  console: { input: INPUT, output: OUTPUT, escape: 0x1d },
  memoryBytes: 64 << 20,
  lowMemoryBytes: 64 << 20,
};

function machine(): FakeMachine {
  return new FakeMachine((host, machine) => {
    platform(host, structuredClone(CONFIGURATION), machine.descriptors, () => machine.nowMs);
  });
}

Deno.test("platform() claims every device's ports, and each keeps its state over a generation", () => {
  machine().run(`
    out 0x3ff 0x11; out 0x64 0x60; out 0x60 0x22; out 0x70 0x0f; out 0x71 0x33; out 0x80 0x44; out 0x605 0x14; out 0xcf9 2;
    restart; in 0x3ff -> 0x11; in 0x71 -> 0x33; in 0x80 -> 0x44; in 0x605 -> 0x14; in 0xcf9 -> 2; out 0x64 0x20;
    in 0x60 -> 0x22`);
});

Deno.test("UART and debug console print to one output, in the order of the writes", () => {
  machine().run(`out 0x3f8 0x61; out 0xe9 0x62; restart; out 0x3f8 0x63; sleep; printed -> "abc"`);
});

Deno.test("Ctrl-] leaves", () => {
  machine().run(`type "\\u001d"; sleep; shutdown -> left`);
});

Deno.test("platform() runs in a machine whose descriptors are Linux's own", () => {
  const silent = { ...CONFIGURATION, console: { input: -1, output: -1, escape: null } };
  const fixture = new FakeMachine((host) => platform(host, silent));
  fixture.run(`out 0x3f8 0x61; sleep; in 0x3fd -> 0x60`);
  assertEquals(fixture.shutdowns, []);
});
