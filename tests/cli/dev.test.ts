/** `dev`: what is saved is what runs, and what is wrong with it is one line. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { fileUrl } from "../../src/machine/files.ts";
import { ANY_KVM, testWith } from "../support/capabilities.ts";
import { inDirectory } from "../support/directory.ts";
import { assertOneLine, type Command, finish, ROOT, start } from "../support/command.ts";

/** The guest says what it reads from port 0x600, or from the UART's scratch register. */
const GUEST = ["--vcpus", "2", "guests/watch.img"], AT_MODEL = ["--cmdline", "port=0x600", ...GUEST];

/** A directory whose name means something in a URL. */
function inOddDirectory(use: (directory: string) => Promise<void>): Promise<void> {
  return inDirectory((path) => use(path("")), "xenolith-test a#b c%-");
}

/** Puts a file in the place of the one that is there, as many an editor does: nobody sees half of it. */
async function save(path: string, text: string): Promise<void> {
  await Deno.writeTextFile(`${path}.new`, text);
  await Deno.rename(`${path}.new`, path);
}

/** What stderr has said, line by line. */
class Feedback {
  #lines = 0;

  constructor(private readonly command: Command) {}

  /** The next line; times are left out. */
  async next(): Promise<string> {
    for (;;) {
      const { next, text } = this.command.stderr, lines = text.split("\n").slice(0, -1);
      if (lines.length > this.#lines) return lines[this.#lines++].replace(/\d+\.\d ms/, "MS");
      await next;
    }
  }
}

/** Ends the guest. @returns the values that it has read, each as often as it has changed to it */
async function end(command: Command, lines: number): Promise<string[]> {
  await command.type("\n");
  const finished = await command.finished();
  assertEquals([finished.status, finished.lines.length], [0, lines], finished.stderr);
  const read = finished.stdout.split("\n").slice(0, -1).map((line, index) => {
    const [number, value] = line.split(" ");
    assertEquals(number, String(index), "a line was lost");
    return value;
  });
  return read.filter((value, index) => value !== read[index - 1]);
}

/** What is said of a save that was taken. */
const STOOD = ": the guest stood still for MS";

const MODEL = (value: string) =>
  `import { offset } from "./offset.ts";
import type { DeviceModelHost } from "xenolith/dm";

export default function model(host: DeviceModelHost): void {
  host.mapPorts(0x600, 1, { read: () => ${value} + offset(), write() {} });
}
`;

testWith(
  [ANY_KVM],
  "dev runs a device model as it is saved, and goes on with the one before where it fails",
  () =>
    inOddDirectory(async (directory) => {
      const model = `${directory}/model.ts`, helper = `${directory}/offset.ts`;
      const offset = (value: number) => save(helper, `export const offset = () => ${value};\n`);
      await offset(1);
      await save(model, MODEL("0x10"));
      await using command = start("dev", ["--device-model", model, ...AT_MODEL]);
      const feedback = new Feedback(command);
      await command.stdout.expect(" 0x11\n");
      await save(model, MODEL("0x20"));
      assertEquals(await feedback.next(), `xenolith: ${model} (model)${STOOD}`);
      await offset(2);
      assertEquals(await feedback.next(), `xenolith: ${helper} (offset)${STOOD}`);
      await save(model, MODEL("0x30 +* 1"));
      assertMatch(await feedback.next(), new RegExp(`^xenolith: ${model}: .*\\(5:46\\)$`));
      await save(model, MODEL("0x30").replace("{\n", '{\n  throw new Error("not today");\n'));
      assertMatch(
        await feedback.next(),
        new RegExp(`^xenolith: device model 1: Error: not today \\(.*${model}:5:9\\)+$`),
      );
      await Deno.rename(helper, `${helper}.gone`);
      assertMatch(await feedback.next(), new RegExp(`^xenolith: TypeError: Module not found .* at ${model}:1:24$`));
      await Deno.rename(`${helper}.gone`, helper);
      await Deno.writeTextFile(`${model}.new`, MODEL("0x40"));
      await Deno.rename(`${model}.new`, model); // as many an editor saves
      assertEquals(await feedback.next(), `xenolith: ${model} (model)${STOOD}`);
      while (!command.stdout.text.endsWith("0x42\n")) await command.stdout.next;
      assertEquals(await end(command, 6), ["0x11", "0x21", "0x22", "0x42"]);
    }),
);

testWith(
  [ANY_KVM],
  "a device model that is no TypeScript is one line, before anything runs",
  () =>
    inOddDirectory(async (directory) => {
      const model = `${directory}/model.ts`;
      await save(model, MODEL("1 +* 1"));
      assertOneLine(
        await finish("dev", ["--device-model", model, ...AT_MODEL]),
        64,
        new RegExp(`^xenolith: ${model}: .*\\(5:43\\)$`),
      );
    }),
);

/** A copy of the program, whose sources a test may edit. */
async function copyTo(directory: string): Promise<URL> {
  const root = fileUrl(`${directory}/`);
  for (const name of ["guests", "tools"]) await Deno.symlink(new URL(name, ROOT), new URL(name, root));
  for (const name of ["deno.json", "deno.lock"]) await Deno.copyFile(new URL(name, ROOT), new URL(name, root));
  const copy = async (folder: string) => {
    await Deno.mkdir(new URL(folder, root));
    for (const { name, isDirectory } of Deno.readDirSync(new URL(folder, ROOT))) {
      if (isDirectory) await copy(`${folder}${name}/`);
      else await Deno.copyFile(new URL(folder + name, ROOT), new URL(folder + name, root));
    }
  };
  await copy("src/");
  return root;
}

testWith(
  [ANY_KVM],
  "dev replaces the hypervisor's modules as they are saved, and says what needs a restart",
  () =>
    inOddDirectory(async (directory) => {
      const root = await copyTo(directory), answer = "return this.#state.getUint8(STATE.scratch);";
      const original = (path: string) => Deno.readTextFile(new URL(path, ROOT));
      const write = (path: string, text: string) => save(`${directory}/${path}`, text);
      const append = async (path: string) => await write(path, `${await original(path)}\nexport const x = 1;\n`);
      const uart = "src/devices/uart.ts", block = "src/domain/control_block.ts";
      const scratch = async (text: string) => await write(uart, (await original(uart)).replace(answer, text));
      await using command = start("dev", GUEST, { root });
      const feedback = new Feedback(command);
      await command.stdout.expect(" 0x0\n");
      await scratch("return 0x77;");
      assertEquals(await feedback.next(), `xenolith: dev-1: ${uart} (Uart.readByte)${STOOD}`);
      await scratch("return 0x77;;;)");
      assertMatch(await feedback.next(), /^xenolith: src\/devices\/uart.ts: .*\(\d+:\d+\)$/);
      const post = "src/devices/post.ts", gone = `${directory}/post.ts`;
      await Deno.rename(`${directory}/${post}`, gone);
      assertEquals(await feedback.next(), `xenolith: ${post} is gone: the guest goes on with it`);
      await Deno.rename(gone, `${directory}/${post}`);
      await append("src/machine/machine.ts");
      const restart = "src/machine/machine.ts needs a restart: no Worker of the domain runs it";
      assertEquals(await feedback.next(), `xenolith: ${restart}`);
      await scratch("return 0x78;");
      assertEquals(await feedback.next(), `xenolith: dev-3: ${uart} (Uart.readByte)${STOOD}`);
      await append(block);
      assertEquals(
        await feedback.next(),
        `xenolith: dev-4: ${block} ((module))${STOOD}; ` +
          `${block} is as it was for the domain's owner until a restart`,
      );
      await write(block, await original(block));
      assertEquals(await feedback.next(), `xenolith: dev-5: ${block} (as it was)${STOOD}`);
      await scratch(answer);
      assertEquals(await feedback.next(), `xenolith: dev-5 reverted${STOOD}`);
      while (!command.stdout.text.endsWith(" 0x0\n")) await command.stdout.next;
      const values = await end(command, 8);
      assertEquals([values[0], values.at(-1)], ["0x0", "0x0"]);
      assert(values.includes("0x77") && values.includes("0x78"), values.join(" "));
    }),
);

for (
  const [args, line] of [
    [["--lane", "guests/watch.img"], /^xenolith: dev takes no --lane$/],
    [["--stop", "socket"], /^xenolith: dev takes no --stop$/],
    [
      ["--payload-key", "key", "guests/watch.img"],
      /^xenolith: dev takes no --payload-key: its payloads are not signed$/,
    ],
    [["guests/watch.img", "guests/null.img"], /^xenolith: dev takes one image, not 2$/],
    [[], /^xenolith: no image given; --help says how$/],
  ] as const
) {
  testWith([], `dev ${args.join(" ")} is bad usage`, async () => assertOneLine(await finish("dev", args), 64, line));
}
