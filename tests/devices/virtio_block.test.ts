/** A virtio disk over a file that takes all and can make nothing stable. */

import { assertEquals } from "@std/assert";
import type { DeviceModelHost, Watch } from "../../src/dm/host.ts";
import { VirtioBlock } from "../../src/devices/virtio_block_device.ts";
import { Descriptor } from "../../src/linux/descriptor.ts";
import { POLLIN, PollSet } from "../../src/linux/poll.ts";
import { DESCRIPTOR_FLAG } from "../../src/virtio/abi.ts";
import { BLOCK_FEATURE, BLOCK_REQUEST, BLOCK_STATUS, BLOCK_TYPE } from "../../src/virtio/block_abi.ts";
import { Virtqueue } from "../../src/virtio/virtqueue.ts";
import { PAGES, TestDriver } from "../virtio/test_ring.ts";

const QUEUE_SIZE = 256, { NEXT, WRITE } = DESCRIPTOR_FLAG, HEADER = PAGES[2], STATUS = HEADER + BLOCK_REQUEST.bytes;

/** @returns the status of one request of a driver that takes `features` */
function statusOf(type: number, features: readonly number[], ring: boolean): number {
  const driver = new TestDriver(8), { memory, layout } = driver, end: (() => void)[] = [];
  const queue = new Virtqueue(memory, new Uint32Array(Virtqueue.stateWords(QUEUE_SIZE)));
  assertEquals(queue.begin(layout, { indirect: false, eventIndex: false }), true);
  let watch!: Watch;
  const host: Pick<DeviceModelHost, "memory" | "watch" | "beforeStop" | "beforeRelief" | "whenRelieved"> = {
    memory,
    watch: (one) => void (watch = one),
    beforeStop: (stop) => void end.push(stop),
    beforeRelief() {},
    whenRelieved() {},
  };
  const disk = { file: Descriptor.open("/dev/null", false), sectors: 8, readOnly: false };
  const device = new VirtioBlock(host as DeviceModelHost, disk, 1, ring);
  device.transport = {
    queues: [queue],
    isLive: true,
    usedBuffer: () => queue.publish(),
    called() {},
    changed() {},
    fail() {},
  };
  device.start(new Set(features));
  memory.view.setUint32(memory.at(HEADER + BLOCK_REQUEST.type), type, true);
  const buffers = [[HEADER, BLOCK_REQUEST.bytes, NEXT], [PAGES[1], 512, NEXT], [STATUS, 1, WRITE]] as const;
  buffers.forEach(([addr, len, flags], index) =>
    driver.descriptor(layout.descriptors, index, { addr, len, flags, next: index + 1 })
  );
  driver.offer(0);
  device.notified(0);
  while (driver.used.length === 0) {
    const poll = new PollSet(1);
    poll.add(watch.descriptor, POLLIN);
    poll.wait();
    watch.ready(POLLIN);
  }
  end.forEach((stop) => stop());
  return memory.bytes[memory.at(STATUS)];
}

for (const ring of [true, false]) {
  Deno.test(`what is written is made stable at once for a driver that knows no flush (${ring ? "io_uring" : "calls"})`, () => {
    assertEquals(statusOf(BLOCK_TYPE.OUT, [BLOCK_FEATURE.FLUSH], ring), BLOCK_STATUS.OK);
    assertEquals(statusOf(BLOCK_TYPE.FLUSH, [BLOCK_FEATURE.FLUSH], ring), BLOCK_STATUS.IOERR, "which fails here");
    assertEquals(statusOf(BLOCK_TYPE.OUT, [], ring), BLOCK_STATUS.IOERR);
  });
}
