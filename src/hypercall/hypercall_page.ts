/** The page by which a guest makes its hypercalls (Xen: hvm_hypercall_page_initialise). */

import { PAGE_SIZE } from "../memory/address.ts";
import { HYPERCALL_STUB_BYTES } from "./abi/cpuid.ts";
import { HYPERCALL_PORT } from "./abi/ours.ts";
import { HYPERCALL } from "./abi/xen.ts";

/**
 * A stub for each number, good for code of any width: `mov eax, number; out 0xe8, eax; ret`. Of a port every KVM tells;
 * VMCALL reaches us only where KVM has KVM_CAP_XEN_HVM.
 */
export function hypercallPage(): Uint8Array<ArrayBuffer> {
  const page = new Uint8Array(PAGE_SIZE).fill(INT3);
  for (let number = 0; number < PAGE_SIZE / HYPERCALL_STUB_BYTES; number++) {
    const stub = number === HYPERCALL.iret ? UD2 : [MOV_EAX, number, 0, 0, 0, OUT_EAX, HYPERCALL_PORT, RET];
    page.set(stub, number * HYPERCALL_STUB_BYTES);
  }
  return page;
}

const INT3 = 0xcc, MOV_EAX = 0xb8, OUT_EAX = 0xe7, RET = 0xc3;

/** What stands for iret: a guest in a virtual machine has its own. */
const UD2 = [0x0f, 0x0b];
