/** The picture of a guest's physical map. */

import { assertEquals } from "@std/assert";
import { drawPhysicalMap, type MapPart } from "../../src/cli/physical_map.ts";

const MIB = 2 ** 20;

Deno.test("drawPhysicalMap() draws parts by their addresses, what is free between them, and what lies in them", () => {
  const filled = [0, 0.001, 0.5, 1];
  const parts: MapPart[] = [
    { first: 128 * MIB, last: 1024 * MIB - 1, kind: "region", what: "a region", filled },
    { first: 0, last: 64 * MIB - 1, kind: "RAM", what: "RAM" },
    { first: 4096, last: 8191, kind: "loaded", what: "a page" },
    { first: 130 * MIB, last: 132 * MIB - 1, kind: "window", what: "a window" },
  ];
  assertEquals(drawPhysicalMap(parts, 2048 * MIB), [
    "0x00000000000     64 MiB  ███████████████                RAM",
    "0x00000001000      4 KiB  ▚                                a page",
    "0x00004000000     64 MiB  ···············                nothing",
    "0x00008000000    896 MiB  ▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒            a region",
    "                          [ .=#]",
    "0x00008200000      2 MiB  ▓▓▓▓▓▓▓▓▓▓                       a window",
    "0x00040000000      1 GiB  ···················            nothing",
  ]);
});

Deno.test("drawPhysicalMap() says of an empty map that there is nothing, and of what is not whole about how much", () => {
  assertEquals(drawPhysicalMap([], 1), ["0x00000000000        1 B  ·                              nothing"]);
  const [line] = drawPhysicalMap([{ first: 0, last: 1535, kind: "RAM", what: "RAM" }], 0);
  assertEquals(line, "0x00000000000    1.5 KiB  █                              RAM");
});

Deno.test("drawPhysicalMap() leaves the line out in which nothing would be", () => {
  const part: MapPart = { first: 0, last: MIB - 1, kind: "region", what: "a region", filled: [0, 0] };
  assertEquals(drawPhysicalMap([part], MIB).length, 1);
});
