import { assertEquals } from "@std/assert";
import { BytePorts } from "../../src/devices/byte_ports.ts";

Deno.test("BytePorts splits accesses into bytes for consecutive ports, the lowest first", () => {
  const log: [offset: number, value: number][] = [];
  const ports = new BytePorts({
    readByte: (offset) => 0x80 + offset,
    writeByte: (offset, value) => log.push([offset, value]),
  });
  ports.write(1, 1, 0xff);
  ports.write(2, 2, 0x1234);
  ports.write(4, 4, 0xfedc_ba98);
  assertEquals(log, [[1, 0xff], [2, 0x34], [3, 0x12], [4, 0x98], [5, 0xba], [6, 0xdc], [7, 0xfe]]);
  assertEquals([ports.read(7, 1), ports.read(2, 2), ports.read(4, 4)], [0x87, 0x8382, 0x8786_8584]);
});
