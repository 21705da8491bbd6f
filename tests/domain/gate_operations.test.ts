/** Every operation of the protocol: what it does, each refusal with its error number, padding, short and long packets. */

import { assert, assertEquals } from "@std/assert";
import type { Answer } from "../../src/domain/gate_operations.ts";
import {
  encodeRequest,
  type Inputs,
  type Layout,
  MAX_REQUEST_BYTES,
  type OperationName,
  OPERATIONS,
} from "../../src/dm/protocol.ts";
import { RANGE } from "../../src/ioreq/abi.ts";
import { DEVICE_STATE_BYTES, NOTIFICATION_BYTES } from "../../src/ioreq/notification.ts";
import { LinuxError } from "../../src/linux/linux_error.ts";
import { Peer } from "./gate_peer.ts";

const LATE = 2n ** 64n - 1n, SAFE = Number.MAX_SAFE_INTEGER;

/** Every member of 64 bits. */
const ZEROES = { start: 0n, end: 0n, addr: 0n, gfn: 0n, nr_pages: 0n, bytes: 0n, value: 0n };

const layouts = Object.entries(OPERATIONS) as [OperationName, Layout][];

/** A request for an operation that can be carried out, whatever it does. */
function goodRequest(peer: Peer, name: OperationName): Uint8Array<ArrayBuffer> {
  const id = peer.create(1), way = name === "gfn_pages" ? 0 : 1;
  peer.do("get_ioreq_server_info", { id, flags: way });
  if (name === "unmap_io_range_from_ioreq_server") {
    peer.do("map_io_range_to_ioreq_server", { id, type: 0, start: 0x500n, end: 0x507n });
  }
  if (name === "unmap_window") {
    peer.domain.asked.push(["window", id, 0xfd000, 2]);
    peer.do("map_io_range_to_ioreq_server", { id, type: 1, start: 0xfd00_0000n, end: 0xfd00_1fffn });
  }
  if (name === "connect_write") {
    peer.do("map_io_range_to_ioreq_server", { id, type: 0, start: 0xfee0_0000n, end: 0xfee0_0003n });
  }
  const range = {
    type: 0,
    length: 4,
    value: 0n,
    start: 0x500n,
    end: 0x507n,
    gfn: 0xfd000n,
    nr_pages: 2n,
    bytes: 4096n,
  };
  const values = { id, version: 1, ...range, addr: 0xfee0_0000n, data: 0x41 };
  const rest = Object.fromEntries(Object.keys(OPERATIONS[name].in).map((field) => [field, 0]));
  return encodeRequest(name, { ...rest, ...values } as unknown as Inputs<typeof name>);
}

for (const [name, { sizeBytes, zero }] of layouts) {
  Deno.test(`${name}: its own size and more, up to struct xen_dm_op, is taken; less and more than that is EINVAL`, () => {
    using peer = new Peer();
    const good = goodRequest(peer, name);
    assertEquals(good.length, 8 + sizeBytes);
    for (let length = 8; length < good.length; length++) {
      assertEquals(peer.raw(good.slice(0, length)), "EINVAL", `${length}`);
    }
    const long = new Uint8Array(MAX_REQUEST_BYTES + 1);
    long.fill(0xa5, good.length);
    long.set(good);
    assertEquals(peer.raw(long), "EINVAL");
    assertEquals((peer.packet(long) as Answer).packet.length, 8, "of what is too long only the header comes back");
    assertEquals(peer.raw(new Uint8Array([...long, ...new Uint8Array(4000)])), "EINVAL");
    assertEquals(peer.raw(long.subarray(0, MAX_REQUEST_BYTES)), "");
  });

  Deno.test(`${name}: padding that is not zero is EINVAL`, () => {
    using peer = new Peer();
    const good = goodRequest(peer, name);
    const padding = [4, 5, 6, 7, ...zero.flatMap(([at, bytes]) => Array.from({ length: bytes }, (_, n) => 8 + at + n))];
    for (const at of padding) {
      const bad = good.slice();
      bad[at] = 1;
      assertEquals(peer.raw(bad), "EINVAL", `byte ${at}`);
    }
    assertEquals(peer.raw(good), "", "and nothing was done before");
  });

  const { id } = OPERATIONS[name].in as { id?: unknown };
  if (id === undefined) continue;
  Deno.test(`${name}: no such server is ENOENT, another device model's is EPERM`, () => {
    using owner = new Peer();
    const good = goodRequest(owner, name), stranger = new Peer({}, 2, owner.domain);
    if (name === "acquire_resource") new DataView(good.buffer).setUint32(8 + 8, 1, true); // no size query
    assertEquals(stranger.raw(good), "EPERM");
    for (const id of [7, 8, 0xffff]) {
      const bad = good.slice();
      new DataView(bad.buffer).setUint16(8, id, true);
      assertEquals(owner.raw(bad), "ENOENT", `${id}`);
    }
  });
}

Deno.test("operations that Xen has and this hypervisor does not, and numbers that nobody has, are EOPNOTSUPP", () => {
  using peer = new Peer();
  const known = new Set(layouts.map(([, { op }]) => op));
  for (const op of [0, 7, 11, 12, 13, 15, 17, 18, 21, 0xff, 0x10e, 0xffff_ffff]) {
    assert(!known.has(op));
    const request = new Uint8Array(MAX_REQUEST_BYTES);
    new DataView(request.buffer).setUint32(0, op, true);
    assertEquals(peer.raw(request), "EOPNOTSUPP", `${op}`);
  }
});

Deno.test("before a successful HELLO every other operation is EPROTO", () => {
  using peer = new Peer();
  peer.admitted = peer.free = false;
  for (const [name] of layouts) {
    const request = encodeRequest(name, { ...ZEROES, version: 1 } as unknown as Inputs<typeof name>);
    assertEquals(peer.raw(request), name === "hello" ? "EBUSY" : "EPROTO", name);
  }
  peer.free = true;
  assertEquals(peer.try("hello", { version: 1 }), "");
});

Deno.test("hello gives the shape of the domain, and refuses other versions", () => {
  using peer = new Peer({ vcpus: 300, vcpusPerWaiter: 128 });
  assertEquals(peer.do("hello", { version: 1 }).out, { version: 1, vcpus: 300, vcpus_per_waiter: 128, waiters: 3 });
  for (const version of [0, 2, 0xffff_ffff]) assertEquals(peer.try("hello", { version }), "EOPNOTSUPP");
});

Deno.test("create_ioreq_server gives the lowest free id, and says which handling there is not, and when there are eight", () => {
  using peer = new Peer();
  assertEquals([0, 1, 2].map((kind) => peer.create(kind)), [0, 1, 2]);
  for (const handle_bufioreq of [3, 255]) assertEquals(peer.try("create_ioreq_server", { handle_bufioreq }), "EINVAL");
  assertEquals(Array.from({ length: 5 }, () => peer.create()), [3, 4, 5, 6, 7]);
  assertEquals(peer.try("create_ioreq_server", { handle_bufioreq: 0 }), "ENOSPC");
  peer.do("destroy_ioreq_server", { id: 4 });
  assertEquals(peer.create(), 4);
});

Deno.test("get_ioreq_server_info gives the buffered port, and the gfns unless they are not wanted", () => {
  using peer = new Peer({ vcpus: 130 });
  const off = peer.create(0), atomic = peer.create(2);
  const wanting = (id: number, flags: number) => peer.do("get_ioreq_server_info", { id, flags }).out;
  assertEquals(wanting(off, 1), { bufioreq_port: 0, ioreq_gfn: 0n, bufioreq_gfn: 0n });
  assertEquals(wanting(atomic, 1), { bufioreq_port: 131, ioreq_gfn: 0n, bufioreq_gfn: 0n });
  const base = BigInt(peer.domain.guestFrames.pool.base);
  assertEquals(wanting(atomic, 0), { bufioreq_port: 131, ioreq_gfn: base, bufioreq_gfn: base + 2n });
  assertEquals(wanting(atomic, 0).ioreq_gfn, base, "asked again, they are where they were");
  for (const flags of [2, 3, 0x8000]) {
    assertEquals(peer.try("get_ioreq_server_info", { id: off, flags }), "EINVAL", `${flags}`);
  }
});

Deno.test("the pages come as a resource or by gfn: whoever has got them in one way is refused the other with EPERM", () => {
  using peer = new Peer();
  const resource = peer.create(1), legacy = peer.create(1);
  peer.do("acquire_resource", { id: resource, frame: 0, nr_frames: 2 });
  assertEquals(peer.try("get_ioreq_server_info", { id: resource, flags: 0 }), "EPERM");
  assertEquals(peer.try("get_ioreq_server_info", { id: resource, flags: 1 }), "");
  assertEquals(peer.try("gfn_pages", { id: resource }), "ENOENT");
  peer.do("get_ioreq_server_info", { id: legacy, flags: 0 });
  assertEquals(peer.try("acquire_resource", { id: legacy, frame: 1, nr_frames: 1 }), "EPERM");
});

Deno.test("a dying domain gives no pages: EINVAL", () => {
  using peer = new Peer();
  const id = peer.create();
  peer.domain.dying = true;
  assertEquals(peer.try("acquire_resource", { id, frame: 1, nr_frames: 1 }), "EINVAL");
  assertEquals(peer.try("get_ioreq_server_info", { id, flags: 0 }), "EINVAL");
});

Deno.test("acquire_resource gives one memory file of one page for each frame, and checks every index", () => {
  using peer = new Peer({ vcpus: 300 });
  const id = peer.create(2), plain = peer.create(0);
  assertEquals(peer.do("acquire_resource", { id, frame: 0, nr_frames: 0 }).out.nr_frames, 4, "the size");
  const { descriptors } = peer.do("acquire_resource", { id, frame: 0, nr_frames: 4 });
  assertEquals(descriptors.map(sizeOf), [4096, 4096, 4096, 4096]);
  assertEquals(new Set(descriptors).size, 4);
  assertEquals(peer.do("acquire_resource", { id, frame: 2, nr_frames: 2 }).descriptors, descriptors.slice(2));
  const table: [id: number, frame: number, count: number, error: string][] = [
    [plain, 0, 1, "ENOENT"],
    [plain, 0, 9, "ENOENT"],
    [plain, 1, 3, ""],
    [plain, 1, 4, "EINVAL"],
    [id, 4, 1, "EINVAL"],
    [id, 0, 5, "EINVAL"],
    [id, 0, 0xffff_ffff, "EINVAL"],
    [id, 0xffff_ffff, 0xffff_ffff, "EINVAL"],
    [id, 0xffff_ffff, 1, "EINVAL"],
  ];
  for (const [id, frame, nr_frames, error] of table) {
    assertEquals(peer.try("acquire_resource", { id, frame, nr_frames }), error, `${frame} + ${nr_frames}`);
  }
});

Deno.test("gfn_pages gives the gfns and a page for each, the buffered one first", () => {
  using peer = new Peer({ vcpus: 129 });
  const id = peer.create(1);
  const { ioreq_gfn, bufioreq_gfn } = peer.do("get_ioreq_server_info", { id, flags: 0 }).out;
  const { out, list, descriptors } = peer.do("gfn_pages", { id });
  const gfns = Array.from({ length: out.nr_gfns }, (_, index) => list.getBigUint64(index * 8, true));
  assertEquals(gfns, [bufioreq_gfn, ioreq_gfn, ioreq_gfn + 1n]);
  assertEquals(list.byteLength, 24);
  assertEquals(descriptors.map(sizeOf), [4096, 4096, 4096]);
});

Deno.test("server_memory gives the notification area and the device model's doorbell", () => {
  using peer = new Peer();
  const { out, descriptors: [area, doorbell] } = peer.do("server_memory", { id: peer.create() });
  assertEquals([out.bytes, sizeOf(area)], [NOTIFICATION_BYTES, NOTIFICATION_BYTES]);
  assert(NOTIFICATION_BYTES > DEVICE_STATE_BYTES);
  assertEquals(Deno.readLinkSync(`/proc/self/fd/${doorbell}`), "anon_inode:[eventfd]");
});

Deno.test("waiters gives 250 eventfds at a time", () => {
  using peer = new Peer({ vcpus: 600 });
  const all = peer.domain.waiterDoorbells;
  for (const [first, count] of [[0, 250], [250, 250], [500, 100], [599, 1], [600, 0], [0xffff_ffff, 0]]) {
    const { out, descriptors } = peer.do("waiters", { first });
    assertEquals([out.nr_waiters, descriptors], [600, all.slice(first, first + count)]);
  }
});

Deno.test("guest_memory gives what was granted to this device model, and nothing to one that was granted nothing", () => {
  using peer = new Peer();
  const grants = [0, 1, 2].map((n) => ({
    address: n * 2 ** 40,
    sizeBytes: 4096 * (n + 1),
    descriptor: n,
    offset: n * 8192,
  }));
  peer.domain.granted.set(1, grants);
  const { out, list, descriptors } = peer.do("guest_memory", { first: 1 });
  assertEquals([out.nr_ranges, descriptors, list.byteLength], [3, [1, 2], 48]);
  const words = Array.from({ length: 6 }, (_, index) => Number(list.getBigUint64(index * 8, true)));
  assertEquals(words, [2 ** 40, 8192, 8192, 2 ** 41, 12288, 16384]);
  const other = new Peer({}, 2, peer.domain).do("guest_memory", { first: 0 });
  assertEquals([other.out.nr_ranges, other.descriptors, other.list.byteLength], [0, [], 0]);
});

Deno.test("ranges are mapped and unmapped with Xen's refusals; ends from 2^53 on are as good as 2^53 - 1", () => {
  using peer = new Peer();
  const id = peer.create();
  const map = (type: number, start: bigint, end: bigint) =>
    peer.try("map_io_range_to_ioreq_server", { id, type, start, end });
  const unmap = (type: number, start: bigint, end: bigint) =>
    peer.try("unmap_io_range_from_ioreq_server", { id, type, start, end });
  const ranges = (type: 0 | 1 | 2) => peer.domain.table.server(id).ranges[type].list();
  assertEquals(map(RANGE.PORT, 0x500n, 0x507n), "");
  assertEquals(map(RANGE.PORT, 0x507n, 0x508n), "EEXIST");
  assertEquals(map(RANGE.PORT, 0x508n, 0x507n), "EINVAL");
  assertEquals(map(3, 0n, 1n), "EINVAL");
  assertEquals(map(0xffff_ffff, 0n, 1n), "EINVAL");
  assertEquals(unmap(RANGE.PORT, 0x504n, 0x508n), "ENOENT");
  assertEquals(unmap(RANGE.PORT, 0x504n, 0x505n), "");
  assertEquals(ranges(RANGE.PORT), [[0x500, 0x503], [0x506, 0x507]]);
  assertEquals(map(RANGE.PCI, 0x18n, 0x18n), "");
  assertEquals(map(RANGE.MEMORY, 2n ** 52n, LATE), "");
  assertEquals(ranges(RANGE.MEMORY), [[2 ** 52, SAFE]]);
  assertEquals(map(RANGE.MEMORY, LATE - 1n, LATE), "EINVAL", "no guest has addresses there");
  assertEquals(map(RANGE.MEMORY, LATE, 0n), "EINVAL");
  assertEquals(unmap(RANGE.MEMORY, 2n ** 52n, 2n ** 53n - 1n), "");
  for (let n = 0n; n < 256n; n++) assertEquals(map(RANGE.MEMORY, n * 16n, n * 16n), "");
  assertEquals(map(RANGE.MEMORY, 0x10000n, 0x10000n), "ENOMEM");
});

Deno.test("buffer_io_range is for servers with a buffered ring, ports and memory", () => {
  using peer = new Peer();
  const off = peer.create(0), legacy = peer.create(1);
  const buffer = (id: number, type: number) => peer.try("buffer_io_range", { id, type, start: 0x600n, end: 0x607n });
  assertEquals([buffer(off, 0), buffer(legacy, 2), buffer(legacy, 9)], ["EINVAL", "EINVAL", "EINVAL"]);
  assertEquals([buffer(legacy, 0), buffer(legacy, 0), buffer(legacy, 1)], ["", "", ""]);
  assertEquals(peer.domain.table.server(legacy).bufferedRanges[0].list(), [[0x600, 0x607]]);
  assertEquals(peer.try("buffer_io_range", { id: legacy, type: 0, start: 9n, end: 8n }), "EINVAL");
});

Deno.test("a server is enabled and disabled by any value but and by 0, and enabling is what readiness means", () => {
  using peer = new Peer();
  const id = peer.create(1), server = peer.domain.table.server(id);
  const set = (enabled: number) => peer.do("set_ioreq_server_state", { id, enabled });
  set(0);
  assertEquals([server.enabled, peer.serving], [false, 0]);
  set(1);
  set(255);
  assertEquals([server.enabled, peer.serving], [true, 2]);
  set(0);
  assertEquals(server.enabled, false);
});

Deno.test("pages by gfn are the guest's except while the server is enabled", () => {
  using peer = new Peer();
  const id = peer.create(1);
  peer.do("get_ioreq_server_info", { id, flags: 0 });
  const { visible } = peer.domain;
  const seen = [1, 0, 1].map((enabled) => {
    peer.do("set_ioreq_server_state", { id, enabled });
    return visible.size;
  });
  assertEquals(seen, [0, 2, 0]);
});

Deno.test("interrupts and links go to the domain as they were asked for, and other levels than 0 and 1 are EINVAL", () => {
  using peer = new Peer();
  peer.do("set_irq_level", { irq: 23, level: 1 });
  peer.do("set_isa_irq_level", { isa_irq: 4, level: 0 });
  peer.do("set_pci_intx_level", { domain: 1, bus: 2, device: 31, intx: 3, level: 1 });
  peer.do("set_pci_link_route", { link: 3, isa_irq: 11 });
  peer.do("inject_msi", { addr: 0xffff_ffff_fee0_1000n, data: 0xffff_ffff });
  assertEquals(peer.domain.asked, [
    ["irq", 23, true],
    ["isa", 4, false],
    ["intx", 1, 2, 31, 3, true],
    ["link", 3, 11],
    ["msi", 0xffff_ffff_fee0_1000n, 0xffff_ffff],
  ]);
  for (const level of [2, 0xff]) {
    assertEquals(peer.try("set_irq_level", { irq: 1, level }), "EINVAL");
    assertEquals(peer.try("set_isa_irq_level", { isa_irq: 1, level }), "EINVAL");
    assertEquals(peer.try("set_pci_intx_level", { domain: 0, bus: 0, device: 1, intx: 0, level }), "EINVAL");
  }
  assertEquals(peer.try("set_irq_level", { irq: 24, level: 1 }), "EINVAL", "what the domain refuses");
  assertEquals(peer.domain.asked.length, 5);
});

Deno.test("remote_shutdown knows Xen's reasons and ours", () => {
  using peer = new Peer();
  for (const reason of [0, 1, 3, 4, 5, 0x100, 0x101]) peer.do("remote_shutdown", { reason });
  assertEquals(
    peer.domain.asked.map(([, reason]) => reason),
    ["poweroff", "reset", "crash", "reset", "reset", "left", "console closed"],
  );
  for (const reason of [2, 6, 0x102, 0xffff_ffff]) assertEquals(peer.try("remote_shutdown", { reason }), "EINVAL");
});

Deno.test("nr_vcpus gives the number of vCPUs", () => {
  using peer = new Peer({ vcpus: 1024 });
  assertEquals(peer.do("nr_vcpus", {}).out, { vcpus: 1024 });
});

Deno.test("what the host refuses is its own error; a mistake of ours is EIO, and told", () => {
  using peer = new Peer();
  peer.domain.mistake = new LinuxError("ioctl KVM_IRQ_LINE", 28, "VM");
  assertEquals(peer.try("set_irq_level", { irq: 1, level: 1 }), "ENOSPC");
  assertEquals(peer.faults, []);
  peer.domain.mistake = new TypeError("undefined is not a function");
  assertEquals(peer.try("set_irq_level", { irq: 1, level: 1 }), "EIO");
  assertEquals(peer.faults.splice(0), [peer.domain.mistake]);
});

/** Bytes of an open memory file. */
function sizeOf(descriptor: number): number {
  return Deno.statSync(`/proc/self/fd/${descriptor}`).size;
}
