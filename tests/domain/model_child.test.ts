/** The process of a device model as the domain sees it. */

import { assertEquals, assertMatch } from "@std/assert";
import { builtIn } from "../../src/devices/built_in.ts";
import { ModelChild } from "../../src/domain/model_child.ts";
import { STATUS } from "../../src/domain/outcome.ts";
import { WORKER_URLS } from "../../src/domain/worker_urls.ts";

const SPECIFICATION = { module: builtIn("virtio-entropy"), configuration: {}, name: "virtio-rng" };

function startAt(socket: string, inTurn: boolean): ModelChild {
  return new ModelChild(SPECIFICATION, socket, WORKER_URLS.process, inTurn);
}

Deno.test("a model that ends says why, and is not to be killed any more", async () => {
  const table: [socket: string, inTurn: boolean, words: RegExp][] = [
    ["/tmp/xenolith-no-such-directory/0", true, /^\/tmp\/xenolith-no-such-directory\/0: [^\n]+$/],
    ["x".repeat(200), false, /^x+: a socket's path has 1 to 107 bytes, none of them 0$/],
  ];
  for (const [socket, inTurn, words] of table) {
    const child = startAt(socket, inTurn);
    assertEquals(await child.loaded, inTurn);
    const ended = await child.ended;
    assertEquals([ended.code, ended.signal], [STATUS.HOST, null]);
    assertMatch(ended.words, words);
    child.kill();
  }
});

Deno.test("a model that is killed has no last words", async () => {
  const child = startAt("/tmp/xenolith-no-such-directory/0", false);
  child.kill();
  child.kill();
  const { signal, words } = await child.ended;
  assertEquals([signal, words, await child.loaded], ["SIGKILL", "", false]);
});
