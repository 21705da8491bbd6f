/** Preparing the lane: on a cold cache, at once, interrupted, and where something is missing. */

import { assertEquals, assertMatch } from "@std/assert";
import { Command, finish, taskWords } from "../../support/command.ts";
import { MOUNTS } from "../../support/host.ts";
import { ColdCache, laneTest } from "./support.ts";

const HELLO = ["--lane", "guests/hello.img"];
const GREETING = "Hello from Xenolith, in 64-bit long mode\n";

/** Deno's own cache stays the warm one. */
function environmentOf(cache: ColdCache): Record<string, string> {
  return { XDG_CACHE_HOME: cache.home, DENO_DIR: denoDirectory };
}

const information = await new Deno.Command(Deno.execPath(), { args: ["info", "--json"] }).output();
const denoDirectory: string = JSON.parse(new TextDecoder().decode(information.stdout)).denoDir;

function names(cache: ColdCache): string[] {
  return [...Deno.readDirSync(cache.directory)].map(({ name }) => name.replace(/-[^-]*$/, "")).sort();
}

laneTest("a preparation that is killed is made good by the next two, which come at once", async () => {
  using cache = new ColdCache();
  const environment = environmentOf(cache);
  {
    using watcher = Deno.watchFs(cache.home);
    await using first = new Command(taskWords("run", HELLO), { stdin: "null", environment });
    for await (const { paths } of watcher) if (paths.some((path) => /\/partial-[^/]+\/./.test(path))) break;
    first.kill("SIGKILL");
  }
  assertEquals(names(cache).some((name) => name.startsWith("partial")), true);

  const runs = await Promise.all([1, 2].map(() => finish("run", HELLO, { environment, patienceMs: 180_000 })));
  assertEquals(
    runs.map(({ status, stdout }) => ({ status, stdout })),
    runs.map(() => ({ status: 0, stdout: GREETING })),
  );
  assertEquals(
    runs.map(({ lines }) => lines.filter((line) => /^xenolith: preparing the lane/.test(line)).length).sort(),
    [0, 1],
  );
  assertEquals(names(cache), ["base", "kernel-default", "lock"]);
});

laneTest("a full disk is one line and status 69", async () => {
  using cache = new ColdCache();
  const prefix = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs -o size=40M none "$0" && exec "$@"', cache.home];
  const { status, stdout, lines } = await finish("run", HELLO, {
    environment: environmentOf(cache),
    prefix,
    patienceMs: 60_000,
  });
  assertEquals({ status, stdout }, { status: 69, stdout: "" });
  assertEquals(lines.at(-1), `xenolith: no disk space for the lane in ${cache.directory}`);
}, [MOUNTS]);

laneTest("without its programs the lane says which packages bring them: status 69", async () => {
  const { status, stdout, lines } = await finish("run", HELLO, { environment: { PATH: "/nowhere" } });
  assertEquals({ status, stdout, lines: lines.length }, { status: 69, stdout: "", lines: 1 });
  assertMatch(
    lines[0],
    /^xenolith: the lane needs \S+, which is not installed \(Debian: apt-get install (\S+ )*busybox-static qemu-system-x86\)$/,
  );
});
