/** Port 0xf4: what is written becomes the exit status. */

import { assertEquals } from "@std/assert";
import { boot } from "xenolith/testing";
import { ANY_KVM, repetitions, testWith } from "../support/capabilities.ts";

const AT_ONCE = 4;

async function statusOf(number: number): Promise<number> {
  await using vm = await boot("guests/exit.img", { cmdline: `status=${number}`, timeoutMs: 60_000 });
  return (await vm.exited).status;
}

async function statusesOf(numbers: readonly number[]): Promise<number[]> {
  const statuses: number[] = [];
  for (let index = 0; index < numbers.length; index += AT_ONCE) {
    statuses.push(...await Promise.all(numbers.slice(index, index + AT_ONCE).map(statusOf)));
  }
  return statuses;
}

testWith([ANY_KVM], "a guest ends with any status from 0 to 63", async () => {
  const count = repetitions(64);
  const numbers = Array.from({ length: count }, (_, index) => Math.round(index * 63 / (count - 1)));
  assertEquals(await statusesOf(numbers), numbers);
});

testWith([ANY_KVM], "of a greater number the low six bits are the status", async () => {
  assertEquals(await statusesOf([64, 65, 127, 200, 255]), [0, 1, 63, 8, 63]);
});
