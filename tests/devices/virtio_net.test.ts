/** A network device between a driver, good or bad, and a network that a test looks into. */

import { assertEquals } from "@std/assert";
import type { Network } from "../../src/devices/network.ts";
import { VirtioNet } from "../../src/devices/virtio_net_device.ts";
import type { DeviceModelHost, Watch } from "../../src/dm/host.ts";
import { DESCRIPTOR_FLAG } from "../../src/virtio/abi.ts";
import { NET_QUEUE } from "../../src/virtio/net_abi.ts";
import { Virtqueue } from "../../src/virtio/virtqueue.ts";
import { PAGE, PAGES, TestDriver, TestMemory } from "../virtio/test_ring.ts";

const SIZE = 8, MAC = Uint8Array.of(0x52, 0x54, 0, 1, 2, 3), POLLIN = 1, { NEXT, WRITE } = DESCRIPTOR_FLAG;
/** Where buffers are, and where no memory is. */
const BUFFERS = PAGES[1], NOWHERE = 0x9000;

class TestNetwork implements Network {
  readonly descriptor = 7;
  readonly sent: number[][] = [];
  readonly waiting: number[][] = [];
  /** What the network answers at once to what is sent. */
  answer: number[] | undefined;

  interest(receiving: boolean): number {
    return receiving ? POLLIN : -1;
  }

  ready(): void {}

  receive(frame: Uint8Array): number {
    const next = this.waiting.shift() ?? [];
    frame.set(next);
    return next.length;
  }

  send(frame: Uint8Array, sizeBytes: number): void {
    this.sent.push([...frame.subarray(0, sizeBytes)]);
    if (this.answer !== undefined) this.waiting.push(this.answer);
  }

  [Symbol.dispose](): void {}
}

/** A device whose driver is ready. */
class Scene {
  readonly memory = new TestMemory();
  readonly network = new TestNetwork();
  readonly drivers = [PAGES[0], PAGES[0] + 1024].map((at) => new TestDriver(SIZE, this.memory, at));
  readonly queues = this.drivers.map(({ layout }) => {
    const queue = new Virtqueue(this.memory, new Uint32Array(Virtqueue.stateWords(SIZE)));
    assertEquals(queue.begin(layout, { indirect: false, eventIndex: false }), true);
    return queue;
  });
  readonly device: VirtioNet;
  watch!: Watch;
  failures = 0;
  interrupts = 0;

  constructor(legacy = false) {
    const host: Pick<DeviceModelHost, "memory" | "watch" | "beforeSleep" | "beforeStop" | "whenRelieved"> = {
      memory: this.memory,
      watch: (watch) => void (this.watch = watch),
      beforeSleep() {},
      beforeStop() {},
      whenRelieved() {},
    };
    this.device = new VirtioNet(host as DeviceModelHost, this.network, MAC, legacy);
    const isLive = () => this.failures === 0;
    this.device.transport = {
      queues: this.queues,
      get isLive() {
        return isLive();
      },
      usedBuffer: (queue) => {
        queue.publish();
        this.interrupts += queue.wantsInterrupt ? 1 : 0;
      },
      called() {},
      changed() {},
      fail: () => void this.failures++,
    };
    this.device.start();
  }

  /** Puts a request of such buffers there: where, how long, and whether the device may write. */
  offer(queue: number, head: number, buffers: readonly (readonly [addr: number, len: number, flags?: number])[]): void {
    const driver = this.drivers[queue];
    buffers.forEach(([addr, len, flags = 0], index) => {
      const next = head + index + 1, more = index + 1 < buffers.length ? NEXT : 0;
      driver.descriptor(driver.layout.descriptors, head + index, { addr, len, flags: flags | more, next });
    });
    driver.offer(head);
  }

  send(...buffers: readonly (readonly [addr: number, len: number, flags?: number])[]): void {
    this.offer(NET_QUEUE.TRANSMIT, 0, buffers);
    this.device.notified(NET_QUEUE.TRANSMIT);
  }

  put(address: number, bytes: readonly number[]): void {
    this.memory.write(address, Uint8Array.from(bytes));
  }

  get(address: number, sizeBytes: number): number[] {
    const bytes = new Uint8Array(sizeBytes);
    this.memory.read(address, bytes);
    return [...bytes];
  }
}

function frame(size: number, first = 1): number[] {
  return Array.from({ length: size }, (_, index) => (first + index) % 256);
}

Deno.test("a device says its address, that its link is up, and its MTU", () => {
  const { configuration, features } = new Scene().device;
  assertEquals([...configuration], [...MAC, 1, 0, 1, 0, 0xdc, 0x05]);
  assertEquals([...features], [3, 5, 16]);
});

for (const [legacy, header] of [[false, 12], [true, 10]] as const) {
  Deno.test(`what is sent begins behind ${header} bytes, however it is cut (${legacy ? "legacy" : "version 1"})`, () => {
    const scene = new Scene(legacy), bytes = frame(60);
    scene.put(BUFFERS, [...Array(header).fill(0), ...bytes]);
    scene.send([BUFFERS, header + 60]);
    scene.send([BUFFERS, header], [BUFFERS + header, 60]);
    scene.send([BUFFERS, 1], [BUFFERS + 1, header + 1], [BUFFERS + header + 2, 58]);
    assertEquals(scene.network.sent, [bytes, bytes, bytes]);
    assertEquals(scene.drivers[NET_QUEUE.TRANSMIT].used, [[0, 0], [0, 0], [0, 0]]);
  });

  Deno.test(`what comes has ${header} bytes before it, however it is cut (${legacy ? "legacy" : "version 1"})`, () => {
    const scene = new Scene(legacy),
      bytes = frame(60),
      head = frame(header, 0).map((at) => legacy || at !== 10 ? 0 : 1);
    scene.put(BUFFERS, Array(256).fill(0xee));
    scene.offer(NET_QUEUE.RECEIVE, 0, [[BUFFERS, 5, WRITE], [BUFFERS + 5, 100, WRITE]]);
    scene.network.waiting.push(bytes);
    scene.watch.ready(POLLIN);
    assertEquals(scene.drivers[NET_QUEUE.RECEIVE].used, [[0, header + 60]]);
    assertEquals(scene.get(BUFFERS, header + 61), [...head, ...bytes, 0xee]);
    assertEquals(scene.interrupts, 1);
  });
}

Deno.test("what is no frame is not sent, and comes back all the same", () => {
  const table: [what: string, buffers: [number, number, number?][]][] = [
    ["nothing but a part of the header", [[BUFFERS, 11]]],
    ["nothing but a header", [[BUFFERS, 12]]],
    ["a byte less than an Ethernet header", [[BUFFERS, 12 + 13]]],
    ["a byte more than a frame", [[BUFFERS, 12], [BUFFERS, 1519]]],
    ["a frame where no memory is", [[BUFFERS, 12], [NOWHERE, 60]]],
    ["a frame that leaves memory", [[BUFFERS, 12], [BUFFERS + PAGE - 30, 60]]],
    ["a buffer to be written to", [[BUFFERS, 72, WRITE]]],
    ["a buffer of no bytes", [[BUFFERS, 0]]],
  ];
  for (const [what, buffers] of table) {
    const scene = new Scene();
    scene.send(...buffers);
    assertEquals(scene.network.sent, [], what);
    assertEquals([scene.drivers[NET_QUEUE.TRANSMIT].used, scene.failures], [[[0, 0]], 0], what);
    scene.send([BUFFERS, 12 + 60]);
    assertEquals(scene.network.sent.length, 1, what);
  }
});

Deno.test("a buffer without room for a frame comes back empty, and the frame is lost", () => {
  for (const [addr, len] of [[BUFFERS, 12 + 59], [BUFFERS, 0], [NOWHERE, 200], [BUFFERS + PAGE - 20, 200]]) {
    const scene = new Scene();
    scene.offer(NET_QUEUE.RECEIVE, 0, [[addr, len, WRITE]]);
    scene.offer(NET_QUEUE.RECEIVE, 1, [[BUFFERS, 200, WRITE]]);
    scene.network.waiting.push(frame(60, 1), frame(60, 2));
    scene.watch.ready(POLLIN);
    assertEquals(scene.drivers[NET_QUEUE.RECEIVE].used, [[0, 0], [1, 72]]);
    assertEquals(scene.get(BUFFERS + 12, 60), frame(60, 2));
  }
});

Deno.test("what the guest has no room for waits in the network, and comes when it has", () => {
  const scene = new Scene();
  scene.network.waiting.push(frame(60, 1), frame(60, 2));
  assertEquals(scene.watch.interest(), -1);
  scene.watch.ready(POLLIN); // it was ready before
  assertEquals(scene.network.waiting.length, 2);
  assertEquals(scene.drivers[NET_QUEUE.RECEIVE].usedFlags, 0, "the guest has to say when there is room");
  scene.offer(NET_QUEUE.RECEIVE, 0, [[BUFFERS, 200, WRITE]]);
  assertEquals(scene.watch.interest(), POLLIN);
  scene.device.notified(NET_QUEUE.RECEIVE);
  assertEquals([scene.drivers[NET_QUEUE.RECEIVE].used, scene.network.waiting.length], [[[0, 72]], 1]);
  scene.offer(NET_QUEUE.RECEIVE, 1, [[BUFFERS, 200, WRITE]]);
  scene.offer(NET_QUEUE.RECEIVE, 2, [[BUFFERS, 200, WRITE]]);
  scene.device.notified(NET_QUEUE.RECEIVE);
  assertEquals(scene.drivers[NET_QUEUE.RECEIVE].used, [[0, 72], [1, 72]]);
  assertEquals(scene.drivers[NET_QUEUE.RECEIVE].usedFlags, 1, "with room left, it need not");
});

Deno.test("what the network answers at once comes with what was sent", () => {
  const scene = new Scene();
  scene.offer(NET_QUEUE.RECEIVE, 0, [[BUFFERS + 512, 200, WRITE]]);
  scene.network.answer = frame(42, 9);
  scene.send([BUFFERS, 12 + 60]);
  assertEquals(scene.drivers[NET_QUEUE.RECEIVE].used, [[0, 54]]);
  assertEquals(scene.get(BUFFERS + 512 + 12, 42), frame(42, 9));
});

for (const queue of [NET_QUEUE.RECEIVE, NET_QUEUE.TRANSMIT]) {
  Deno.test(`when queue ${queue} is broken, neither goes on until the driver begins again`, () => {
    const scene = new Scene();
    scene.drivers[queue].offer(SIZE + 1);
    scene.network.waiting.push(frame(60));
    scene.device.notified(queue);
    assertEquals(scene.failures, 1);
    assertEquals([scene.watch.interest(), scene.device.hasWork(NET_QUEUE.TRANSMIT)], [-1, false]);
    scene.network.waiting.push(frame(60));
    scene.watch.ready(POLLIN);
    assertEquals(scene.drivers[NET_QUEUE.RECEIVE].used, []);
    scene.device.reset();
    scene.failures = 0;
    scene.queues.forEach((one, index) => {
      one.end();
      scene.drivers[index] = new TestDriver(SIZE, scene.memory, scene.drivers[index].layout.descriptors);
      scene.memory.bytes.fill(0, 1024 * index, 1024 * index + 1024);
      one.begin(scene.drivers[index].layout, { indirect: false, eventIndex: false });
    });
    scene.device.start();
    scene.offer(NET_QUEUE.RECEIVE, 0, [[BUFFERS, 200, WRITE]]);
    scene.device.notified(NET_QUEUE.RECEIVE);
    assertEquals(scene.drivers[NET_QUEUE.RECEIVE].used, [[0, 72]]);
  });
}
