import { assertEquals, assertGreater } from "@std/assert";
import { AdaptiveSpin } from "../../src/events/spin.ts";

/** Waits for what comes after `looks` looks. @returns how often was looked, and what until() said */
function wait(spin: AdaptiveSpin, looks: number): { looked: number; came: boolean } {
  let looked = 0;
  const came = spin.until(() => ++looked > looks);
  return { looked, came };
}

Deno.test("AdaptiveSpin sees at once what is there already", () => {
  const spin = new AdaptiveSpin();
  for (let round = 0; round < 1000; round++) assertEquals(wait(spin, 0), { looked: 1, came: true });
});

Deno.test("AdaptiveSpin lets more waits go by after every spin in vain, up to a limit", () => {
  const spin = new AdaptiveSpin();
  const gaps: number[] = [];
  for (let gap = 0; gaps.length < 15;) {
    const { looked, came } = wait(spin, Infinity);
    assertEquals(came, false);
    if (looked === 1) gap++;
    else gap = (gaps.push(gap), 0);
  }
  assertEquals(gaps, [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 2048, 2048]);
});

Deno.test("AdaptiveSpin spins at every wait again once that pays", () => {
  const spin = new AdaptiveSpin();
  for (let round = 0; round < 100; round++) wait(spin, Infinity);
  let rounds = 0;
  while (!wait(spin, 3).came) assertGreater(2100, ++rounds, "it never tries again");
  for (let round = 0; round < 8; round++) assertEquals(wait(spin, 3), { looked: 4, came: true });
  const longest = wait(spin, Infinity).looked;
  assertEquals(longest, wait(new AdaptiveSpin(), Infinity).looked);
});

Deno.test("AdaptiveSpin looks once more after its budget is used up", () => {
  const spin = new AdaptiveSpin();
  const budget = wait(new AdaptiveSpin(), Infinity).looked - 1;
  assertEquals(wait(spin, budget), { looked: budget + 1, came: true });
});
