/**
 * A device model that measures: how long it takes to take pages back, and how long the bare system calls do for the same
 * pages. In a Worker of the process that runs the guest.
 */

import type { DeviceMemory, DeviceModelHost } from "xenolith/dm";
import * as calls from "../../src/linux/calls.ts";
import { clock } from "../../src/linux/calls.ts";
import { signalEvent } from "../../src/linux/event_descriptor.ts";
import { POLLIN } from "../../src/linux/poll.ts";

export interface RevokeConfiguration {
  readonly address: number;
  readonly sizeBytes: number;
  readonly strideBytes: number;
  readonly port: number;
  readonly transport: "fault" | "exit";
  /** The guest adds 1 to the first word of each page; else it does nothing. */
  readonly spinning: boolean;
  /** Eventfds: how many times to revoke; it is done. */
  readonly order: number;
  readonly done: number;
  /** Two doubles: microseconds of a revocation by the window, and by the bare system call; medians. */
  readonly results: SharedArrayBuffer;
}

const PAGE_BYTES = 4096, MADV_DONTNEED = 4;
/** Long enough to know how long a tick of the time-stamp counter is. */
const CALIBRATION_MS = 5;

export default function revokes(host: DeviceModelHost, configuration: RevokeConfiguration): void {
  const { address, sizeBytes, strideBytes, port, transport, spinning, order, done, results } = configuration;
  const memory = host.createMemory(sizeBytes);
  memory.bytes.fill(0);
  const before = mappings();
  const violation = (page: number) => [{ page, memory, frame: page }];
  const window = host.mapWindow(address, sizeBytes, { violation }, { transport });
  const stride = strideBytes / PAGE_BYTES,
    pages = Array.from({ length: sizeBytes / strideBytes }, (_, at) => at * stride);
  const maps = pages.map((page) => ({ page, memory, frame: page }));
  window.map([{ page: 0, memory, frame: 0, count: memory.pages }]);
  window.revoke([{ page: 0, count: memory.pages }]);
  const start = transport === "fault" ? mappings().find((at) => !before.includes(at))! : 0;
  const ranges = BigUint64Array.from(pages.flatMap((page) => [start + page * PAGE_BYTES, PAGE_BYTES].map(BigInt)));
  const self = calls.pidfdOpen(calls.getpid(), 0), bytes = pages.length * PAGE_BYTES;
  const prepare = () => {
    window.map(maps);
    if (spinning) waitForGuest(memory, strideBytes);
  };
  const byWindow = () => window.revoke(pages);
  const bare = () => {
    if (pages.length === 1) return void calls.madvise(ranges[0], BigInt(PAGE_BYTES), MADV_DONTNEED);
    // The kernel takes that advice for the caller itself from Linux 6.13 on.
    if (calls.processMadvise(self, ranges, BigInt(pages.length), MADV_DONTNEED) === bytes) return;
    calls.madviseEach(ranges, pages.length, MADV_DONTNEED);
  };
  const count = new BigInt64Array(1), samples = { window: [] as number[], bare: [] as number[] };
  host.watch({
    descriptor: order,
    interest: () => POLLIN,
    ready() {
      calls.read(order, count, 8n);
      const left = transport === "fault" ? Number(count[0]) : 0;
      const startMs = performance.now(), startTicks = clock();
      for (let done = 0; done < left; done++) {
        prepare();
        samples.window.push(ticksOf(byWindow));
        prepare();
        samples.bare.push(ticksOf(bare));
        window.revoke(pages);
      }
      while (performance.now() - startMs < CALIBRATION_MS);
      const perUs = (clock() - startTicks) / (performance.now() - startMs) / 1000, values = new Float64Array(results);
      values[0] = middle(samples.window) / perUs;
      values[1] = middle(samples.bare) / perUs;
      samples.window = [];
      samples.bare = [];
      signalEvent(done);
    },
  });
  // By exits, a vCPU waits for the answer of this thread: pages are taken back when it has written to the port.
  const write = () => void (transport === "exit" && samples.window.push(ticksOf(byWindow)));
  host.mapPorts(port, 4, { read: () => 0, write });
}

function ticksOf(work: () => void): number {
  const start = clock();
  work();
  return clock() - start;
}

/** Until the guest has touched all pages since they were mapped, and stays at the last one for a while. */
function waitForGuest(memory: DeviceMemory, strideBytes: number): void {
  waitForTouches(memory, 0, 1);
  waitForTouches(memory, memory.bytes.length - strideBytes, 3);
}

function waitForTouches({ bytes }: DeviceMemory, offset: number, touches: number): void {
  const word = new Int32Array(bytes.buffer, bytes.byteOffset + offset, 1), seen = Atomics.load(word, 0);
  while (((Atomics.load(word, 0) - seen) | 0) < touches);
}

function middle(values: number[]): number {
  return values.sort((one, other) => one - other)[values.length >> 1] ?? NaN;
}

/** Where this process shows the memory of device models. */
function mappings(): number[] {
  return Deno.readTextFileSync("/proc/self/maps").split("\n").filter((line) => line.includes("xenolith-model"))
    .map((line) => parseInt(line, 16));
}
