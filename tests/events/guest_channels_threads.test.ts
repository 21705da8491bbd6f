import { assert, assertEquals, assertGreater } from "@std/assert";
import { PORT } from "../../src/events/port_table.ts";
import { eventDescriptor } from "../../src/linux/event_descriptor.ts";
import { Thread } from "../linux/threads.ts";
import {
  CHURNED,
  HANDLED,
  LOOP,
  LOOP_END,
  open,
  SEEN,
  SENT,
  type Shared,
  STABLE,
  VCPUS,
} from "./guest_channel_threads.ts";
import { DOMID, GuestScene } from "./guest_scene.ts";

const THREADS = new URL("./guest_channel_threads.ts", import.meta.url).href;

/** A domain with its ports, and threads that are its vCPUs. */
class Machine implements Disposable {
  readonly #stack = new DisposableStack();
  readonly guest = this.#stack.use(GuestScene.create(VCPUS));
  readonly shared: Shared;

  constructor(bits: 32 | 64, threads: number, rounds: number) {
    const doorbells = Array.from({ length: VCPUS }, () => this.#stack.use(eventDescriptor("a vCPU")).number);
    this.shared = { address: this.guest.memory.address, doorbells, rounds, threads };
    this.guest.table.bits = bits;
    const { channels } = open(this.shared).guest;
    for (let port = 1; port <= STABLE; port++) assertEquals(channels.bindIpi(port % VCPUS), port);
    assertEquals([channels.allocUnbound(DOMID), channels.bindInterdomain(DOMID, LOOP)], [LOOP, LOOP_END]);
  }

  start<Result>(name: string, ...args: unknown[]): Promise<Result> {
    return this.#stack.use(new Thread<Result>(THREADS, name, this.shared, ...args)).result;
  }

  startVcpus(): Promise<number[]> {
    return Promise.all(Array.from({ length: VCPUS }, (_, vcpu) => this.start<number>("handle", vcpu)));
  }

  [Symbol.dispose](): void {
    this.#stack.dispose();
  }
}

for (const bits of [32, 64] as const) {
  Deno.test(`threads that send, close and unmask at once lose no event of a vCPU that handles its upcalls (${bits} bits)`, async () => {
    using machine = new Machine(bits, 4, 300_000);
    const { guest } = machine, told = machine.startVcpus();
    const senders = [machine.start<number[]>("send", 0), machine.start<number[]>("send", 1)];
    const churning = machine.start<string[]>("churn"), moving = machine.start<number[]>("move");
    assertEquals(await churning, []);
    assertEquals(await Promise.all(senders), [[], []]);
    assertEquals(await moving, [0, 0]);
    for (const times of await told) assertGreater(times, 0);
    assertGreater(guest.own[HANDLED], 1000, "hardly anything was handled: this tested nothing");
    for (let port = 1; port <= STABLE; port++) {
      assertEquals(guest.own[SEEN + port], guest.own[SENT + port], `port ${port}`);
    }
    assertEquals([guest.pending(), guest.masked().filter((port) => port !== CHURNED)], [[], []]);
    assertEquals([guest.table.state(LOOP), guest.table.state(LOOP_END), guest.table.state(CHURNED)], [
      PORT.INTERDOMAIN,
      PORT.INTERDOMAIN,
      PORT.FREE,
    ]);
    for (let port = 0; port < 64; port++) assertEquals(guest.table.hold(port) >>> 15, 0, `port ${port} is held`);
  });
}

Deno.test("a guest that scribbles over its own bitmaps stops no thread and changes no port", async () => {
  using machine = new Machine(64, 4, 300_000);
  const { guest } = machine, told = machine.startVcpus();
  const senders = [machine.start<number[]>("send", 0), machine.start<number[]>("send", 1)];
  const churning = machine.start<string[]>("churn"), scribbling = machine.start("scribble");
  await scribbling;
  const wrong = await churning;
  assert(
    wrong.every((what) => what.endsWith("is pending after it was closed")),
    wrong.find((what) => !what.endsWith("closed")),
  );
  assertEquals(await Promise.all(senders), [[], []]);
  await told;
  for (let port = 1; port <= STABLE; port++) {
    assertEquals([guest.table.state(port), guest.table.vcpu(port)], [PORT.IPI, port % VCPUS]);
  }
  assertEquals(guest.channels.reset(), 0);
});
