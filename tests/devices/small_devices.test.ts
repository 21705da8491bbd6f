import { Console } from "../../src/devices/console.ts";
import { debugConsole } from "../../src/devices/debug_console.ts";
import { post } from "../../src/devices/post.ts";
import { resetRegister, sleepRegisters } from "../../src/devices/sleep_reset.ts";
import { INPUT, OUTPUT, testScripts } from "./fake_host.ts";

testScripts((host, machine) => {
  debugConsole(host, new Console(host, machine.descriptors, { input: INPUT, output: OUTPUT, escape: null }));
}, [
  ["the debug console prints", `out 0xe9 0x68; out 0xe9 0x69; sleep; printed -> "hi"`],
  ["the debug console can be probed", `in 0xe9 -> 0xe9`],
]);

testScripts(post, [["the POST port keeps the last code", `in 0x80 -> 0; out 0x80 0x5a; in 0x80 -> 0x5a`]]);

testScripts(sleepRegisters, [
  ["SLP_EN with S5's type powers off", `out 0x605 0x20; shutdown -> poweroff`],
  ["the PM1a write that small kernels know powers off", `outw 0x604 0x2000; shutdown -> poweroff`],
  ["a 32-bit write powers off, too", `outl 0x604 0x2000; shutdown -> poweroff`],
  [
    "other sleep types do nothing",
    `
    out 0x605 0x24; out 0x605 0x3c; outw 0x604 0x3400; shutdown -> ""`,
  ],
  ["the low byte is not the control register", `out 0x604 0x20; outw 0x606 0x2000; shutdown -> ""`],
  ["the sleep type is kept and SLP_EN is not", `out 0x605 0x34; in 0x605 -> 0x14; inw 0x604 -> 0x1400; shutdown -> ""`],
  ["nothing has woken", `in 0x606 -> 0; out 0x606 0x80; in 0x606 -> 0`],
]);

testScripts(resetRegister, [
  ["bit 2 resets", `out 0xcf9 0x06; shutdown -> reset`],
  ["a write without it is kept", `out 0xcf9 0x02; in 0xcf9 -> 2; shutdown -> ""; out 0xcf9 0x04; shutdown -> reset`],
  ["unused bits read as 0", `out 0xcf9 0xfb; in 0xcf9 -> 0x0a; shutdown -> ""`],
]);
