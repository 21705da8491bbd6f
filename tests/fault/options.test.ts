/** Options that cannot be: one line that names the option and what is wrong with it, status 64, and no guest. */

import { assertEquals, assertRejects } from "@std/assert";
import fc from "fast-check";
import { boot } from "xenolith/testing";
import { ANY_KVM, testWith } from "../support/capabilities.ts";
import { assertOneLine, finish } from "../support/command.ts";

const IMAGE = "guests/hello.img";

const REFUSED: readonly (readonly [args: readonly string[], line: RegExp])[] = [
  [[], /^xenolith: no image given; --help says how$/],
  [["--memory", "64M"], /^xenolith: no image given/],
  [["--frobnicate", IMAGE], /^xenolith: unknown option --frobnicate; --help lists them$/],
  [["--frobnicate=1", IMAGE], /^xenolith: unknown option --frobnicate/],
  [["-x", IMAGE], /^xenolith: unknown option -x/],
  [["--no-stats", IMAGE], /^xenolith: unknown option --no-stats/],
  [["--stats=yes", IMAGE], /^xenolith: --stats=yes: takes no value$/],
  [["--reboot=", IMAGE], /^xenolith: --reboot=: takes no value$/],
  [[IMAGE, "--memory"], /^xenolith: --memory needs a value$/],
  [[IMAGE, "--cmdline"], /^xenolith: --cmdline needs a value$/],
  [["--memory=", IMAGE], /^xenolith: --memory needs a value$/],
  [["--module", "", IMAGE], /^xenolith: --module needs a value$/],
  [["--initrd", "", IMAGE], /^xenolith: --initrd needs a value$/],
  [["--memory", "64M", "--memory", "64M", IMAGE], /^xenolith: --memory given 2 times$/],
  [["--cmdline", "a", "--cmdline", "b", "--cmdline", "c", IMAGE], /^xenolith: --cmdline given 3 times$/],
  [["--timeout", "1", "--timeout=2", IMAGE], /^xenolith: --timeout given 2 times$/],
  ...["0", "1", "4K", "1023K"].map((size) =>
    [["--memory", size, IMAGE], new RegExp(`^xenolith: memory ${size}: a machine has at least 1M$`)] as const
  ),
  ...["-1", "-64M", "64.5M", "M", "64MM", "64 M", "0x4000000", "1e9", "much", "--vcpus"].map((size) =>
    [["--memory", size, IMAGE], new RegExp(`^xenolith: memory ${size}: not a size such as 64M or 2G$`)] as const
  ),
  ...["513G", "1T", "99999999999999999999", "18446744073709551616", "9007199254740993G"].map((size) =>
    [["--memory", size, IMAGE], new RegExp(`^xenolith: memory ${size}: a machine has at most 512G$`)] as const
  ),
  [["--memory", "67108865", IMAGE], /^xenolith: memory 67108865: not a multiple of 4K$/],
  ...["0", "1025", "999999999"].map((vcpus) =>
    [["--vcpus", vcpus, IMAGE], new RegExp(`^xenolith: vcpus ${vcpus}: not a whole number from 1 to \\d+$`)] as const
  ),
  ...["-1", "1.5", "two", "1e1", "0x2", "9999999999", " 1"].map((vcpus) =>
    [["--vcpus", vcpus, IMAGE], new RegExp(`^xenolith: vcpus ${vcpus}: not a whole number from 1`)] as const
  ),
  ...["0", "-1", "soon", "1e3", "Infinity", "2000001", "0.0"].map((timeout) =>
    [["--timeout", timeout, IMAGE], new RegExp(`^xenolith: timeout ${timeout}: not a number of seconds`)] as const
  ),
  [["--carrier", "pigeon", IMAGE], /^xenolith: carrier pigeon: not one of auto, /],
  [["--xen", "maybe", IMAGE], /^xenolith: --xen maybe: not one of auto, on, off$/],
  [["--lane", "--lane-kernel", "5.10", IMAGE], /^xenolith: --lane-kernel 5.10: not one of /],
  [["--device-model", "", IMAGE], /^xenolith: --device-model needs a value$/],
  [["--device-model", ",memory=all", IMAGE], /^xenolith: --device-model needs a value$/],
  ...["", "some", "0x1000", "0x1000-", "-0x1000", "0x1000-0x1fff+", "0x1000-0x1fff,0x3000-0x3fff", "4k-8k"].map((
    grant,
  ) =>
    [
      ["--device-model", `x.sock,memory=${grant}`, IMAGE],
      /^xenolith: memory=.*: not all, none, or ranges such as 0x1000-0x1fff$/,
    ] as const
  ),
  ...["0x1000-0x1ffe", "0x1001-0x1fff", "0x2000-0x1fff", "4096-8192"].map((grant) =>
    [
      ["--device-model", `x.sock,memory=${grant}`, IMAGE],
      /^xenolith: memory 0x.*-0x.*: not whole pages of 4096/,
    ] as const
  ),
  ...["0xa0000-0xa0fff", "0x4000000-0x4000fff", "0x3fff000-0x4000fff", "0x9f000-0xa0fff"].map((grant) =>
    [
      ["--device-model", `x.sock,memory=${grant}`, IMAGE],
      /^xenolith: memory 0x.*: the guest has no memory there, or not in all of it$/,
    ] as const
  ),
  [
    ["--device-model", "x.sock", "--device-model=x.sock", IMAGE],
    /^xenolith: device model x\.sock: two cannot have one/,
  ],
  [Array(8).fill("--device-model=x").concat(IMAGE), /^xenolith: 8 device models: at most 7 beside the platform model$/],
  [["--device-model-timeout", "0", IMAGE], /^xenolith: device-model-timeout 0: not a number of seconds/],
  [["--hold=yes", IMAGE], /^xenolith: --hold=yes: takes no value$/],
  [["--", "--memory"], /^xenolith: image --memory: no such file$/],
];

for (const [args, line] of REFUSED) {
  testWith([], `run ${args.join(" ")} is refused`, async () => {
    const finished = await finish("run", args);
    assertOneLine(finished, 64, line);
    assertEquals(finished.stdout, "");
  });
}

testWith([], "no command, or one that there is not, is refused", async () => {
  for (
    const [word, line] of [["", /^xenolith: no command: run, doctor, dm, payload or dev$/], [
      "walk",
      /unknown command walk/,
    ]] as const
  ) {
    const args = [
      "run",
      "--no-prompt",
      "--allow-ffi",
      "--allow-read",
      "src/cli/main.ts",
      ...(word === "" ? [] : [word]),
    ];
    const { code, stderr } = await new Deno.Command(Deno.execPath(), { args }).output();
    const lines = new TextDecoder().decode(stderr).trimEnd().split("\n");
    assertEquals([code, lines.length, line.test(lines[0])], [64, 1, true], lines.join("\n"));
  }
});

testWith([ANY_KVM], "boot() refuses the same as run, with a UsageError", async () => {
  for (const options of [{ memory: 0 }, { memory: NaN }, { memory: -1 }, { memory: 2 ** 53 }, { memory: 64e6 + 1 }]) {
    await assertRejects(() => boot(IMAGE, options), Error, "memory ");
  }
  for (const vcpus of [0, -1, 1.5, NaN, Infinity, 2 ** 32 + 1]) {
    await assertRejects(() => boot(IMAGE, { vcpus }), Error, `vcpus ${vcpus}: `);
  }
});

testWith(
  [ANY_KVM],
  "whatever is given as memory or vCPUs, boot() boots or says in one line what is wrong",
  async () => {
    const memory = fc.oneof(fc.string(), fc.double(), fc.nat(2 ** 26));
    const vcpus = fc.oneof(fc.double(), fc.integer({ min: -2, max: 2 }));
    const property = fc.asyncProperty(memory, vcpus, async (memory, vcpus) => {
      try {
        await using vm = await boot("guests/null.img", { memory, vcpus });
        assertEquals((await vm.exited).status, 0);
      } catch (error) {
        assertEquals((error as Error).name, "UsageError", String(error));
      }
    });
    await fc.assert(property, { numRuns: 60, interruptAfterTimeLimit: 10_000, markInterruptAsFailure: false });
  },
);
