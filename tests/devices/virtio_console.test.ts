/** A virtio console's ports and messages, whatever its driver thinks of them. XENOLITH_PROPERTY_RUNS runs of each property. */

import { assert, assertEquals, assertLessOrEqual } from "@std/assert";
import fc from "fast-check";
import { MMIO } from "../../src/virtio/abi.ts";
import {
  CONSOLE_CONFIGURATION as CONFIGURATION,
  CONSOLE_EVENT as EVENT,
  CONSOLE_FEATURE as FEATURE,
  CONSOLE_QUEUE as QUEUE,
} from "../../src/virtio/console_abi.ts";
import { BUFFER_BYTES, ConsoleScene, ENTRIES, type Message, NOWHERE } from "./console_scene.ts";

const RUNS = { numRuns: Number(Deno.env.get("XENOLITH_PROPERTY_RUNS") ?? 500) };

const ECHO = [..."echo"].map((letter) => letter.charCodeAt(0));
/** The queues of the second port. */
const RECEIVE = QUEUE.OTHERS, TRANSMIT = QUEUE.OTHERS + 1;

const message = (port: number, event: keyof typeof EVENT, value: number, more: number[] = []): Message => {
  return { port, event: EVENT[event], value, more };
};

function room(scene: ConsoleScene, queue: number, buffers = ENTRIES): void {
  for (let n = 0; n < buffers; n++) scene.offer(queue, "writable");
}

/** A console and a port "echo", of which both sides know. */
function ready(): ConsoleScene {
  const scene = new ConsoleScene([undefined, "echo"]);
  scene.begin(FEATURE.MULTIPORT);
  room(scene, QUEUE.CONTROL_RECEIVE);
  scene.tell(0, "DEVICE_READY", 1);
  for (const port of [0, 1]) scene.tell(port, "PORT_READY", 1);
  for (const port of [0, 1]) scene.tell(port, "PORT_OPEN", 1);
  assertEquals(scene.messages().length, 6);
  room(scene, QUEUE.CONTROL_RECEIVE, 6);
  return scene;
}

Deno.test("a device announces its ports, and introduces those that the driver has", () => {
  const scene = new ConsoleScene([undefined, "echo"], { columns: 80, rows: 24 });
  assertEquals([scene.device.queues, scene.mmio.read(MMIO.CONFIG + CONFIGURATION.max_nr_ports, 4)], [6, 2]);
  scene.begin(FEATURE.MULTIPORT, FEATURE.SIZE);
  room(scene, QUEUE.CONTROL_RECEIVE);
  scene.peers[1].isThere = false;
  assertEquals(scene.messages(), []);
  scene.tell(0, "DEVICE_READY", 1);
  assertEquals(scene.messages(), [message(0, "PORT_ADD", 1), message(1, "PORT_ADD", 1)]);
  scene.tell(1, "PORT_READY", 1);
  assertEquals(scene.messages(), [message(1, "PORT_NAME", 1, ECHO)]);
  scene.tell(0, "PORT_READY", 1);
  const size = message(0, "RESIZE", 0, [80, 0, 24, 0]);
  assertEquals(scene.messages(), [message(0, "CONSOLE_PORT", 1), size, message(0, "PORT_OPEN", 1)]);
  scene.peers[1].present = true;
  assertEquals(scene.messages(), [message(1, "PORT_OPEN", 1)]);
});

Deno.test("a console alone has no control messages; nor has the first port for a driver that does not know them", () => {
  for (const names of [[undefined], ["one", "two"]]) {
    const scene = new ConsoleScene(names);
    assertEquals(scene.device.features.includes(FEATURE.MULTIPORT), names.length > 1);
    scene.begin();
    scene.offer(QUEUE.TRANSMIT, [1, 2, 3]);
    room(scene, QUEUE.RECEIVE, 1);
    scene.peers[0].say(4, 5);
    assertEquals([scene.peers[0].heard, scene.taken(QUEUE.RECEIVE)], [[1, 2, 3], [[4, 5]]]);
    if (names.length === 1) continue;
    room(scene, QUEUE.CONTROL_RECEIVE);
    scene.tell(0, "DEVICE_READY", 1);
    scene.offer(TRANSMIT, [9]);
    assertEquals([scene.messages(), scene.peers[1].heard], [[], []]);
  }
});

Deno.test("what finds no room stays with the device until there is some; where nobody is, it goes nowhere", () => {
  const scene = ready(), [, peer] = scene.peers;
  peer.room = 2;
  scene.offer(TRANSMIT, [1, 2, 3, 4, 5]);
  scene.offer(TRANSMIT, [6]);
  assertEquals([peer.heard, scene.held(TRANSMIT), scene.device.hasWork(TRANSMIT)], [[1, 2], 2, false]);
  peer.makeRoom(3);
  assertEquals([peer.heard, scene.held(TRANSMIT)], [[1, 2, 3, 4, 5], 1]);
  peer.present = false;
  assertEquals([peer.heard.length, scene.held(TRANSMIT)], [5, 0]);
  scene.offer(QUEUE.TRANSMIT, [7]);
  assertEquals(scene.peers[0].heard, [7]);
});

Deno.test("what comes waits until the guest has the port open, and room", () => {
  const scene = ready(), [, peer] = scene.peers;
  scene.tell(1, "PORT_OPEN", 0);
  room(scene, RECEIVE, 1);
  peer.say(...Array(BUFFER_BYTES + 2).keys());
  assertEquals([scene.taken(RECEIVE), peer.port.hasRoom], [[], false]);
  scene.tell(1, "PORT_OPEN", 1);
  assertEquals([scene.taken(RECEIVE).map((bytes) => bytes.length), peer.says.length], [[BUFFER_BYTES], 2]);
  assertEquals(peer.port.hasRoom, false);
  scene.offer(RECEIVE, "writable", 0);
  scene.offer(RECEIVE, "writable");
  assertEquals(scene.taken(RECEIVE), [[], [BUFFER_BYTES, BUFFER_BYTES + 1]]);
  room(scene, RECEIVE, 1);
  assertEquals([peer.port.hasRoom, scene.held(RECEIVE)], [true, 1]);
  peer.say(1);
  assertEquals([peer.port.hasRoom, scene.taken(RECEIVE)], [false, [[1]]]);
});

Deno.test("however often a driver asks, it is told once; who comes after another is another", () => {
  const scene = new ConsoleScene([undefined, "echo"]);
  scene.begin(FEATURE.MULTIPORT);
  for (let n = 0; n < 1000; n++) for (const event of ["DEVICE_READY", "PORT_READY"] as const) scene.tell(1, event, 1);
  for (let n = 0; n < 3; n++) scene.peers[1].present = n % 2 === 1;
  room(scene, QUEUE.CONTROL_RECEIVE);
  const added = [message(0, "PORT_ADD", 1), message(1, "PORT_ADD", 1), message(1, "PORT_NAME", 1, ECHO)];
  assertEquals(scene.messages(), added);
  scene.peers[1].present = true;
  assertEquals(scene.messages(), [message(1, "PORT_OPEN", 1)]);
  while (scene.held(QUEUE.CONTROL_RECEIVE) > 0) scene.peers[1].present = !scene.peers[1].isThere;
  scene.messages();
  for (let n = 0; n < 5; n++) scene.peers[1].present = n % 2 === 0;
  room(scene, QUEUE.CONTROL_RECEIVE);
  const last = scene.messages();
  assertLessOrEqual(last.length, 2);
  assertEquals(last.at(-1), message(1, "PORT_OPEN", 1));
});

Deno.test("a reset forgets all, and the next driver hears it again", () => {
  const scene = ready(), [, peer] = scene.peers;
  peer.room = 0;
  scene.offer(TRANSMIT, [1]);
  scene.begin(FEATURE.MULTIPORT);
  assertEquals([peer.port.isStalled, peer.port.hasRoom], [false, false]);
  room(scene, QUEUE.CONTROL_RECEIVE);
  scene.tell(0, "DEVICE_READY", 1);
  assertEquals(scene.messages(), [message(0, "PORT_ADD", 1), message(1, "PORT_ADD", 1)]);
});

Deno.test("another generation of the device's model goes on: the driver hears who is there now, and loses nothing", () => {
  const scene = ready(), [, before] = scene.peers;
  before.room = 0;
  scene.offer(TRANSMIT, [1, 2]);
  room(scene, RECEIVE, 1);
  before.port.arrived();
  scene.succeed();
  const peer = scene.peers[1];
  assertEquals(scene.messages(), [0, 1].flatMap((port) => [0, 1].map((value) => message(port, "PORT_OPEN", value))));
  assertEquals([peer.heard, scene.held(TRANSMIT)], [[1, 2], 0]);
  peer.say(3);
  assertEquals(scene.taken(RECEIVE), [[3]]);
});

Deno.test("an emergency write needs no queue, nor a driver; it is the console's", () => {
  const scene = new ConsoleScene(["echo", undefined]);
  scene.mmio.write(MMIO.CONFIG + CONFIGURATION.emerg_wr, 4, 0x1_0041);
  scene.mmio.write(MMIO.CONFIG + CONFIGURATION.cols, 4, 0x42);
  scene.peers[1].room = 0;
  scene.mmio.write(MMIO.CONFIG + CONFIGURATION.emerg_wr, 4, 0x43);
  assertEquals([scene.peers[0].heard, scene.peers[1].heard], [[], [0x41]]);
});

Deno.test("a terminal's size is in the configuration, and a new one is told", () => {
  const scene = new ConsoleScene([undefined, "echo"], { columns: 80, rows: 24 });
  scene.begin(FEATURE.MULTIPORT, FEATURE.SIZE);
  room(scene, QUEUE.CONTROL_RECEIVE);
  scene.tell(0, "DEVICE_READY", 1);
  scene.tell(0, "PORT_READY", 1);
  scene.messages();
  scene.turn();
  const generation = scene.mmio.read(MMIO.CONFIG_GENERATION, 4);
  scene.size = { columns: 132, rows: 50 };
  scene.turn();
  scene.turn();
  assertEquals(scene.messages(), [message(0, "RESIZE", 0, [132, 0, 50, 0])]);
  assertEquals(scene.mmio.read(MMIO.CONFIG, 4), 50 * 0x1_0000 + 132);
  assertEquals(scene.mmio.read(MMIO.CONFIG_GENERATION, 4), generation + 1);
});

/** What a driver may do, and those at the other end: of the driver's part nothing has to make sense. */
const actions = fc.oneof(
  fc.record({
    do: fc.constant("offer" as const),
    queue: fc.nat(7),
    bytes: fc.array(fc.nat(255), { maxLength: 12 }),
    isWritable: fc.boolean(),
    length: fc.option(fc.constantFrom(0, 4, 7, 0x1_0000, 0xffff_ffff), { nil: undefined, freq: 4 }),
    address: fc.option(fc.constantFrom(NOWHERE, 0x4_fff8), { nil: undefined, freq: 6 }),
  }),
  fc.record({
    do: fc.constant("tell" as const),
    port: fc.constantFrom(0, 1, 2, 3, 0xffff_ffff),
    event: fc.constantFrom(...Object.keys(EVENT) as (keyof typeof EVENT)[]),
    value: fc.constantFrom(0, 1, 2),
  }),
  fc.record({ do: fc.constantFrom("come", "go", "say", "room", "begin", "plain", "emergency"), port: fc.nat(2) }),
);

Deno.test("whatever a driver does, messages make sense, buffers come back once, and a reset mends it", () => {
  fc.assert(
    fc.property(fc.array(actions, { maxLength: 60 }), (script) => {
      const scene = new ConsoleScene(["one", undefined, "three"]);
      let isReadable = true;
      const begin = (...features: number[]) => {
        isReadable = true;
        scene.begin(...features);
      };
      begin(FEATURE.MULTIPORT);
      for (const action of script) {
        if (action.do === "offer") {
          const { queue, bytes, isWritable, length, address } = action;
          if (scene.held(queue) < ENTRIES) scene.offer(queue, isWritable ? "writable" : bytes, length, address);
          // What the device writes elsewhere the scene does not find.
          if (address !== undefined || (length ?? 0) > BUFFER_BYTES) isReadable = false;
        } else if (action.do === "tell") {
          if (scene.held(QUEUE.CONTROL_TRANSMIT) < ENTRIES) scene.tell(action.port, action.event, action.value);
        } else {
          const peer = scene.peers[action.port];
          if (action.do === "come" || action.do === "go") peer.present = action.do === "come";
          else if (action.do === "say") peer.say(1, 2, 3);
          else if (action.do === "room") peer.makeRoom(peer.room = 5);
          else if (action.do === "begin") begin(FEATURE.MULTIPORT);
          else if (action.do === "plain") begin();
          else scene.mmio.write(MMIO.CONFIG + CONFIGURATION.emerg_wr, 4, 0x41);
        }
        for (let queue = 0; queue < scene.device.queues; queue++) assertLessOrEqual(scene.held(queue), ENTRIES);
        for (const { port, event } of scene.messages()) assert(!isReadable || (port < 3 && event <= EVENT.PORT_NAME));
      }
      begin(FEATURE.MULTIPORT);
      assertEquals(scene.needsReset, false);
      room(scene, QUEUE.CONTROL_RECEIVE);
      scene.tell(0, "DEVICE_READY", 1);
      assertEquals(scene.messages(), [0, 1, 2].map((port) => message(port, "PORT_ADD", 1)));
    }),
    RUNS,
  );
});

Deno.test("every byte arrives once and in order, both ways, however it is cut", () => {
  const steps = fc.array(fc.record({ send: fc.nat(20), room: fc.nat(30), say: fc.nat(20), buffer: fc.nat(9) }));
  fc.assert(
    fc.property(steps, (script) => {
      const scene = ready(), [, peer] = scene.peers, arrived: number[] = [];
      let sent = 0, said = 0;
      peer.room = 0;
      for (const { send, room, say, buffer } of script) {
        if (scene.held(TRANSMIT) < ENTRIES) scene.offer(TRANSMIT, Array.from({ length: send }, () => sent++ & 0xff));
        peer.makeRoom(room);
        peer.say(...Array.from({ length: say }, () => said++ & 0xff));
        if (scene.held(RECEIVE) < ENTRIES) scene.offer(RECEIVE, "writable", buffer);
        arrived.push(...scene.taken(RECEIVE).flat());
      }
      peer.makeRoom(Infinity);
      while (peer.says.length > 0) {
        scene.offer(RECEIVE, "writable");
        arrived.push(...scene.taken(RECEIVE).flat());
      }
      const counted = (count: number) => Array.from({ length: count }, (_, n) => n & 0xff);
      assertEquals([peer.heard, arrived], [counted(sent), counted(said)]);
    }),
    RUNS,
  );
});
