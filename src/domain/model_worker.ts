/** The Worker that runs a device model: it attaches to a server in the control block and serves it. */

import { Descriptor } from "../linux/descriptor.ts";
import { Vm } from "../kvm/vm.ts";
import { BankViews } from "../memory/bank.ts";
import { GuestMemory } from "../memory/guest_memory.ts";
import { P2m } from "../memory/p2m.ts";
import { ServerViews } from "../ioreq/server_view.ts";
import type { Attachment } from "../dm/attachment.ts";
import { type DeviceModel, loadModel } from "../dm/model.ts";
import { DeviceModelRuntime } from "../dm/runtime.ts";
import { ControlBlock } from "./control_block.ts";
import { GrantedMemory } from "./grants.ts";
import { InterruptLines } from "./interrupt_lines.ts";
import type { ModelStart, Report } from "./messages.ts";
import { SHUTDOWN } from "./outcome.ts";
import { serveOnce } from "./worker.ts";

async function model(start: ModelStart, report: (report: Report) => void): Promise<void> {
  const control = new ControlBlock(start.controlBlock, start.vcpus);
  const runtime = new DeviceModelRuntime(attach(control, start, () => report({ kind: "ended" })));
  const run = start.module === undefined ? await platform() : await loadModel(start.module);
  await run(runtime, start.configuration);
  control.servers.change(() => control.servers.server(start.server).setEnabled(true));
  report({ kind: "ready" });
  runtime.serve();
}

/** In this process the operations are done where they are asked for: on the control block and by KVM. */
function attach(control: ControlBlock, start: ModelStart, ended: () => void): Attachment {
  const table = control.servers, server = table.server(start.server);
  const { slots, ring, area } = new ServerViews(table).view(start.server);
  const vm = new Vm(new Descriptor(control.vm, "VM"), 0);
  const lines = new InterruptLines(control.interruptLines, vm);
  const memory = new GuestMemory(new P2m(control.p2m), new BankViews(control.bankTable));
  return {
    server: start.server,
    slots: slots!,
    ring,
    area: area!,
    memory: new GrantedMemory(memory, start.memory),
    mapRange: (type, first, last) => table.change(() => server.ranges[type].add(first, last)),
    unmapRange: (type, first, last) => table.change(() => server.ranges[type].remove(first, last)),
    bufferRange: (type, first, last) => table.change(() => server.bufferedRanges[type].cover(first, last)),
    setIrqLevel: (gsi, level) => lines.setLevel(gsi, level),
    setPciIntxLevel: (device, pin, level) => lines.setPciIntx(0, 0, device, pin, level),
    injectMsi: (address, data) => lines.injectMsi(address, data),
    notify: (vcpu) => control.board.wake(vcpu),
    shutdown(reason) {
      if (control.end(SHUTDOWN[reason])) ended();
    },
  };
}

/** The built-in platform model; loaded like any other, but part of the program, so that a bundle contains it. */
async function platform(): Promise<DeviceModel> {
  return (await import("../devices/platform.ts")).default as DeviceModel;
}

serveOnce(model);
