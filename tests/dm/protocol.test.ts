/** The protocol's packets, and that its document says what its table does. */

import { assert, assertEquals } from "@std/assert";
import {
  decodeReply,
  decodeRequest,
  encodeRefusal,
  encodeReply,
  encodeRequest,
  type Layout,
  OPERATIONS,
  PROTOCOL_VERSION,
  SHUTDOWN_REASONS,
} from "../../src/dm/protocol.ts";
import { COMMAND, COMMAND_ENTRIES, COMMAND_RING_BYTES, CommandRing } from "../../src/ioreq/command_ring.ts";
import { DEVICE_STATE_BYTES, FAULT_SLOTS, faultPort, NOTIFICATION } from "../../src/ioreq/notification.ts";
import { WAKE_BOARD, WAKE_BOARD_BYTES } from "../../src/events/wake_board.ts";
import { EEXIST, EINVAL } from "../../src/linux/errno.ts";

const DOCUMENT = Deno.readTextFileSync(new URL("../../docs/device-model-protocol.md", import.meta.url));
const text = DOCUMENT.replaceAll(/\s+/g, " ");
const layouts = Object.entries<Layout>(OPERATIONS);

Deno.test("a request's bytes are little-endian, and come back as values", () => {
  const packet = encodeRequest("map_io_range_to_ioreq_server", { id: 3, type: 1, start: 0x1122334455n, end: 0x66n });
  const bytes = "03000000 00000000 0300 0000 01000000 5544332211000000 6600000000000000";
  assertEquals(Array.from(packet, (byte) => byte.toString(16).padStart(2, "0")).join(""), bytes.replaceAll(" ", ""));
  const values = { id: 3, type: 1, start: 0x1122334455n, end: 0x66n };
  assertEquals(decodeRequest(packet), { name: "map_io_range_to_ioreq_server", values });
});

Deno.test("a reply has the request's operation and IN members, a result of 0, and its OUT members", () => {
  const request = encodeRequest("acquire_resource", { id: 2, frame: 1, nr_frames: 0 });
  const reply = encodeReply(request, "acquire_resource", { nr_frames: 9 });
  assertEquals([...reply.slice(0, 8)], [1, 1, 0, 0, 0, 0, 0, 0]);
  const decoded = decodeReply("acquire_resource", reply)!;
  assertEquals([decoded.result, decoded.out, decoded.list.byteLength], [0, { nr_frames: 9 }, 0]);
  assertEquals(decodeRequest(reply), { name: "acquire_resource", values: { id: 2, frame: 1, nr_frames: 9 } });
});

Deno.test("a list follows the operation's structure, not what the request was filled up with", () => {
  const request = new Uint8Array(32).fill(0xa5, 16);
  request.set(encodeRequest("gfn_pages", { id: 1 }));
  const reply = encodeReply(request, "gfn_pages", { nr_gfns: 2 }, new Uint8Array([1, 2, 3]));
  assertEquals(reply.length, 8 + 8 + 3);
  const { out, list } = decodeReply("gfn_pages", reply)!;
  assertEquals([out.nr_gfns, list.byteLength, list.getUint8(2)], [2, 3, 3]);
});

Deno.test("a refusal is the request with a negative result", () => {
  const request = encodeRequest("nr_vcpus", {});
  const refusal = encodeRefusal(request, EEXIST);
  assertEquals(decodeReply("nr_vcpus", refusal)!.result, -EEXIST);
  assertEquals(refusal.length, request.length);
  assertEquals(request[4], 0, "the request is as it was");
});

Deno.test("a reply to another operation, or one that is too short, is none", () => {
  const reply = encodeReply(encodeRequest("nr_vcpus", {}), "nr_vcpus", { vcpus: 1 });
  assertEquals(decodeReply("hello", reply), undefined);
  assertEquals(decodeReply("nr_vcpus", reply.slice(0, -1)), undefined);
  assertEquals(decodeReply("nr_vcpus", reply)?.out, { vcpus: 1 });
});

Deno.test("views into larger buffers are read where they are", () => {
  const buffer = new Uint8Array(64).fill(0xff);
  const packet = encodeRequest("set_isa_irq_level", { isa_irq: 4, level: 1 });
  buffer.set(packet, 20);
  const view = buffer.subarray(20, 20 + packet.length);
  assertEquals(decodeRequest(view), { name: "set_isa_irq_level", values: { isa_irq: 4, level: 1 } });
  assertEquals(encodeRefusal(view, EINVAL).length, packet.length);
});

Deno.test("the document has every operation with its number and size", () => {
  assert(text.includes(`Version ${PROTOCOL_VERSION}.`));
  for (const [name, { op, sizeBytes }] of layouts) {
    const entry = op < 0x100
      ? `| \`${name}\` | ${op} | ${sizeBytes} |`
      : `**${name.toUpperCase()}, 0x${op.toString(16)}**, ${sizeBytes} bytes`;
    assert(text.includes(entry), `${entry} is not in the document`);
  }
});

Deno.test("the document has the offsets of the notification area and the reasons of remote_shutdown", () => {
  const { released, asleep, pagerAsleep, pending, wakeBoard, deviceState, faults, commands } = NOTIFICATION;
  for (
    const row of [
      `| ${released} | u32 \`released\``,
      `| ${asleep} | u32 \`asleep\``,
      `| ${pagerAsleep} | u32 \`pager_asleep\``,
      `| ${pending} | u32 \`pending[(vcpus + ${faultPort(0, FAULT_SLOTS)} + 31) / 32]\``,
      `| ${wakeBoard} | the wake board, ${WAKE_BOARD_BYTES} bytes |`,
      `| ${deviceState} | device state, ${DEVICE_STATE_BYTES} bytes`,
      `| ${faults} | the fault slots: ${FAULT_SLOTS} \`struct ioreq\``,
      `| ${commands} | the command ring, ${COMMAND_RING_BYTES} bytes |`,
      `| ${WAKE_BOARD.flags} | u32 \`flags[128]\``,
      `| ${WAKE_BOARD.asleep} + w | u8`,
    ]
  ) assert(text.includes(row), `${row} is not in the document`);
  assert(text.includes(`port ${faultPort(0, 0)} + \`vcpus\` + s is that of fault slot s`));
  for (const [number] of SHUTDOWN_REASONS) {
    assert(new RegExp(number < 0x100 ? `remote_shutdown.*\\b${number}\\b` : `0x${number.toString(16)} the`).test(text));
  }
});

Deno.test("the document has the layout of the command ring: a command written after it is read back", () => {
  const memory = new ArrayBuffer(COMMAND_RING_BYTES), ring = new CommandRing(memory, 0), view = new DataView(memory);
  const at = (member: string) => {
    const match = text.match(new RegExp(`\\| (\\d+) \\| [ui]\\d+ \`${member}\``));
    assert(match !== null, `${member} is not in the document`);
    return Number(match[1]);
  };
  const [, entries, count, size] = text.match(/\| (\d+) \| (\d+) entries of (\d+) bytes; command n is in entry/)!.map(
    Number,
  );
  assertEquals([count, entries + count * size], [COMMAND_ENTRIES, COMMAND_RING_BYTES]);
  for (let index = 0; index < 2; index++) {
    ring.push(
      index === 0 ? COMMAND.MAP : COMMAND.REVOKE,
      0x12_3456_789a,
      0x1234_5678,
      0xabcd,
      0x8765_4321,
      index === 0,
    );
    const entry = entries + index * size;
    assertEquals(view.getUint8(entry + at("op")), index + 1);
    assertEquals(view.getUint8(entry + at("read_only")), 1 - index);
    assertEquals(view.getUint16(entry + at("memory"), true), 0xabcd);
    assertEquals(view.getUint32(entry + at("count"), true), 0x1234_5678);
    assertEquals(view.getBigUint64(entry + at("gfn"), true), 0x12_3456_789an);
    assertEquals(view.getUint32(entry + at("frame"), true), 0x8765_4321);
    view.setInt32(entry + at("result"), -EINVAL - index, true);
    assertEquals(ring.result(index), -EINVAL - index);
  }
  assertEquals(view.getUint32(at("pushed"), true), 2);
  view.setUint32(at("taken"), 2, true);
  assertEquals(ring.taken, 2);
});
