import { assertEquals } from "@std/assert";
import { KVM, REGS, RUN_PAGE, SYNC_REGS } from "../../src/kvm/abi.ts";
import { SyncedRegisters } from "../../src/kvm/synced_registers.ts";
import type { Descriptor } from "../../src/linux/descriptor.ts";

const RAX = REGS.rax / 8;

/** A run page, and a vCPU that notes what it is asked for. */
function fixture() {
  const page = new ArrayBuffer(8192), view = new DataView(page), asked: [request: number, rax: bigint][] = [];
  const vcpu = {
    ioctl: (request: number, _name: string, bytes: Uint8Array<ArrayBuffer>) => {
      asked.push([request, new BigUint64Array(bytes.buffer, bytes.byteOffset)[RAX]]);
    },
  } as unknown as Descriptor;
  return {
    registers: new SyncedRegisters(page),
    vcpu,
    asked,
    dirty: () => view.getUint32(RUN_PAGE.kvm_dirty_regs, true),
  };
}

Deno.test("SyncedRegisters.request() asks for the registers once, and has KVM bring them from then on", () => {
  const { registers, vcpu, asked } = fixture();
  registers.request(vcpu);
  registers.request(vcpu);
  assertEquals(asked.map(([request]) => request), [KVM.GET_REGS, KVM.GET_SREGS]);
});

Deno.test("SyncedRegisters.flush() gives KVM what was set, and leaves nothing for the next entry", () => {
  const { registers, vcpu, asked, dirty } = fixture();
  registers.flush(vcpu);
  assertEquals(asked, [], "nothing was set");
  registers.set(REGS.rax, 0xffff_ffea, 0xffff_ffff);
  assertEquals(dirty(), SYNC_REGS);
  registers.flush(vcpu);
  registers.flush(vcpu);
  assertEquals([asked, dirty()], [[[KVM.SET_REGS, 0xffff_ffff_ffff_ffean]], 0]);
});
