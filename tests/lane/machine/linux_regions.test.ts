/** Linux takes its extended regions, and gives no RAM up for what it maps there. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { program } from "../../support/capabilities.ts";
import { domuImages, LANE_KERNEL, withDomu } from "./domu.ts";
import { laneKernel, laneTest } from "./support.ts";

const NEEDS = [await laneKernel(LANE_KERNEL), program("gcc", "gcc")];

const PAGES = 10_000, PAGE_KIB = 4;

/** What the drivers note down of their own, for each page: its place in the table of grants, and in two lists. */
const MOST_BYTES_PER_PAGE = 200;

laneTest("Linux maps 10 000 granted pages into its extended region, and its free memory stays what it is", async () => {
  const images = await domuImages({ "/bin/grants": await compiled("grants.c") }, ["xen-gntalloc", "xen-gntdev"]);
  await withDomu(images, ["--stats"], async (run) => {
    await run.type("cat /proc/iomem; dmesg | grep e820; insmod /xen-gntalloc.ko limit=20000; insmod /xen-gntdev.ko\n");
    await run.type(`grants ${PAGES} </dev/null; poweroff -f\n`);
    const { status, stdout, stderr } = await run.finished();
    assertEquals(status, 0, `${stdout}\n${stderr}`);
    // It calls RAM what it keeps for foreign frames, and never uses it as such.
    assertMatch(stdout, /BIOS-e820: \[mem 0x0000000080000000-0x00000000bfffffff\] usable/);
    assertMatch(stdout, /^80000000-bfffffff : System RAM\r?$/m);
    const found = /grants: (\d+) pages, free before (\d+) KiB, after (\d+) KiB/.exec(stdout);
    assert(found !== null, stdout);
    const [pages, before, after] = found.slice(1).map(Number);
    assertEquals(pages, PAGES);
    const most = PAGES * MOST_BYTES_PER_PAGE / 1024;
    assert(before - after < most, `${before - after} KiB went for ${PAGES * PAGE_KIB} KiB of frames`);
    const grantFrames = Math.ceil((PAGES + 8) / 512);
    assertMatch(stderr, new RegExp(`extended region; pages: ${grantFrames} of the hypervisor`));
  });
}, NEEDS);

/** A program of this folder for any Linux. */
async function compiled(source: string): Promise<Uint8Array> {
  const output = await Deno.makeTempFile({ prefix: "xenolith-program-" });
  try {
    const args = ["-static", "-O1", "-Wall", "-Wextra", "-Werror", "-o", output];
    const gcc = new Deno.Command("gcc", {
      args: [...args, new URL(source, import.meta.url).pathname],
      stderr: "piped",
    });
    const { success, stderr } = await gcc.output();
    assert(success, new TextDecoder().decode(stderr));
    return await Deno.readFile(output);
  } finally {
    await Deno.remove(output);
  }
}
