import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { Cache } from "../../src/lane/cache.ts";
import { LaneUnavailable } from "../../src/lane/errors.ts";

/** A cache in a directory of its own. */
class TestCache extends Cache implements Disposable {
  constructor() {
    super(`${Deno.makeTempDirSync()}/cache`);
  }

  names(): string[] {
    return [...Deno.readDirSync(this.directory)].map(({ name }) => name).sort();
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.directory.replace(/cache$/, ""), { recursive: true });
  }
}

function writing(text: string): (directory: string) => Promise<void> {
  return (directory) => Deno.writeTextFile(`${directory}/file`, text);
}

Deno.test("Cache.entry() makes an entry once", async () => {
  using cache = new TestCache();
  const path = await cache.entry("a", writing("first"));
  assertEquals(await cache.entry("a", writing("second")), path);
  assertEquals(Deno.readTextFileSync(`${path}/file`), "first");
});

Deno.test("Cache.entry() makes an entry once, however many want it at the same time", async () => {
  using cache = new TestCache();
  let made = 0;
  const paths = await Promise.all(Array.from({ length: 8 }, () =>
    cache.entry("a", async (directory) => {
      made++;
      await writing("content")(directory);
    })));
  assertEquals([made, new Set(paths).size], [1, 1]);
  assertEquals(cache.names(), ["a", "lock"]);
});

Deno.test("a preparation that fails leaves no entry, and the next one removes what is left", async () => {
  using cache = new TestCache();
  await assertRejects(
    () =>
      cache.entry("a", async (directory) => {
        await writing("half")(directory);
        throw new Error("interrupted");
      }),
    Error,
    "interrupted",
  );
  assertEquals(cache.names().filter((name) => name === "a"), []);
  const path = await cache.entry("a", writing("whole"));
  assertEquals(Deno.readTextFileSync(`${path}/file`), "whole");
  assertEquals(cache.names(), ["a", "lock"]);
});

Deno.test("entries that were not used for a month make room for new ones", async () => {
  using cache = new TestCache();
  const old = await cache.entry("old", writing("")), used = await cache.entry("used", writing(""));
  const longAgo = new Date(Date.now() - 40 * 24 * 60 * 60 * 1000);
  for (const path of [old, used]) Deno.utimeSync(path, longAgo, longAgo);
  await cache.entry("used", writing(""));
  await cache.entry("new", writing(""));
  assertEquals(cache.names(), ["lock", "new", "used"]);
});

Deno.test("a cache that cannot be written is LaneUnavailable", async () => {
  const cache = new Cache("/dev/null/cache");
  const error = await assertRejects(() => cache.entry("a", writing("")), LaneUnavailable);
  assertMatch(error.message, /^the lane's cache \/dev\/null\/cache cannot be written: /);
});

Deno.test("a full disk is LaneUnavailable, whoever says so", async () => {
  using cache = new TestCache();
  for (const words of ["write failed (No space left on device)", "No space left on device (os error 28)"]) {
    const error = await assertRejects(() => cache.entry("a", () => Promise.reject(new Error(words))), LaneUnavailable);
    assertEquals(error.message, `no disk space for the lane in ${cache.directory}`);
  }
});
