import { assertEquals, assertThrows } from "@std/assert";
import {
  checkModels,
  checkVcpus,
  chooseCarrier,
  DEFAULT_MEMORY_BYTES,
  type ExtendedRegionOptions,
  machineRegions,
  parseExtendedRegions,
  parseMemory,
  UsageError,
} from "../../src/machine/options.ts";

const KIB = 2 ** 10, MIB = 2 ** 20, GIB = 2 ** 30;

Deno.test("parseMemory() takes sizes with binary units in either case, and plain bytes", () => {
  const table: [memory: number | string, bytes: number][] = [
    ["64M", 64 * MIB],
    ["64m", 64 * MIB],
    ["64MiB", 64 * MIB],
    ["64MB", 64 * MIB],
    ["65536K", 64 * MIB],
    ["65536k", 64 * MIB],
    ["1M", MIB],
    ["1024K", MIB],
    ["1048576", MIB],
    ["1048576B", MIB],
    ["1052672", MIB + 4096],
    ["3G", 3 * GIB],
    ["3gib", 3 * GIB],
    ["512G", 512 * GIB],
    ["0001G", GIB],
    [64 * MIB, 64 * MIB],
    [512 * GIB, 512 * GIB],
    [MIB, MIB],
    [DEFAULT_MEMORY_BYTES, 64 * MIB],
  ];
  for (const [memory, bytes] of table) assertEquals(parseMemory(memory), bytes, String(memory));
});

Deno.test("parseMemory() refuses everything else with what was given and why", () => {
  const table: [memory: number | string, why: string][] = [
    ["", "not a size"],
    ["M", "not a size"],
    ["-64M", "not a size"],
    ["+64M", "not a size"],
    ["1.5G", "not a size"],
    ["1e9", "not a size"],
    ["0x100000", "not a size"],
    ["64 M", "not a size"],
    [" 64M", "not a size"],
    ["64M\n", "not a size"],
    ["64MM", "not a size"],
    ["64P", "not a size"],
    ["64X", "not a size"],
    [NaN, "not a size"],
    [Infinity, "not a size"],
    [1.5 * MIB + 0.5, "not a size"],
    [-MIB, "not a size"],
    [2 ** 70, "not a size"],
    ["0", "at least 1M"],
    ["1023K", "at least 1M"],
    [MIB - 4096, "at least 1M"],
    [64, "at least 1M"],
    ["513G", "at most 512G"],
    ["1T", "at most 512G"],
    ["9".repeat(400), "at most 512G"],
    [512 * GIB + 4096, "at most 512G"],
    ["1025K", "not a multiple of 4K"],
    [MIB + 1, "not a multiple of 4K"],
    [`${64 * MIB + 1 * KIB}`, "not a multiple of 4K"],
  ];
  for (const [memory, why] of table) {
    const { message } = assertThrows(() => parseMemory(memory), UsageError, why, String(memory));
    assertEquals(message.startsWith(`memory ${memory}: `), true, message);
  }
});

Deno.test("checkVcpus() takes 1 to 1024, and no more than the host's KVM", () => {
  for (const [vcpus, host] of [[1, 1], [1, 4096], [1024, 4096], [128, 128], [8, 8]]) {
    assertEquals(checkVcpus(vcpus, host), vcpus);
  }
  const table: [vcpus: number, host: number, maximum: number][] = [
    [0, 4096, 1024],
    [-1, 4096, 1024],
    [1025, 4096, 1024],
    [1025, Infinity, 1024],
    [9, 8, 8],
    [1.5, 8, 8],
    [NaN, 8, 8],
    [Infinity, Infinity, 1024],
  ];
  for (const [vcpus, host, maximum] of table) {
    const message = `vcpus ${vcpus}: not a whole number from 1 to ${maximum}`;
    assertEquals(assertThrows(() => checkVcpus(vcpus, host), UsageError).message, message);
  }
});

Deno.test("chooseCarrier() takes Workers for up to 8 vCPUs and native threads for more, unless it is told", () => {
  const chosen = [1, 8, 9, 1024].map((vcpus) => chooseCarrier("auto", vcpus));
  assertEquals(chosen, ["worker", "worker", "native", "native"]);
  assertEquals([chooseCarrier("worker", 1024), chooseCarrier("native", 1)], ["worker", "native"]);
});

Deno.test("checkModels() leaves room for the platform model among the 8 ioreq servers", () => {
  const models = Array.from({ length: 7 }, (_, index) => `model${index}.ts`);
  assertEquals(checkModels(models), models);
  assertEquals(checkModels([]), []);
  const message = "8 device models: at most 7 beside the platform model";
  assertThrows(() => checkModels([...models, "one too many.ts"]), UsageError, message);
});

Deno.test("parseExtendedRegions() takes on, off, and any of its keys", () => {
  const table: [text: string, options: boolean | ExtendedRegionOptions][] = [
    ["on", true],
    ["off", false],
    ["place=low", { place: "low" }],
    ["limit=2G", { limit: "2G" }],
    ["limit=2G,largest=16M,place=high", { limit: "2G", largest: "16M", place: "high" }],
    ["avoid=0x100000000-0x1ffffffff+0-4095", {
      avoid: [{ first: 2 ** 32, last: 2 ** 33 - 1 }, { first: 0, last: 4095 }],
    }],
  ];
  for (const [text, options] of table) assertEquals(parseExtendedRegions(text), options, text);
  for (
    const text of [
      "",
      "yes",
      "limit",
      "low",
      "place=1",
      "on,place=low",
      "avoid",
      "avoid=1",
      "avoid=5-x",
      "limits=1G",
      "limit=1G,",
    ]
  ) {
    assertThrows(() => parseExtendedRegions(text), UsageError, "extended-regions", text);
  }
});

Deno.test("machineRegions() gives as much as there is RAM, 1 GiB at least, and what is asked for", () => {
  const table: [
    options: boolean | ExtendedRegionOptions,
    memory: number,
    regions: [address: number, bytes: number][],
  ][] = [
    [false, 64 * MIB, []],
    [true, 64 * MIB, [[2 * GIB, GIB]]],
    [true, 1536 * MIB, [[1536 * MIB, 1536 * MIB]]],
    [true, 5 * GIB, [[32 * GIB, 5 * GIB]]],
    [true, 20 * GIB, []],
    [{ limit: "128M" }, 64 * MIB, [[3 * GIB - 128 * MIB, 128 * MIB]]],
    [{ limit: 32 * MIB }, 64 * MIB, []],
    [{ limit: 32 * MIB, smallest: "2M" }, 64 * MIB, [[3 * GIB - 32 * MIB, 32 * MIB]]],
    [{ limit: "80M", smallest: "16M", largest: "64M", place: "high" }, MIB, [
      [32 * GIB, 64 * MIB],
      [32 * GIB + 66 * MIB, 16 * MIB],
    ]],
    [{ avoid: [{ first: 2 * GIB, last: 4 * GIB }] }, 64 * MIB, [[GIB, GIB]]],
    [{ limit: "1T" }, 64 * MIB, [[64 * MIB, 3 * GIB - 64 * MIB]]],
    [{ limit: "1T", place: "high" }, 64 * MIB, [[32 * GIB, 32 * GIB]]],
  ];
  for (const [options, memory, regions] of table) {
    const found = machineRegions(options, memory, 36).map(({ address, sizeBytes }) => [address, sizeBytes]);
    assertEquals(found, regions, Deno.inspect(options));
  }
  for (
    const options of [
      { limit: "much" },
      { smallest: "1M" },
      { largest: 4096 },
      { avoid: [{ first: 2, last: 1 }] },
      { avoid: [{ first: -1, last: 1 }] },
    ]
  ) assertThrows(() => machineRegions(options, 64 * MIB, 36), UsageError, "extended-regions");
});
