/** ControlServer when clients go at the wrong time. */

import { assertEquals } from "@std/assert";
import { ControlServer } from "../../src/machine/control_server.ts";
import type { Machine } from "../../src/machine/machine.ts";
import { ControlClient } from "../../src/cli/control_client.ts";

Deno.test("a client that goes while its request is carried out keeps nobody from ending", async () => {
  const directory = await Deno.makeTempDir({ prefix: "xenolith-test-" });
  await using _ = { [Symbol.asyncDispose]: () => Deno.remove(directory, { recursive: true }) };
  const path = `${directory}/control`, begun = Promise.withResolvers<void>(), end = Promise.withResolvers<unknown>();
  const server = new ControlServer(path);
  server.serve({} as Machine, {
    long: () => {
      begun.resolve();
      return end.promise;
    },
    short: () => ({}),
  });
  const gone = await ControlClient.connect(path);
  await gone.send('{"execute": "long"}\n');
  await begun.promise;
  gone[Symbol.dispose]();
  using other = await ControlClient.connect(path);
  for (let asked = 0; asked < 50; asked++) assertEquals(await other.execute("short"), {}); // it has seen the end meanwhile
  const disposed = server[Symbol.asyncDispose]();
  end.resolve({});
  await disposed;
});
