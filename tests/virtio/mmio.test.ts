/** The registers of a device, as drivers of both kinds use them, and as they should not. */

import { assertEquals } from "@std/assert";
import { FEATURE, INTERRUPT, MMIO, STATUS } from "../../src/virtio/abi.ts";
import type { VirtioDevice, VirtioTransport, VirtioVariant } from "../../src/virtio/device.ts";
import { stateWords } from "../../src/virtio/mmio_state.ts";
import { VirtioMmio } from "../../src/virtio/mmio.ts";
import { layoutOf, PAGE, PAGES, TestMemory } from "./test_ring.ts";

const { ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK, NEEDS_RESET } = STATUS;
const READY = ACKNOWLEDGE | DRIVER | FEATURES_OK;

/** A device of two queues that writes down what it is told. */
class TestDevice implements VirtioDevice {
  readonly id = 42;
  readonly features = [3, 40];
  readonly queues = 2;
  readonly queueSize = 8;
  readonly configuration = Uint8Array.of(1, 2, 3, 4, 5);
  readonly log: string[] = [];
  transport!: VirtioTransport;

  configure(offset: number, size: number, value: number): void {
    this.log.push(`${size} bytes at ${offset}: ${value}`);
  }

  start(features: ReadonlySet<number>): void {
    this.log.push(`start with ${[...features]}`);
  }

  notified(queue: number): void {
    this.log.push(`queue ${queue}`);
  }

  forget(queue: number): void {
    this.log.push(`forget ${queue}`);
  }

  reset(): void {
    this.log.push("reset");
  }
}

class Driver {
  device = new TestDevice();
  readonly memory = new TestMemory();
  readonly levels: boolean[] = [];
  readonly state = new Uint32Array(stateWords(this.device));
  mmio: VirtioMmio;

  constructor(private readonly variant: VirtioVariant = {}) {
    this.mmio = this.attach();
  }

  /** Another generation of the device's model. */
  succeed(): void {
    this.device = new TestDevice();
    this.mmio = this.attach();
  }

  private attach(): VirtioMmio {
    const pin = { raise: () => void this.levels.push(true), lower: () => void this.levels.push(false) };
    const mmio = new VirtioMmio(this.device, this.memory, pin, this.state, this.variant);
    mmio.resume();
    return mmio;
  }

  get(register: keyof typeof MMIO): number {
    return this.mmio.read(MMIO[register], 4);
  }

  set(register: keyof typeof MMIO, value: number): void {
    this.mmio.write(MMIO[register], 4, value);
  }

  features(): number[] {
    return [0, 1, 2].map((word) => (this.set("DEVICE_FEATURES_SEL", word), this.get("DEVICE_FEATURES")));
  }

  take(...bits: number[]): void {
    for (const word of [0, 1]) {
      this.set("DRIVER_FEATURES_SEL", word);
      const mine = bits.filter((bit) => bit >> 5 === word);
      this.set("DRIVER_FEATURES", mine.reduce((sum, bit) => (sum | 1 << (bit & 31)) >>> 0, 0));
    }
  }

  queue(index: number, size = 8): void {
    const { descriptors, available, used } = layoutOf(size);
    this.set("QUEUE_SEL", index);
    this.set("QUEUE_NUM", size);
    this.set("QUEUE_DESC_LOW", descriptors);
    this.set("QUEUE_DRIVER_LOW", available);
    this.set("QUEUE_DEVICE_LOW", used);
    this.set("QUEUE_READY", 1);
  }

  start(): void {
    this.set("STATUS", ACKNOWLEDGE | DRIVER);
    this.take(FEATURE.VERSION_1, 40);
    this.set("STATUS", READY);
    this.queue(0);
    this.set("STATUS", READY | DRIVER_OK);
  }
}

const bit = (number: number) => 2 ** number;

Deno.test("a device says what it is, and what it can", () => {
  const driver = new Driver(),
    names = ["MAGIC", "VERSION", "DEVICE_ID", "STATUS", "QUEUE_NUM_MAX", "SHM_LEN_LOW"] as const;
  assertEquals(names.map((name) => driver.get(name)), [0x7472_6976, 2, 42, 0, 8, 0xffff_ffff]);
  assertEquals(driver.features(), [bit(3) + bit(28) + bit(29), bit(0) + bit(8), 0]);
  driver.set("QUEUE_SEL", 2);
  assertEquals([driver.get("QUEUE_NUM_MAX"), driver.get("QUEUE_READY")], [0, 0]);
  assertEquals([1, 2, 4, 1].map((size, index) => driver.mmio.read(0x100 + index, size)), [1, 0x302, 0x0504_03, 4]);
  driver.mmio.write(0x102, 2, 7);
  assertEquals([driver.mmio.read(0x000, 2), driver.mmio.read(0x1f0, 4), driver.device.log], [0, 0, [
    "2 bytes at 2: 7",
  ]]);
});

Deno.test("a device starts when its driver is ready, with what that takes", () => {
  const driver = new Driver();
  driver.start();
  assertEquals([driver.get("STATUS"), driver.get("QUEUE_READY"), driver.device.log], [READY | DRIVER_OK, 1, [
    "start with 32,40",
  ]]);
  driver.set("QUEUE_NOTIFY", 1);
  driver.set("QUEUE_NOTIFY", 2);
  driver.set("DRIVER_FEATURES", 0);
  assertEquals(driver.device.log.slice(1), ["queue 1"]);
  driver.set("STATUS", 0);
  assertEquals([driver.get("STATUS"), driver.get("QUEUE_READY"), driver.device.log.at(-1)], [0, 0, "reset"]);
});

Deno.test("what the driver has said of its status it cannot take back but by a reset", () => {
  const driver = new Driver();
  driver.set("STATUS", ACKNOWLEDGE | DRIVER);
  driver.set("STATUS", ACKNOWLEDGE | DRIVER | DRIVER_OK);
  assertEquals([driver.get("STATUS"), driver.device.log], [ACKNOWLEDGE | DRIVER, []], "nothing was agreed on");
  driver.start();
  driver.set("STATUS", READY);
  driver.set("STATUS", READY | DRIVER_OK);
  assertEquals([driver.get("STATUS"), driver.device.log], [READY | DRIVER_OK, ["start with 32,40"]]);
});

Deno.test("a queue that is taken away is forgotten, once", () => {
  const driver = new Driver();
  driver.start();
  driver.set("QUEUE_READY", 0);
  driver.set("QUEUE_READY", 0);
  driver.set("QUEUE_SEL", 1);
  driver.set("QUEUE_READY", 0);
  assertEquals(driver.device.log.slice(1), ["forget 0"]);
});

Deno.test("a device that has failed says so once, and gives nothing back", () => {
  const driver = new Driver();
  driver.start();
  const { mmio, levels } = driver, [queue] = mmio.queues;
  queue.give(0, 0);
  mmio.fail();
  mmio.fail();
  mmio.usedBuffer(queue);
  assertEquals([driver.get("INTERRUPT_STATUS"), driver.get("CONFIG_GENERATION"), levels], [2, 1, [true]]);
  assertEquals([mmio.isLive, mmio.hasWork(0)], [false, false]);
});

Deno.test("features that there are not, or without version 1, are not taken", () => {
  for (
    const [features, isGood] of [[[32], true], [[3, 32], true], [[3], false], [[4, 32], false], [
      [41, 32],
      false,
    ]] as const
  ) {
    const driver = new Driver();
    driver.set("STATUS", ACKNOWLEDGE | DRIVER);
    driver.take(...features);
    driver.set("STATUS", READY);
    assertEquals((driver.get("STATUS") & FEATURES_OK) !== 0, isGood, `${features}`);
  }
});

Deno.test("the line is high from an interrupt until the driver has acknowledged all of it", () => {
  const driver = new Driver();
  driver.start();
  const { mmio, levels } = driver, [queue] = mmio.queues;
  mmio.usedBuffer(queue);
  assertEquals(levels, [], "nothing was given back");
  queue.give(0, 0);
  mmio.usedBuffer(queue);
  mmio.changed();
  assertEquals([driver.get("INTERRUPT_STATUS"), driver.get("CONFIG_GENERATION"), levels], [3, 1, [true, true]]);
  driver.set("INTERRUPT_ACK", INTERRUPT.USED_BUFFER);
  assertEquals([driver.get("INTERRUPT_STATUS"), levels.length], [INTERRUPT.CONFIGURATION, 2]);
  driver.set("INTERRUPT_ACK", INTERRUPT.CONFIGURATION);
  assertEquals([driver.get("INTERRUPT_STATUS"), levels], [0, [true, true, false]]);
});

Deno.test("a queue that makes no sense has the device ask for its reset, and nothing goes on before that", () => {
  for (const size of [0, 3, 16]) {
    const driver = new Driver();
    driver.start();
    driver.queue(1, size);
    assertEquals([driver.get("STATUS") & NEEDS_RESET, driver.get("QUEUE_READY")], [NEEDS_RESET, 0], `${size} entries`);
    driver.set("QUEUE_NOTIFY", 0);
    driver.set("STATUS", READY | DRIVER_OK);
    assertEquals([driver.device.log, driver.get("STATUS") & NEEDS_RESET], [["start with 32,40"], NEEDS_RESET]);
    driver.set("STATUS", 0);
    driver.start();
    assertEquals(driver.device.log.slice(1), ["reset", "start with 32,40"]);
  }
  const driver = new Driver();
  driver.start();
  driver.set("QUEUE_SEL", 1);
  driver.set("QUEUE_NUM", 8);
  driver.set("QUEUE_DESC_HIGH", 7);
  driver.set("QUEUE_READY", 1);
  assertEquals(driver.get("STATUS") & NEEDS_RESET, NEEDS_RESET, "where no memory is");
});

Deno.test("a legacy device has version 1, no feature of that name, and its rings where a page number says", () => {
  const driver = new Driver({ legacy: true });
  assertEquals([driver.get("VERSION"), driver.features()], [1, [bit(3) + bit(28) + bit(29), bit(8), 0]]);
  driver.set("GUEST_PAGE_SIZE", PAGE);
  driver.set("STATUS", ACKNOWLEDGE | DRIVER);
  driver.take(3);
  driver.set("QUEUE_SEL", 0);
  driver.set("QUEUE_NUM", 8);
  driver.set("QUEUE_ALIGN", PAGE);
  driver.set("QUEUE_PFN", PAGES[0] / PAGE);
  driver.set("STATUS", ACKNOWLEDGE | DRIVER | DRIVER_OK);
  assertEquals([driver.get("QUEUE_PFN"), driver.mmio.queues[0].isReady, driver.device.log], [1, true, [
    "start with 3",
  ]]);
  driver.set("QUEUE_PFN", 0);
  assertEquals(driver.mmio.queues[0].isReady, false);
  driver.set("QUEUE_ALIGN", 0);
  driver.set("QUEUE_PFN", 1);
  assertEquals(driver.get("STATUS") & NEEDS_RESET, NEEDS_RESET);
});

Deno.test("another model goes on where the one before it was: registers, queues, and one interrupt too many", () => {
  for (const legacy of [false, true]) {
    const driver = new Driver({ legacy });
    driver.succeed();
    assertEquals([driver.device.log, driver.get("STATUS")], [[], 0], "there was none before");
    driver.set("QUEUE_SEL", 1);
    driver.set("QUEUE_NUM", 4);
    driver.succeed();
    driver.set("STATUS", ACKNOWLEDGE | DRIVER);
    if (legacy) driver.set("QUEUE_PFN", 1);
    else driver.start();
    driver.set("STATUS", driver.get("STATUS") | DRIVER_OK);
    const registers = () => names.map((name) => driver.get(name));
    const names = ["STATUS", "QUEUE_READY", "QUEUE_PFN", "CONFIG_GENERATION"] as const, before = registers();
    driver.levels.length = 0;
    driver.succeed();
    assertEquals(registers(), before);
    assertEquals(driver.device.log, [`start with ${legacy ? "" : "32,40"}`]);
    assertEquals([driver.levels, driver.get("INTERRUPT_STATUS")], [[true], INTERRUPT.USED_BUFFER]);
    assertEquals(driver.mmio.queues.map(({ isReady }) => isReady), [!legacy, legacy]);
    driver.set("STATUS", 0);
    driver.succeed();
    assertEquals([driver.device.log, driver.get("STATUS")], [[], 0], "it was reset");
  }
});

Deno.test("a device that sees only some of the memory takes no driver that does not know that", () => {
  const driver = new Driver({ isRestricted: true }), { VERSION_1, ACCESS_PLATFORM } = FEATURE;
  for (const [features, isTaken] of [[[VERSION_1], false], [[VERSION_1, ACCESS_PLATFORM], true]] as const) {
    driver.set("STATUS", 0);
    driver.set("STATUS", ACKNOWLEDGE | DRIVER);
    driver.take(...features);
    driver.set("STATUS", READY);
    assertEquals(driver.get("STATUS"), isTaken ? READY : ACKNOWLEDGE | DRIVER);
  }
});
