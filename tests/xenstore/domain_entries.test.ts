/** What the store says about a domain from the start, who may do what with it, and how it is asked to shut down. */

import { assertEquals, assertThrows } from "@std/assert";
import { type DomainEntries, removeDomainEntries, writeDomainEntries } from "../../src/xenstore/domain_entries.ts";
import { requestShutdown } from "../../src/xenstore/shutdown_request.ts";
import { Xenstore } from "../../src/xenstore/store.ts";
import { ToolStack } from "../../src/xenstore/tool_stack.ts";
import { XenstoreError } from "../../src/xenstore/xenstore_error.ts";
import { Guest } from "./guest.ts";
import { dump } from "./operations.ts";

const UUID = "d81ec5a9-5bf9-4f2b-89e8-0f60d6da948f";
const SMALL: DomainEntries = {
  domid: 3,
  name: "guest",
  uuid: UUID,
  type: "pvh",
  memory: { targetKiB: 65536, staticMaxKiB: 65536 },
  maxVcpus: 2,
  store: { ringRef: 0xfeffc, port: 1 },
};
const FULL: DomainEntries = {
  ...SMALL,
  type: "hvm",
  memory: { targetKiB: 61440, staticMaxKiB: 131072, videoRamKiB: 4096 },
  onlineVcpus: new Set([0]),
  console: { ringRef: 0xfeffe, port: 2, tty: "/dev/pts/1" },
  platform: { acpi: 1 },
  startTime: 1700000000.123,
};

function written(entries: DomainEntries) {
  const store = new Xenstore(), tools = new ToolStack(store);
  store.createDomain(entries.domid);
  writeDomainEntries(tools, entries);
  return { store, tools, guest: new Guest(store, entries.domid) };
}

/** Nodes below the domain's and the VM's, without those that only lead there. */
function nodes(store: Xenstore): Record<string, string> {
  return Object.fromEntries(
    Object.entries(dump(store)).flatMap(([path, node]) =>
      path.startsWith("/local/domain/3/") || path.startsWith(`/vm/${UUID}`)
        ? [[path.replace("/local/domain/3/", "~/").replace(UUID, "U"), node]]
        : []
    ),
  );
}

const COMMON = {
  "/vm/U": " n0,r3",
  "/vm/U/name": "guest n0,r3",
  "/vm/U/uuid": `${UUID} n0,r3`,
  "~/attr": " n3",
  "~/control": " n0,r3",
  "~/control/feature-poweroff": " n3",
  "~/control/feature-reboot": " n3",
  "~/control/feature-suspend": " n3",
  "~/control/platform-feature-multiprocessor-suspend": "1 n0,r3",
  "~/control/platform-feature-xs_reset_watches": "1 n0,r3",
  "~/control/shutdown": " n3",
  "~/control/sysrq": " n3",
  "~/cpu": " n0,r3",
  "~/cpu/0": " n0,r3",
  "~/cpu/0/availability": "online n0,r3",
  "~/cpu/1": " n0,r3",
  "~/data": " n3",
  "~/device": " n0,r3",
  "~/device/suspend": " n0,r3",
  "~/device/suspend/event-channel": " n3",
  "~/domid": "3 n0,r3",
  "~/drivers": " n3",
  "~/error": " n3",
  "~/feature": " n3",
  "~/memory": " n0,r3",
  "~/name": "guest n0,r3",
  "~/store": " n0,r3",
  "~/store/port": "1 n0,r3",
  "~/store/ring-ref": "1044476 n0,r3",
  "~/vm": `/vm/${UUID} n0,r3`,
};

Deno.test("writeDomainEntries() writes what libxl writes for a PVH guest", () => {
  assertEquals(nodes(written(SMALL).store), {
    ...COMMON,
    "~/cpu/1/availability": "online n0,r3",
    "~/memory/static-max": "65536 n0,r3",
    "~/memory/target": "65536 n0,r3",
  });
});

Deno.test("writeDomainEntries() writes what libxl writes for an HVM guest with a console", () => {
  assertEquals(nodes(written(FULL).store), {
    ...COMMON,
    "/vm/U/start_time": "1700000000.12 n0,r3",
    "~/console": " n0,r3",
    "~/console/backend-id": "0 n3,r0",
    "~/console/limit": "1048576 n0,r3",
    "~/console/output": "pty n0,r3",
    "~/console/port": "2 n0,r3",
    "~/console/ring-ref": "1044478 n0,r3",
    "~/console/tty": "/dev/pts/1 n0,r3",
    "~/console/type": "xenconsoled n0,r3",
    "~/control/feature-s3": " n3",
    "~/control/feature-s4": " n3",
    "~/cpu/1/availability": "offline n0,r3",
    "~/hvmloader": " n0,r3",
    "~/memory/static-max": "131072 n0,r3",
    "~/memory/target": "61440 n0,r3",
    "~/memory/videoram": "4096 n0,r3",
    "~/platform": " n0,r3",
    "~/platform/acpi": "1 n0,r3",
  });
});

Deno.test("a guest reads what is about it, and writes only what is its own", () => {
  const { guest } = written(FULL);
  assertEquals(guest.call("READ", "domid\0"), "3");
  assertEquals(guest.call("READ", `/vm/${UUID}/name\0`), "guest");
  assertEquals(guest.call("DIRECTORY", "cpu\0"), "0\x001\0");
  for (
    const path of ["control/feature-poweroff", "control/shutdown", "data/x", "drivers/0", "attr/os", "error/device"]
  ) {
    assertEquals(guest.call("WRITE", `${path}\x001`), "OK\0", path);
  }
  for (const path of ["name", "x", "memory/target", "cpu/0/availability", "control/x", "console/port", "/local/x"]) {
    assertEquals(guest.call("WRITE", `${path}\x001`), "EACCES", path);
  }
});

Deno.test("writeDomainEntries() takes the place of what was there, and removeDomainEntries() leaves nothing", () => {
  const { store, tools } = written(FULL), before = Object.keys(dump(new Xenstore()));
  writeDomainEntries(tools, SMALL);
  assertEquals(tools.exists("/local/domain/3/console"), false);
  removeDomainEntries(tools, 3, UUID);
  removeDomainEntries(tools, 3, UUID);
  assertEquals(Object.keys(dump(store)), [...before, "/local", "/local/domain", "/vm"].toSorted());
  const other = new ToolStack(new Xenstore());
  assertThrows(() => writeDomainEntries(other, SMALL), XenstoreError, "ENOENT");
});

Deno.test("requestShutdown() tells the guest, and hears once that it has seen it", () => {
  const { tools, guest } = written(SMALL);
  guest.call("WATCH", "control/shutdown\0shutdown\0");
  guest.takeEvents();
  let acknowledged = 0;
  using _wait = requestShutdown(tools, 3, "reboot", () => acknowledged++);
  assertEquals(guest.takeEvents(), [["control/shutdown", "shutdown"]]);
  assertEquals(guest.call("READ", "control/shutdown\0"), "reboot");
  guest.call("SET_PERMS", "control/shutdown\0n3\0r0\0");
  assertEquals(acknowledged, 0);
  guest.call("WRITE", "control/shutdown\0");
  assertEquals(acknowledged, 1);
  guest.call("WRITE", "control/shutdown\0");
  assertEquals(acknowledged, 1);
});

Deno.test("requestShutdown() of a domain without nodes is refused, and one that is given up hears nothing", () => {
  const { tools, guest } = written(SMALL);
  assertThrows(() => requestShutdown(tools, 4, "poweroff"), XenstoreError, "ENOENT");
  let acknowledged = false;
  requestShutdown(tools, 3, "poweroff", () => acknowledged = true)[Symbol.dispose]();
  guest.call("WRITE", "control/shutdown\0");
  assertEquals([acknowledged, tools.exists("/local/domain/4")], [false, false]);
});
