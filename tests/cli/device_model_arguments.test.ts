import { assertEquals, assertThrows } from "@std/assert";
import { parseRun } from "../../src/cli/arguments.ts";
import { UsageError } from "../../src/machine/options.ts";

const MODULE = "tests/support/models/port_counter.ts";

function machine(...args: string[]) {
  return parseRun([...args, "image"])!.machine;
}

Deno.test("--device-model takes a file for a module, and everything else for a socket to be", () => {
  assertEquals(machine("--device-model", MODULE, "--device-model=/tmp/x.sock").deviceModels, [
    { module: MODULE },
    { socket: "/tmp/x.sock" },
  ]);
  assertEquals(
    machine("--device-model=tests").deviceModels,
    [{ socket: "tests" }],
    "listening there says what is wrong",
  );
  assertEquals(machine().deviceModels, []);
});

Deno.test("--device-model grants memory: all, none, or ranges of whole pages in either base", () => {
  const grants = ["all", "none", "0x1000-0x1fff", "4096-8191+0x100000-0xffffffffff"].map((memory) => {
    return machine(`--device-model=${MODULE},memory=${memory}`).deviceModels![0];
  });
  assertEquals(grants, [
    { module: MODULE, memory: "all" },
    { module: MODULE, memory: "none" },
    { module: MODULE, memory: [{ first: 0x1000, last: 0x1fff }] },
    { module: MODULE, memory: [{ first: 0x1000, last: 0x1fff }, { first: 0x10_0000, last: 0xff_ffff_ffff }] },
  ]);
  assertEquals(machine("--device-model=a,b.sock,memory=all").deviceModels, [{ socket: "a,b.sock", memory: "all" }]);
  const many = Array(17).fill("0x1000-0x1fff").join("+");
  assertThrows(() => machine(`--device-model=x,memory=${many}`), UsageError, "memory: more than 16 ranges");
});

Deno.test("--device-model-timeout is in seconds, and --hold is off unless it is given", () => {
  assertEquals([machine().deviceModelTimeoutMs, machine().hold], [undefined, false]);
  const { deviceModelTimeoutMs, hold } = machine("--device-model-timeout", "2.5", "--hold");
  assertEquals([deviceModelTimeoutMs, hold], [2500, true]);
});
