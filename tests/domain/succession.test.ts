/** Workers that give way to others while a guest runs: it notices nothing, and what fails changes nothing. */

import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { SuccessionError } from "../../src/domain/succession.ts";
import { WORKER_URLS } from "../../src/domain/worker_urls.ts";
import { ANY_KVM, KVM, LANE, testWith, USERFAULT } from "../support/capabilities.ts";
import { start } from "../support/command.ts";
import { PatchedGuest } from "../support/patched_guest.ts";
import { openDescriptors } from "../support/holdings.ts";

const LIMIT_MS = 5000;

/** In the lane a generation loads its code for half a minute, while all vCPUs spin on one processor. */
const VCPUS = LANE ? 2 : 4, ROUNDS = LANE ? 2 : 6;

for (const carrier of ["worker", "native"] as const) {
  testWith([KVM], `a guest with ${VCPUS} vCPUs notices nothing of successions (${carrier})`, async () => {
    await using guest = await PatchedGuest.start("watch", { vcpus: VCPUS, carrier });
    for (let round = 0; round < ROUNDS; round++) {
      const pausedMs = await guest.succession.take(await guest.succession.prepare(WORKER_URLS), { limitMs: LIMIT_MS });
      assert(pausedMs < LIMIT_MS, `${pausedMs} ms`);
      await guest.lines(5);
    }
    const { count, longestMs, totalMs } = guest.machine.statistics.successions;
    assertEquals([count, longestMs > 0, totalMs >= longestMs], [ROUNDS, true, true]);
    await guest.end();
  });
}

testWith([ANY_KVM], "who is paused stays paused, and goes on in the next generation", async () => {
  await using guest = await PatchedGuest.start("watch", { vcpus: 2 });
  await guest.machine.pause();
  await guest.succession.take(await guest.succession.prepare(WORKER_URLS), { limitMs: LIMIT_MS });
  assertEquals([guest.machine.paused, guest.machine.vcpuStates], [true, ["paused", "paused"]]);
  guest.machine.resume();
  await guest.lines(5);
  await guest.end();
});

testWith([ANY_KVM], "a generation that does not load, or is vetoed, changes nothing", async () => {
  await using guest = await PatchedGuest.start("watch", { vcpus: 2 });
  const { succession } = guest;
  const nowhere = { ...WORKER_URLS, carrier: new URL("./no_such_module.ts", import.meta.url).href };
  await assertRejects(() => succession.prepare(nowhere), SuccessionError, "no_such_module");
  const veto = () => Promise.reject(new RangeError("not today"));
  const take = async () =>
    await succession.take(await succession.prepare(WORKER_URLS), { limitMs: LIMIT_MS, atRest: veto });
  await assertRejects(take, RangeError, "not today");
  await guest.lines(5);
  await guest.end();
});

/** Guests whose pages come from the pager, and whose store is the Xen service's. */
const SERVED: [image: string, options: object][] = [
  ["pod", { memory: "128M", populateOnDemand: true, cmdline: "pages=12000" }],
  ["pod", { memory: "128M", populateOnDemand: true, cmdline: "pages=12000", carrier: "native" }],
  ["xenstore", { cmdline: "rounds=25" }],
];

for (const [image, options] of SERVED) {
  testWith(
    [ANY_KVM],
    `${image} notices nothing of its services' successions (${JSON.stringify(options)})`,
    async () => {
      await using guest = await PatchedGuest.start(image, options);
      await succeedToTheEnd(guest);
    },
  );
}

const WINDOWS = { fault: [ANY_KVM, USERFAULT], exit: [ANY_KVM] };

for (const [transport, needed] of Object.entries(WINDOWS)) {
  testWith(needed, `nothing is lost while pages come and go, and generations with them (${transport})`, async () => {
    const directory = await Deno.makeTempDir({ prefix: "xenolith-test-" }), socket = `${directory}/1.sock`;
    await using _ = { [Symbol.asyncDispose]: () => Deno.remove(directory, { recursive: true }) };
    const configuration = JSON.stringify({ transport, revokes: 2 });
    const words = ["tests/support/models/window.ts", "--socket", socket, "--configuration", configuration];
    await using _model = start("dm", words, { stdin: "null" });
    const vcpus = transport === "fault" ? 2 : 1, cmdline = "rounds=3000 port=0x518";
    await using guest = await PatchedGuest.start("revoke", { vcpus, cmdline, deviceModels: [{ socket }] });
    await succeedToTheEnd(guest);
  });
}

/** The guest ends by itself, and has to find everything right. */
async function succeedToTheEnd(guest: PatchedGuest): Promise<void> {
  let count = 0;
  const end = await assertRejects(async () => {
    for (;; count++) {
      await guest.succession.take(await guest.succession.prepare(WORKER_URLS), { limitMs: LIMIT_MS });
    }
  }, SuccessionError);
  assertEquals(end.message, "the run is over");
  await guest.end();
  assert(count > 0);
}

testWith(
  [ANY_KVM],
  "a watch is heard of in the next generation, and a service that fails is not the next",
  async () => {
    await using guest = await PatchedGuest.start("xenstore", { cmdline: "wait" });
    await guest.expect(/waiting/);
    const take = async (urls: typeof WORKER_URLS) =>
      await guest.succession.take(await guest.succession.prepare(urls), { limitMs: LIMIT_MS });
    const url = new URL("./failing_service.ts", import.meta.url).href;
    const error = await assertRejects(
      () => take({ ...WORKER_URLS, xen: url }),
      SuccessionError,
      "the Xen service: RangeError",
    );
    assertEquals(error.message.includes("\n"), false);
    await take(WORKER_URLS);
    guest.machine.requestShutdown("poweroff");
    await guest.expect(/told to poweroff/);
    await guest.end();
  },
);

const MODEL = new URL("./failing_model.ts", import.meta.url).href;

/** A guest that reads the model's port all the time. */
async function startTold(
  carrier: "worker" | "native" = "worker",
): Promise<{ guest: PatchedGuest; told: Int32Array<SharedArrayBuffer> }> {
  const told = new Int32Array(new SharedArrayBuffer(8)), deviceModels = [{ module: MODEL, configuration: told }];
  const guest = await PatchedGuest.start("watch", { vcpus: 2, cmdline: "port=0x600", deviceModels, carrier });
  assertEquals(await guest.lines(1), [7]);
  return { guest, told };
}

/** What a generation is, how it is told, and why it does not become the next one. */
const FAILURES: Record<string, [urls: Partial<typeof WORKER_URLS>, told: number, why: RegExp]> = {
  "a model fails": [{}, 1, /^device model 1: RangeError: as it was told/],
  "a carrier fails": [{ carrier: at("failing_service") }, 0, /^vCPU 0: RangeError: as it is/],
  "a dispatcher fails": [{ dispatcher: at("failing_service") }, 0, /^dispatcher 0: RangeError: as it is/],
};

function at(module: string): string {
  return new URL(`./${module}.ts`, import.meta.url).href;
}

for (const [what, [urls, word, why]] of Object.entries(FAILURES)) {
  testWith([ANY_KVM], `where ${what} in the next generation, all is as before, and nothing stays of it`, async () => {
    const { guest, told } = await startTold(urls.dispatcher === undefined ? "worker" : "native");
    await using _ = guest;
    const { succession } = guest;
    const options = { limitMs: LIMIT_MS, resets: true };
    let undone = 0;
    const atRest = () => Promise.resolve(() => void undone++);
    await succession.take(await succession.prepare(WORKER_URLS), { limitMs: LIMIT_MS });
    await guest.lines(100);
    const before = openDescriptors();
    told[0] = word;
    const take = async () =>
      await succession.take(await succession.prepare({ ...WORKER_URLS, ...urls }), { ...options, atRest });
    const error = await assertRejects(take, SuccessionError);
    assertMatch(error.message, why);
    assertEquals(error.message.includes("\n"), false);
    assertEquals(await guest.lines(5), [7, 7, 7, 7, 7]);
    assertEquals(undone, 1);
    for (let tries = 0; openDescriptors() > before && tries < 1000; tries++) await guest.lines(1);
    assertEquals(openDescriptors() <= before, true, `${openDescriptors()} descriptors, not ${before}`);
    await succession.take(await succession.prepare(WORKER_URLS), { limitMs: LIMIT_MS });
    await guest.lines(5);
    await guest.end();
  });
}

testWith([ANY_KVM], "a limit that is over when all are at rest is over", async () => {
  const { guest } = await startTold();
  await using _ = guest;
  const take = async () => await guest.succession.take(await guest.succession.prepare(WORKER_URLS), { limitMs: 1e-3 });
  const { message } = await assertRejects(take, SuccessionError);
  assertMatch(message, /did not come to rest within 0.001 ms$/);
  assertEquals(await guest.lines(3), [7, 7, 7]);
  await guest.end();
});

testWith([ANY_KVM], "a run that ends while a generation loads ends as it would have", async () => {
  const { guest } = await startTold();
  await using _ = guest;
  const preparing = assertRejects(() => guest.succession.prepare(WORKER_URLS), SuccessionError, "the run is over");
  await guest.end();
  await preparing;
  await assertRejects(() => guest.succession.prepare(WORKER_URLS), SuccessionError, "the run is over");
});

/** In a process of its own: Deno does not end the thread of a Worker that is in an endless loop. */
for (const what of ["model", "module", "service"]) {
  testWith([ANY_KVM], `a ${what} in an endless loop is not waited for, and the run ends all the same`, async () => {
    const args = ["run", "--no-prompt", "--allow-all", "--no-check", at("hanging_generation"), what];
    const { code, stderr } = await new Deno.Command(Deno.execPath(), { args, stdin: "null", stdout: "null" }).output();
    assertEquals(code, 0, new TextDecoder().decode(stderr));
  });
}

testWith([ANY_KVM], "a vCPU whose model does not answer is not at rest: EBUSY, and it goes on", async () => {
  const holds = new Int32Array(new SharedArrayBuffer(8));
  const deviceModels = [{ module: MODEL, configuration: holds }];
  await using guest = await PatchedGuest.start("watch", { vcpus: 2, cmdline: "port=0x600", deviceModels });
  Atomics.store(holds, 0, 2);
  const generation = await guest.succession.prepare(WORKER_URLS);
  const error = await assertRejects(() => guest.succession.take(generation, { limitMs: 50 }), SuccessionError, "vCPU ");
  assertEquals(error.message.endsWith("did not come to rest within 50 ms"), true, error.message);
  Atomics.store(holds, 0, 0);
  Atomics.notify(holds, 0);
  await guest.lines(5);
  await guest.end();
});

for (const virtioIn of ["worker", "process"] as const) {
  testWith([ANY_KVM], `a virtio disk in a ${virtioIn} loses no request, and leaves no descriptor behind`, async () => {
    const disk = await Deno.makeTempFile({ prefix: "xenolith-disk-" });
    await using _ = { [Symbol.asyncDispose]: () => Deno.remove(disk) };
    await Deno.truncate(disk, 1 << 20);
    await using guest = await PatchedGuest.start("virtio-held", { vcpus: 1, disks: [disk], virtioIn });
    const take = async () => {
      await guest.succession.take(await guest.succession.prepare(WORKER_URLS), { limitMs: LIMIT_MS });
      await guest.expect(/virtio-held: \d+\n/);
    };
    await take();
    for (let tries = 0; tries < 20; tries++) await guest.expect(/virtio-held: \d+\n/);
    const before = openDescriptors();
    for (let round = 0; round < 5; round++) await take();
    for (let tries = 0; openDescriptors() > before && tries < 200; tries++) await guest.expect(/virtio-held: \d+\n/);
    assertEquals(openDescriptors(), before);
    await guest.end();
  });
}
