/** The Worker that runs a device model: it attaches to a server in the control block and serves it. */

import { Descriptor } from "../linux/descriptor.ts";
import { Vm } from "../kvm/vm.ts";
import { PAGE_SIZE } from "../memory/address.ts";
import { BankViews } from "../memory/bank.ts";
import { GuestMemory } from "../memory/guest_memory.ts";
import { P2m } from "../memory/p2m.ts";
import type { PhysicalMap } from "../memory/physical_map.ts";
import type { KeepsFree } from "../ioreq/server_table.ts";
import { ServerViews } from "../ioreq/server_view.ts";
import { RANGE } from "../ioreq/abi.ts";
import { COMMAND } from "../ioreq/command_ring.ts";
import { channelPort } from "../ioreq/notification.ts";
import { DmOpError } from "../ioreq/dm_op_error.ts";
import type { Attachment, PageCommand } from "../dm/attachment.ts";
import { type DeviceModel, loadModel } from "../dm/model.ts";
import { DeviceModelRuntime } from "../dm/runtime.ts";
import { builtIn, loadBuiltIn } from "../devices/built_in.ts";
import { isMissing } from "../devices/missing.ts";
import { ControlBlock } from "./control_block.ts";
import { GrantedMemory } from "./grants.ts";
import { InheritedRanges } from "./inherited_ranges.ts";
import { InterruptLines } from "./interrupt_lines.ts";
import { ModelEvents } from "./model_events.ts";
import { type ModelRequest, type ModelStart, REPLY, type Report } from "./messages.ts";
import { SHUTDOWN } from "./outcome.ts";
import { serveOnce } from "./worker.ts";
import { FIRST_MODEL, xenDomain } from "./xen_domain.ts";

async function model(start: ModelStart, report: (report: Report) => void): Promise<void> {
  const control = new ControlBlock(start.controlBlock, start.vcpus);
  const events = new ModelEvents(new Vm(new Descriptor(control.vm, "VM"), 0));
  const { servers } = control;
  const inherited = start.inherits ? new InheritedRanges(servers, servers.server(start.server)) : undefined;
  using runtime = new DeviceModelRuntime(attach(control, start, events, inherited, report));
  const run = await loadModule(start);
  await run(runtime, start.configuration);
  inherited?.settle();
  control.servers.change(() => control.servers.server(start.server).setEnabled(true));
  report({ kind: "ready" });
  runtime.serve();
  events.release(start.server); // of whoever comes next they are no business
}

async function loadModule({ module = builtIn("platform") }: ModelStart): Promise<DeviceModel> {
  return await loadBuiltIn(module) ?? await loadModel(module);
}

/** In this process the operations are done where they are asked for: on the control block and by KVM. */
function attach(
  control: ControlBlock,
  start: ModelStart,
  events: ModelEvents,
  inherited: InheritedRanges | undefined,
  report: (report: Report) => void,
): Attachment {
  const ask = (operation: string, request: ModelRequest, serve = () => {}) => asked(operation, request, report, serve);
  const map = control.physicalMap, pager = control.pagerDoorbell(start.pagerDoorbell);
  const table = control.servers, server = table.server(start.server);
  const keepsFree: KeepsFree = (first, last) => map.table.regions.keepsFree(first, last);
  const { slots, ring, area } = new ServerViews(table).view(start.server);
  const vm = new Vm(new Descriptor(control.vm, "VM"), 0);
  const lines = new InterruptLines(control.interruptLines, vm);
  const memory = new GuestMemory(new P2m(control.p2m), new BankViews(control.bankTable));
  return {
    server: start.server,
    slots: slots!,
    ring,
    area: area!,
    memory: new GrantedMemory(memory, start.memory, (address) => area!.noteOutside(address), start.files),
    mapRange(type, first, last) {
      if (inherited?.claim(type, first, last)) return;
      table.addRange(server, type, first, last, keepsFree);
    },
    unmapRange(type, first, last) {
      table.change(() => server.ranges[type].remove(first, last));
      events.unclaimed(start.server, type, first, last);
    },
    connectWrite: (write, event) => events.connectWrite(start.server, server.ranges, write, event),
    connectLine: (gsi, raise, ended) => events.connectLine(start.server, gsi, raise, ended),
    bufferRange: (type, first, last) => table.change(() => server.bufferedRanges[type].cover(first, last)),
    setIrqLevel: (gsi, level) => lines.setLevel(gsi, level),
    setPciIntxLevel: (device, pin, level) => lines.setPciIntx(0, 0, device, pin, level),
    injectMsi: (address, data) => lines.injectMsi(address, data),
    rested: () => report({ kind: "paused" }),
    notify: (vcpu) => control.board.wake(vcpu),
    shutdown(reason) {
      if (control.end(SHUTDOWN[reason])) report({ kind: "ended" });
    },
    addMemory: (file, bytes) => ask("add_memory", { name: "add_memory", descriptor: file.number, bytes }),
    mapWindow(gfn, pages, transport, serve) {
      ask("map_window", { name: "map_window", gfn, pages, transport }, serve);
      table.change(() => server.ranges[RANGE.MEMORY].add(gfn * PAGE_SIZE, (gfn + pages) * PAGE_SIZE - 1));
    },
    unmapWindow(gfn, pages, serve) {
      table.change(() => server.ranges[RANGE.MEMORY].remove(gfn * PAGE_SIZE, (gfn + pages) * PAGE_SIZE - 1));
      ask("unmap_window", { name: "unmap_window", gfn, pages }, serve);
    },
    order: (commands) => void carryOut(map, start.server, commands),
    change(commands) {
      const refusal = carryOut(map, start.server, commands);
      if (refusal !== undefined) throw refusal;
    },
    notifyPager: () => pager.ring(),
    bindChannel(port, index) {
      const { backEndPorts } = xenDomain(control, () => {}).channels, who = FIRST_MODEL + start.server;
      const own = channelPort(control.vcpus, index);
      if (start.inherits && backEndPorts.inherit(port, who, own)) return;
      const result = backEndPorts.attach(port, who, own);
      if (result !== 0) throw new DmOpError("bind_event_channel", -result, `port ${port}`);
    },
    notifyChannel(port) {
      xenDomain(control, () => {}).channels.backEndPorts.notify(port, FIRST_MODEL + start.server);
    },
  };
}

/** Page by page in this thread, under the p2m lock. @returns the first refusal */
function carryOut(map: PhysicalMap, server: number, commands: readonly PageCommand[]): DmOpError | undefined {
  let refusal: DmOpError | undefined;
  for (const { op, gfn, count, memory, frame, readOnly } of commands) {
    const isMap = op === COMMAND.MAP;
    const errno = isMap ? map.map(server, gfn, count, memory, frame, readOnly) : map.revoke(server, gfn, count);
    if (errno !== 0) refusal ??= new DmOpError(isMap ? "map" : "revoke", errno, `gfn 0x${gfn.toString(16)} + ${count}`);
  }
  map.flush();
  return refusal;
}

/** Looks as often for requests while it waits for something else. */
const LOOK_MS = 1;

/** Has the domain's owner do something, and waits for it. @throws {DmOpError} it was refused */
function asked(
  operation: string,
  request: ModelRequest,
  report: (report: Report) => void,
  serve: () => void,
): number {
  const reply = new Int32Array(new SharedArrayBuffer(REPLY.WORDS * 4));
  report({ kind: "request", request, reply });
  while (Atomics.wait(reply, REPLY.DONE, 0, LOOK_MS) === "timed-out") serve();
  const result = reply[REPLY.RESULT];
  if (result < 0) throw new DmOpError(operation, -result, `device model ${self.name}`);
  return result;
}

declare const self: { readonly name: string };

serveOnce(model, loadModule, isMissing);
