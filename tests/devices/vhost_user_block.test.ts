/** A disk that a backend serves, from its start to the backend's end and return: a driver, a host and a backend, all fake. */

import { assertEquals, assertThrows } from "@std/assert";
import { VhostUserBlock } from "../../src/devices/vhost_user_block_device.ts";
import type { DeviceModelHost, Watch } from "../../src/dm/host.ts";
import { clearEvent, signalEvent } from "../../src/linux/event_descriptor.ts";
import { POLLIN, PollSet } from "../../src/linux/poll.ts";
import { FEATURE } from "../../src/virtio/abi.ts";
import { BLOCK_CONFIGURATION, BLOCK_FEATURE } from "../../src/virtio/block_abi.ts";
import { VhostUserError } from "../../src/virtio/vhost_user_connection.ts";
import type { VirtioTransport } from "../../src/virtio/device.ts";
import { PROTOCOL_FEATURES } from "../../src/virtio/vhost_user_abi.ts";
import { bits, FakeBackend } from "../virtio/fake_backend.ts";
import { layoutOf, TestMemory } from "../virtio/test_ring.ts";
import { openDescriptors } from "../support/holdings.ts";

/** What there is between a device and its guest. */
class Scene implements Disposable {
  readonly directory = Deno.makeTempDirSync({ prefix: "xenolith-test-" });
  readonly path = `${this.directory}/S`;
  readonly memory = new TestMemory();
  readonly watches: Watch[] = [];
  readonly stops: (() => void)[] = [];
  readonly reliefs: (() => void)[] = [];
  readonly log: string[] = [];
  readonly said: string[] = [];
  readonly layout = layoutOf(8);
  readonly #error = console.error;
  fake = new FakeBackend();
  device!: VhostUserBlock;

  constructor() {
    console.error = (text: string) => this.said.push(text.replace(this.path, "S"));
    this.fake.listen(this.path);
  }

  start(): void {
    const host: Partial<DeviceModelHost> = {
      memory: this.memory,
      watch: (watch) => this.watches.push(watch),
      beforeStop: (stop) => this.stops.push(stop),
      beforeRelief: (finish) => this.reliefs.push(finish),
      whenRelieved: () => {},
      waitFor: (descriptor, events) => {
        this.fake.step();
        const poll = new PollSet(1);
        poll.add(descriptor, events);
        return poll.look() > 0;
      },
    };
    this.device = new VhostUserBlock(host as DeviceModelHost, this.path);
    this.device.transport = {
      queues: [{ layout: this.layout }],
      usedBuffer: () => this.log.push("used"),
      called: () => this.log.push("called"),
      changed: () => this.log.push("changed"),
      fail: () => this.log.push("failed"),
    } as unknown as VirtioTransport;
    this.fake.received.length = 0;
  }

  /** Hands out what the watched descriptors have, until they have nothing any more. @param wait for the first of it */
  turn(wait = false): void {
    for (;;) {
      const poll = new PollSet(this.watches.length);
      for (const watch of this.watches) poll.add(watch.interest() < 0 ? -1 : watch.descriptor, watch.interest());
      if ((wait ? poll.wait() : poll.look()) <= 0) return;
      this.watches.forEach((watch, index) => poll.result(index) !== 0 && watch.ready(poll.result(index)));
      wait = false;
    }
  }

  replaceBackend(change: (fake: FakeBackend) => void = () => {}): void {
    this.fake.die();
    this.turn();
    this.fake = new FakeBackend();
    change(this.fake);
    this.fake.listen(this.path);
    this.turn(true);
  }

  [Symbol.dispose](): void {
    console.error = this.#error;
    for (const stop of this.stops) stop();
    this.fake[Symbol.dispose]();
    Deno.removeSync(this.directory, { recursive: true });
  }
}

const AGREED = new Set([9, FEATURE.RING_EVENT_IDX, FEATURE.VERSION_1, FEATURE.ACCESS_PLATFORM]);

Deno.test("a device offers what its backend does, hands on what it is told, and interrupts when it is called", () => {
  const before = openDescriptors();
  {
    using scene = new Scene();
    scene.fake.features |= bits(11, 12, 24, 33, 34, 40);
    scene.fake.queues = 4n;
    scene.fake.configuration.set([1, 2, 3]);
    new DataView(scene.fake.configuration.buffer).setUint16(BLOCK_CONFIGURATION.num_queues, 3, true);
    scene.start();
    const { device, fake } = scene;
    assertEquals([device.features, device.ringFeatures, device.queues], [[9, 11, 12], [28, 29], 3]);
    assertEquals([...device.configuration.subarray(0, 4)], [1, 2, 3, 0]);
    device.start(AGREED);
    assertEquals(fake.received[0].payload, [0, 2, 0, 0x60, 1, 0, 0, 0]);
    assertEquals(fake.names.split(" ").at(-1), "SET_VRING_ENABLE");
    const kick = fake.kept.get("SET_VRING_KICK")![0].number, poll = new PollSet(1);
    poll.add(kick, POLLIN);
    assertEquals(poll.look(), 1, "there may be something in a ring by now");
    clearEvent(kick);
    device.notified(0);
    assertEquals(poll.look(), 1);
    signalEvent(fake.kept.get("SET_VRING_CALL")![0].number);
    scene.turn();
    assertEquals(scene.log, ["called"]);
    device.configure(0, 4, 99);
    device.configure(BLOCK_CONFIGURATION.wce, 1, 1);
    assertEquals(fake.names.split(" ").filter((name) => name === "SET_CONFIG").length, 1);
    fake.configuration[0] = 7;
    fake.ask(2, false);
    scene.turn();
    assertEquals([scene.log, device.configuration[0], device.configuration[32]], [["called", "changed"], 7, 1]);
    device.reset();
    assertEquals([fake.names.split(" ").at(-1), scene.said], ["GET_VRING_BASE", []]);
    signalEvent(fake.kept.get("SET_VRING_CALL")![0].number);
    scene.turn();
    assertEquals(scene.log.length, 2, "nobody is there to be interrupted");
  }
  assertEquals(openDescriptors(), before);
});

Deno.test("a backend hears of a queue that the driver takes away, once, and a device that is reset later asks for no other", () => {
  using scene = new Scene();
  scene.start();
  scene.device.start(AGREED);
  scene.fake.received.length = 0;
  for (const queue of [0, 0, 1]) scene.device.forget(queue);
  scene.device.reset();
  assertEquals(scene.fake.names, "GET_VRING_BASE");
});

Deno.test("a backend that comes back goes on: base, what was under way, a kick, an interrupt", () => {
  using scene = new Scene();
  scene.start();
  scene.device.start(AGREED);
  scene.memory.view.setUint16(scene.memory.at(scene.layout.used + 2), 5, true);
  const asked = scene.fake.names;
  scene.replaceBackend((fake) => fake.inflight.fill(1));
  assertEquals(scene.said, [
    "xenolith: vhost-user S: the backend is gone; requests wait until it is back",
    "xenolith: vhost-user S: the backend is back",
  ]);
  const { fake } = scene, find = (wanted: string) => fake.received.find(({ name }) => name === wanted)!.payload;
  assertEquals([find("SET_VRING_BASE")[4], find("SET_INFLIGHT_FD")[0], scene.log], [5, 9, ["called"]]);
  assertEquals(asked.replace(/^.*(?=SET_MEM_TABLE)/, ""), fake.names.replace(/^.*(?=SET_MEM_TABLE)/, ""));
  assertEquals(fake.names.includes("GET_INFLIGHT_FD"), false);
});

Deno.test("a driver that starts while there is no backend is served when there is one again", () => {
  using scene = new Scene();
  scene.start();
  scene.fake.die();
  scene.turn();
  scene.device.start(AGREED);
  scene.device.reset();
  scene.device.start(AGREED);
  scene.replaceBackend();
  assertEquals([scene.fake.names.includes("SET_VRING_ENABLE"), scene.log], [true, ["called"]]);
});

Deno.test("a device that is to be relieved leaves its backend, and takes it again if nobody else does", () => {
  using scene = new Scene();
  scene.start();
  scene.device.start(AGREED);
  for (const finish of scene.reliefs) finish();
  assertEquals(scene.fake.names.split(" ").at(-1), "GET_VRING_BASE");
  scene.fake.hangUp();
  scene.turn(true);
  assertEquals([scene.fake.names.split(" ").at(-1), scene.log, scene.said], ["SET_VRING_ENABLE", ["called"], []]);
});

const FAULTS: Record<string, [(scene: Scene) => void, RegExp]> = {
  "comes back with less than it had": [
    (scene) => scene.replaceBackend((fake) => fake.features = bits(32, PROTOCOL_FEATURES)),
    /: the backend came back with less than it had$/,
  ],
  "comes back without sense": [
    (scene) => scene.replaceBackend((fake) => fake.answers.set("GET_FEATURES", Uint8Array.of(1, 2, 3))),
    /: the backend does not answer GET_FEATURES$/,
  ],
  "says what nobody asked for": [
    (scene) => {
      scene.fake.answers.set("SET_CONFIG", new Uint8Array(40).fill(1));
      scene.device.configure(BLOCK_CONFIGURATION.wce, 1, 1);
      scene.turn();
    },
    /: the backend sends a message of 16843009 bytes$/,
  ],
  "finds a ring without sense": [
    (scene) => {
      signalEvent(scene.fake.kept.get("SET_VRING_ERR")![0].number);
      scene.turn();
    },
    /: the backend finds no sense in a ring$/,
  ],
};

for (const [what, [happens, line]] of Object.entries(FAULTS)) {
  Deno.test(`a backend that ${what} has the device ask for its reset, says so once, and gets another chance after it`, () => {
    using scene = new Scene();
    scene.fake.features |= bits(BLOCK_FEATURE.CONFIG_WCE);
    scene.start();
    scene.device.start(AGREED);
    scene.said.length = 0;
    happens(scene);
    assertEquals([scene.log, line.test(scene.said.at(-1)!)], [["failed"], true], scene.said.join("\n"));
    scene.turn();
    scene.device.reset();
    scene.device.start(AGREED);
    scene.replaceBackend((fake) => fake.features |= bits(BLOCK_FEATURE.CONFIG_WCE));
    assertEquals([scene.fake.names.includes("SET_VRING_ENABLE"), scene.log.at(-1)], [true, "called"]);
  });
}

Deno.test("a backend that is as before virtio 1.0, or none at all, is refused at once", () => {
  using scene = new Scene();
  scene.fake.features = bits(9, PROTOCOL_FEATURES);
  assertThrows(() => scene.start(), VhostUserError, "the backend is as before virtio 1.0");
  scene.fake.die();
  assertThrows(() => scene.start(), VhostUserError, "no backend listens there");
});
