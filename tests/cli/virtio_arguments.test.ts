/** Virtio devices on the command line: what all of them take alike, and what is refused. */

import { assertEquals, assertThrows } from "@std/assert";
import { parseDoctor, parseRun } from "../../src/cli/arguments.ts";
import { UsageError } from "../../src/machine/options.ts";
import type { VirtioOptions } from "../../src/machine/virtio.ts";

const WORDS = "irq=level,memory=0x1000-0x1fff,legacy";
const COMMON = { trigger: "level", memory: [{ first: 0x1000, last: 0x1fff }], legacy: true } as const;

Deno.test("every virtio device takes the same words", () => {
  const table: [args: string[], options: VirtioOptions][] = [
    [["--disk", "d"], { disks: [{ file: "d" }] }],
    [["--disk", `d,queues=2,ro,${WORDS},format=raw`], { disks: [{ file: "d", queues: 2, readOnly: true, ...COMMON }] }],
    [["--vhost-user-blk", "s,irq=level,memory=all"], {
      vhostUserBlks: [{ socket: "s", trigger: "level", memory: "all" }],
    }],
    [["--rng", `--rng=${WORDS}`, "--rng="], { rngs: [{}, COMMON, {}] }],
    [["--net", `tap,ifname=t,${WORDS}`], { nets: [{ kind: "tap", ifname: "t", ...COMMON }] }],
    [["--virtio-console", `stdio,${WORDS}`], { consoles: [{ ports: ["stdio"], ...COMMON }] }],
  ];
  for (const [args, options] of table) {
    const none = { disks: [], vhostUserBlks: [], rngs: [], nets: [], consoles: [] };
    const { disks, vhostUserBlks, rngs, nets, consoles } = parseRun([...args, "image"])!.machine;
    assertEquals({ disks, vhostUserBlks, rngs, nets, consoles }, { ...none, ...options } as unknown, args.join(" "));
    assertEquals(parseDoctor(args)!.machine.rngs, rngs);
  }
});

Deno.test("a word that a device does not know, has twice, or without its value, is refused in one line", () => {
  const common = "irq=edge|level, memory=, legacy", disk = `ro, format=raw, queues=, ${common}`;
  const table: [option: string, value: string, message: string][] = [
    ["disk", "d,rw", `disk d: rw is not ${disk}`],
    ["disk", "d,ro=1", `disk d: ro=1 is not ${disk}`],
    ["disk", "d,queues", `disk d: queues is not ${disk}`],
    ["disk", "d,", `disk d:  is not ${disk}`],
    ["disk", "d,format=qcow2", "disk d: format=qcow2 is not format=raw"],
    ["disk", "d,irq=level,irq=edge", "disk d: irq given twice"],
    ["disk", "d,queues=1,queues=2", "disk d: queues given twice"],
    ["disk", "d,ro,ro", "disk d: ro given twice"],
    ["disk", "d,queues=", "disk d: queues= needs a value"],
    ["disk", "d,memory=", "disk d: memory= needs a value"],
    ["vhost-user-blk", "s,legacy", "vhost-user-blk s: legacy is not irq=edge|level, memory="],
    ["vhost-user-blk", "s,memory=all,memory=none", "vhost-user-blk s: memory given twice"],
    ["rng", "yes", `rng: yes is not ${common}`],
    ["rng", "irq=up", "rng: irq=up is not irq=edge|level"],
    ["rng", "legacy,legacy", "rng: legacy given twice"],
    ["net", "user,irq=edge,irq=edge", "net user: irq given twice"],
    ["virtio-console", "stdio,memory=some", "memory=some: not all, none, or ranges such as 0x1000-0x1fff"],
  ];
  for (const [option, value, message] of table) {
    const refused = () => parseRun([`--${option}=${value}`, "image"]);
    assertEquals(assertThrows(refused, UsageError).message, message, `${option} ${value}`);
  }
});
