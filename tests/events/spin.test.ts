import { assert, assertEquals, assertGreater } from "@std/assert";
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

Deno.test("AdaptiveSpin spins less with every wait that is in vain, and soon only looks", () => {
  const spin = new AdaptiveSpin();
  const first = wait(spin, Infinity);
  assertEquals(first.came, false);
  for (let before = first.looked, round = 0; round < 12; round++) {
    const { looked, came } = wait(spin, Infinity);
    assertEquals(came, false);
    assert(looked < before || looked === 1, `${before} looks, then ${looked}`);
    before = looked;
  }
  assertEquals(wait(spin, Infinity).looked, 1);
});

Deno.test("AdaptiveSpin tries again now and then, and goes on spinning when that pays", () => {
  const spin = new AdaptiveSpin();
  for (let round = 0; round < 12; round++) wait(spin, Infinity);
  const looks = Array.from({ length: 200 }, () => wait(spin, Infinity).looked);
  const tries = looks.filter((looked) => looked > 1);
  assert(tries.length >= 2 && tries.length <= 10, `${tries.length} tries in ${looks.length} waits`);
  let rounds = 0;
  while (!wait(spin, 3).came) rounds++;
  assertGreater(100, rounds, "it never tries again");
  for (let round = 0; round < 8; round++) assertEquals(wait(spin, 3), { looked: 4, came: true });
  assertGreater(
    wait(spin, Infinity).looked,
    wait(new AdaptiveSpin(), Infinity).looked / 2,
    "it does not spin as long as at first",
  );
});

Deno.test("AdaptiveSpin looks once more after its budget is used up", () => {
  const spin = new AdaptiveSpin();
  const budget = wait(new AdaptiveSpin(), Infinity).looked - 1;
  assertEquals(wait(spin, budget), { looked: budget + 1, came: true });
});
