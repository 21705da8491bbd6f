import { assertEquals } from "@std/assert";
import { DATA_IS_PTR, DF, DIR, DIR_READ, DIR_WRITE, STATE, TYPE } from "../../src/ioreq/abi.ts";
import { between } from "../support/between.ts";
import { ioreqPages, IoreqSlots } from "../../src/ioreq/slots.ts";

const PAGE = 4096, SLOT = 32, SLOTS = 128;

function page(): { page: IoreqSlots; bytes: Uint8Array } {
  const memory = new ArrayBuffer(PAGE);
  return { page: new IoreqSlots(memory), bytes: new Uint8Array(memory) };
}

/** What Xen's struct ioreq would be in bytes (xen/hvm/ioreq.h). */
function ioreq(
  fields: { addr: bigint; data: bigint; count: number; size: number; port: number; bits: number; type: number },
) {
  const view = new DataView(new ArrayBuffer(SLOT));
  view.setBigUint64(0, fields.addr, true);
  view.setBigUint64(8, fields.data, true);
  view.setUint32(16, fields.count, true);
  view.setUint32(20, fields.size, true);
  view.setUint32(24, fields.port, true);
  view.setUint8(30, fields.bits);
  view.setUint8(31, fields.type);
  return new Uint8Array(view.buffer);
}

Deno.test("a filled slot has the bytes of Xen's struct ioreq, and no other slot changes", () => {
  for (const vcpu of [0, 1, 127]) {
    const { page: subject, bytes } = page();
    bytes.fill(0xee);
    bytes.fill(0, vcpu * SLOT, vcpu * SLOT + SLOT);
    subject.setPort(vcpu, 0x89abcdef);
    subject.fill(vcpu, TYPE.PCI_CONFIG, 0x12345678, 0x9abcdef0, 2);
    subject.setData(vcpu, 0xfedcba98, 0x76543210);
    subject.publish(vcpu, STATE.READY, DIR_READ);
    const expected = { addr: 0x9abcdef0_12345678n, data: 0x76543210_fedcba98n, count: 1, size: 2, port: 0x89abcdef };
    assertEquals(bytes.subarray(vcpu * SLOT, vcpu * SLOT + SLOT), ioreq({ ...expected, bits: 0x21, type: 2 }));
    bytes.fill(0xee, vcpu * SLOT, vcpu * SLOT + SLOT);
    assertEquals(bytes.every((byte) => byte === 0xee), true);
  }
});

Deno.test("every field of a slot is read as it stands in Xen's struct ioreq", () => {
  const { page: subject, bytes } = page();
  const fields = { addr: 0xf_ffff_ffff_f004n, data: 0x80000001_90000002n, count: 3, size: 8, port: 0xfffffffe };
  bytes.set(ioreq({ ...fields, bits: STATE.INPROCESS | DATA_IS_PTR | DF, type: TYPE.COPY }), (SLOTS - 1) * SLOT);
  const vcpu = SLOTS - 1;
  assertEquals(subject.address(vcpu), 0xf_ffff_ffff_f004);
  assertEquals([subject.dataLow(vcpu), subject.dataHigh(vcpu)], [0x90000002, 0x80000001]);
  assertEquals([subject.size(vcpu), subject.port(vcpu), subject.type(vcpu)], [8, 0xfffffffe, TYPE.COPY]);
  assertEquals([subject.state(vcpu), subject.isRead(vcpu)], [STATE.INPROCESS, false]);
  bytes[vcpu * SLOT + 30] |= DIR;
  assertEquals([subject.state(vcpu), subject.isRead(vcpu)], [STATE.INPROCESS, true]);
});

Deno.test("setState() keeps the request's own bits, publish() sets them all", () => {
  const { page: subject, bytes } = page();
  const bits = 7 * SLOT + 30;
  bytes[bits] = DATA_IS_PTR | DIR | DF | STATE.READY;
  for (const state of [STATE.INPROCESS, STATE.IORESP_READY, STATE.NONE, 15]) {
    subject.setState(7, state);
    assertEquals(bytes[bits], DATA_IS_PTR | DIR | DF | state);
    assertEquals(subject.state(7), state);
  }
  subject.publish(7, STATE.READY, DIR_WRITE);
  assertEquals([bytes[bits], bytes[bits - 1], bytes[bits + 1]], [STATE.READY, 0, 0]);
  subject.publish(7, STATE.READY, DIR_READ);
  assertEquals(bytes[bits], STATE.READY | DIR);
});

Deno.test("a page has a slot for each of 128 vCPUs", () => {
  const { page: subject, bytes } = page();
  for (let vcpu = 0; vcpu < SLOTS; vcpu++) subject.fill(vcpu, TYPE.PIO, vcpu, 0, 1);
  for (let vcpu = 0; vcpu < SLOTS; vcpu++) assertEquals(bytes[vcpu * SLOT], vcpu);
});

Deno.test("ioreqPages() is the number of vCPUs over 128, rounded up", () => {
  const rows = [[0, 0], [1, 1], [127, 1], [128, 1], [129, 2], [256, 2], [257, 3], [300, 3], [1024, 8], [4096, 32]];
  for (const [vcpus, pages] of rows) assertEquals(ioreqPages(vcpus), pages, `${vcpus} vCPUs`);
});

Deno.test("slots go on from page to page: slot n is array[n], whatever page it is in", () => {
  const memory = new ArrayBuffer(3 * PAGE), subject = new IoreqSlots(memory), view = new DataView(memory);
  for (let vcpu = 0; vcpu < 3 * SLOTS; vcpu++) {
    subject.setPort(vcpu, 1 + vcpu);
    subject.fill(vcpu, TYPE.COPY, vcpu, 7, 4);
    subject.publish(vcpu, vcpu % 4, DIR_READ);
  }
  for (const vcpu of [0, 127, 128, 255, 256, 383]) {
    const at = vcpu * SLOT;
    assertEquals([view.getUint32(at, true), view.getUint32(at + 24, true)], [vcpu, 1 + vcpu]);
    assertEquals([subject.address(vcpu), subject.port(vcpu)], [7 * 2 ** 32 + vcpu, 1 + vcpu]);
    assertEquals([subject.addressLow(vcpu), subject.addressHigh(vcpu)], [vcpu, 7]);
    assertEquals([subject.state(vcpu), subject.count(vcpu), subject.isPointer(vcpu)], [vcpu % 4, 1, false]);
  }
});

Deno.test("advance() moves a state that is what it was taken for, and no other bit", () => {
  const { page: subject, bytes } = page();
  const bits = 9 * SLOT + 30;
  for (const { from, is } of [{ from: 1, is: 1 }, { from: 1, is: 2 }, { from: 0, is: 3 }, { from: 15, is: 15 }]) {
    bytes[bits] = DATA_IS_PTR | DIR | DF | is;
    assertEquals(subject.advance(9, from, STATE.INPROCESS), from === is);
    assertEquals(bytes[bits], DATA_IS_PTR | DIR | DF | (from === is ? STATE.INPROCESS : is));
  }
  assertEquals([subject.isPointer(9), subject.isRead(9)], [true, true]);
});

Deno.test("advance() that finds the byte changed under its hands gives up: the request is somebody else's", () => {
  const { page: subject } = page();
  subject.setState(3, STATE.READY);
  const take = () => subject.setState(3, STATE.INPROCESS);
  assertEquals(between("compareExchange", take, () => subject.advance(3, STATE.READY, STATE.IORESP_READY)), false);
  assertEquals(subject.state(3), STATE.INPROCESS);
});
