/** A vCPU's violations on the exit transport: asked, answered, supplied, counted; and answers that are none. */

import { assertEquals, assertMatch } from "@std/assert";
import { NEXT } from "../../src/domain/vcpu_machine.ts";
import { DATA_IS_PTR, IOREQ, IOREQ_BYTES, STATE } from "../../src/ioreq/abi.ts";
import { viewAt } from "../../src/linux/mapping.ts";
import { PAGE_SIZE } from "../../src/memory/address.ts";
import { TRANSPORT } from "../../src/memory/stage_area.ts";
import { FIRST, firstByte, SERVER, TestWindows } from "../memory/test_windows.ts";
import { type Access, BareVcpu } from "./bare_vcpu.ts";

const WINDOW = FIRST * PAGE_SIZE, PAGES = 4, RETRY = STATE.IORESP_RETRY;

/** A vCPU without KVM, and a window of the exit transport; frame n of memory 0 is full of 0x10 + n. */
class TestVcpu implements AsyncDisposable {
  readonly windows = new TestWindows();
  readonly vcpu = new BareVcpu();

  static async create(): Promise<TestVcpu> {
    const test = new TestVcpu();
    Object.defineProperty(test.vcpu.control, "physicalMap", { value: test.windows.map });
    test.vcpu.control.hasWindows = true;
    test.vcpu.control.setMemory(test.windows.machine.tableAddress, 0n, BigInt(0));
    await test.windows.add(PAGES, TRANSPORT.EXIT);
    test.windows.bring(8, 0x10);
    test.vcpu.server(SERVER, {
      MEMORY: [[WINDOW, WINDOW + PAGES * PAGE_SIZE - 1]],
      PORT: [[0x500, 0x507]],
      PCI: [[0, 255]],
    });
    return test;
  }

  map(page: number, frame: number, readOnly = false): void {
    assertEquals(this.windows.map.map(SERVER, FIRST + page, 1, 0, frame, readOnly), 0);
  }

  get reason(): string {
    return this.vcpu.control.outcome?.reason ?? "";
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const [area] = this.windows.table.areas;
    this.windows.map.close(area);
    this.windows.map.runs.sweep(this.windows.kvm.vm);
    await this.windows.stage.removeWindow(area);
    assertEquals(this.windows.machine.references, 0);
    this.vcpu[Symbol.dispose]();
    this.windows[Symbol.dispose]();
  }
}

function testVcpu(name: string, body: (test: TestVcpu) => void): void {
  Deno.test(name, async () => {
    await using test = await TestVcpu.create();
    body(test);
  });
}

const read = (offset: number, size = 4): Access => ({ kind: "memory", address: WINDOW + offset, size });
const write = (offset: number, data: number[]): Access => ({
  kind: "memory",
  address: WINDOW + offset,
  size: data.length,
  data,
});

for (const size of [1, 2, 4, 8]) {
  testVcpu(`a read of ${size} bytes that is answered by a page has that page's bytes`, (test) => {
    const { vcpu } = test;
    assertEquals(vcpu.exit(read(8, size)), NEXT.WAIT);
    assertEquals(vcpu.request(), { server: SERVER, type: "COPY", address: WINDOW + 8, size });
    test.map(0, 3);
    vcpu.answer(SERVER, 0n, RETRY);
    assertEquals([vcpu.machine.resumed(), vcpu.read(read(8, size))], [NEXT.ENTER, Array(size).fill(0x13)]);
    assertEquals(vcpu.page(SERVER).state(0), STATE.NONE);
    assertEquals(vcpu.exit(read(16, size)), NEXT.ENTER, "nobody is asked any more");
  });

  testVcpu(`a write of ${size} bytes that is answered by a page is in that page, and nothing beside it`, (test) => {
    const { vcpu } = test, data = Array.from({ length: size }, (_, byte) => 0xa0 + byte);
    assertEquals(vcpu.exit(write(0, data)), NEXT.WAIT);
    test.map(0, 5);
    vcpu.answer(SERVER, 0n, RETRY);
    assertEquals(vcpu.machine.resumed(), NEXT.ENTER);
    const { file } = test.windows.machine.bankOf(test.windows.banks.firstMfn(0))!;
    assertEquals(firstByte(file, 5), 0xa0);
    assertEquals([vcpu.exit(read(0, 8)), vcpu.read(read(0, 8))], [NEXT.ENTER, [
      ...data,
      ...Array(8 - size).fill(0x15),
    ]]);
  });
}

testVcpu("an access of 16 bytes is two, and the second is not asked for", (test) => {
  const { vcpu } = test;
  assertEquals(vcpu.exit(read(0, 8)), NEXT.WAIT);
  test.map(0, 1);
  vcpu.answer(SERVER, 0n, RETRY);
  assertEquals([vcpu.machine.resumed(), vcpu.exit(read(8, 8)), vcpu.read(read(8, 8))], [
    NEXT.ENTER,
    NEXT.ENTER,
    Array(8).fill(0x11),
  ]);
});

testVcpu("a server may emulate instead: data is data", (test) => {
  assertEquals(test.vcpu.access(read(0), [0x1234_5678n]).length, 1);
  assertEquals(test.vcpu.read(read(0)), [0x78, 0x56, 0x34, 0x12]);
});

testVcpu("a write to a read-only page is asked for, a read of it is not", (test) => {
  const { vcpu } = test;
  test.map(0, 2, true);
  assertEquals([vcpu.exit(read(0)), vcpu.read(read(0))], [NEXT.ENTER, Array(4).fill(0x12)]);
  assertEquals(vcpu.exit(write(0, [1])), NEXT.WAIT);
  test.map(0, 2);
  vcpu.answer(SERVER, 0n, RETRY);
  assertEquals([vcpu.machine.resumed(), vcpu.exit(read(0)), vcpu.read(read(0))], [NEXT.ENTER, NEXT.ENTER, [
    1,
    0x12,
    0x12,
    0x12,
  ]]);
});

testVcpu("15 answers without a page are asked again, the 16th ends the run, naming server and gfn", (test) => {
  const { vcpu } = test;
  assertEquals(vcpu.exit(read(0x2004)), NEXT.WAIT);
  for (let answers = 1; answers < 16; answers++) {
    vcpu.answer(SERVER, 0n, RETRY);
    assertEquals(vcpu.machine.resumed(), NEXT.WAIT, `after ${answers}`);
  }
  vcpu.answer(SERVER, 0n, RETRY);
  assertEquals(vcpu.machine.resumed(), NEXT.STOP);
  const gfn = (FIRST + 2).toString(16);
  assertMatch(test.reason, new RegExp(`^ioreq server 3 answered 16 times that gfn 0x${gfn} is to be tried again`));
});

testVcpu("the next access counts from the beginning", (test) => {
  const { vcpu } = test;
  for (let access = 0; access < 4; access++) {
    assertEquals(vcpu.exit(read(0)), NEXT.WAIT);
    for (let answers = 0; answers < 15; answers++) {
      vcpu.answer(SERVER, 0n, RETRY);
      assertEquals(vcpu.machine.resumed(), NEXT.WAIT);
    }
    vcpu.answer(SERVER, 7n);
    assertEquals([vcpu.machine.resumed(), vcpu.read(read(0))], [NEXT.ENTER, [7, 0, 0, 0]]);
  }
});

testVcpu("answers do not count while the window changes", (test) => {
  const { vcpu } = test;
  assertEquals(vcpu.exit(read(0)), NEXT.WAIT);
  for (let answers = 0; answers < 100; answers++) {
    test.map(1, answers % 8);
    vcpu.answer(SERVER, 0n, RETRY);
    assertEquals(vcpu.machine.resumed(), NEXT.WAIT);
  }
  test.map(0, 4);
  vcpu.answer(SERVER, 0n, RETRY);
  assertEquals([vcpu.machine.resumed(), vcpu.read(read(0))], [NEXT.ENTER, Array(4).fill(0x14)]);
});

testVcpu("what is ordered with the answer is carried out before it is looked at", (test) => {
  const { vcpu } = test;
  assertEquals(vcpu.exit(read(0)), NEXT.WAIT);
  vcpu.view(SERVER).area!.commands.push(1, FIRST, 1, 0, 6, false);
  vcpu.answer(SERVER, 0n, RETRY);
  assertEquals([vcpu.machine.resumed(), vcpu.read(read(0))], [NEXT.ENTER, Array(4).fill(0x16)]);
});

testVcpu("a server that is gone has ones for an answer", (test) => {
  const { vcpu } = test;
  assertEquals(vcpu.exit(read(0)), NEXT.WAIT);
  vcpu.control.servers.change(() => vcpu.control.servers.server(SERVER).destroy());
  assertEquals([vcpu.machine.resumed(), vcpu.read(read(0))], [NEXT.ENTER, [0xff, 0xff, 0xff, 0xff]]);
});

/** Requests that cannot be tried again. */
const NO_RETRY: Record<string, (test: TestVcpu) => void> = {
  "a read of a port": ({ vcpu }) => void vcpu.exit({ kind: "port", port: 0x500, size: 4 }),
  "a write to a port": ({ vcpu }) => void vcpu.exit({ kind: "port", port: 0x500, size: 1, data: [5] }),
  "a PCI configuration register": ({ vcpu }) => {
    vcpu.exit({ kind: "port", port: 0xcf8, size: 4, data: [0, 0, 0, 0x80] });
    vcpu.exit({ kind: "port", port: 0xcfc, size: 4 });
  },
  "an invalidation": ({ vcpu }) => void vcpu.machine.invalidate(),
  "an access whose data is a pointer": ({ vcpu }) => {
    vcpu.exit(read(0));
    const bytes = new Uint8Array(viewAt(vcpu.control.servers.server(SERVER).slots, IOREQ_BYTES));
    bytes[IOREQ.state] |= DATA_IS_PTR;
  },
};

for (const [what, send] of Object.entries(NO_RETRY)) {
  testVcpu(`"try again" in answer to ${what} ends the run, and says why`, (test) => {
    send(test);
    test.vcpu.page(SERVER).setState(0, STATE.INPROCESS);
    assertEquals(test.vcpu.machine.resumed(), NEXT.WAIT);
    test.vcpu.page(SERVER).setState(0, RETRY);
    assertEquals(test.vcpu.machine.resumed(), NEXT.STOP);
    assertMatch(test.reason, /^ioreq server 3 moved a request from state 2 to 4$/);
  });
}

testVcpu('"try again" in answer to an access that is in no window is counted, too', (test) => {
  const { vcpu } = test, elsewhere: Access = { kind: "memory", address: 0x4000_0000, size: 4 };
  vcpu.server(5, { MEMORY: [[0x4000_0000, 0x4000_0fff]] });
  assertEquals(vcpu.exit(elsewhere), NEXT.WAIT);
  let answers = 0;
  for (let next: number = NEXT.WAIT; next === NEXT.WAIT; answers++) {
    vcpu.answer(5, 0n, RETRY);
    next = vcpu.machine.resumed();
  }
  assertEquals(answers, 16);
  assertMatch(test.reason, /^ioreq server 5 answered 16 times that gfn 0x40000 is to be tried again/);
});

testVcpu("EFAULT is tried again when the second stage has changed, and a crash when it has not", (test) => {
  const { vcpu } = test, EFAULT = -14;
  test.map(0, 0);
  assertEquals(vcpu.machine.exited(EFAULT), NEXT.ENTER);
  test.map(0, 1);
  assertEquals(vcpu.machine.exited(EFAULT), NEXT.ENTER);
  for (let again = 0, next: number = NEXT.ENTER; next === NEXT.ENTER; again++) {
    next = vcpu.machine.exited(EFAULT);
    assertEquals(again < 100, true, "it goes on for ever");
  }
  assertMatch(test.reason, /^KVM_RUN failed with EFAULT/);
});
