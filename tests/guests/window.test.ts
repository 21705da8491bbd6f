/** guests/window on the framebuffer of src/devices, whose pages change places while it draws. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { boot, type BootOptions } from "xenolith/testing";
import type { FramebufferConfiguration } from "../../src/devices/framebuffer_window.ts";
import { ANY_KVM, KVM, repetitions, testWith } from "../support/capabilities.ts";
import { finish, start } from "../support/command.ts";

const MODULE = "src/devices/framebuffer_window.ts", UNHURRIED = { timeoutMs: 120_000 };
const RIGHT = /window: \d+ frames on \d+ surfaces, every pixel right\n$/;

/** Runs the guest, which checks each pixel itself. @returns what it said */
async function passes(
  deviceModel: { module: string; configuration: unknown } | { socket: string },
  options: BootOptions,
) {
  await using vm = await boot("guests/window.img", { ...UNHURRIED, ...options, deviceModels: [deviceModel] });
  const { status, reason } = await vm.exited;
  assertEquals(status, 0, `${reason}\n${vm.console.text}`);
  assertMatch(vm.console.text, RIGHT);
  return vm.console.text;
}

/** How many pages the device says it has moved under the drawing. */
function moves(text: string): number {
  return Number(/^window: (\d+) pages have changed places$/m.exec(text)![1]);
}

for (const transport of ["fault", "exit"] as const) {
  for (const vcpus of [4, 1].slice(0, repetitions(2))) {
    const options = { vcpus, cmdline: `frames=${repetitions(8)} surfaces=${repetitions(8)} moves` };
    testWith([KVM], `by ${transport}, ${vcpus} vCPUs draw while a Worker moves pages under them`, async () => {
      assert(moves(await passes({ module: MODULE, configuration: { transport } }, options)) > repetitions(1000));
    });

    testWith(
      [ANY_KVM],
      `by ${transport}, ${vcpus} vCPUs draw while another process moves pages under them`,
      async () => {
        const directory = await Deno.makeTempDir({ prefix: "xenolith-test-" }), socket = `${directory}/socket`;
        try {
          const configuration = JSON.stringify({ transport });
          await using model = start("dm", [MODULE, "--socket", socket, "--configuration", configuration], {
            stdin: "null",
            patienceMs: UNHURRIED.timeoutMs,
          });
          assert(moves(await passes({ socket }, options)) > repetitions(1000));
          const { status, stderr } = await model.finished();
          assertEquals({ status, stderr }, { status: 0, stderr: "" });
        } finally {
          await Deno.remove(directory, { recursive: true });
        }
      },
    );
  }
}

/** The ways in which a framebuffer can be made hard to draw on. */
const HARD: [what: string, configuration: FramebufferConfiguration, options: BootOptions][] = [
  ["hardly any VRAM and no mapping ahead", { vramPages: 16, ahead: 0 }, {
    vcpus: 2,
    cmdline: `frames=${repetitions(8)} surfaces=${repetitions(8)}`,
  }],
  [
    "VRAM for all, the whole window mapped at once, and pages that never rest",
    { vramPages: 1024, ahead: 127, migrations: 32 },
    { vcpus: 4, cmdline: `frames=${repetitions(16)} surfaces=${repetitions(8)}` },
  ],
  [
    "a small window elsewhere, of many surfaces",
    { address: 0x1_4000_0000, sizeBytes: 0x8000, surfaces: 64, port: 0x600, migrations: 16 },
    { vcpus: 2, cmdline: `frames=${repetitions(192)} surfaces=${repetitions(64)} port=0x600` },
  ],
  ["more vCPUs than processors", {}, { vcpus: 8, cmdline: `frames=${repetitions(8)} surfaces=${repetitions(8)}` }],
];

for (const [what, configuration, options] of HARD.slice(0, repetitions(HARD.length))) {
  testWith([KVM], `every pixel is right with ${what}`, async () => {
    await passes({ module: MODULE, configuration }, options);
  });
}

testWith([ANY_KVM], "the window's README is right: one command, and a picture in 24 lines of characters", async () => {
  const args = ["--device-model", MODULE, "--timeout", "60", "--cmdline", "frames=8 picture", "guests/window.img"];
  const { status, stdout, stderr } = await finish("run", args, { patienceMs: UNHURRIED.timeoutMs });
  assertEquals({ status, stderr }, { status: 0, stderr: "" });
  const lines = stdout.trimEnd().split("\n"), picture = lines.slice(1, -1);
  assertEquals(lines[0], "window: 512 x 256 pixels at 0xfd000000, drawn by 1 vCPU");
  assertEquals(lines.at(-1), "window: 8 frames on 8 surfaces, every pixel right");
  assertEquals(picture.length, 24);
  for (const line of picture) assertMatch(line, /^[ .:=+*#%@-]{64}$/);
  // The picture is its own mirror image, but for the pixel in the middle.
  for (const line of picture) assertEquals(line.slice(1), [...line].slice(1).reverse().join(""));
});

testWith([KVM], "without the device the guest says so", async () => {
  await using vm = await boot("guests/window.img", UNHURRIED);
  assertEquals((await vm.exited).status, 1);
  assertEquals(vm.console.text, "window: no framebuffer at port 0x510\n");
});

for (
  const [configuration, reason] of [
    [{ sizeBytes: 1000 }, "RangeError: framebuffer window: sizeBytes 1000 is not a multiple of 4096"],
    [{ size: 0x1000 }, "TypeError: framebuffer window: size is not one of address, sizeBytes"],
  ] as const
) {
  testWith(
    [KVM],
    `a framebuffer with ${JSON.stringify(configuration)} ends the run, and one line says why`,
    async () => {
      const deviceModels = [{ module: MODULE, configuration }];
      await using vm = await boot("guests/window.img", { ...UNHURRIED, deviceModels });
      const exit = await vm.exited;
      assertEquals(exit.status, 70);
      assert(exit.reason.startsWith(`device model 1 failed: ${reason}`), exit.reason);
      assertEquals(exit.reason.includes("\n"), false);
    },
  );
}
