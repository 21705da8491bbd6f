/**
 * A program for tests/fault/leaks.test.ts: boots guests to every kind of end, and says in one JSON object what the
 * process held before and after. A process of its own, so that nobody else's descriptors are counted.
 */

import { boot, type BootOptions } from "xenolith/testing";
import { GateClient } from "../domain/gate_client.ts";
import { repetitions } from "./capabilities.ts";
import { DirectedStage, type Errand, WINDOW, WINDOW_GFN, WINDOW_PAGES } from "./directed.ts";
import { type Holdings, holdings, settledHoldings } from "./holdings.ts";
import { type TransportName, TRANSPORTS } from "./models/window_played.ts";

/** Boots of each kind between the two counts, and of all kinds before. */
const ROUNDS = repetitions(8), WARM_UP = 1, MOST_BATCHES = 6;

/** The JavaScript engine's own mappings come and go: allowed are fewer than boots, so that one a boot is seen. */
const OWN_MAPPINGS = ROUNDS * 0.8;

const MODELS = "tests/support/models";

/** The carriers of the kinds that say so; all others have Workers. */
const NATIVE = { carrier: "native" } as const;

async function toTheEnd(image: string, status: number, options: BootOptions = {}): Promise<void> {
  await using vm = await boot(image, options);
  const exit = await vm.exited;
  if (exit.status !== status) throw new Error(`${image}: ${exit.status}, not ${status}: ${exit.reason}`);
}

async function refused(image: string, options: BootOptions, name: string): Promise<void> {
  try {
    await using _vm = await boot(image, options);
  } catch (error) {
    if (error instanceof Error && error.name === name) return;
    throw error;
  }
  throw new Error(`${image}: booted`);
}

function faulty(fault: string): BootOptions {
  return { deviceModels: [{ module: `${MODELS}/faulty.ts`, configuration: { fault } }], cmdline: "count=10" };
}

function socketPath(): string {
  return `/tmp/xenolith-leaks-${Deno.pid}.sock`;
}

/** A guest that starts when its device model has enabled a server; the model keeps all that it gets until the end. */
async function atSocket(serving: (client: GateClient) => void): Promise<void> {
  const booting = boot("guests/null.img", { deviceModels: [{ socket: socketPath(), memory: "all" }] });
  using client = await GateClient.awaited(socketPath());
  const { id } = (await client.do("create_ioreq_server", { handle_bufioreq: 2 })).out;
  await client.do("acquire_resource", { id, frame: 0, nr_frames: 2 });
  await client.do("server_memory", { id });
  await client.do("waiters", { first: 0 });
  await client.do("guest_memory", { first: 0 });
  await client.do("set_ioreq_server_state", { id, enabled: 1 });
  serving(client);
  await using vm = await booting;
  await vm.exited;
}

/** A guest whose vCPUs wait in a window for a device model at a socket. */
async function waiting(
  transport: TransportName,
  end: (stage: DirectedStage, reads: readonly Errand[]) => Promise<unknown>,
) {
  await using stage = await DirectedStage.start({ vcpus: 2 }, async (windows) => {
    const memory = await windows.addMemory(4);
    await windows.mapWindow(WINDOW, WINDOW_PAGES, transport);
    await windows.map(WINDOW_GFN + 2, memory, 0, 2);
  });
  await (await stage.read(0x2000, 0)).done;
  const reads = [await stage.read(0, 0), await stage.read(0x1000, 1)];
  await stage.violated(WINDOW_GFN, WINDOW_GFN + 1);
  await end(stage, reads);
}

const windowKinds = TRANSPORTS.flatMap((transport): [string, () => Promise<void>][] => [
  [`windows (${transport}): disposal while vCPUs wait`, () => waiting(transport, () => Promise.resolve())],
  [`windows (${transport}): the device model dies while vCPUs wait`, () =>
    waiting(transport, async (stage, reads) => {
      stage.windows.model[Symbol.dispose]();
      await Promise.all(reads.map(({ done }) => done));
      await stage.end();
    })],
  [`windows (${transport}): a model in a Worker`, () =>
    toTheEnd("guests/revoke.img", 0, {
      vcpus: transport === "fault" ? 2 : 1, // by exit locked instructions of two are not that
      cmdline: "rounds=100 port=0x518",
      deviceModels: [{ module: `${MODELS}/window.ts`, configuration: { transport, revokes: 2 } }],
    })],
]);

const KINDS: Record<string, () => Promise<void>> = {
  ...Object.fromEntries(windowKinds),
  "the guest's own status": () => toTheEnd("guests/exit.img", 7, { vcpus: 2 }),
  "a guest of Xen, whose vCPUs have areas and frames of it": () => toTheEnd("guests/physmap.img", 0),
  "power-off": () => toTheEnd("guests/reset.img", 0, { cmdline: "poweroff" }),
  "reset": () => toTheEnd("guests/reset.img", 66),
  "crash": () => toTheEnd("guests/triplefault.img", 125),
  "time-out of a halted guest": () => toTheEnd("guests/hang.img", 124, { timeoutMs: 20 }),
  "time-out of a spinning guest": () => toTheEnd("guests/hang.img", 124, { timeoutMs: 20, cmdline: "spin" }),
  "a device model that fails": () => toTheEnd("guests/exits.img", 70, faulty("throws when it is written to")),
  "a device model that cannot start": () => toTheEnd("guests/exits.img", 70, faulty("throws at once")),
  "a device model that does not exist": () => toTheEnd("guests/null.img", 70, { deviceModels: ["missing.ts"] }),
  "a configuration that cannot be cloned": () =>
    refused("guests/null.img", {
      deviceModels: [{ module: `${MODELS}/tally.ts`, configuration: { value: () => 0 } }],
    }, "DataCloneError"),
  "a device model at a socket, which is gone before the guest": () => atSocket((client) => client[Symbol.dispose]()),
  "a device model at a socket, which stays": () => atSocket(() => {}),
  "a socket where no device model comes": () =>
    toTheEnd("guests/null.img", 124, { deviceModels: [{ socket: socketPath() }], deviceModelTimeoutMs: 20 }),
  "a socket that cannot be": () =>
    refused("guests/null.img", { deviceModels: [{ socket: "deno.json" }] }, "SocketPathError"),
  "a bad image": () => refused("deno.json", {}, "ImageError"),
  "disposal while it runs": async () => {
    await using vm = await boot("guests/echo.img", { vcpus: 2 });
    await vm.console.expect("> ");
    vm.console.send("half a line");
  },
  "disposal at once": async () => {
    await using _vm = await boot("guests/echo.img");
  },
  "disposal while it is paused": async () => {
    await using vm = await boot("guests/hang.img", { cmdline: "spin" });
    await vm.pause();
  },
  "native threads: the guest's own status": () => toTheEnd("guests/exit.img", 7, { ...NATIVE, vcpus: 40 }),
  "native threads: crash": () => toTheEnd("guests/triplefault.img", 125, { ...NATIVE, vcpus: 2 }),
  "native threads: time-out of a spinning guest": () =>
    toTheEnd("guests/hang.img", 124, { ...NATIVE, timeoutMs: 20, cmdline: "spin" }),
  "native threads: a device model that fails": () =>
    toTheEnd("guests/exits.img", 70, { ...NATIVE, ...faulty("throws when it is written to") }),
  "native threads: a device model that cannot start": () =>
    toTheEnd("guests/exits.img", 70, { ...NATIVE, ...faulty("throws at once") }),
  "native threads: disposal while it runs": async () => {
    await using vm = await boot("guests/echo.img", { ...NATIVE, vcpus: 40 });
    await vm.console.expect("> ");
  },
  "native threads: disposal at once": async () => {
    await using _vm = await boot("guests/echo.img", { ...NATIVE, vcpus: 40 });
  },
  "native threads: disposal while it is paused": async () => {
    await using vm = await boot("guests/hang.img", { ...NATIVE, vcpus: 2, cmdline: "spin" });
    await vm.pause();
  },
};

/** What a process holds that a leak would add to. */
interface MappedHoldings extends Holdings {
  readonly mappings: number;
}

function settled(): Promise<MappedHoldings> {
  const mappings = () => Deno.readTextFileSync("/proc/self/maps").split("\n").length;
  return settledHoldings(() => ({ ...holdings(), mappings: mappings() }), 5);
}

/**
 * The engine's heaps and the C library's arenas grow to a bound, at any time; a leak grows for ever. So what grew is
 * tried again, and only what grows too much each time stays in the result.
 */
async function batches(run: () => Promise<void>): Promise<{ before: MappedHoldings; after: MappedHoldings }> {
  for (let batch = 1;; batch++) {
    const before = await settled();
    for (let round = 0; round < ROUNDS; round++) await run();
    const after = await settled();
    const grew = after.descriptors > before.descriptors || after.threads > before.threads ||
      after.mappings > before.mappings + OWN_MAPPINGS;
    if (!grew || batch === MOST_BATCHES) return { before, after };
  }
}

/** All of them, or one in four where a boot is slow. */
const kinds = Object.entries(KINDS).filter((_, index) => (index + 1) % (4 / repetitions(4)) === 0);
const results: Record<string, { before: MappedHoldings; after: MappedHoldings }> = {};
for (let round = 0; round < WARM_UP; round++) for (const [, run] of kinds) await run();
for (const [kind, run] of kinds) results[kind] = await batches(run);
console.log(JSON.stringify({ rounds: ROUNDS, ownMappings: OWN_MAPPINGS, results }));
