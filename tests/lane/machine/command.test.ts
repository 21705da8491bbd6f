/** A command in the lane: its status, its streams and its files come back exactly. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { printedSeed, randomBytes } from "../../support/random.ts";
import { inLane, laneTest, startShell } from "./support.ts";

laneTest("status, stdout, stderr and files come back, each for itself", async () => {
  const script =
    'echo out; echo error >&2; printf "a\\0b" >/out/file; mkdir /out/deep; cat /given >/out/deep/copy; exit 41';
  const { status, stdout, stderr, files } = await inLane(script, {}, {
    files: (archive) => archive.file("/given", "it's given\n"),
  });
  const text = new TextDecoder();
  assertEquals({ status, stdout: text.decode(stdout), stderr }, { status: 41, stdout: "out\n", stderr: "error\n" });
  assertEquals([...files.keys()].sort(), ["deep/copy", "file"]);
  assertEquals(files.get("file"), Uint8Array.of(0x61, 0, 0x62));
  assertEquals(text.decode(files.get("deep/copy")), "it's given\n");
});

laneTest("megabytes of any bytes pass through stdin and stdout unchanged, and stdin ends", async () => {
  const noise = randomBytes(1 << 16, printedSeed());
  const input = Uint8Array.from({ length: 8 << 20 }, (_, at) => noise[at & 0xffff] + (at >> 16));
  input.set([0x1d, 0x03, 0x04, 0x00, 0x0d, 0x0a, 0xff], 100);
  const { status, stdout } = await inLane("cat; exit 3", { input });
  assertEquals(status, 3);
  assert(
    stdout.length === input.length && stdout.every((byte, index) => byte === input[index]),
    `${stdout.length} bytes`,
  );
});

laneTest("the command has KVM, Deno, its directory and its environment", async () => {
  const script =
    '[ -c /dev/kvm ] && cat /sys/module/kvm_amd/parameters/npt && pwd && echo "$VARIABLE" && deno eval "console.log(Deno.version.deno)"';
  const { stdout, stderr } = await inLane(script, {}, { directory: "/some/where", environment: { VARIABLE: "it's" } });
  assertEquals(stderr, "");
  assertEquals(new TextDecoder().decode(stdout), `Y\n/some/where\nit's\n${Deno.version.deno}\n`);
});

laneTest("a signal reaches the command, and its status says so", async () => {
  await using run = await startShell("echo ready; while :; do :; done");
  const reader = run.machine.stdout.getReader();
  assertStringIncludes(new TextDecoder().decode((await reader.read()).value), "ready");
  await run.machine.signal("TERM");
  assertEquals((await run.ended).status, 128 + 15);
});
