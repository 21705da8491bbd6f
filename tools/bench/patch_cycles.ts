/**
 * A program for the benchmark `patches`: random operations on the payloads of a guest under load, and what the process
 * holds before and after. Its arguments: how many, and the seed. Prints one JSON object.
 */

import { buildExample } from "../../tests/payload/build_example.ts";
import { type Holdings, holdings, settledHoldings } from "../../tests/support/holdings.ts";
import { PATIENT, WatchedGuest } from "./watched_guest.ts";
import { LivePatching, type PayloadState } from "../../src/payload/live_patching.ts";
import { PayloadError } from "../../src/payload/payload_error.ts";

/** Each replaces other modules, so that any order is one of which the functions are as expected. */
const NAMES = ["fix-uart", "add-port", "count-exits", "selection-rule"];

/** What a process holds that a leak would add to. */
export interface ResidentHoldings extends Holdings {
  readonly residentMib: number;
}

/** What the program prints. */
export interface CyclesReport {
  readonly before: ResidentHoldings;
  readonly after: ResidentHoldings;
  /** Operations that were carried out, and that were refused as they had to be. */
  readonly done: number;
  readonly refused: number;
  /** What was not as it had to be; a line each. */
  readonly errors: readonly string[];
}

/** Payloads as they have to be: Xen's rules, once more. */
class Expected {
  readonly uploaded = new Set<string>();
  stack: string[] = [];

  /** Carries an operation out. @returns false: it is to be refused */
  does(operation: Operation, name: string): boolean {
    const { uploaded, stack } = this, isApplied = stack.includes(name);
    switch (operation) {
      case "upload":
        return !uploaded.has(name) && uploaded.add(name).size > 0;
      case "unload":
        return !isApplied && uploaded.delete(name);
      case "apply":
        return uploaded.has(name) && !isApplied && stack.push(name) > 0;
      case "revert":
        return isApplied && stack.at(-1) === name && stack.pop() !== undefined;
      case "replace":
        if (!uploaded.has(name) || (isApplied && stack.length === 1)) return false;
        this.stack = [name];
        return true;
    }
  }

  state(name: string): PayloadState | undefined {
    return this.stack.includes(name) ? "APPLIED" : this.uploaded.has(name) ? "CHECKED" : undefined;
  }
}

const OPERATIONS = ["upload", "apply", "apply", "revert", "replace", "unload"] as const;
type Operation = typeof OPERATIONS[number];

class Cycles {
  readonly errors: string[] = [];
  readonly #expected = new Expected();
  done = 0;
  refused = 0;

  constructor(
    private readonly guest: WatchedGuest,
    private readonly patching: LivePatching,
    private readonly payloads: ReadonlyMap<string, Uint8Array<ArrayBuffer>>,
    private readonly random: (below: number) => number,
  ) {}

  async run(count: number): Promise<void> {
    for (let operation = 0; operation < count; operation++) {
      await this.#do(OPERATIONS[this.random(OPERATIONS.length)], NAMES[this.random(NAMES.length)]);
    }
  }

  /** Nothing is applied afterwards, and nothing there. */
  async back(): Promise<void> {
    for (const name of this.#expected.stack.toReversed()) await this.#do("revert", name);
    for (const name of [...this.#expected.uploaded]) await this.#do("unload", name);
    if (this.patching.list().length > 0) this.errors.push("payloads are left");
  }

  async #do(operation: Operation, name: string): Promise<void> {
    const isDone = await this.#isDone(operation, name), isExpected = this.#expected.does(operation, name);
    if (isDone !== isExpected) this.errors.push(`${operation} ${name}: ${isDone ? "done" : "refused"}, wrongly`);
    if (isDone) this.done++;
    else this.refused++;
    const states = new Map(this.patching.list().map(({ name, state }) => [name, state]));
    const wrong = NAMES.find((name) => states.get(name) !== this.#expected.state(name));
    if (wrong !== undefined) this.errors.push(`after ${operation} ${name}: ${wrong} is ${states.get(wrong)}`);
    await this.guest.goesOn(1);
  }

  async #isDone(operation: Operation, name: string): Promise<boolean> {
    const { patching } = this;
    try {
      if (operation === "upload") await patching.upload(this.payloads.get(name)!);
      else if (operation === "unload") await patching.unload(name);
      else if (operation === "revert") await patching.revert(name, PATIENT);
      else await patching[operation](name, { ...PATIENT, nodeps: true });
      return true;
    } catch (error) {
      if (error instanceof PayloadError) return false;
      throw error;
    }
  }
}

function settled(): Promise<ResidentHoldings> {
  return settledHoldings(() => ({ ...holdings(), residentMib: Deno.memoryUsage().rss / 2 ** 20 }), 10);
}

/** Whole numbers from 0 by a linear congruential generator (Numerical Recipes). */
function randomNumbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state >>> 16) % below;
  };
}

async function main(operations: number, seed: number): Promise<CyclesReport> {
  const built = NAMES.map(async (name) => [name, await buildExample(name)] as const);
  const payloads = new Map(await Promise.all(built)), random = randomNumbers(seed);
  await using guest = await WatchedGuest.start();
  await using patching = new LivePatching(guest.succession);
  const cycle = async (operations: number) => {
    const cycles = new Cycles(guest, patching, payloads, random);
    await cycles.run(operations);
    await cycles.back();
    return cycles;
  };
  const warmUp = await cycle(Math.ceil(operations / 4)), before = await settled();
  const { done, refused, errors } = await cycle(operations), after = await settled();
  await guest.end();
  return { before, after, done, refused, errors: [...warmUp.errors, ...errors] };
}

if (import.meta.main) {
  console.log(JSON.stringify(await main(Number(Deno.args[0]), Number(Deno.args[1]))));
  Deno.exit();
}
