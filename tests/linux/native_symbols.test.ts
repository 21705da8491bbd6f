/** Where our machine code is: its symbols' addresses, and one copy of it for all isolates. */

import { assert, assertEquals } from "@std/assert";
import * as calls from "../../src/linux/calls.ts";
import { viewAt } from "../../src/linux/mapping.ts";
import { nativeCode, nativeSymbols } from "../../src/linux/native_symbols.ts";

Deno.test("nativeSymbols() are the symbols of native.asm, where the dynamic linker has put them", () => {
  const source = Deno.readTextFileSync(new URL("../../src/linux/native.asm", import.meta.url));
  const names = [...source.matchAll(/^ +symbol (\w+)$/gm)].map(([, name]) => `xl_${name}`);
  assertEquals([...nativeSymbols().keys()], names);
  const { first, end } = nativeCode();
  for (const [name, { address, roomBytes }] of nativeSymbols()) {
    assert(address >= first && address + BigInt(roomBytes) <= end && roomBytes > 0, name);
  }
  assertEquals(Deno.UnsafePointer.value(calls.restorer), nativeSymbols().get("xl_restorer")!.address);
  const RET = 0xc3, PAUSE = [0xf3, 0x90, RET];
  assertEquals([...new Uint8Array(viewAt(nativeSymbols().get("xl_pause")!.address, 3))], PAUSE);
  assertEquals(nativeSymbols().get("xl_ioctl_value")!.roomBytes, 2, "it falls through into xl_ioctl");
});

Deno.test("every isolate of a process runs the same copy of the code", async () => {
  const symbols = new URL("../../src/linux/native_symbols.ts", import.meta.url).href;
  const code = `import { nativeCode } from ${JSON.stringify(symbols)}; self.postMessage(nativeCode());`;
  const workers = [0, 1].map(() =>
    new Worker(`data:application/typescript,${encodeURIComponent(code)}`, { type: "module" })
  );
  const found = workers.map((worker) => new Promise((resolve) => worker.onmessage = ({ data }) => resolve(data)));
  assertEquals(await Promise.all(found), [nativeCode(), nativeCode()]);
  for (const worker of workers) worker.terminate();
});
