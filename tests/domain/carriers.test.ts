import { assert, assertEquals } from "@std/assert";
import { divide } from "../../src/domain/carriers.ts";

Deno.test("Worker carriers have a vCPU each", () => {
  for (const vcpus of [1, 8, 300]) {
    assertEquals(divide("worker", vcpus, 2), { role: "carrier", vcpusPerWaiter: 1, waiters: vcpus });
  }
});

Deno.test("dispatchers are no more than processors, and none has less to do than it could", () => {
  const table: [vcpus: number, processors: number, vcpusPerWaiter: number, waiters: number][] = [
    [1, 8, 32, 1],
    [32, 8, 32, 1],
    [33, 8, 32, 2],
    [64, 1, 64, 1],
    [65, 2, 64, 2],
    [100, 3, 64, 2],
    [1024, 1, 1024, 1],
    [1024, 2, 512, 2],
    [1000, 2, 512, 2],
    [1024, 3, 352, 3],
    [1024, 64, 128, 8],
    [4096, 64, 512, 8],
  ];
  for (const [vcpus, processors, vcpusPerWaiter, waiters] of table) {
    assertEquals(
      divide("native", vcpus, processors),
      { role: "dispatcher", vcpusPerWaiter, waiters },
      `${vcpus} vCPUs on ${processors} processors`,
    );
  }
});

Deno.test("every vCPU has a dispatcher, and every dispatcher a vCPU, in blocks of whole words of a wake board", () => {
  for (let vcpus = 1; vcpus <= 4096; vcpus = Math.ceil(vcpus * 1.3)) {
    for (let processors = 1; processors <= 128; processors = Math.ceil(processors * 1.7)) {
      const { vcpusPerWaiter, waiters } = divide("native", vcpus, processors);
      assertEquals(vcpusPerWaiter % 32, 0);
      assert(waiters <= processors && waiters * vcpusPerWaiter >= vcpus && (waiters - 1) * vcpusPerWaiter < vcpus);
    }
  }
});
