import { assertEquals } from "@std/assert";
import { EXIT, RUN_PAGE } from "../../src/kvm/abi.ts";
import { exitName, RunPage } from "../../src/kvm/run_page.ts";

function runPage(): { page: RunPage; view: DataView<ArrayBuffer>; bytes: Uint8Array } {
  const memory = new ArrayBuffer(8192);
  return { page: new RunPage(memory), view: new DataView(memory), bytes: new Uint8Array(memory) };
}

Deno.test("RunPage reads a port access as KVM lays it out", () => {
  const { page, view } = runPage();
  view.setUint32(RUN_PAGE.exit_reason, EXIT.IO, true);
  view.setUint8(RUN_PAGE.io_direction, 1);
  view.setUint8(RUN_PAGE.io_size, 2);
  view.setUint16(RUN_PAGE.io_port, 0xfedc, true);
  view.setUint32(RUN_PAGE.io_count, 0x1_0203, true);
  view.setBigUint64(RUN_PAGE.io_data_offset, 4096n, true);
  assertEquals([page.reason, page.ioIsOut, page.ioSize, page.ioPort, page.ioCount, page.ioDataOffset], [
    EXIT.IO,
    true,
    2,
    0xfedc,
    0x1_0203,
    4096,
  ]);
  view.setUint8(RUN_PAGE.io_direction, 0);
  assertEquals(page.ioIsOut, false);
});

Deno.test("RunPage reads an MMIO access, whatever its address", () => {
  const { page, view } = runPage();
  view.setUint32(RUN_PAGE.mmio_len, 7, true);
  for (const address of [0, 0xfee0_0000, 0xffff_ffff, 2 ** 32, 0xf_ffff_ffff_fff8]) {
    view.setBigUint64(RUN_PAGE.mmio_phys_addr, BigInt(address), true);
    assertEquals(page.mmioAddress, address);
  }
  assertEquals([page.mmioSize, page.mmioIsWrite, page.mmioDataOffset], [7, false, 40]);
  view.setUint8(RUN_PAGE.mmio_is_write, 1);
  assertEquals(page.mmioIsWrite, true);
});

Deno.test("data() and setData() take 1, 2, 4 and 8 bytes anywhere in the page and touch no more", () => {
  for (
    const [size, written] of [[1, [0x88]], [2, [0x88, 0x77]], [4, [0x88, 0x77, 0x66, 0x95]], [8, [
      0x88,
      0x77,
      0x66,
      0x95,
      4,
      3,
      2,
      1,
    ]]] as const
  ) {
    for (const offset of [40, 4097, 4098, 8192 - size]) {
      const { page, bytes } = runPage();
      page.setData(offset, size, 0x9566_7788, 0x0102_0304);
      const expected = new Uint8Array(8192);
      expected.set(written, offset);
      assertEquals(bytes, expected);
      const low = size === 1 ? 0x88 : size === 2 ? 0x7788 : 0x9566_7788;
      assertEquals(page.data(offset, size), low);
    }
  }
});

Deno.test("fillOnes() answers a read of any size, and touches no more", () => {
  for (const size of [1, 2, 3, 4, 5, 6, 7, 8]) {
    const { page, bytes } = runPage();
    page.fillOnes(40, size);
    assertEquals([...bytes.subarray(39, 49)], Array.from({ length: 10 }, (_, at) => at >= 1 && at <= size ? 0xff : 0));
  }
});

Deno.test("setImmediateExit() is the byte that KVM looks at, and no other", () => {
  const { page, bytes } = runPage();
  page.setImmediateExit(true);
  assertEquals([...bytes.subarray(0, 4)], [0, 1, 0, 0]);
  page.setImmediateExit(false);
  assertEquals(bytes.every((byte) => byte === 0), true);
});

Deno.test("exitName() is the header's name without its prefix, or the number", () => {
  for (const [name, reason] of Object.entries(EXIT)) assertEquals(exitName(reason), name);
  assertEquals(exitName(99), "reason 99");
});
