/**
 * A guest whose requests go to three servers, while the device models of two are killed and restarted at random: no
 * request is lost, and every one is accounted for.
 */

import { assert, assertEquals } from "@std/assert";
import { pipe } from "../../src/linux/descriptor.ts";
import { STATUS } from "../../src/domain/outcome.ts";
import { type Machine, startMachine } from "../../src/machine/machine.ts";
import { ANY_KVM, repetitions, testWith } from "../support/capabilities.ts";
import { type Command, start } from "../support/command.ts";
import { CALLS, type MortalConfiguration, SERVING, STALLED } from "../support/models/misbehaving_mortal.ts";
import { printedSeed, randomBytes } from "../support/random.ts";

const MODULE = "tests/support/models/misbehaving_mortal.ts", WINDOW = 0xfd00_0000;
/** Each of the servers has the registers of two vCPUs. The first server's model is a Worker, the others are processes. */
const VCPUS = 6, SERVERS = [1, 2, 3], PROCESSES = [2, 3];
/** Few enough that the trace holds all of a vCPU's requests. */
const ROUNDS = 200, OF_ONE_SERVER = VCPUS / SERVERS.length * ROUNDS * 2;
const STALLS = repetitions(8), LOST_MS = 60_000;

function vcpusOf(server: number): number[] {
  return Array.from({ length: VCPUS }, (_, vcpu) => vcpu).filter((vcpu) => vcpu % SERVERS.length === server - 1);
}

/** The device models of one server, one generation after the other. */
class Lineage implements AsyncDisposable {
  readonly #generations: Command[] = [];
  readonly #words: string[];
  /** Ended by SIGKILL: in the middle of a request that it had said it was in, and at any moment. */
  readonly killed = { stalled: 0, anywhere: 0 };

  constructor(socket: string, server: number, stalls: readonly number[]) {
    const configuration: MortalConfiguration = { address: WINDOW, vcpus: vcpusOf(server), stalls };
    this.#words = [MODULE, "--socket", socket, "--configuration", JSON.stringify(configuration)];
  }

  get current(): Command {
    return this.#generations.at(-1)!;
  }

  /** Starts the first model, or the successor of one that was killed. */
  async start(): Promise<void> {
    this.#generations.push(start("dm", this.#words, { stdin: "null" }));
    await this.current.stdout.expect(SERVING);
  }

  get stalled(): boolean {
    return this.current.stdout.text.includes(STALLED);
  }

  /** Resolves when it has something new to say, or nothing any more. */
  get news(): Promise<void> {
    return this.current.stdout.next;
  }

  async restart(): Promise<void> {
    this.current.kill("SIGKILL");
    await this.current.stdout.ended;
    this.killed[this.stalled ? "stalled" : "anywhere"]++;
    await this.start();
  }

  /** Waits for the end of the last one. @returns how often handlers were called, in all generations */
  async calls(): Promise<number> {
    const { status, stdout, stderr } = await this.current.finished();
    assertEquals({ status, stderr }, { status: 0, stderr: "" });
    return Number(CALLS.exec(stdout)![1]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const generation of this.#generations) await generation[Symbol.asyncDispose]();
  }
}

for (const carrier of ["worker", "native"] as const) {
  testWith([ANY_KVM], `three servers, the models of two killed and restarted at random (${carrier})`, async () => {
    await using stack = new AsyncDisposableStack();
    const directory = await Deno.makeTempDir({ prefix: "xenolith-test-" });
    stack.defer(() => Deno.remove(directory, { recursive: true }));
    const random = randomBytes(1 << 10, printedSeed()).values();
    const chosen = (limit: number) => random.next().value! % limit;
    const lineages = PROCESSES.map((server) => {
      // One stall in each of as many parts of the run, before or after the handler's work.
      const part = Math.floor(OF_ONE_SERVER / (STALLS + 1));
      const stalls = Array.from({ length: STALLS }, (_, index) => {
        return (part * index + 1 + chosen(part)) * (chosen(2) === 0 ? 1 : -1);
      });
      return stack.use(new Lineage(`${directory}/${server}.sock`, server, stalls));
    });
    const machine = await run(carrier, directory, lineages, stack);
    await killed(lineages, machine.ended, () => chosen(2) === 0);
    const { status, reason } = await machine.ended;
    assertEquals(status, 0, reason);

    for (const server of SERVERS) {
      const answered = machine.statistics.servers.find(({ id }) => id === server);
      assertEquals([answered?.requests, answered?.unhandled], [OF_ONE_SERVER, 0], `server ${server}`);
      const traced = machine.trace.filter((request) => request.server === server);
      assertEquals(traced.filter(({ end }) => end === "answered").length, OF_ONE_SERVER, `server ${server}: traced`);
      assertEquals(traced.length, OF_ONE_SERVER, `server ${server}: gone`);
    }
    for (const lineage of lineages) {
      const { stalled, anywhere } = lineage.killed, again = await lineage.calls() - OF_ONE_SERVER;
      const deaths = `${stalled} deaths in a request, ${anywhere} anywhere, ${again} requests made again`;
      assert(stalled + anywhere >= STALLS, deaths);
      assert(again > 0 && again >= stalled && again <= stalled + anywhere, deaths);
    }
  });
}

/** Starts the guest, with the Worker and the first generation of the others. */
async function run(
  carrier: "worker" | "native",
  directory: string,
  lineages: readonly Lineage[],
  stack: AsyncDisposableStack,
): Promise<Machine> {
  const configuration: MortalConfiguration = { address: WINDOW, vcpus: vcpusOf(SERVERS[0]) };
  const sockets = PROCESSES.map((server) => ({ socket: `${directory}/${server}.sock` }));
  const [output, input] = [pipe("console output"), pipe("console input")];
  for (const end of [output.reader, output.writer, input.reader, input.writer]) stack.use(end);
  const starting = startMachine({
    image: "guests/ioreq-many.img",
    vcpus: VCPUS,
    carrier,
    cmdline: `rounds=${ROUNDS}`,
    deviceModels: [{ module: MODULE, configuration }, ...sockets],
    hold: true,
  }, { input: input.reader.number, output: output.writer.number, escape: null });
  await Promise.all(lineages.map((lineage) => lineage.start()));
  const machine = stack.use(await starting);
  const timer = setTimeout(() => {
    machine.end({ kind: "timeout", status: STATUS.TIMEOUT, reason: "requests are lost" });
  }, LOST_MS);
  machine.ended.then(() => clearTimeout(timer));
  return machine;
}

/** Until the run has ended: kills each model that has stalled, and before it, perhaps, the other one wherever that is. */
async function killed(lineages: readonly Lineage[], ended: Promise<unknown>, both: () => boolean): Promise<void> {
  let running = true;
  const end = ended.then(() => running = false);
  while (running) {
    const news = lineages.map((lineage) => lineage.news);
    const stalled = lineages.find((lineage) => lineage.stalled);
    if (stalled === undefined) {
      await Promise.race([end, ...news]);
      continue;
    }
    // The run cannot end meanwhile: somebody's request waits.
    if (both()) await lineages.find((lineage) => lineage !== stalled)!.restart();
    await stalled.restart();
  }
}
