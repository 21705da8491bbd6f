/** xen_version: what a domU is told, and what it is denied. */

import { assertEquals } from "@std/assert";
import { XENFEAT } from "../../src/hypercall/abi/features.ts";
import { XENVER } from "../../src/hypercall/abi/version.ts";
import { xenVersion } from "../../src/hypercall/xen_version.ts";
import { EFAULT, EINVAL, ENOSYS, EPERM } from "../../src/linux/errno.ts";
import { assertAnswersAnything, TestCaller, WIDTHS } from "./calls.ts";

const DOMAIN = { handle: Uint8Array.from({ length: 16 }, (_, index) => index + 1) };
const VALUES: Record<number, number> = {
  [XENVER.version]: 4 * 65536 + 17,
  [XENVER.pagesize]: 4096,
  [XENVER.build_id]: -EPERM,
  11: -ENOSYS,
  [0xffff_ffff]: -ENOSYS,
};

/** Strings: where in what the subop writes, in how many bytes, and which. */
const TEXTS: Record<string, [subop: number, offset: number, bytes: number, text: string][]> = {
  extraversion: [[XENVER.extraversion, 0, 16, ".0-xenolith"]],
  compile_info: [
    [XENVER.compile_info, 0, 64, "deno"],
    [XENVER.compile_info, 64, 16, "xenolith"],
    [XENVER.compile_info, 80, 32, ""],
    [XENVER.compile_info, 112, 32, ""],
  ],
  capabilities: [[XENVER.capabilities, 0, 1024, "hvm-3.0-x86_32 hvm-3.0-x86_32p hvm-3.0-x86_64 "]],
  changeset: [[XENVER.changeset, 0, 64, "unavailable"]],
  commandline: [[XENVER.commandline, 0, 9, "<denied>"]],
};

for (const bits of WIDTHS) {
  Deno.test(`a ${bits}-bit guest gets the version, the size of pages and refusals without memory`, () => {
    const caller = new TestCaller(bits);
    for (const [subop, value] of Object.entries(VALUES)) {
      assertEquals(xenVersion(DOMAIN, caller.with(Number(subop))), value, `subop ${subop}`);
    }
    assertEquals(xenVersion(DOMAIN, caller.with(XENVER.pagesize, caller.pointer())), -EINVAL);
    assertEquals(xenVersion(DOMAIN, caller.with(XENVER.build_id, caller.pointer())), -EPERM);
  });

  Deno.test(`a ${bits}-bit guest gets strings, each in a field that is filled up with 0`, () => {
    for (const [name, fields] of Object.entries(TEXTS)) {
      const caller = new TestCaller(bits), last = fields[fields.length - 1], end = last[1] + last[2];
      new Uint8Array(caller.data.buffer).fill(0xaa);
      assertEquals(xenVersion(DOMAIN, caller.with(last[0], caller.pointer(4000))), 0, name);
      for (const [, offset, bytes, text] of fields) {
        const field = new Uint8Array(caller.data.buffer, 4000 + offset, bytes);
        assertEquals(caller.text(4000 + offset, bytes), text, name);
        assertEquals(field.subarray(text.length).every((byte) => byte === 0), true, name);
      }
      assertEquals(caller.data.getUint8(4000 + end), 0xaa, `${name} writes ${end} bytes`);
      for (const pointer of [0n, caller.missing(), caller.missing(end - 1), caller.readOnly()]) {
        assertEquals(xenVersion(DOMAIN, caller.with(last[0], pointer)), -EFAULT, name);
      }
    }
  });

  Deno.test(`a ${bits}-bit guest gets its handle, and no place of Xen's in its address space`, () => {
    const caller = new TestCaller(bits);
    assertEquals(xenVersion(DOMAIN, caller.with(XENVER.guest_handle, caller.pointer(4090))), 0);
    assertEquals(new Uint8Array(caller.data.buffer, 4090, 16), DOMAIN.handle);
    caller.put(0xffff_ffff, 0xffff_ffff);
    assertEquals(xenVersion(DOMAIN, caller.with(XENVER.platform_parameters, caller.pointer())), 0);
    assertEquals([0, 4].map((at) => caller.data.getUint32(at, true)), [0, bits === 64 ? 0 : 0xffff_ffff]);
    for (const subop of [XENVER.guest_handle, XENVER.platform_parameters]) {
      assertEquals(xenVersion(DOMAIN, caller.with(subop, caller.missing())), -EFAULT);
    }
  });

  Deno.test(`a ${bits}-bit guest gets the features that Xen gives a PVH domain, in submap 0 only`, () => {
    const caller = new TestCaller(bits);
    caller.put(0, 0xffff_ffff, 7);
    assertEquals(xenVersion(DOMAIN, caller.with(XENVER.get_features, caller.pointer())), 0);
    const submap = caller.data.getUint32(4, true);
    const names = Object.entries(XENFEAT).filter(([, bit]) => submap >>> bit & 1).map(([name]) => name);
    assertEquals(names, [
      "writable_page_tables",
      "auto_translated_physmap",
      "hvm_callback_vector",
      "hvm_safe_pvclock",
      "memory_op_vnode_supported",
      "not_direct_mapped",
    ]);
    assertEquals(submap, names.reduce((all, name) => all + 2 ** XENFEAT[name as keyof typeof XENFEAT], 0));
    assertEquals(caller.data.getUint32(8, true), 7);
    for (const pointer of [0n, caller.missing(), caller.missing(7), caller.readOnly()]) {
      assertEquals(xenVersion(DOMAIN, caller.with(XENVER.get_features, pointer)), -EFAULT);
    }
    for (const submap of [1, 2, 0x8000_0000]) {
      caller.put(submap);
      assertEquals(xenVersion(DOMAIN, caller.with(XENVER.get_features, caller.pointer())), -EINVAL);
    }
  });
}

Deno.test("xen_version answers anything", () => {
  assertAnswersAnything(Object.values(XENVER), (call) => xenVersion(DOMAIN, call));
});
