/** What an event from a device model to a halted vCPU's handler costs, and the answer, against C doing the same. */

import type { CProgram, Round } from "./c_program.ts";
import { EVENT_PORT, EVENT_WORD, type EventConfiguration } from "./event_model.ts";
import { startGuestProgram } from "./guest_program.ts";
import { alternate, benchmark, median, path, round } from "./harness.ts";
import { createTimer, setTimer } from "./timer.ts";
import { type Machine, startMachine } from "../../src/machine/machine.ts";

const MODEL = path("tools/bench/event_model.ts"), IMAGE = path("guests/upcall.img");

/** As guests/upcall has it. */
const UPCALL_VECTOR = 0x52;

/**
 * From an answer to the next event. KVM has a vCPU that halts poll for up to 200 us (halt_poll_ns) before its thread
 * sleeps, so it is asleep after the one, and not after the other.
 */
const ASLEEP_US = 1000, POLLED_US = 100;
const MOST_SAMPLES = 4096;

/** Microseconds an event and its answer take, and the median ratio of neighbouring rounds. */
interface Comparison {
  readonly ours: number;
  readonly futex?: number;
  readonly eventfd?: number;
  readonly ratio?: number;
}

export const events = benchmark({
  figures: {
    evtchn_us: { what: "an event from a model in a Worker to a halted vCPU's handler, and its answer, us" },
    evtchn_ratio_vs_c: { what: "the same, against MSI and futex or eventfd in C, whichever is faster", target: 1.3 },
    evtchn_c_us: { what: "the same in C, us" },
    evtchn_polled_us: { what: "the same with a vCPU that has halted just now, us" },
    evtchn_polled_ratio_vs_c: { what: "that against C" },
  },
  async measure({ quick }) {
    await using guest = await UpcallGuest.start();
    await guest.round(quick ? 50 : MOST_SAMPLES, POLLED_US); // until everything is compiled
    const asleep = await compare(guest, ASLEEP_US, quick ? 30 : 250, quick ? 3 : 15);
    const polled = await compare(guest, POLLED_US, quick ? 50 : 1000, quick ? 3 : 15);
    const { futex, eventfd, ratio = null } = asleep;
    return {
      evtchn_us: asleep.ours,
      evtchn_ratio_vs_c: ratio,
      evtchn_c_us: futex === undefined || eventfd === undefined ? null : { futex, eventfd },
      evtchn_polled_us: polled.ours,
      evtchn_polled_ratio_vs_c: polled.ratio ?? null,
    };
  },
});

async function compare(guest: UpcallGuest, pauseUs: number, count: number, rounds: number): Promise<Comparison> {
  await using futex = await startLoop(pauseUs, "futex");
  await using eventfd = await startLoop(pauseUs, "eventfd");
  const programs = [futex, eventfd].filter((program) => program !== null);
  const runs = [() => guest.round(count, pauseUs), ...programs.map((program) => () => program.round(count))];
  const [ours, ...theirs] = (await alternate(rounds, ...runs)).map((rounds) => rounds.map(wallUs));
  const [oursUs, ...theirsUs] = [ours, ...theirs].map((us) => round(median(us), 2)!);
  if (programs.length === 0) return { ours: oursUs };
  const faster = theirs[theirsUs[0] <= theirsUs[1] ? 0 : 1], ratios = ours.map((us, index) => us / faster[index]);
  return { ours: oursUs, futex: theirsUs[0], eventfd: theirsUs[1], ratio: round(median(ratios), 3)! };
}

/** The guest under Xenolith, which halts but for the rounds. */
class UpcallGuest implements AsyncDisposable {
  readonly #words = new Int32Array(new SharedArrayBuffer(12));
  readonly #samples = new Float64Array(new SharedArrayBuffer(MOST_SAMPLES * 8));
  readonly #timer = createTimer();
  #machine: Machine | undefined;

  /** Boots it, until it waits for events. */
  static async start(): Promise<UpcallGuest> {
    const guest = new UpcallGuest();
    try {
      await guest.#boot();
      return guest;
    } catch (error) {
      await guest[Symbol.asyncDispose]();
      throw error;
    }
  }

  async #boot(): Promise<void> {
    const [words, samples] = [this.#words.buffer, this.#samples.buffer] as SharedArrayBuffer[];
    const configuration: EventConfiguration = { timer: this.#timer.number, words, samples };
    const deviceModels = [{ module: MODEL, configuration }], cmdline = `port=${EVENT_PORT}`;
    const what = { image: IMAGE, cmdline, deviceModels };
    this.#machine = await startMachine(what, { input: -1, output: -1, escape: null });
    await this.#done();
  }

  /** `count` events, one after the other. What they took is their median times the count, as in C. */
  async round(count: number, pauseUs: number): Promise<Round> {
    Atomics.store(this.#words, EVENT_WORD.PAUSE_US, pauseUs);
    Atomics.store(this.#words, EVENT_WORD.DONE, 0);
    Atomics.store(this.#words, EVENT_WORD.LEFT, count);
    setTimer(this.#timer.number, pauseUs);
    await this.#done();
    return { count, cpuNs: 0, wallNs: median(Array.from(this.#samples.subarray(0, count))) * count };
  }

  async #done(): Promise<void> {
    const { value } = Atomics.waitAsync(this.#words, EVENT_WORD.DONE, 0);
    const outcome = await Promise.race([value, this.#machine!.ended]);
    if (typeof outcome === "object") throw new Error(`the guest ended: ${outcome.reason}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#machine?.[Symbol.asyncDispose]();
    this.#timer[Symbol.dispose]();
  }
}

/** The same guest without Xen in C's hands. */
function startLoop(pauseUs: number, by: "futex" | "eventfd"): Promise<CProgram | null> {
  const guest = { image: IMAGE, cmdline: `port=${EVENT_PORT} xen=none` };
  return startGuestProgram("event_loop", guest, EVENT_PORT, UPCALL_VECTOR, pauseUs, by);
}

function wallUs({ wallNs, count }: Round): number {
  return wallNs / count / 1000;
}
