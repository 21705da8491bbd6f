/** What the store says about a domain from the start: the nodes that libxl writes for an HVM or PVH guest. */

import { domainPath } from "./path.ts";
import type { ToolStack } from "./tool_stack.ts";

/** Bytes of console output that libxl lets its console daemon keep (LIBXL_XENCONSOLE_LIMIT). */
export const CONSOLE_LIMIT_BYTES = 1 << 20;

/** A page that is shared with the domain, and the event channel that goes with it. */
export interface SharedRing {
  /** Its guest frame. */
  readonly ringRef: number;
  /** The domain's port. */
  readonly port: number;
}

/** A domain as the store is to know it. */
export interface DomainEntries {
  /** Of the domain, which the store has to know. */
  readonly domid: number;
  /** What people call it. */
  readonly name: string;
  /** As 8-4-4-4-12 hexadecimal digits. */
  readonly uuid: string;
  /** With ACPI and firmware, or without. */
  readonly type: "hvm" | "pvh";
  /** What the domain is to have now, and most that it may have, less and with the video RAM. */
  readonly memory: { readonly targetKiB: number; readonly staticMaxKiB: number; readonly videoRamKiB?: number };
  /** Most vCPUs that it may have. */
  readonly maxVcpus: number;
  /** Those that it is to bring up; all, if left out. */
  readonly onlineVcpus?: ReadonlySet<number>;
  /** Its ring to the store. */
  readonly store: SharedRing;
  /** Its console, if it has one. */
  readonly console?: SharedRing & {
    /** Who drains the console: libxl's daemon, as it were, if left out. */
    readonly type?: "xenconsoled" | "ioemu";
    readonly output?: string;
    readonly tty?: string;
  };
  /** Below `platform`: what firmware looks up, `acpi` for instance. */
  readonly platform?: Readonly<Record<string, string | number>>;
  /** Seconds since 1970 at which it began. */
  readonly startTime?: number;
}

/** Nodes that are the domain's own. Firmware and drivers write there, and shutdown requests are acknowledged there. */
const OWN = ["shutdown", "feature-poweroff", "feature-reboot", "feature-suspend", "sysrq"]
  .map((name) => `control/${name}`).concat(
    "device/suspend/event-channel",
    "data",
    "drivers",
    "feature",
    "attr",
    "error",
  );

/** As {@linkcode OWN}, where the guest has ACPI. */
const OWN_HVM = ["control/feature-s3", "control/feature-s4"];

/** Nodes that the domain may only read, with all that is written below them. */
const READABLE = ["cpu", "memory", "device", "control", "store"];

/**
 * Writes a domain's nodes, in place of what was at `/local/domain/<domid>` and `/vm/<uuid>`. The domain has to have been
 * created in the store. Who may do what is as libxl has it (libxl_create.c, libxl_dom.c, libxl_console.c); the device
 * model's and libxl's own nodes are left out, and so is the console's backend, which nobody here would answer for.
 * @throws {XenstoreError} ENOENT: the store has no such domain
 */
export function writeDomainEntries(tools: ToolStack, entries: DomainEntries): void {
  const { domid, type, memory, console } = entries, home = domainPath(domid), vm = `/vm/${entries.uuid}`;
  const readable = ["n0", `r${domid}`], own = [`n${domid}`];
  const makeAll = (paths: readonly string[], permissions: readonly string[]) => {
    for (const path of paths) {
      tools.mkdir(path);
      tools.setPermissions(path, permissions);
    }
  };
  const below = (paths: readonly string[]) => paths.map((path) => `${home}/${path}`);
  const writeAll = (path: string, values: Readonly<Record<string, string | number | undefined>>) => {
    for (const [name, value] of Object.entries(values)) {
      if (value !== undefined) tools.write(`${path}/${name}`, String(value));
    }
  };

  removeDomainEntries(tools, domid, entries.uuid);
  makeAll([home, vm], readable);
  makeAll(below(type === "hvm" ? [...READABLE, "hvmloader"] : READABLE), readable);
  makeAll(below(type === "hvm" ? [...OWN, ...OWN_HVM] : OWN), own);
  writeAll(home, {
    vm,
    name: entries.name,
    domid,
    "control/platform-feature-multiprocessor-suspend": 1,
    "control/platform-feature-xs_reset_watches": 1,
    "memory/static-max": memory.staticMaxKiB,
    "memory/target": memory.targetKiB,
    "memory/videoram": memory.videoRamKiB,
    "store/ring-ref": entries.store.ringRef,
    "store/port": entries.store.port,
  });
  writeAll(`${home}/platform`, entries.platform ?? {});
  for (let vcpu = 0; vcpu < entries.maxVcpus; vcpu++) {
    const isOnline = entries.onlineVcpus?.has(vcpu) ?? true;
    tools.write(`${home}/cpu/${vcpu}/availability`, isOnline ? "online" : "offline");
  }
  writeAll(vm, { uuid: entries.uuid, name: entries.name, start_time: entries.startTime?.toFixed(2) });
  if (console !== undefined) {
    makeAll(below(["console"]), readable);
    writeAll(`${home}/console`, {
      "backend-id": 0,
      limit: CONSOLE_LIMIT_BYTES,
      type: console.type ?? "xenconsoled",
      output: console.output ?? "pty",
      tty: console.tty ?? "",
      port: console.port,
      "ring-ref": console.ringRef,
    });
    tools.setPermissions(`${home}/console/backend-id`, [...own, "r0"]);
  }
}

/** Takes a domain's nodes out again, if they are there. */
export function removeDomainEntries(tools: ToolStack, domid: number, uuid: string): void {
  for (const path of [domainPath(domid), `/vm/${uuid}`]) if (tools.exists(path)) tools.remove(path);
}
