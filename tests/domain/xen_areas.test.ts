/** The areas that a guest registers for a vCPU's runstate and time. */

import { assertEquals } from "@std/assert";
import { type AreaDomain, XenAreas } from "../../src/domain/xen_areas.ts";

const RUNSTATE_AT = 0x100, TIME_AT = 0x200, INFO = 0x3000, UPDATE = 0x8000_0000_0000_0000n;

/** A guest of 4 KiB, and the writes to it as [address, bytes]. */
function scene(options: { runstate?: number; time?: number; flag?: boolean; bits?: 32 | 64; info?: number } = {}) {
  const bytes = new Uint8Array(4096), writes: [number, number][] = [];
  const domain: AreaDomain = {
    state: {
      runstateLow: () => options.runstate ?? 0,
      runstateHigh: () => 0,
      timeLow: () => options.time ?? 0,
      timeHigh: () => 0,
      runstateUpdateFlag: options.flag ?? false,
    },
    sharedInfoBits: options.bits ?? 64,
    memory: {
      read: (address, target) => {
        assertEquals(address, INFO + 32);
        target.fill(7);
        new DataView(target.buffer, target.byteOffset).setUint32(0, 12, true);
      },
    },
    runstate: () => ({ state: 0, stateEntryTime: 0, time: [40, 0, 60, 1] }),
    infoAddress: () => options.info ?? INFO,
  };
  const areas = new XenAreas(domain, 0, {
    read: () => false,
    write: (low, high, source, at, count) => {
      writes.push([high * 2 ** 32 + low, count]);
      bytes.set(source.subarray(at, at + count), low);
      return true;
    },
  });
  return { areas, writes, view: new DataView(bytes.buffer), domain };
}

Deno.test("XenAreas.update() writes nothing that the guest has not registered", () => {
  const { areas, writes } = scene();
  areas.update();
  assertEquals({ exist: areas.exist, writes }, { exist: false, writes: [] });
});

Deno.test("XenAreas.update() writes a runstate whose times add up to when its state began", () => {
  for (const [bits, entry, bytes] of [[64, 8, 48], [32, 4, 44]] as const) {
    const { areas, writes, view } = scene({ runstate: RUNSTATE_AT, bits });
    areas.update();
    assertEquals(areas.exist, true);
    assertEquals(writes, [[RUNSTATE_AT, bytes]]);
    assertEquals(view.getBigUint64(RUNSTATE_AT + entry, true), 101n);
    assertEquals(view.getBigUint64(RUNSTATE_AT + entry + 8 + 2 * 8, true), 60n);
  }
});

Deno.test("XenAreas.update() marks a runstate that is being written, if the guest wants that", () => {
  const { areas, writes, view } = scene({ runstate: RUNSTATE_AT, flag: true });
  areas.update();
  assertEquals(writes, [[RUNSTATE_AT, 48], [RUNSTATE_AT + 8, 8]]);
  assertEquals(view.getBigUint64(RUNSTATE_AT + 8, true) & UPDATE, 0n);
});

Deno.test("XenAreas.update() copies the time of vcpu_info, under an odd version while it does", () => {
  const { areas, writes, view } = scene({ time: TIME_AT });
  areas.update();
  assertEquals(writes, [[TIME_AT, 32], [TIME_AT, 4]]);
  assertEquals(view.getUint32(TIME_AT, true), 12);
  assertEquals(view.getUint32(TIME_AT + 24, true), 0x07070707);
});

Deno.test("XenAreas.update() has no time for a vCPU whose vcpu_info is nowhere", () => {
  const { areas, writes } = scene({ time: TIME_AT, info: -1 });
  areas.update();
  assertEquals(writes, []);
});
