import { assertEquals } from "@std/assert";
import { TWO_LEVEL_ABI } from "../../src/hypercall/event_layout.ts";
import { GuestScene, GuestView } from "./guest_scene.ts";

Deno.test("TWO_LEVEL_ABI has the offsets of Xen's structures", () => {
  assertEquals(TWO_LEVEL_ABI, {
    32: { pending: 2048, mask: 2176, selector: 4 },
    64: { pending: 2048, mask: 2560, selector: 8 },
    vcpuInfo: 0,
    vcpuInfoBytes: 64,
    legacyVcpus: 32,
    upcallMask: 0x100,
  });
});

/** Bytes of shared_info that one event changes: port, vCPU, width, [offset, value] each. */
const BYTES: [number, number, 32 | 64, [number, number][]][] = [
  [1, 0, 64, [[0, 1], [8, 1], [2048, 2]]],
  [63, 0, 64, [[0, 1], [8, 1], [2048 + 7, 0x80]]],
  [64, 3, 64, [[192, 1], [200, 2], [2048 + 8, 1]]],
  [2049, 1, 64, [[64, 1], [64 + 8 + 4, 1], [2048 + 256, 2]]],
  [4095, 2, 64, [[128, 1], [128 + 8 + 7, 0x80], [2048 + 511, 0x80]]],
  [1, 0, 32, [[0, 1], [4, 1], [2048, 2]]],
  [32, 1, 32, [[64, 1], [68, 2], [2048 + 4, 1]]],
  [1023, 3, 32, [[192, 1], [192 + 7, 0x80], [2048 + 127, 0x80]]],
];

for (const [port, vcpu, bits, expected] of BYTES) {
  Deno.test(`an event of port ${port} for vCPU ${vcpu} sets what a guest with ${bits}-bit longs looks at`, () => {
    using guest = GuestScene.create();
    guest.table.bits = bits;
    assertEquals(guest.channels.events.setPending(port, vcpu), 3);
    const shared = guest.bytes.subarray(guest.sharedByte(0), guest.sharedByte(4096));
    assertEquals([...shared.entries()].filter(([, byte]) => byte !== 0), expected);
    assertEquals(guest.channels.events.isPending(port), true);
    guest.channels.events.clearPending(port);
    assertEquals(guest.channels.events.isPending(port), false);
  });
}

Deno.test("of the mask, the selector and the upcall each stops an event as it does with Xen", () => {
  for (const bits of [32, 64] as const) {
    using guest = GuestScene.create();
    guest.table.bits = bits;
    const { events } = guest.channels;
    guest.mask(7);
    assertEquals(events.setPending(7, 0), 2, "masked: pending, and no more");
    assertEquals([guest.pending(), guest.selected(0), guest.isUpcallPending(0)], [[7], [], false]);
    assertEquals(events.setPending(7, 0), 0, "pending already");
    assertEquals(events.unmask(7, 0), true);
    assertEquals([guest.selected(0), guest.isUpcallPending(0), guest.masked()], [[0], true, []]);
    assertEquals(events.unmask(7, 0), false, "was not masked");
    assertEquals(events.setPending(8, 0), 2, "its long is selected already");
    assertEquals(events.setPending(bits, 0), 2, "its upcall is pending already");
    assertEquals(guest.selected(0), [0, 1]);
    assertEquals(guest.takeUpcall(0), true);
    guest.takeSelected(0);
    guest.mask(9);
    assertEquals(events.unmask(9, 0), false, "nothing is pending");
  }
});

Deno.test("ports that the guest's longs have no bit for have no events", () => {
  using guest = GuestScene.create();
  guest.table.bits = 32;
  const before = guest.frames.slice(), { events } = guest.channels;
  for (const port of [1024, 2000, 4095]) {
    assertEquals([events.setPending(port, 0), events.unmask(port, 0), events.isPending(port)], [0, false, false]);
    events.clearPending(port);
  }
  assertEquals(guest.frames, before);
});

for (const bits of [32, 64] as const) {
  Deno.test(`a vcpu_info moves with what is in it, and then everything is pending (${bits} bits)`, () => {
    using guest = GuestScene.create();
    guest.table.bits = bits;
    guest.channels.events.setPending(3, 1);
    guest.bytes[guest.sharedByte(64 + 1)] = 1;
    guest.bytes[guest.sharedByte(64 + 40)] = 0x5a;
    assertEquals(guest.channels.registerVcpuInfo(1, 7, 4096 - 64), 0);
    assertEquals(guest.take(), ["upcall 1"]);
    const at = 8 * 4096 - 64;
    assertEquals([guest.info(1), guest.bytes[at], guest.bytes[at + 1], guest.bytes[at + 40]], [at, 1, 1, 0x5a]);
    assertEquals(guest.selected(1), Array.from({ length: bits }, (_, long) => long));
    assertEquals(guest.bytes[at + 4 + (bits === 64 ? 0 : 4)], 0, "what lies beside the selector");
    guest.takeUpcall(1);
    guest.takeSelected(1);
    const old = guest.bytes.slice(guest.sharedByte(64), guest.sharedByte(128));
    assertEquals(guest.channels.events.setPending(200, 1), 3);
    assertEquals([guest.isUpcallPending(1), guest.selected(1)], [true, [bits === 64 ? 3 : 6]]);
    assertEquals(guest.bytes.slice(guest.sharedByte(64), guest.sharedByte(128)), old);
    assertEquals(guest.channels.registerVcpuInfo(1, 8, 0), -22, "only once");
    assertEquals(guest.channels.registerVcpuInfo(4, 8, 0), -2, "no such vCPU");
    assertEquals(guest.take(), []);
  });
}

Deno.test("a vCPU beyond shared_info's has events once it has a vcpu_info, masked and all pending", () => {
  using guest = GuestScene.create(100);
  const { channels } = guest, port = channels.bindIpi(32), shared = guest.frames.slice();
  shared[guest.pendingIndex(port)] |= 1 << port;
  assertEquals([channels.send(port), guest.frames], [0, shared]);
  guest.bytes.fill(0xcc, 9 * 4096, 9 * 4096 + 64);
  guest.take();
  assertEquals(channels.registerVcpuInfo(32, 9, 0), 0);
  const info = guest.bytes.slice(9 * 4096, 9 * 4096 + 64);
  assertEquals(info, new Uint8Array(64).fill(0xff, 8, 16).fill(1, 0, 2));
  assertEquals([guest.take(), channels.events.isUpcallPending(32)], [["upcall 32"], true]);
  assertEquals(channels.events.isUpcallPending(31), false);
});

Deno.test("another isolate sees where a vcpu_info has moved to, though it knew the old place", () => {
  using guest = GuestScene.create();
  const other = new GuestView(guest.memory.address);
  assertEquals(other.channels.events.setPending(1, 2), 3);
  guest.channels.registerVcpuInfo(2, 7, 128);
  guest.takeUpcall(2);
  guest.takeSelected(2);
  assertEquals(other.channels.events.setPending(70, 2), 3);
  assertEquals([guest.isUpcallPending(2), guest.selected(2)], [true, [1]]);
});
