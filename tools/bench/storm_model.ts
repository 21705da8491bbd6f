/**
 * A device model under which pages never rest: with every violation it maps, takes back and moves some at random. In a
 * Worker. What is moved goes to another frame, with its contents, as a driver moves it.
 */

import type { DeviceModelHost } from "xenolith/dm";
import { clock } from "../../src/linux/calls.ts";

export interface StormConfiguration {
  readonly address: number;
  readonly pages: number;
  readonly port: number;
  readonly seed: number;
  readonly transport: "fault" | "exit";
  /** Operations with each violation, beside its answer. */
  readonly operations: number;
  /** What it did: doubles, see {@linkcode STORM}. */
  readonly results: SharedArrayBuffer;
}

/**
 * What was done; what failed; of the revocations of a page that was mapped the longest one and the sum, microseconds,
 * and their number.
 */
export const STORM = { MAPS: 0, REVOKES: 1, MOVES: 2, ERRORS: 3, WORST_US: 4, SUM_US: 5, TIMED: 6, LENGTH: 7 } as const;

const PAGE_BYTES = 4096;

export default function storm(host: DeviceModelHost, configuration: StormConfiguration): void {
  const { address, pages, port, transport, operations } = configuration;
  const results = new Float64Array(configuration.results), startMs = performance.now(), startTicks = clock();
  let ticksInWorst = 0, ticksInAll = 0;
  // Twice the memory that is shown: page p is in frame p or in frame p + pages, as `moved` says.
  const memory = host.createMemory(2 * pages * PAGE_BYTES), moved = new Uint8Array(pages);
  const mapped = new Uint8Array(pages);
  const frameOf = (page: number) => page + moved[page] * pages;
  const random = generator(configuration.seed);

  const revoke = (page: number) => {
    const start = clock();
    window.revoke([page]);
    const ticks = clock() - start;
    results[STORM.REVOKES]++;
    if (mapped[page] === 0) return;
    mapped[page] = 0;
    results[STORM.TIMED]++;
    ticksInAll += ticks;
    ticksInWorst = Math.max(ticksInWorst, ticks);
  };
  const map = (page: number) => {
    mapped[page] = 1;
    window.map([{ page, memory, frame: frameOf(page) }]);
    results[STORM.MAPS]++;
  };
  const copy = (page: number) => {
    const from = frameOf(page) * PAGE_BYTES;
    moved[page] ^= 1;
    memory.bytes.copyWithin(frameOf(page) * PAGE_BYTES, from, from + PAGE_BYTES);
    results[STORM.MOVES]++;
  };
  const works: ((page: number) => void)[] = [
    map,
    revoke,
    (page) => {
      revoke(page);
      copy(page);
    },
    (page) => {
      revoke(page);
      copy(page);
      map(page);
    },
    // In place: nobody writes while it is read-only, and readers never lose it.
    (page) => {
      mapped[page] = 1;
      window.map([{ page, memory, frame: frameOf(page), readOnly: true }]);
      copy(page);
      map(page);
    },
  ];
  let kinds = works.length;
  const work = (page: number) => {
    const kind = random(kinds);
    try {
      works[kind](page);
    } catch (error) {
      if (kind === works.length - 1) kinds = works.length - 1; // this host cannot have read-only pages
      else results[STORM.ERRORS]++, console.error(`storm: ${error}`);
    }
  };
  const violation = (page: number) => {
    for (let left = operations; left > 0; left--) work(random(pages));
    results[STORM.MAPS]++;
    mapped[page] = 1;
    return [{ page, memory, frame: frameOf(page) }];
  };
  const window = host.mapWindow(address, pages * PAGE_BYTES, { violation }, { transport });
  host.mapPorts(port, 4, { read: () => 0, write: () => work(random(pages)) });
  host.beforeStop(() => {
    const perUs = (clock() - startTicks) / (performance.now() - startMs) / 1000;
    results[STORM.WORST_US] = ticksInWorst / perUs;
    results[STORM.SUM_US] = ticksInAll / perUs;
    for (let page = 0; page < pages; page++) window.revoke([page]);
  });
}

/** Numbers below a bound: xorshift32. */
function generator(seed: number): (bound: number) => number {
  let state = seed | 1;
  return (bound) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % bound;
  };
}
