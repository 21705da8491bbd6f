/** src/kvm/abi.ts against <linux/kvm.h>: every number of every table that it exports. */

import { assertEquals, assertLess } from "@std/assert";
import * as abi from "../../src/kvm/abi.ts";
import { evaluate, testUnless, whyNoCompiler } from "./c_program.ts";

const HEADERS = ["stddef.h", "linux/version.h", "linux/kvm.h"];
const missing = await whyNoCompiler(HEADERS, "gcc or the kernel headers");

type Rule = (key: string) => string;

const macro = (prefix: string): Rule => (key) => `${prefix}${key}`;
const offset = (structure: string, renamed: Record<string, string> = {}): Rule => (key) =>
  `offsetof(struct ${structure}, ${renamed[key] ?? key})`;

/** Members of struct kvm_run's union, whose fields RUN_PAGE names `union_field`. */
const EXIT_UNIONS = ["io", "mmio", "internal", "system_event", "msr", "xen"];

function runPageField(key: string): string {
  if (key === "hw_entry_failure_reason") return "fail_entry.hardware_entry_failure_reason";
  const union = EXIT_UNIONS.find((name) => key.startsWith(`${name}_`));
  return union === undefined ? key : `${union}.${key.slice(union.length + 1)}`;
}

/** The C side of each exported table, by its keys. */
const TABLES: Record<string, Rule> = {
  SIZE: (key) => `sizeof(struct ${key})`,
  KVM: macro("KVM_"),
  CAP: macro("KVM_CAP_"),
  EXIT: macro("KVM_EXIT_"),
  SUBERROR: macro("KVM_INTERNAL_ERROR_"),
  RUN_PAGE: (key) => `offsetof(struct kvm_run, ${runPageField(key)})`,
  REGS: offset("kvm_regs"),
  SREGS: offset("kvm_sregs"),
  SEGMENT: offset("kvm_segment"),
  DTABLE: offset("kvm_dtable"),
  MEMORY_REGION: offset("kvm_userspace_memory_region"),
  CPUID_ENTRY: offset("kvm_cpuid_entry2"),
  IRQ_LEVEL: offset("kvm_irq_level"),
  IRQ_ROUTING: offset("kvm_irq_routing"),
  IRQ_ROUTING_ENTRY: offset("kvm_irq_routing_entry", { irqchip: "u.irqchip.irqchip", pin: "u.irqchip.pin" }),
  MSI: offset("kvm_msi"),
  TRANSLATION: offset("kvm_translation"),
  ENABLE_CAP: offset("kvm_enable_cap"),
  IOEVENTFD: offset("kvm_ioeventfd"),
  IOEVENTFD_FLAG: (key) => `(1 << kvm_ioeventfd_flag_nr_${key.toLowerCase()})`,
  VCPU_EVENTS: offset("kvm_vcpu_events"),
  MP_STATE: macro("KVM_MP_STATE_"),
  IRQFD: offset("kvm_irqfd"),
  XEN_HVM_CONFIG: offset("kvm_xen_hvm_config"),
  MSR_FILTER: offset("kvm_msr_filter"),
  MSR_FILTER_RANGE: offset("kvm_msr_filter_range"),
  MSRS: offset("kvm_msrs"),
  MSR_ENTRY: offset("kvm_msr_entry"),
  CLOCK_DATA: offset("kvm_clock_data"),
  STATS_HEADER: offset("kvm_stats_header"),
  STATS_DESCRIPTOR: offset("kvm_stats_desc"),
};

/** The C side of each exported number. */
const NUMBERS: Record<string, string> = {
  KVM_API_VERSION: "KVM_API_VERSION",
  IO_OUT: "KVM_EXIT_IO_OUT",
  CPUID_SIGNIFICANT_INDEX: "KVM_CPUID_FLAG_SIGNIFCANT_INDEX",
  ROUTING_IRQCHIP: "KVM_IRQ_ROUTING_IRQCHIP",
  CHIP_PIC_MASTER: "KVM_IRQCHIP_PIC_MASTER",
  CHIP_PIC_SLAVE: "KVM_IRQCHIP_PIC_SLAVE",
  CHIP_IOAPIC: "KVM_IRQCHIP_IOAPIC",
  MEM_READONLY: "KVM_MEM_READONLY",
  PIT_SPEAKER_DUMMY: "KVM_PIT_SPEAKER_DUMMY",
  IRQFD_DEASSIGN: "KVM_IRQFD_FLAG_DEASSIGN",
  IRQFD_RESAMPLE: "KVM_IRQFD_FLAG_RESAMPLE",
  SYNC_REGS: "KVM_SYNC_X86_REGS",
  SYNC_SREGS: "KVM_SYNC_X86_SREGS",
  XEN_HVM_INTERCEPT_HCALL: "KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL",
  MSR_EXIT_FILTER: "KVM_MSR_EXIT_REASON_FILTER",
  MSR_FILTER_READ: "KVM_MSR_FILTER_READ",
  MSR_FILTER_WRITE: "KVM_MSR_FILTER_WRITE",
  X2APIC_API_USE_32BIT_IDS: "KVM_X2APIC_API_USE_32BIT_IDS",
  X2APIC_API_DISABLE_BROADCAST_QUIRK: "KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK",
};

/** Our own, of which the header knows nothing. */
const OURS = ["EXIT_REASONS", "MAX_VCPU_IDS"];

/** Names younger than the oldest headers that are in use, and the kernel that brought them. */
const SINCE: Record<string, readonly [major: number, minor: number]> = { KVM_EXIT_MEMORY_FAULT: [6, 8] };

const declared = Object.entries(abi).filter(([name]) => !OURS.includes(name)).flatMap(([name, value]) =>
  typeof value === "number"
    ? [{ name, value, expression: NUMBERS[name] }]
    : Object.entries(value).map(([key, value]) => ({ name: `${name}.${key}`, value, expression: TABLES[name]?.(key) }))
);

Deno.test("every export of abi.ts has a counterpart in C", () => {
  assertEquals(declared.filter(({ expression }) => expression === undefined).map(({ name }) => name), []);
  const exported = Object.keys(abi);
  const stale = [...Object.keys(TABLES), ...Object.keys(NUMBERS), ...OURS].filter((name) => !exported.includes(name));
  assertEquals(stale, []);
});

Deno.test("every exit reason has a counter of its own", () => {
  assertLess(Math.max(...Object.values(abi.EXIT)), abi.EXIT_REASONS);
});

testUnless(missing, "every number of abi.ts is that of <linux/kvm.h>", async () => {
  const { version } = await evaluate(HEADERS, { version: "LINUX_VERSION_CODE" });
  const known = declared.filter(({ expression }) => {
    const [major, minor] = SINCE[expression] ?? [0, 0];
    return version >= major * 65536 + minor * 256;
  });
  const values = await evaluate(HEADERS, Object.fromEntries(known.map(({ name, expression }) => [name, expression])));
  assertEquals(Object.fromEntries(known.map(({ name, value }) => [name, value])), values);
});

testUnless(missing, "the structures whose fields are named fit their tables", async () => {
  const widths = await evaluate(HEADERS, {
    "r8 to r15 follow rbp": "offsetof(struct kvm_regs, r15) - offsetof(struct kvm_regs, rbp)",
    "kvm_run.immediate_exit": "sizeof(((struct kvm_run *)0)->immediate_exit)",
    "kvm_run.io.port": "sizeof(((struct kvm_run *)0)->io.port)",
    "kvm_run.io.data_offset": "sizeof(((struct kvm_run *)0)->io.data_offset)",
    "kvm_run.mmio.data": "sizeof(((struct kvm_run *)0)->mmio.data)",
    "kvm_segment.selector": "sizeof(((struct kvm_segment *)0)->selector)",
    "kvm_segment.limit": "sizeof(((struct kvm_segment *)0)->limit)",
    "kvm_dtable.limit": "sizeof(((struct kvm_dtable *)0)->limit)",
  });
  assertEquals(widths, {
    "r8 to r15 follow rbp": 64,
    "kvm_run.immediate_exit": 1,
    "kvm_run.io.port": 2,
    "kvm_run.io.data_offset": 8,
    "kvm_run.mmio.data": 8,
    "kvm_segment.selector": 2,
    "kvm_segment.limit": 4,
    "kvm_dtable.limit": 2,
  });
});
