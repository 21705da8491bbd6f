/** No device model can have what a guest's extended regions keep free. */

import { assertEquals } from "@std/assert";
import { BUFIOREQ, RANGE } from "../../src/ioreq/abi.ts";
import { refusal, TestDomain } from "./test_domain.ts";

const FIRST = 2 ** 32, LAST = 2 ** 33 - 1;

Deno.test("mapRange() of memory that is kept free is EBUSY; ports and what is beside it are not", () => {
  using domain = new TestDomain({ vcpus: 1 });
  domain.keptFree.push({ first: FIRST, last: LAST });
  const id = domain.servers.create(1, BUFIOREQ.OFF);
  const map = (first: number, last: number) => refusal(() => domain.servers.mapRange(1, id, RANGE.MEMORY, first, last));
  for (const [first, last] of [[FIRST, FIRST], [LAST, LAST], [FIRST - 1, FIRST], [LAST, LAST + 1], [0, 2 ** 48]]) {
    assertEquals(map(first, last), "EBUSY", `${first} to ${last}`);
  }
  const { servers } = domain;
  servers.mapRange(1, id, RANGE.MEMORY, FIRST - 4096, FIRST - 1);
  servers.mapRange(1, id, RANGE.MEMORY, LAST + 1, LAST + 4096);
  servers.mapRange(1, id, RANGE.PCI, FIRST, FIRST);
});
