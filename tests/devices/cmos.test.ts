import { assertEquals } from "@std/assert";
import { Cmos } from "../../src/devices/cmos.ts";
import { FakeMachine, testScripts } from "./fake_host.ts";

const GIB = 2 ** 30, MIB = 2 ** 20;

function cmos(memoryBytes = 64 * MIB, lowMemoryBytes = memoryBytes): ConstructorParameters<typeof FakeMachine>[0] {
  return (host, machine) => void new Cmos(host, { memoryBytes, lowMemoryBytes }, () => machine.nowMs);
}

/** The script for reading, or writing, a register. */
const get = (index: number, value: number) => `out 0x70 ${index}; in 0x71 -> ${value};`;
const set = (index: number, value: number) => `out 0x70 ${index}; out 0x71 ${value};`;
/** Reads second, minute, hour, day of week, day, month, year, century. */
const time = (...values: number[]) =>
  [0, 2, 4, 6, 7, 8, 9, 0x32].map((index, nth) => get(index, values[nth])).join(" ");
const setTime = (...values: number[]) =>
  [0, 2, 4, 6, 7, 8, 9, 0x32].map((index, nth) => set(index, values[nth])).join(" ");

testScripts(cmos(), [
  [
    "Cmos tells the host's time in UTC, in BCD and 24 hours",
    `
    now 2031-12-29T23:58:47.300Z; ${time(0x47, 0x58, 0x23, 2, 0x29, 0x12, 0x31, 0x20)}`,
  ],
  ["Cmos tells it in binary", `${set(0x0b, 6)} now 2031-12-29T23:58:47Z; ${time(47, 58, 23, 2, 29, 12, 31, 20)}`],
  [
    "Cmos tells it in 12 hours",
    `
    ${set(0x0b, 0)} now 2024-02-29T00:00:00Z; ${get(4, 0x12)} now 2024-02-29T11:00:00Z; ${get(4, 0x11)}
    now 2024-02-29T12:00:00Z; ${get(4, 0x92)} now 2024-02-29T23:00:00Z; ${get(4, 0x91)}
    ${set(0x0b, 4)} now 2024-02-29T22:00:01Z; ${get(4, 0x8a)}`,
  ],
  ["Sunday is 1", `now 2026-03-01T12:00:00Z; ${get(6, 1)}`],
  ["the index's NMI bit is ignored", `now 2026-03-01T12:00:33Z; out 0x70 0x80; in 0x71 -> 0x33`],
  ["the index cannot be read", `out 0x70 0x0d; in 0x70 -> 0xff; in 0x71 -> 0x80`],
  ["a 16-bit write is index and data", `outw 0x70 0x5a0f; in 0x71 -> 0x5a; outw 0x70 0x000d; inw 0x70 -> 0x80ff`],
  [
    "the control registers have a PC's values",
    `${get(0x0a, 0x26)} ${get(0x0b, 0x02)} ${get(0x0c, 0)} ${get(0x0d, 0x80)}`,
  ],
  ["C and D cannot be written", `${set(0x0c, 0xff)} ${set(0x0d, 0)} ${get(0x0c, 0)} ${get(0x0d, 0x80)}`],
  ["UIP cannot be written", `${set(0x0a, 0xa6)} ${get(0x0a, 0x26)}`],
  [
    "alarms, shutdown status and the rest are storage",
    `
    ${set(1, 0xc0)} ${set(0x0f, 0x0a)} ${set(0x7f, 0x55)} ${get(1, 0xc0)} ${get(0x0f, 0x0a)} ${get(0x7f, 0x55)} ${
      get(0x0e, 0)
    }`,
  ],

  // no torn time
  [
    "UIP is set for the 2 ms before a second",
    `
    now 2026-01-01T00:00:00.997Z; ${get(0x0a, 0x26)} wait 1; ${get(0x0a, 0xa6)} wait 1; ${get(0x0a, 0xa6)} wait 1;
    ${get(0x0a, 0x26)}`,
  ],
  [
    "the time read after UIP was clear is of that moment",
    `
    now 2026-12-31T23:59:59.990Z; ${get(0x0a, 0x26)} wait 20; ${get(0, 0x59)} wait 20; ${get(2, 0x59)} ${
      get(4, 0x23)
    } ${get(9, 0x26)}
    ${get(0x0a, 0x26)} ${time(0, 0, 0, 6, 1, 1, 0x27, 0x20)}`,
  ],
  [
    "the time is not torn for a guest that knows no UIP",
    `
    now 2026-12-31T23:59:59.999Z; ${get(9, 0x26)} wait 5; ${get(8, 0x12)} ${get(7, 0x31)} ${get(0, 0x59)} ${
      get(9, 0x27)
    }
    ${get(0, 0)}`,
  ],
  ["a register that is watched ticks", `now 2026-01-01T00:00:05.9Z; ${get(0, 5)} ${get(0, 5)} wait 100; ${get(0, 6)}`],
  ["an old snapshot is not used", `now 2026-01-01T00:00:05Z; ${get(0, 5)} wait 3600000; ${get(4, 1)}`],
  [
    "a host's clock that is set back makes no difference to it",
    `
    now 2026-01-01T05:00:05Z; ${get(0, 5)} now 2026-01-01T04:00:09Z; ${get(4, 4)} ${get(0, 9)}`,
  ],
  [
    "C says once that the time was updated",
    `
    now 2026-01-01T00:00:00Z; out 0x70 0x0c; in 0x71; in 0x71 -> 0; wait 1000; in 0x71 -> 0x10; in 0x71 -> 0;
    ${set(0x0b, 0x12)} wait 1000; ${get(0x0c, 0x90)}`,
  ],

  // setting it
  [
    "the clock can be set, and runs on from there",
    `
    now 2026-01-01T00:00:00.250Z; ${set(0x0b, 0x82)} ${setTime(0x30, 0x59, 0x23, 1, 0x31, 0x12, 0x99, 0x19)}
    wait 10000; ${time(0x30, 0x59, 0x23, 1, 0x31, 0x12, 0x99, 0x19)} ${set(0x0b, 0x02)} wait 29000;
    ${time(0x59, 0x59, 0x23, 6, 0x31, 0x12, 0x99, 0x19)} wait 1000; ${time(0, 0, 0, 7, 1, 1, 0, 0x20)}`,
  ],
  [
    "halted, it stands still and has no UIP",
    `
    now 2026-01-01T00:00:07.999Z; ${set(0x0b, 0x82)} ${get(0x0a, 0x26)} wait 5000; ${get(0, 7)} ${get(0x0c, 0)}`,
  ],
  ["SET takes the update interrupt back", `${set(0x0b, 0x92)} ${get(0x0b, 0x82)}`],
  [
    "a held divider halts it; the first update comes half a second after the release",
    `
    now 2026-01-01T00:00:00Z; ${set(0x0b, 0x82)} ${set(0x0a, 0x76)} ${setTime(0x10, 0x20, 0x03, 1, 1, 1, 0x30, 0x20)}
    ${set(0x0b, 0x02)} wait 3000; ${get(0, 0x10)} ${set(0x0a, 0x26)} wait 499; ${get(0, 0x10)} wait 1; ${get(0, 0x11)}`,
  ],
  [
    "a register can be set while it runs",
    `
    now 2026-01-01T00:00:05.5Z; ${set(4, 0x13)} ${set(0, 0x40)} wait 1000; ${time(0x41, 0, 0x13, 5, 1, 1, 0x26, 0x20)}`,
  ],
  [
    "the format can be changed while it runs",
    `
    now 2026-01-01T17:00:45Z; ${get(0, 0x45)} ${set(0x0b, 4)} ${get(0, 45)} ${get(4, 0x85)}`,
  ],
  [
    "nonsense carries over",
    `
    ${set(0x0b, 0x82)} ${setTime(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)} ${set(0x0b, 0x02)} ${
      get(0x0d, 0x80)
    }`,
  ],
]);

Deno.test("Cmos tells the sizes of memory", () => {
  const table: [
    memoryBytes: number,
    lowMemoryBytes: number,
    above1MiBInKiB: number,
    above16MiB: number,
    high: number,
  ][] = [
    [MIB, MIB, 0, 0, 0],
    [16 * MIB, 16 * MIB, 15 * 1024, 0, 0],
    [64 * MIB, 64 * MIB, 63 * 1024, 48 * 16, 0],
    [4 * GIB, 3 * GIB, 0xffff, 3056 * 16, 1024 * 16],
    [1024 * GIB, 3 * GIB, 0xffff, 3056 * 16, 1021 * 1024 * 16],
    [4096 * GIB, 3 * GIB, 0xffff, 3056 * 16, 0xff_ffff],
  ];
  for (const [memoryBytes, lowMemoryBytes, above1MiBInKiB, above16MiB, high] of table) {
    const machine = new FakeMachine(cmos(memoryBytes, lowMemoryBytes));
    const read = (index: number, bytes = 2) => {
      let value = 0;
      for (let byte = bytes - 1; byte >= 0; byte--) {
        machine.out(0x70, index + byte);
        value = value * 256 + machine.in(0x71);
      }
      return value;
    };
    const sizes = [read(0x15), read(0x17), read(0x30), read(0x34), read(0x5b, 3)];
    assertEquals(sizes, [640, above1MiBInKiB, above1MiBInKiB, above16MiB, high], `${memoryBytes} bytes`);
  }
});
