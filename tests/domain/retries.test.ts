import { assertEquals } from "@std/assert";
import { Retries } from "../../src/domain/retries.ts";

const MS = 1e6;

Deno.test("Retries waits twice as long each time, up to 128 ms, and not for others' sake", () => {
  const retries = new Retries(2), waits: number[] = [];
  let now = 1000 * MS;
  for (let round = 0; round < 10; round++) {
    const at = retries.dueAt(1, now);
    assertEquals(retries.dueAt(1, at - 1), at, "asking does not put it off");
    waits.push((at - now) / MS);
    retries.tried(1, now = at);
  }
  assertEquals(waits, [1, 2, 4, 8, 16, 32, 64, 128, 128, 128]);
  assertEquals(retries.dueAt(0, now), now + MS);
});

Deno.test("Retries begins anew with an upcall that comes later", () => {
  const retries = new Retries(1);
  for (const now of [1000, 1001, 1003]) {
    retries.dueAt(0, now * MS);
    retries.tried(0, now * MS);
  }
  assertEquals(retries.dueAt(0, 2000 * MS), 2001 * MS);
});
