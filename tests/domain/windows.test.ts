/** WindowOperations: each operation on windows and their memory, with every refusal, and what is left of it: nothing. */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { ControlBlock, controlBlockBytes } from "../../src/domain/control_block.ts";
import { WindowOperations } from "../../src/domain/windows.ts";
import { DmOpError } from "../../src/ioreq/dm_op_error.ts";
import * as calls from "../../src/linux/calls.ts";
import { Descriptor, pipe } from "../../src/linux/descriptor.ts";
import { ENOMEM, errnoName } from "../../src/linux/errno.ts";
import { LinuxError } from "../../src/linux/linux_error.ts";
import { Mapping } from "../../src/linux/mapping.ts";
import { MemoryFile } from "../../src/linux/memory_file.ts";
import { PAGE_SIZE } from "../../src/memory/address.ts";
import { MAX_AREAS } from "../../src/memory/stage_layout.ts";
import { MAX_MEMORIES } from "../../src/memory/stage_table.ts";
import { TRANSPORT } from "../../src/memory/stage_area.ts";
import { openDescriptors } from "../linux/process.ts";
import { FIRST, SERVER, TestWindows } from "../memory/test_windows.ts";
import { testWith, USERFAULT } from "../support/capabilities.ts";

const PAGES = 4, OTHER = 4, OWNER = 0;
const { EXIT, FAULT } = TRANSPORT;

class TestOperations extends TestWindows {
  readonly #block = Mapping.anonymous(controlBlockBytes(1), "control block");
  readonly control = new ControlBlock(this.#block.address, 1);
  readonly operations: WindowOperations;
  pagers = 0;

  constructor() {
    super();
    Object.defineProperty(this.control, "physicalMap", { value: this.map });
    this.operations = new WindowOperations({
      control: this.control,
      machine: this.machine,
      secondStage: this.stage,
      owner: OWNER,
      reportFetches: () => {},
      startPager: () => this.pagers++,
      ringPager: () => {},
    });
  }

  /** add_memory. @returns its number, or the error's name */
  memory(file: Descriptor, sizeBytes: number, server = SERVER): number | string {
    try {
      return this.operations.addMemory(server, file, sizeBytes);
    } catch (error) {
      assert(error instanceof DmOpError, `${error}`);
      return errnoName(error.errno);
    }
  }

  file(pages = PAGES): MemoryFile {
    return MemoryFile.create("operations-test", pages * PAGE_SIZE);
  }

  /** map_window. @returns the error's name, or "" */
  async window(first: number, pages: number, transport: number = EXIT, server = SERVER): Promise<string> {
    try {
      await this.operations.mapWindow(server, first, pages, transport);
      return "";
    } catch (error) {
      assert(error instanceof DmOpError, `${error}`);
      return errnoName(error.errno);
    }
  }

  override [Symbol.dispose](): void {
    super[Symbol.dispose]();
    this.#block[Symbol.dispose]();
  }
}

const open = () => openDescriptors().filter((target) => target.startsWith("/memfd:operations-test")).length;

/** Runs `body`; afterwards no file is open, and no reference held. */
function testOperations(name: string, body: (test: TestOperations) => void | Promise<void>): void {
  testWith([USERFAULT], name, async () => {
    const before = open();
    {
      using test = new TestOperations();
      await body(test);
      for (const server of [SERVER, OTHER]) test.operations.forget(server);
      await test.operations.settled();
      test.map.runs.sweep(test.kvm.vm);
      assertEquals([test.machine.references, test.table.windows, test.kvm.slots.size], [0, 0, 0]);
    }
    assertEquals(open(), before);
  });
}

testOperations("memory has numbers from 0 on, by server, and a number that is free again is the next one's", (test) => {
  assertEquals([0, 1, 2].map(() => test.memory(test.file(), PAGES * PAGE_SIZE)), [0, 1, 2]);
  assertEquals(test.memory(test.file(), PAGES * PAGE_SIZE, OTHER), 0);
  test.operations.removeMemory(SERVER, 1);
  assertEquals(test.memory(test.file(), PAGES * PAGE_SIZE), 1);
});

testOperations("a server has 16 memories, and one more is ENOSPC", (test) => {
  for (let id = 0; id < MAX_MEMORIES; id++) assertEquals(test.memory(test.file(), PAGE_SIZE), id);
  const before = open();
  assertEquals([test.memory(test.file(), PAGE_SIZE), open()], ["ENOSPC", before]);
  assertEquals(test.memory(test.file(), PAGE_SIZE, OTHER), 0);
});

const ALLOW_SEALING = 2, F_ADD_SEALS = 1033, SHRINK = 2, WRITE = 8, FUTURE_WRITE = 16, HUGETLB = 4;
/** A memfd with these seals, and the size of two pages. */
function sealed(seals: number, flags = ALLOW_SEALING): Descriptor {
  const number = calls.memfdCreate(new TextEncoder().encode("operations-test\0"), flags);
  if (number < 0) return new Descriptor(-1, "nothing");
  calls.ftruncate(number, BigInt(2 * PAGE_SIZE));
  if (seals !== 0) calls.fcntl(number, F_ADD_SEALS, seals);
  return new Descriptor(number, "memory");
}

/** Opens a memory file in another way. */
function reopened(flags: "r" | "w"): Descriptor {
  using file = sealed(SHRINK);
  const name = new TextEncoder().encode(`/proc/self/fd/${file.number}\0`);
  return new Descriptor(calls.openat(-100, name, flags === "r" ? 0 : 1), "memory");
}

/** A file that is no memory, or not enough: what it is, and how many bytes are wanted of it. */
const BAD_FILES: Record<string, readonly [file: () => Descriptor, bytes: number]> = {
  "that can be truncated": [() => sealed(0), PAGE_SIZE],
  "that cannot be sealed": [() => sealed(0, 0), PAGE_SIZE],
  "that is too small": [() => sealed(SHRINK), 3 * PAGE_SIZE],
  "that is sealed against writing": [() => sealed(SHRINK | WRITE), PAGE_SIZE],
  "that is sealed against writing in the future": [() => sealed(SHRINK | FUTURE_WRITE), PAGE_SIZE],
  "that is open for reading only": [() => reopened("r"), PAGE_SIZE],
  "that is open for writing only": [() => reopened("w"), PAGE_SIZE],
  "of no pages": [() => sealed(SHRINK), 0],
  "of half a page": [() => sealed(SHRINK), PAGE_SIZE / 2],
  "of fewer than no bytes": [() => sealed(SHRINK), -PAGE_SIZE],
  "of more bytes than there are": [() => sealed(SHRINK), 2 ** 64],
  "of huge pages": [() => sealed(SHRINK, ALLOW_SEALING | HUGETLB), PAGE_SIZE],
  "that is a pipe": [() => pipe("a pipe").reader, PAGE_SIZE],
  "on a disk": [() => Descriptor.open("deno.json"), PAGE_SIZE],
};

for (const [what, [make, bytes]] of Object.entries(BAD_FILES)) {
  testOperations(`memory ${what} is refused, and its descriptor closed`, (test) => {
    const before = openDescriptors().length, file = make();
    const errno = test.memory(file, bytes);
    assert(["EINVAL", "EBADF"].includes(String(errno)), `${errno}`);
    assertEquals([file.number, test.machine.banks], [-1, 0]);
    assert(openDescriptors().length <= before + 1, "a pipe's other end");
    assertEquals(test.memory(test.file(), PAGE_SIZE), 0, "and no number was lost");
  });
}

testOperations("remove_memory takes its pages out of the windows, and closes the file", async (test) => {
  assertEquals([await test.window(FIRST, PAGES, FAULT), test.memory(test.file(), PAGES * PAGE_SIZE)], ["", 0]);
  assertEquals(test.map.map(SERVER, FIRST, PAGES, 0, 0, false), 0);
  assertEquals([test.show(FIRST, 1), test.machine.references, open()], [[0], PAGES, 1]);
  test.operations.removeMemory(SERVER, 0);
  assertEquals([test.show(FIRST, 1), test.machine.references, open(), test.machine.banks], [["missing"], 0, 0, 0]);
  for (const id of [0, 1, 16, 65535]) {
    try {
      test.operations.removeMemory(SERVER, id);
      assert(false);
    } catch (error) {
      assertEquals(error instanceof DmOpError && errnoName(error.errno), "ENOENT");
    }
  }
});

const LAST = 2 ** 29;
/** Windows that cannot be: first, pages, transport. */
const REFUSED: Record<string, readonly [errno: string, first: number, pages: number, transport?: number]> = {
  "of no transport": ["EINVAL", FIRST, 1, 2],
  "of no pages": ["EINVAL", FIRST, 0],
  "of very many pages": ["EINVAL", FIRST, 2 ** 53],
  "far outside": ["EEXIST", 2 ** 40, 1],
  "over the end of the p2m": ["EEXIST", LAST - 1, 2],
  "over the local APIC": ["EBUSY", 0xfee00, 1],
  "around the I/O APIC": ["EBUSY", 0xfebff, 3],
  "where ioreq servers have pages": ["EBUSY", 0xfeffe, 4],
  "where KVM keeps a page": ["EBUSY", 0xfffbf, 1],
  "over RAM": ["EEXIST", 0x10, 1],
  "that ends in RAM": ["EEXIST", 0x0f, 2],
  "over another window": ["EEXIST", FIRST + 0x103, 1],
  "around another window": ["EEXIST", FIRST + 0xff, 8],
};

for (const [what, [errno, first, pages, transport]] of Object.entries(REFUSED)) {
  for (const usual of [EXIT, FAULT]) {
    testOperations(`a window ${what} is ${errno} (transport ${transport ?? usual})`, async (test) => {
      const ram = test.machine.allocate("ram", 16, 1);
      test.stage.mapRam(0x10 * PAGE_SIZE, 16 * PAGE_SIZE, ram, 0);
      await test.window(FIRST + 0x100, PAGES, EXIT, OTHER);
      const slots = test.kvm.slots.size;
      assertEquals(await test.window(first, pages, transport ?? usual), errno);
      assertEquals([test.kvm.slots.size, test.table.windows], [slots, 1]);
      test.kvm.slots.clear(); // RAM's
    });
  }
}

testOperations("the last page of the p2m and those beside reserved ones may be windows", async (test) => {
  for (const first of [LAST - 1, 0xfebff, 0xfec01, 0xfefff + 1]) {
    assertEquals(await test.window(first, 1), "", `${first}`);
  }
});

testOperations("a domain has room for 128 windows and pieces of RAM, and one more is ENOSPC", async (test) => {
  for (let id = 0; id < MAX_AREAS; id++) assertEquals(await test.window(FIRST + id * 16, 1), "");
  assertEquals(await test.window(FIRST - 16, 1), "ENOSPC");
  await test.operations.unmapWindow(SERVER, FIRST + 160);
  assertEquals(await test.window(FIRST - 16, 1), "");
});

testOperations("what KVM refuses is its error, and leaves nothing", async (test) => {
  for (let attempt = 0; attempt < 3; attempt++) {
    test.kvm.refusal = new LinuxError("ioctl", ENOMEM, "a slot");
    assertEquals(await test.window(FIRST, PAGES, FAULT), "ENOMEM");
    assertEquals([test.table.windows, test.kvm.slots.size], [0, 0]);
  }
  assertEquals(await test.window(FIRST, PAGES, FAULT), "");
});

testOperations(
  "windows of the fault transport need the pager, those of the exit transport need it for commands",
  async (test) => {
    assertEquals([await test.window(FIRST, 1, EXIT), test.control.hasWindows], ["", true]);
    assertEquals([await test.window(FIRST + 16, 1, FAULT), test.pagers > 0], ["", true]);
  },
);

testOperations("unmap_window is of a window's own server and first page", async (test) => {
  await test.window(FIRST, PAGES, FAULT);
  for (const [server, first] of [[OTHER, FIRST], [SERVER, FIRST + 1], [SERVER, FIRST - 1]]) {
    const error = await assertRejects(() => test.operations.unmapWindow(server, first), DmOpError);
    assertEquals(errnoName(error.errno), "ENOENT");
  }
  await test.operations.unmapWindow(SERVER, FIRST);
  await assertRejects(() => test.operations.unmapWindow(SERVER, FIRST), DmOpError);
});

for (const transport of [EXIT, FAULT]) {
  testOperations(
    `a server that goes while KVM makes its window leaves the place free (transport ${transport})`,
    async (test) => {
      const gate = Promise.withResolvers<void>();
      test.kvm.gate = gate.promise;
      const mapping = test.window(FIRST, PAGES, transport);
      await Promise.resolve();
      test.operations.forget(SERVER);
      gate.resolve();
      await mapping;
      test.operations.forget(SERVER); // what came to be after that, with the next server's end
      await test.operations.settled();
      assertEquals([test.kvm.slots.size, test.table.windows], [0, 0]);
      assertEquals(await test.window(FIRST, PAGES, transport, OTHER), "");
    },
  );

  testOperations(`a window is given up once, however often it is asked for (transport ${transport})`, async (test) => {
    await test.window(FIRST, PAGES, transport);
    const results = await Promise.allSettled([1, 2].map(() => test.operations.unmapWindow(SERVER, FIRST)));
    assertEquals(results.map(({ status }) => status), ["fulfilled", "rejected"]);
    assertEquals(await test.window(FIRST, PAGES, transport), "");
  });
}

testOperations("revokeAll() takes a gone model's memory, and leaves its windows to the next", async (test) => {
  await test.window(FIRST, PAGES, FAULT);
  test.memory(test.file(), PAGES * PAGE_SIZE);
  test.map.map(SERVER, FIRST, PAGES, 0, 0, false);
  test.operations.revokeAll(SERVER);
  assertEquals([test.show(FIRST, 1), test.machine.references, test.machine.banks, open()], [["missing"], 0, 0, 0]);
  assertEquals(test.operations.hasWindow(SERVER, FIRST, PAGES), true);
  assertEquals(
    [[SERVER, FIRST, PAGES + 1], [OTHER, FIRST, PAGES]].map(([server, first, pages]) => {
      return test.operations.hasWindow(server, first, pages);
    }),
    [false, false],
  );
});
