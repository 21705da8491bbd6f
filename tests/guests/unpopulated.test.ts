/** guests/unpopulated and guests/ballooned: frames of others in extended regions, elsewhere, and in place of RAM. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { boot, type BootOptions, type ExtendedRegionOptions } from "xenolith/testing";
import { KVM, testWith, USERFAULT } from "../support/capabilities.ts";

const MIB = 2 ** 20, GIB = 2 ** 30;

interface Expected {
  readonly status?: number;
  /** Regions and MiB, and the way in which they are told beside the others. */
  readonly regions: string;
  /** Between the pages mapped and the last line. */
  readonly more?: string;
  readonly last?: string;
}

async function run(options: BootOptions, { status = 0, regions, more = "", last }: Expected, image = "unpopulated") {
  await using vm = await boot(`guests/${image}.img`, { timeoutMs: 120_000, ...options });
  const { status: found, reason } = await vm.exited, said = vm.console.text;
  const ways = options.deviceTree ? "CPUID, memory map and device tree" : "CPUID and memory map";
  const mapped = "(unpopulated: \\d+ pages mapped, \\d+ ns each, and unmapped, \\d+ ns each\n)?";
  const expected = new RegExp(
    `^unpopulated: ${regions} MiB; memory_op, ${ways} say the same\n` +
      `unpopulated: shared_info, \\d+ frames of the grant table and one of its status\n${mapped}${more}` +
      `unpopulated: ${last ?? "0 pages of RAM given up for \\d+ pages"}\n$`,
  );
  assertMatch(said, expected, `${reason}\n${said}`);
  assertEquals(found, status, reason);
  return vm.statistics;
}

for (const carrier of ["worker", "native"] as const) {
  testWith([KVM], `a thousand frames stand in an extended region, and no RAM goes for them (${carrier})`, async () => {
    const { regions, ram } = await run({ carrier, vcpus: 2 }, { regions: "1 region, 1024" });
    assertEquals(ram.ballooned, 0);
    const [{ parts, ...region }] = regions;
    // What the guest has not taken away: shared_info and two frames of the grant table, at the region's start.
    assertEquals(region, { first: 2 * GIB, last: 3 * GIB - 1, grants: 0, special: 3, device: 0, lent: 0 });
    assertEquals([parts[0], ...parts.slice(1).filter((pages) => pages > 0)], [3]);
  });
}

/** What is given, and the regions that come of it. */
const VARIANTS: Record<string, [options: boolean | ExtendedRegionOptions, Expected]> = {
  "off: the guest takes space of its own": [false, { regions: "0 regions, 0" }],
  "above 4 GiB": [{ place: "high", limit: "128M" }, { regions: "1 region, 128" }],
  "too small": [{ limit: "2M", smallest: "2M" }, { status: 1, regions: "1 region, 2", last: "no 1000 pages: -12" }],
  "fragmented": [{ limit: "64M", smallest: "2M", largest: "4M" }, { regions: "16 regions, 64" }],
  "of more than one section": [{ limit: "300M" }, { regions: "1 region, 300" }],
  "above what was to be avoided": [
    { avoid: [{ first: 32 * GIB, last: 600 * GIB - 1 }], place: "high", limit: "64M" },
    { regions: "1 region, 64" },
  ],
};

for (const [name, [extendedRegions, expected]] of Object.entries(VARIANTS)) {
  testWith([KVM], `extended regions ${name}`, async () => {
    await run({ extendedRegions, deviceTree: name === "fragmented" }, expected);
  });
}

for (const limit of ["16M", "48M"] as const) {
  testWith([KVM], `when all ${limit} are taken the next page is refused, and nothing is lost`, async () => {
    const extendedRegions = { limit, smallest: "2M", largest: "16M" }, mib = parseInt(limit);
    const more = `unpopulated: all ${mib * MIB / 4096} pages taken, and not one more\n`;
    const regions = `${mib / 16} region${mib === 16 ? "" : "s"}, ${mib}`;
    await run({ extendedRegions, cmdline: "count=200 exhaust" }, { regions, more });
  });
}

for (const transport of ["exit", "fault"] as const) {
  const needs = transport === "fault" ? [KVM, USERFAULT] : [KVM];
  testWith(needs, `a device model's pages come to a region when it is lent, and only then (${transport})`, async () => {
    const module = "tests/support/models/lent_window.ts", configuration = { transport };
    const { windows } = await run(
      {
        cmdline: "count=10 device=0x530",
        deviceModels: [{ module, configuration }],
        extendedRegions: { limit: "66M" },
      },
      { regions: "1 region, 66", more: "unpopulated: 32 pages of a device, asked for one by one\n" },
    );
    assertEquals(windows, []);
  });
}

testWith(
  [KVM],
  "what is written to a grant to be read does not come to the page, whatever KVM makes of it",
  async () => {
    await using vm = await boot("guests/unpopulated.img", { cmdline: "count=10 read-only", timeoutMs: 60_000 });
    const { status, reason } = await vm.exited, said = vm.console.text;
    assert(said.includes("unpopulated: a grant to be read, and written to\n"), said);
    if (status === 125) assertMatch(reason, /^KVM_RUN failed with EFAULT: vcpu=0 rip=0x/);
    else {assertEquals(
        [status, said.includes("0 pages of RAM given up for 10 pages\n")],
        [0, true],
        `${reason}\n${said}`,
      );}
  },
);

testWith([KVM, USERFAULT], "with ballooning each page costs one of RAM, and the guest gets them again", async () => {
  const last = "1003 pages of RAM given up for 1000 pages";
  const { ram } = await run({}, { regions: "1 region, 1024", last }, "ballooned");
  // What the guest has not taken away still stands where RAM was.
  assertEquals(ram.ballooned, 3);
});

testWith([KVM], "a device model that claims memory of a region cannot start", async () => {
  const module = "tests/support/models/memory.ts", configuration = { address: 2 * GIB + 4096, size: 8 };
  await using vm = await boot("guests/hang.img", { deviceModels: [{ module, configuration }], timeoutMs: 60_000 });
  const { status, reason } = await vm.exited;
  assertEquals(status, 70, reason);
  assertMatch(reason, /^device model 1 failed: DmOpError: map_io_range_to_ioreq_server: .*: EBUSY/);
  assert(reason.includes("kept free for the guest"), reason);
});
