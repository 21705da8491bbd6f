/** Input and output that nobody waits for: by io_uring and without it, the same. */

import { assert, assertEquals } from "@std/assert";
import { EBADF } from "../../src/linux/errno.ts";
import { awaitEvent } from "../../src/linux/event_descriptor.ts";
import { openFileIo } from "../../src/linux/io_ring.ts";
import { bytesAddress } from "../../src/linux/mapping.ts";
import { MemoryFile } from "../../src/linux/memory_file.ts";

const REQUESTS = 16, BYTES = 4096;

for (const ring of [true, false]) {
  Deno.test(`requests are carried out, and heard of by the eventfd (${ring ? "io_uring, if there is one" : "one by one"})`, () => {
    using file = MemoryFile.create("io-test", REQUESTS * BYTES);
    using io = openFileIo(REQUESTS, ring);
    const bytes = new Uint8Array(REQUESTS * BYTES).map((_, index) => index >> 12),
      ranges = new BigUint64Array(REQUESTS * 4);
    const at = Number(bytesAddress(new Uint8Array(ranges.buffer))), memory = bytesAddress(bytes);
    const finish = (): [number, number][] => {
      const results: [number, number][] = [];
      io.submit();
      awaitEvent(io.event.number);
      while (io.pending > 0) {
        io.drain((request, result) => results.push([request, result]));
        if (io.pending > 0) io.wait();
      }
      return results.sort(([one], [other]) => one - other);
    };
    for (let round = 0; round < 3; round++) {
      for (let request = 0; request < REQUESTS; request++) {
        // Two ranges each, of half a page.
        const half = BigInt(BYTES / 2), from = memory + BigInt(request * BYTES);
        ranges.set([from, half, from + half, half], request * 4);
        const ask = round === 1 ? io.readv : io.writev;
        ask.call(io, request, file.number, at + request * 32, 2, (REQUESTS - 1 - request) * BYTES);
      }
      assertEquals(finish(), Array.from({ length: REQUESTS }, (_, request) => [request, BYTES]));
      if (round === 0) bytes.fill(0xee);
      if (round === 1) assert(bytes.every((byte, index) => byte === index >> 12));
    }
    io.sync(3, file.number);
    io.allocate(4, file.number, 3, BYTES, BYTES); // a hole
    io.readv(5, -1, at, 1, 0);
    assertEquals(finish(), [[3, 0], [4, 0], [5, -EBADF]]);
    io.readv(6, file.number, at, 2, (REQUESTS - 1) * BYTES);
    assertEquals(finish(), [[6, BYTES]]);
    assertEquals([bytes[0], bytes[BYTES - 1]], [0, 0]);
    io.readv(7, file.number, at, 2, BYTES);
    assertEquals([finish(), bytes[0]], [[[7, BYTES]], 0], "the hole");
    io.readv(8, file.number, at, 2, (REQUESTS - 1) * BYTES + 100);
    assertEquals(finish(), [[8, BYTES - 100]], "what is left of the file");
  });
}
