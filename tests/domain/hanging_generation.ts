/** A guest whose next generation has a model, a module or a service in an endless loop; status 0: it went on, and ended. */

import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { SuccessionError } from "../../src/domain/succession.ts";
import { WORKER_URLS } from "../../src/domain/worker_urls.ts";
import { PatchedGuest } from "../support/patched_guest.ts";

const LIMIT_MS = 5000, PATIENCE_MS = 1500, HANGS = 3;

const at = (module: string) => new URL(`./${module}.ts`, import.meta.url).href;

async function take(guest: PatchedGuest, urls: Partial<typeof WORKER_URLS>, limitMs = LIMIT_MS): Promise<void> {
  await guest.succession.take(await guest.succession.prepare({ ...WORKER_URLS, ...urls }), { limitMs });
}

async function refused(taking: Promise<void>, why: RegExp): Promise<void> {
  const { message } = await assertRejects(() => taking, SuccessionError);
  assertMatch(message, why);
}

async function ofModels(urls: Partial<typeof WORKER_URLS>, word: number, why: RegExp): Promise<void> {
  const told = new Int32Array(new SharedArrayBuffer(8));
  const deviceModels = [{ module: at("failing_model"), configuration: told }];
  await using guest = await PatchedGuest.start("watch", { vcpus: 2, cmdline: "port=0x600", deviceModels });
  await guest.lines(1);
  told[0] = word;
  guest.succession.patienceMs = PATIENCE_MS;
  await refused(take(guest, urls), why);
  assertEquals(await guest.lines(5), [7, 7, 7, 7, 7]);
  await guest.end();
}

const SCENES: Record<string, () => Promise<void>> = {
  model: () => ofModels({}, HANGS, /^device model 1: it does not begin within 1500 ms$/),
  module: () => ofModels({ model: at("hanging_module") }, 0, /^the new code does not load within 1500 ms$/),
  async service() {
    await using guest = await PatchedGuest.start("xenstore", { cmdline: "wait" });
    await guest.expect(/waiting/);
    await take(guest, { xen: at("hanging_service") });
    await refused(take(guest, {}, 300), /^the Xen service did not come to rest within 300 ms$/);
    guest.machine.end({ kind: "stopped", status: 0, reason: "it has to" });
    await guest.machine.ended;
  },
};

await SCENES[Deno.args[0]]();
Deno.exit();
